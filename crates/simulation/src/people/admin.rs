//! What the admin does: keeps the shop, and looks after what was parked.

use std::time::Duration;

use contracts::Service;
use serde_json::{Value, json};

use super::{People, THOUGHT, locked};

/// How often an operator looks after dead letters.
const ROUNDS_MAX: Duration = Duration::from_secs(30);
/// Where they are.
const LETTERS: &str = "/api/dead-letters?limit=200";

impl People {
    /// What the admin does meanwhile: delivers, refunds, counts stock, changes prices, takes cash, cancels.
    pub(super) async fn keep_shop(self) {
        let dice = self.world.dice();
        for number in 0..dice.between(2, 8) {
            self.world.clock().sleep(dice.up_to(THOUGHT * 2)).await;
            let key = format!("admin-{number}");
            match dice.below(8) {
                0 => self.count_stock(&key).await,
                4 => self.change_price(&key).await,
                5 | 6 => self.take_cash(&key).await,
                1 | 2 => {
                    for order in self.orders("paid").await {
                        if dice.percent(50) {
                            self.deliver(&order).await;
                        }
                    }
                }
                3 => self.refund_some(&key).await,
                _ => {
                    let orders = self.orders("confirmed").await;
                    if let Some(order) = orders.first() {
                        let path = format!("/api/orders/{order}/cancel");
                        let body = json!({"reason": "sold elsewhere"});
                        let cancelled = self.admin.insist("POST", &path, Some(body), Some(&key)).await;
                        assert!(matches!(cancelled.status, 200 | 409), "{cancelled:?}");
                    }
                }
            }
        }
    }

    /// Pieces came, or are gone, broken or stolen.
    async fn count_stock(&self, key: &str) {
        let dice = self.world.dice();
        let sku = dice.pick(&self.skus);
        let (pieces, came) = (dice.between(1, 5), dice.percent(50));
        let path = format!("/api/inventory/{sku}/adjustments");
        let body = match came {
            true => json!({"delta": pieces, "reason": "a delivery"}),
            false => json!({"delta": -i64::try_from(pieces).unwrap_or_default(), "reason": "broken"}),
        };
        let adjusted = self.admin.insist("POST", &path, Some(body), Some(key)).await;
        let mut told = locked(&self.told);
        let received = told.received.entry(sku.clone()).or_default();
        match (adjusted.status, adjusted.code()) {
            (201, _) if came => *received += pieces,
            // [P5] What is reserved cannot go.
            (201, _) => *received = received.checked_sub(pieces).expect("no more goes than came"),
            (409, "below-reserved") if !came => {}
            _ => panic!("an adjustment was answered with {adjusted:?}"),
        }
    }

    /// Only who orders afterwards pays the new price.
    async fn change_price(&self, key: &str) {
        let dice = self.world.dice();
        let sku = dice.pick(&self.skus);
        let price = dice.between(1, 20_000);
        let path = {
            let mut told = locked(&self.told);
            told.prices.entry(sku.clone()).or_default().insert(price);
            format!("/api/products/{}", told.products[sku])
        };
        let body = json!({"price": {"amount": price, "currency": "EUR"}});
        let changed = self.admin.insist("PATCH", &path, Some(body), Some(key)).await;
        assert_eq!(changed.status, 200, "a new price was answered with {changed:?}");
    }

    /// An order is paid some other way, whatever payments of it are under way.
    async fn take_cash(&self, key: &str) {
        let orders = self.orders("confirmed").await;
        if orders.is_empty() {
            return;
        }
        let path = format!("/api/orders/{}", self.world.dice().pick(&orders));
        let body = json!({"status": "paid"});
        let paid = self.admin.insist("PATCH", &path, Some(body), Some(key)).await;
        assert!(
            matches!((paid.status, paid.code()), (200, _) | (409, "illegal-transition")),
            "a manual payment was answered with {paid:?}"
        );
    }

