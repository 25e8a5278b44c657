//! A shop with a few products, customers and an admin.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use contracts::order::{self, ListOrders, Order, OrderStatus};
use contracts::payment::{self, Stage};
use contracts::product::{self, ProductStatus};
use contracts::stock::{self, Shortage};
use contracts::{
    Code, Currency, Money, OrderId, PaymentId, Price, Problem, ProductId, PublicEvent, RefundId, ReservationId, Role,
    Service, SessionId, Sku, UserId, user,
};
use http_body_util::BodyExt;
use kernel::access::AccessEvents;
use kernel::auth::User;
use kernel::clock::Clock;
use kernel::context::Context;
use kernel::http::{IfMatch, Paging};
use orders::{COLLECTIONS, Config, Error, Orders};
use serde_json::{Value, json};
use testkit::harness::Harness;
use tower::ServiceExt;
use uuid::Uuid;

pub(crate) struct Shop {
    pub(crate) harness: Harness,
    pub(crate) orders: Orders,
    pub(crate) accesses: AccessEvents,
    pub(crate) router: Router,
    pub(crate) ada: User,
    pub(crate) bob: User,
    pub(crate) admin: User,
    pub(crate) lamp: ProductId,
}

/// What the lamp costs.
pub(crate) const LAMP: i64 = 1250;

impl Shop {
    /// Open, with a lamp (`LAMP`, 12.50 USD) and a chair (`CHAIR`, 99.00 USD).
    pub(crate) async fn open() -> Self {
        let harness = Harness::new(Service::Orders, COLLECTIONS).await;
        let engine = harness.engine();
        let accesses = AccessEvents::new(engine.clock().clone(), engine.ids().clone());
        let config = Config::default();
        let orders = Orders::start(engine, harness.bus(), harness.verifier(), accesses.clone(), &config)
            .await
            .unwrap();
        let router = orders.router();
        let user = |number, role| User {
            id: UserId::from_uuid(Uuid::from_u128(number)),
            role,
            session: SessionId::from_uuid(Uuid::from_u128(number)),
        };
        let (ada, bob, admin) = (user(1, Role::Customer), user(2, Role::Customer), user(3, Role::Admin));
        let lamp = ProductId::from_uuid(harness.uuid());
        let shop = Self {
            harness,
            orders,
            accesses,
            router,
            ada,
            bob,
            admin,
            lamp,
        };
        shop.product(lamp, "LAMP", LAMP, Currency::USD).await;
        shop.product(ProductId::from_uuid(shop.harness.uuid()), "CHAIR", 9900, Currency::USD)
            .await;
        shop
    }

    /// The catalogue gets a product.
    pub(crate) async fn product(&self, product_id: ProductId, sku: &str, amount: i64, currency: Currency) {
        let created = product::Created {
            product_id,
            sku: sku.try_into().unwrap(),
            name: "A thing".try_into().unwrap(),
            price: Price::new(amount, currency).unwrap(),
            description: None,
            attributes: None,
            image_url: None,
            initial_stock: 0,
        };
        self.harness.publish(Service::Catalog, product_id, created).await;
        self.settle().await;
    }

    /// The lamp changes.
    pub(crate) async fn lamp_changes(&self, amount: i64, status: ProductStatus) {
        let updated = product::Updated {
            product_id: self.lamp,
            sku: "LAMP".try_into().unwrap(),
            name: "A thing".try_into().unwrap(),
            price: Price::new(amount, Currency::USD).unwrap(),
            description: None,
            attributes: None,
            image_url: None,
            status,
            changed: vec!["price".to_owned()],
        };
        self.harness.publish(Service::Catalog, self.lamp, updated).await;
        self.settle().await;
    }

    pub(crate) async fn settle(&self) {
        self.harness.settle(self.orders.consumers()).await;
    }

    /// Time passes, and what is due happens.
    pub(crate) async fn pass(&self, time: Duration) {
        self.harness.clock().sleep(time).await;
        // Timers look once a second.
        self.harness.clock().sleep(Duration::from_secs(2)).await;
    }

    pub(crate) fn context(&self, by: User) -> Context {
        self.harness.context(by.id)
    }

    pub(crate) async fn try_place(&self, request: Value, by: User) -> Result<Order, Error> {
        self.orders
            .place(serde_json::from_value(request).unwrap(), by, self.context(by))
            .await
    }

    /// Ada orders two lamps.
    pub(crate) async fn place(&self) -> Order {
        self.try_place(json!({"lines": [{"sku": "LAMP", "quantity": 2}]}), self.ada)
            .await
            .unwrap()
    }

    /// Ada orders two lamps, to her home.
    pub(crate) async fn place_with_address(&self) -> Order {
        let request = json!({
            "lines": [{"sku": "LAMP", "quantity": 2}],
            "shipping_address": address("Herengracht 1"),
            "metadata": {"gift": true},
        });
        self.try_place(request, self.ada).await.unwrap()
    }

    /// Two lamps that wait for their payment.
    pub(crate) async fn confirmed(&self) -> Order {
        let order = self.place().await;
        self.reserved(&order).await;
        self.read(&order).await
    }

    /// Two lamps, paid.
    pub(crate) async fn paid(&self) -> (Order, PaymentId) {
        let order = self.confirmed().await;
        let payment = self.new_payment();
        self.authorized(&order, payment).await;
        self.captured(&order, payment).await;
        (self.read(&order).await, payment)
    }

    pub(crate) async fn read(&self, order: &Order) -> Order {
        self.orders
            .order(order.id, &order::AsOf::default(), self.admin, &self.context(self.admin))
            .await
            .unwrap()
    }

    pub(crate) async fn status(&self, order: &Order) -> OrderStatus {
        self.read(order).await.status
    }

