//! `tradewind demo`: the whole journey of an order over real HTTP, on a temporary embedded store, with the events that
//! each step caused.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use contracts::order::{Order, OrderStatus};
use contracts::payment::{Payment, PaymentStatus};
use contracts::product::Product;
use contracts::stock::Stock;
use owo_colors::{OwoColorize as _, Stream};
use serde_json::{Value, json};

use crate::client::{Client, Refused};
use crate::commands::serve::OwnServer;
use crate::config::Config;
use crate::output;
use crate::stopwatch::now;

/// How long a step's events may take to appear.
const SETTLED_MAX: Duration = Duration::from_secs(10);
const PASSWORD: &str = "correct horse battery staple";
const ADMIN: &str = "admin@example.com";

/// How to tell about it.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Runs the journey; an error means that something was not as it should be.
pub async fn run(options: &Options) -> Result<()> {
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let data = directory.path().join("data");
    let config = Config::with(&[
        ("listen", "127.0.0.1:0"),
        ("data", &data.to_string_lossy()),
        ("rate_limit_anonymous", "off"),
        ("rate_limit_user", "off"),
        ("admin_email", ADMIN),
        ("admin_password", PASSWORD),
    ])?;
    let started = now();
    let server = OwnServer::start(&config).await?;
    let mut demo = Demo::new(&server.url, options.json).await?;
    demo.say(&format!(
        "Seven services listen on {} after {} ms",
        server.url,
        started.elapsed().as_millis()
    ))?;
    let outcome = demo.journey().await;
    server.stop().await?;
    if options.json {
        output::json(&json!({"ok": outcome.is_ok(), "steps": demo.steps}))?;
    }
    outcome?;
    demo.say("Everything was as it should be: the money, the stock and the events agree.")?;
    Ok(())
}

struct Demo {
    anonymous: Client,
    admin: Client,
    quiet: bool,
    position: String,
    steps: Vec<Value>,
}

impl Demo {
    async fn new(url: &str, quiet: bool) -> Result<Self> {
        let anonymous = Client::new(url)?;
        let admin = anonymous.signed_in(ADMIN, PASSWORD).await?;
        Ok(Self {
            anonymous,
            admin,
            quiet,
            position: "0".to_owned(),
            steps: Vec::new(),
        })
    }

    fn say(&self, text: &str) -> Result<()> {
        if self.quiet {
            return Ok(());
        }
        output::line(text)
    }

    async fn journey(&mut self) -> Result<()> {
        // The admin's, who was made and signed in before the story begins.
        self.events("the shop opens", &["user.registered", "user.logged_in"])
            .await?;
        let sign_up = json!({"email": "ada@example.com", "password": PASSWORD, "name": "Ada"});
        let user: Value = self.anonymous.post("/api/users", &sign_up, None).await?;
        let customer = self.anonymous.signed_in("ada@example.com", PASSWORD).await?;
        self.step("Ada signs up and signs in", &["user.registered", "user.logged_in"])
            .await?;

        let product = json!({"sku": "SEXTANT-1", "name": "Brass sextant", "price": {"amount": 12900, "currency": "EUR"},
            "initial_stock": 10});
        let product: Product = self.admin.post("/api/products", &product, None).await?;
        self.step(
            "The shop adds a sextant for 129.00 EUR, ten in stock",
            &["product.created", "inventory.updated"],
        )
        .await?;

        let order = self.place(&customer, &product, 2).await?;
        let confirmed = [
            "order.placed",
            "inventory.reserved",
            "order.confirmed",
            "notification.sent",
        ];
        self.step("Ada orders two; they are reserved", &confirmed).await?;
        self.expect_order(&customer, &order, OrderStatus::Confirmed).await?;

        let declined = json!({"order_id": order.id, "payment_method": "pm_card_chargeDeclined"});
        let refused = self.customer_is_refused(customer.post("/api/payments", &declined, None).await)?;
        ensure!(
            refused == "card-declined",
            "a declined card was answered with {refused}"
        );
        self.step("Her first card is declined", &["payment.initiated", "payment.failed"])
            .await?;

        let payment = self.pay(&customer, &order).await?;
        let paid = [
            "payment.initiated",
            "payment.authorized",
            "payment.captured",
            "order.paid",
            "inventory.sold",
            "notification.sent",
        ];
        self.step("Her second card is charged, and the order is paid", &paid)
            .await?;
        self.expect_order(&customer, &order, OrderStatus::Paid).await?;
        self.expect_stock(&customer, 8, 0).await?;

        let too_many = self.place(&customer, &product, 9).await?;
        self.step(
            "Nine more are refused: eight are left",
            &[
                "order.placed",
                "inventory.rejected",
                "order.rejected",
                "notification.sent",
            ],
        )
        .await?;
        self.expect_order(&customer, &too_many, OrderStatus::Rejected).await?;

        let fulfilled: Order = self
            .admin
            .patch(&format!("/api/orders/{}", order.id), &json!({"status": "fulfilled"}))
            .await?;
        ensure!(
            fulfilled.status == OrderStatus::Fulfilled,
            "the order is {}",
            fulfilled.status
        );
        self.step(
            "The shop delivers the first order",
            &["order.fulfilled", "notification.sent"],
        )
        .await?;

        let second = self.place(&customer, &product, 3).await?;
        self.step("Ada orders three more", &confirmed).await?;
        let second_payment = self.pay(&customer, &second).await?;
        self.step("and pays", &paid).await?;
        let cancel = format!("/api/orders/{}/cancel", second.id);
        let _: Order = customer
            .post(&cancel, &json!({"reason": "changed my mind"}), None)
            .await?;
        self.step(
            "She changes her mind: the money goes back, and so does the stock",
            &[
                "order.cancelled",
                "inventory.released",
                "notification.sent",
                "payment.refunded",
                "notification.sent",
            ],
        )
        .await?;
        self.expect_order(&customer, &second, OrderStatus::Cancelled).await?;
        self.expect_payment(&customer, &second_payment, PaymentStatus::Refunded)
            .await?;
        self.expect_payment(&customer, &payment, PaymentStatus::Captured)
            .await?;
        self.expect_stock(&customer, 8, 0).await?;
        self.show_messages(&customer, user["id"].as_str().unwrap_or_default())
            .await
    }

