//! Plays a plan through the HTTP API.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use contracts::order::{Order, OrderStatus};
use contracts::payment::Payment;
use contracts::{Currency, OrderId, product};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::client::{Client, code_of};
use crate::replay::plan;
use crate::replay::plan::{Article, Invoice, Plan, Return};
use crate::stopwatch::now;

/// Customers played at once; one customer's invoices are played in order.
const CUSTOMERS_AT_ONCE: usize = 16;
/// Products created at once.
const PRODUCTS_AT_ONCE: usize = 16;
/// How long an order may take to reach the status that it should.
const STATUS_MAX: Duration = Duration::from_secs(60);
const PASSWORD: &str = "replayed, not remembered";

/// Plays against one server.
#[derive(Debug)]
pub struct Player {
    anonymous: Client,
    admin: Client,
    currency: Currency,
    /// Tells this run's products, customers and keys from those of an earlier one on the same server.
    run: String,
}

/// What was played.
#[derive(Debug)]
pub struct Played {
    /// The order of each invoice, in the plan's order.
    pub orders: Vec<OrderId>,
    /// Microseconds from sending an order to having the answer.
    pub placing: Histogram<u64>,
    /// Microseconds from sending an order to seeing it paid.
    pub paying: Histogram<u64>,
    /// How long the orders took, all together.
    pub elapsed: Duration,
}

impl Player {
    /// Signs in as the admin.
    pub async fn new(url: &str, email: &str, password: &str, currency: Currency, run: String) -> Result<Self> {
        let anonymous = Client::new(url)?;
        let admin = anonymous
            .signed_in(email, password)
            .await
            .context("cannot sign in as the admin")?;
        Ok(Self {
            anonymous,
            admin,
            currency,
            run,
        })
    }

    /// The admin's session.
    pub fn admin(&self) -> &Client {
        &self.admin
    }

    /// The SKU of an article in this run.
    pub fn sku(&self, article: &Article) -> String {
        plan::sku(&article.stock_code, article.price, &self.run)
    }

    /// Creates and stocks every product.
    pub async fn create_products(&self, plan: &Plan, bar: &ProgressBar) -> Result<()> {
        let created = stream::iter(&plan.products).map(|(article, product)| async move {
            let name = if product.name.is_empty() {
                &article.stock_code
            } else {
                &product.name
            };
            let request = json!({
                "sku": self.sku(article),
                "name": name,
                "price": {"amount": article.price, "currency": self.currency.code()},
                "initial_stock": product.ordered,
            });
            let key = format!("product-{}", self.sku(article));
            let created: Result<product::Product> = self.admin.post("/api/products", &request, Some(&key)).await;
            bar.inc(1);
            created
                .map(|_| ())
                .with_context(|| format!("cannot create the product {}", self.sku(article)))
        });
        created.buffer_unordered(PRODUCTS_AT_ONCE).try_collect::<()>().await
    }

    /// Signs customers up, places and pays their orders, and takes back what came back.
    pub async fn play(&self, plan: &Plan, bar: &ProgressBar) -> Result<Played> {
        let started = now();
        let customers = stream::iter(plan.by_customer()).map(|(customer, invoices)| async move {
            self.play_customer(customer, &invoices, bar)
                .await
                .with_context(|| format!("customer {customer}"))
        });
        let played: Vec<Vec<Placed>> = customers.buffer_unordered(CUSTOMERS_AT_ONCE).try_collect().await?;
        let elapsed = started.elapsed();
        let (mut placing, mut paying) = (Histogram::new(3)?, Histogram::new(3)?);
        let mut orders = BTreeMap::new();
        for placed in played.into_iter().flatten() {
            placing.record(micros(placed.answered_after))?;
            paying.record(micros(placed.paid_after))?;
            orders.insert(placed.invoice, placed.order);
        }
        let orders = orders.into_values().collect();
        Ok(Played {
            orders,
            placing,
            paying,
            elapsed,
        })
    }