    /// The orders that are so, as the admin sees them now.
    async fn orders(&self, status: &str) -> Vec<String> {
        let path = format!("/api/orders?status={status}&limit=200");
        let listed = self.admin.insist("GET", &path, None, None).await;
        let orders = listed.json["data"].as_array().cloned().unwrap_or_default();
        orders
            .iter()
            .filter_map(|order| order["id"].as_str().map(str::to_owned))
            .collect()
    }

    async fn deliver(&self, order: &str) {
        let path = format!("/api/orders/{order}");
        let body = json!({"status": "fulfilled"});
        let delivered = self
            .admin
            .insist("PATCH", &path, Some(body), Some(&format!("deliver-{order}")))
            .await;
        assert!(
            matches!(delivered.status, 200 | 409),
            "a delivery was answered with {delivered:?}"
        );
    }

    async fn refund_some(&self, key: &str) {
        let dice = self.world.dice();
        let listed = self.admin.insist("GET", "/api/payments?limit=200", None, None).await;
        let mut payments = listed.json["data"].as_array().cloned().unwrap_or_default();
        payments.retain(|payment| payment["status"] == "captured");
        if payments.is_empty() {
            return;
        }
        let payment = dice.pick(&payments);
        let id = payment["id"].as_str().unwrap_or_default();
        let amount = payment["amount"]["amount"].as_u64().unwrap_or_default();
        let body = match dice.percent(50) || amount < 2 {
            true => json!({}),
            false => json!({"amount": {"amount": dice.between(1, amount - 1), "currency": "EUR"}, "reason": "damaged"}),
        };
        let path = format!("/api/payments/{id}/refunds");
        let refunded = self.admin.insist("POST", &path, Some(body), Some(key)).await;
        assert!(
            matches!(refunded.status, 201 | 202 | 409 | 422),
            "a refund was answered with {refunded:?}"
        );
    }

    /// What has to be done by hand once everything else has settled: what people who are gone have paid for is delivered.
    pub(crate) async fn tidy_up(&self) {
        let erased = self.told().erased.clone();
        for user in erased.into_keys() {
            let path = format!("/api/orders?user_id={user}&status=paid&limit=200");
            let listed = self.admin.insist("GET", &path, None, None).await;
            for order in listed.json["data"].as_array().into_iter().flatten() {
                self.deliver(order["id"].as_str().unwrap_or_default()).await;
            }
        }
    }

    /// What an operator does now and then: has what was parked tried again, or gives it up.
    pub(super) async fn mind_dead_letters(&self) {
        loop {
            self.world.clock().sleep(self.world.dice().up_to(ROUNDS_MAX)).await;
            self.see_to_dead_letters().await;
        }
    }

    /// Has the dead letters of every service tried again, or gives them up where nobody but a customer's mailbox misses
    /// them. How many there were.
    pub(crate) async fn see_to_dead_letters(&self) -> usize {
        let mut found = 0;
        for service in Service::ALL {
            let listed = self.admin.ask_of(*service, "GET", LETTERS).await;
            let letters = listed.json["data"].as_array().cloned().unwrap_or_default();
            found += letters.len();
            if letters.is_empty() {
                continue;
            }
            // Now and then they are tried before the consumer was mended.
            if self.world.dice().percent(80) {
                self.world.release(*service).await;
            }
            for letter in &letters {
                self.see_to(*service, letter).await;
            }
        }
        found
    }

    async fn see_to(&self, service: Service, letter: &Value) {
        let path = format!("/api/dead-letters/{}", letter["id"].as_str().unwrap_or_default());
        let is_a_message = service == Service::Notifications && letter["consumer"] == "steps";
        let seen_to = match is_a_message && self.world.dice().percent(50) {
            true => self.admin.ask_of(service, "DELETE", &path).await,
            false => self.admin.ask_of(service, "POST", &format!("{path}/retry")).await,
        };
        // Gone with one before it; behind one, or not to be handled yet.
        assert!(
            matches!(seen_to.status, 204 | 404 | 409),
            "a dead letter was answered with {seen_to:?}"
        );
    }
}