    async fn place(&self, customer: &Client, product: &Product, quantity: u32) -> Result<Order> {
        let order =
            json!({"lines": [{"product_id": product.id, "quantity": quantity, "expected_unit_price": product.price}]});
        customer.post("/api/orders", &order, None).await
    }

    async fn pay(&self, customer: &Client, order: &Order) -> Result<Payment> {
        let key = format!("demo-{}", order.id);
        let payment: Payment = customer
            .post("/api/payments", &json!({"order_id": order.id}), Some(&key))
            .await?;
        let again: Payment = customer
            .post("/api/payments", &json!({"order_id": order.id}), Some(&key))
            .await?;
        ensure!(payment.id == again.id, "the same idempotency key made two payments");
        Ok(payment)
    }

    fn customer_is_refused(&self, answer: Result<Value>) -> Result<String> {
        match answer {
            Ok(answer) => bail!("what should have been refused was answered with {answer}"),
            Err(error) => Ok(error.downcast::<Refused>()?.code().to_owned()),
        }
    }

    async fn expect_order(&self, customer: &Client, order: &Order, status: OrderStatus) -> Result<()> {
        let order: Order = customer.get(&format!("/api/orders/{}", order.id)).await?;
        ensure!(
            order.status == status,
            "the order should be {status} and is {}",
            order.status
        );
        Ok(())
    }

    async fn expect_payment(&self, customer: &Client, payment: &Payment, status: PaymentStatus) -> Result<()> {
        let payment: Payment = customer.get(&format!("/api/payments/{}", payment.id)).await?;
        ensure!(
            payment.status == status,
            "the payment should be {status} and is {}",
            payment.status
        );
        Ok(())
    }

    async fn expect_stock(&self, customer: &Client, on_hand: u64, reserved: u64) -> Result<()> {
        let stock: Stock = customer.get("/api/inventory/SEXTANT-1").await?;
        let found = (stock.on_hand, stock.reserved, stock.available);
        ensure!(
            found == (on_hand, reserved, on_hand - reserved),
            "the stock is {stock:?}"
        );
        self.say(&format!(
            "    {} in stock: {on_hand} on hand, {reserved} reserved",
            "✓".if_supports_color(Stream::Stdout, |it| it.green())
        ))?;
        Ok(())
    }

    async fn show_messages(&self, customer: &Client, user: &str) -> Result<()> {
        let messages: Value = customer.get(&format!("/api/notifications?user_id={user}")).await?;
        let messages = messages["data"].as_array().context("no list of messages")?;
        self.say("Ada was told:")?;
        for message in messages.iter().rev() {
            self.say(&format!(
                "    {} ({})",
                message["subject"].as_str().unwrap_or_default(),
                message["status"].as_str().unwrap_or_default()
            ))?;
        }
        Ok(())
    }

    /// Prints the events of a step, once all of them are in the public log.
    async fn step(&mut self, what: &str, expected: &[&str]) -> Result<()> {
        let seen = self.events(what, expected).await?;
        let number = self.steps.len() + 1;
        self.say(&format!(
            "{:>2}. {}",
            number,
            what.if_supports_color(Stream::Stdout, |it| it.bold())
        ))?;
        for event in &seen {
            let (kind, subject) = (
                event["type"].as_str().unwrap_or_default(),
                event["subject"].as_str().unwrap_or_default(),
            );
            self.say(&format!(
                "    {kind:<22} {}",
                subject.if_supports_color(Stream::Stdout, |it| it.dimmed())
            ))?;
        }
        self.steps.push(json!({"step": what, "events": seen}));
        Ok(())
    }

    /// The events since the last step, once there are as many as expected, and no others than those.
    async fn events(&mut self, what: &str, expected: &[&str]) -> Result<Vec<Value>> {
        let started = now();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        let mut seen: Vec<Value> = Vec::new();
        loop {
            let page: Value = self
                .admin
                .get(&format!("/api/events?limit=200&after={}", self.position))
                .await?;
            for event in page["data"].as_array().context("no list of events")? {
                self.position = event["sequence"]
                    .as_str()
                    .context("an event without a position")?
                    .to_owned();
                seen.push(event.clone());
            }
            let mut types: Vec<&str> = seen.iter().filter_map(|event| event["type"].as_str()).collect();
            types.sort_unstable();
            if types == expected {
                return Ok(seen);
            }
            ensure!(
                started.elapsed() < SETTLED_MAX && types.len() <= expected.len(),
                "{what}: expected {expected:?}, and saw {types:?}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