    async fn play_customer(&self, customer: &str, invoices: &[&Invoice], bar: &ProgressBar) -> Result<Vec<Placed>> {
        let email = plan::email(customer, &self.run);
        let sign_up = json!({"email": email, "password": PASSWORD});
        let _: Value = self.anonymous.post("/api/users", &sign_up, Some(&email)).await?;
        let mut session = self.anonymous.signed_in(&email, PASSWORD).await?;
        let mut played = Vec::new();
        for invoice in invoices {
            let placed = match self.play_invoice(&session, invoice).await {
                Err(error) if code_of(&error) == Some("token-expired") => {
                    session = self.anonymous.signed_in(&email, PASSWORD).await?;
                    self.play_invoice(&session, invoice).await
                }
                placed => placed,
            };
            played.push(placed.with_context(|| format!("invoice {}", invoice.number))?);
            bar.inc(1);
        }
        Ok(played)
    }

    async fn play_invoice(&self, session: &Client, invoice: &Invoice) -> Result<Placed> {
        let started = now();
        let key = format!("{}{}", invoice.place, self.run);
        let lines: Vec<Value> = invoice
            .lines
            .iter()
            .map(|(article, quantity)| json!({"sku": self.sku(article), "quantity": quantity}))
            .collect();
        let order = json!({"lines": lines, "metadata": {"invoice": invoice.number}});
        let order: Order = session
            .post("/api/orders", &order, Some(&format!("order-{key}")))
            .await?;
        let answered_after = started.elapsed();
        let payment = json!({"order_id": order.id});
        let payment: Payment = session
            .post("/api/payments", &payment, Some(&format!("payment-{key}")))
            .await?;
        self.until(session, order.id, OrderStatus::Paid).await?;
        let paid_after = started.elapsed();
        if !invoice.returns.is_empty() {
            // What comes back was delivered; a full refund of a delivered order brings no stock back by itself.
            let fulfilled = json!({"status": "fulfilled"});
            let _: Order = self
                .admin
                .patch(&format!("/api/orders/{}", order.id), &fulfilled)
                .await?;
        }
        for returned in &invoice.returns {
            self.take_back(&payment, returned)
                .await
                .with_context(|| format!("line {}", returned.line))?;
        }
        if invoice.refunded() == invoice.total() {
            self.until(session, order.id, OrderStatus::Refunded).await?;
        }
        Ok(Placed {
            invoice: invoice.place,
            order: order.id,
            answered_after,
            paid_after,
        })
    }

    async fn take_back(&self, payment: &Payment, returned: &Return) -> Result<()> {
        let key = format!("return-{}{}", returned.line, self.run);
        let amount = json!({"amount": {"amount": returned.amount(), "currency": self.currency.code()}});
        let refunds = format!("/api/payments/{}/refunds", payment.id);
        let _: Value = self.admin.post(&refunds, &amount, Some(&key)).await?;
        let sku = percent_encoded(&self.sku(&returned.article));
        let adjustment = json!({"delta": returned.quantity, "reason": "came back"});
        let _: Value = self
            .admin
            .post(&format!("/api/inventory/{sku}/adjustments"), &adjustment, Some(&key))
            .await?;
        Ok(())
    }

    /// Waits until the order has a status.
    async fn until(&self, session: &Client, order: OrderId, status: OrderStatus) -> Result<()> {
        let started = now();
        let mut pause = Duration::from_millis(2);
        loop {
            let order: Order = session.get(&format!("/api/orders/{order}")).await?;
            if order.status == status {
                return Ok(());
            }
            if order.status.is_final() || started.elapsed() > STATUS_MAX {
                bail!("the order {} should be {status} and is {}", order.id, order.status);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}

/// An order that was played.
struct Placed {
    /// The place of its invoice in the plan.
    invoice: usize,
    order: OrderId,
    answered_after: Duration,
    paid_after: Duration,
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A path segment, percent-encoded (RFC 3986).
pub fn percent_encoded(segment: &str) -> String {
    segment.bytes().fold(String::new(), |encoded, byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            encoded + char::from(byte).encode_utf8(&mut [0; 4])
        }
        _ => encoded + &format!("%{byte:02X}"),
    })
}
