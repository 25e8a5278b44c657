//! A shop with one warehouse.

use contracts::order::{self, OrderStatus};
use contracts::stock::Stock;
use contracts::{OrderId, PublicEvent, ReservationId, Service, Sku, UserId, product};
use inventory::{COLLECTIONS, Inventory};
use kernel::clock::Clock;
use kernel::context::Context;
use kernel::event::{Recorded, StreamId};
use kernel::http::Paging;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::harness::Harness;

#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) harness: Harness,
    pub(crate) inventory: Inventory,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        Self::open_on(Harness::new(Service::Inventory, COLLECTIONS).await).await
    }

    /// With what has happened elsewhere before.
    pub(crate) async fn open_on(harness: Harness) -> Self {
        let inventory = Inventory::start(harness.engine(), harness.bus(), harness.verifier())
            .await
            .unwrap();
        Self { harness, inventory }
    }

    /// The catalogue gets a product.
    pub(crate) async fn product(&self, sku: &str, initial_stock: u64) {
        let created = product_created(sku, initial_stock);
        self.harness
            .publish(Service::Catalog, created.product_id, created)
            .await;
    }

    /// The catalogue gets a product, and the inventory has seen it.
    pub(crate) async fn stocked(&self, sku: &str, initial_stock: u64) {
        self.product(sku, initial_stock).await;
        self.settle().await;
    }

    /// Somebody orders.
    pub(crate) async fn order(&self, lines: &[(&str, u32)]) -> OrderId {
        let order_id = OrderId::from_uuid(self.harness.uuid());
        self.happens(order_id, placed(order_id, lines)).await;
        order_id
    }

    /// Something happens to an order.
    pub(crate) async fn happens(&self, order_id: OrderId, event: impl Into<PublicEvent>) {
        self.harness.publish(Service::Orders, order_id, event).await;
    }

    /// The inventory sees all that happened elsewhere.
    pub(crate) async fn settle(&self) {
        self.harness.settle(self.inventory.consumers()).await;
    }

    pub(crate) async fn pass(&self, time: Duration) {
        self.harness.clock().sleep(time).await;
    }

    pub(crate) async fn stock(&self, name: &str) -> Stock {
        self.inventory.stock(&sku(name)).await.unwrap().shown()
    }

    /// What is available, reserved and sold.
    pub(crate) async fn counts(&self, name: &str) -> (u64, u64, u64) {
        let stock = self.inventory.stock(&sku(name)).await.unwrap();
        (stock.available(), stock.shown().reserved, stock.sold())
    }

    /// What happened to the reservation of an order.
    pub(crate) async fn history(&self, order_id: OrderId) -> Vec<Recorded> {
        let stream = StreamId::new(ReservationId::of(order_id).to_string());
        self.harness.engine().reader().history(&stream).await.unwrap()
    }

    /// The types of those events, in short.
    pub(crate) async fn steps(&self, order_id: OrderId) -> Vec<String> {
        let history = self.history(order_id).await;
        history
            .iter()
            .map(|event| event.event_type.strip_prefix("inventory.").unwrap().to_owned())
            .collect()
    }

    pub(crate) async fn dead_letters(&self) -> Vec<contracts::log::DeadLetter> {
        self.inventory
            .consumers()
            .dead_letters()
            .list(&Paging::default())
            .await
            .unwrap()
            .data
    }

    pub(crate) fn admin(&self) -> Context {
        self.harness.context(UserId::from_uuid(self.harness.uuid()))
    }
}

pub(crate) fn sku(name: &str) -> Sku {
    name.try_into().unwrap()
}

pub(crate) fn buyer(order_id: OrderId) -> UserId {
    UserId::from_uuid(order_id.uuid())
}

pub(crate) fn product_created(sku: &str, initial_stock: u64) -> product::Created {
    made(json!({
        "product_id": "prd_01h455vb4pex5vsknk084sn02q", "sku": sku, "name": "Lamp", "initial_stock": initial_stock,
        "price": {"amount": 5, "currency": "EUR"},
    }))
}

pub(crate) fn placed(order_id: OrderId, lines: &[(&str, u32)]) -> order::Placed {
    let price = json!({"amount": 5, "currency": "EUR"});
    let lines: Vec<Value> = lines
        .iter()
        .map(|(sku, quantity)| {
            json!({
                "sku": sku, "product_id": "prd_01h455vb4pex5vsknk084sn02q", "name": "Lamp", "quantity": quantity,
                "unit_price": price, "total": {"amount": 5 * quantity, "currency": "EUR"},
            })
        })
        .collect();
    made(json!({"order_id": order_id, "user_id": buyer(order_id), "lines": lines, "total": price}))
}

pub(crate) fn confirmed(order_id: OrderId) -> order::Confirmed {
    let price = json!({"amount": 5, "currency": "EUR"});
    let expires_at = "2026-01-01T12:30:00Z";
    made(json!({"order_id": order_id, "user_id": buyer(order_id), "total": price, "expires_at": expires_at}))
}

pub(crate) fn rejected(order_id: OrderId) -> order::Rejected {
    made(json!({"order_id": order_id, "user_id": buyer(order_id), "shortages": []}))
}

pub(crate) fn paid(order_id: OrderId) -> order::Paid {
    let by = json!({"kind": "payment", "payment_id": "pay_01h455vb4pex5vsknk084sn02q"});
    let amount = json!({"amount": 5, "currency": "EUR"});
    made(json!({"order_id": order_id, "user_id": buyer(order_id), "amount": amount, "paid_by": by}))
}

pub(crate) fn cancelled(order_id: OrderId, was: OrderStatus) -> order::Cancelled {
    made(json!({"order_id": order_id, "user_id": buyer(order_id), "was": was, "by": "customer"}))
}

pub(crate) fn expired(order_id: OrderId) -> order::Expired {
    made(json!({"order_id": order_id, "user_id": buyer(order_id)}))
}

pub(crate) fn fulfilled(order_id: OrderId) -> order::Fulfilled {
    made(json!({"order_id": order_id, "user_id": buyer(order_id)}))
}

pub(crate) fn refunded(order_id: OrderId, was: OrderStatus) -> order::Refunded {
    let amount = json!({"amount": 5, "currency": "EUR"});
    let payment_id = "pay_01h455vb4pex5vsknk084sn02q";
    made(json!({
        "order_id": order_id, "user_id": buyer(order_id), "payment_id": payment_id, "amount": amount, "was": was,
    }))
}

/// Events are made from JSON, so that a field with a default may be added to one.
fn made<T: serde::de::DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).unwrap()
}