    pub(crate) async fn list(&self, filter: ListOrders, by: User) -> Vec<OrderId> {
        let paging = Paging::new(filter.limit, filter.cursor.as_ref()).unwrap();
        let page = self.orders.orders(&filter, &paging, by).await.unwrap();
        page.data.into_iter().map(|order| order.id).collect()
    }

    pub(crate) async fn update(&self, order: &Order, request: Value, by: User) -> Result<Order, Error> {
        let request = serde_json::from_value(request).unwrap();
        self.orders
            .update(order.id, request, IfMatch::Absent, by, self.context(by))
            .await
    }

    pub(crate) async fn cancel(&self, order: &Order, by: User) -> Result<Order, Error> {
        self.orders.cancel(order.id, None, by, self.context(by)).await
    }

    pub(crate) async fn reserved(&self, order: &Order) {
        let lines = order.lines.iter().map(|line| stock::ReservationLine {
            sku: line.sku.clone(),
            product_id: line.product_id,
            quantity: line.quantity.into(),
        });
        let reservation_id = ReservationId::of(order.id);
        let (order_id, user_id, lines) = (order.id, order.user_id, lines.collect());
        let reserved = stock::Reserved {
            reservation_id,
            order_id,
            user_id,
            lines,
        };
        self.harness.publish(Service::Inventory, reservation_id, reserved).await;
        self.settle().await;
    }

    pub(crate) async fn rejected(&self, order: &Order) {
        let reservation_id = ReservationId::of(order.id);
        let sku: Sku = "LAMP".try_into().unwrap();
        let shortages = vec![Shortage {
            sku,
            requested: 2,
            available: 1,
        }];
        let rejected = stock::Rejected {
            reservation_id,
            order_id: order.id,
            user_id: order.user_id,
            shortages,
        };
        self.harness.publish(Service::Inventory, reservation_id, rejected).await;
        self.settle().await;
    }

    pub(crate) fn new_payment(&self) -> PaymentId {
        PaymentId::from_uuid(self.harness.uuid())
    }

    async fn payment(&self, payment_id: PaymentId, event: impl Into<PublicEvent>) {
        self.harness.publish(Service::Payments, payment_id, event).await;
        self.settle().await;
    }

    pub(crate) async fn authorized(&self, order: &Order, payment_id: PaymentId) {
        let (order_id, user_id, amount) = (order.id, order.user_id, order.total);
        self.payment(
            payment_id,
            payment::Authorized {
                payment_id,
                order_id,
                user_id,
                amount,
            },
        )
        .await;
    }

    pub(crate) async fn captured(&self, order: &Order, payment_id: PaymentId) {
        let (order_id, user_id, amount) = (order.id, order.user_id, order.total);
        self.payment(
            payment_id,
            payment::Captured {
                payment_id,
                order_id,
                user_id,
                amount,
            },
        )
        .await;
    }

    pub(crate) async fn failed(&self, order: &Order, payment_id: PaymentId, stage: Stage) {
        let (order_id, user_id, amount) = (order.id, order.user_id, order.total);
        let decline_code = "insufficient_funds".to_owned();
        let failed = payment::Failed {
            payment_id,
            order_id,
            user_id,
            amount,
            stage,
            decline_code,
        };
        self.payment(payment_id, failed).await;
    }

    pub(crate) async fn voided(&self, order: &Order, payment_id: PaymentId) {
        let (order_id, user_id, amount) = (order.id, order.user_id, order.total);
        self.payment(
            payment_id,
            payment::Voided {
                payment_id,
                order_id,
                user_id,
                amount,
            },
        )
        .await;
    }

    /// So much of a payment was given back in all.
    pub(crate) async fn refunded(&self, order: &Order, payment_id: PaymentId, amount: Money) {
        let refunded = payment::Refunded {
            payment_id,
            refund_id: RefundId::from_uuid(self.harness.uuid()),
            order_id: order.id,
            user_id: order.user_id,
            amount,
            refunded_total: amount,
            captured: order.total,
            full: amount == order.total,
        };
        self.payment(payment_id, refunded).await;
    }

    /// The user's account is deleted.
    pub(crate) async fn erase(&self, user: User) {
        self.harness
            .publish(Service::Users, user.id, user::Erased { user_id: user.id })
            .await;
        self.settle().await;
        self.pass(Duration::ZERO).await;
    }

    /// A request over HTTP, by somebody or nobody.
    pub(crate) async fn http(&self, method: &str, path: &str, by: Option<User>, body: Option<Value>) -> Answer {
        self.http_with(method, path, by, body, &[]).await
    }

    pub(crate) async fn http_with(
        &self,
        method: &str,
        path: &str,
        by: Option<User>,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = axum::http::Request::builder().method(method).uri(path);
        if let Some(by) = by {
            request = request.header(
                "authorization",
                format!("Bearer {}", self.harness.token(by.id, by.role)),
            );
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            None => Body::empty(),
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
        };
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let header = |name| {
            parts
                .headers
                .get(name)
                .map_or("", |value| value.to_str().unwrap())
                .to_owned()
        };
        Answer {
            status: parts.status.as_u16(),
            etag: header("etag"),
            location: header("location"),
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) etag: String,
    pub(crate) location: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn problem(&self) -> Problem {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The status, and the code of the problem if it is one.
    pub(crate) fn outcome(&self) -> (u16, Option<Code>) {
        (self.status, (self.status >= 400).then(|| self.problem().code))
    }
}

pub(crate) fn address(line1: &str) -> Value {
    json!({"line1": line1, "city": "Amsterdam", "country": "NL"})
}

pub(crate) fn usd(amount: i64) -> Money {
    Money::new(amount, Currency::USD).unwrap()
}
