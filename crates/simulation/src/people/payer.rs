//! How customers pay: not always once, and not always with a good card [P5, P6].

use contracts::PaymentId;
use futures::future::OptionFuture;
use serde_json::json;

use super::{People, Person, THOUGHT};
use crate::world::Answer;

/// A card that is good.
const GOOD: &str = "pm_card_visa";
/// One that is declined.
const DECLINED: &str = "pm_card_chargeDeclined";
/// One whose holder has to confirm each payment.
const ASKS: &str = "pm_card_authenticationRequired";

impl People {
    /// Pays an order; now and then under two keys at once, once more after the outcome, or anew after a refusal.
    pub(super) async fn pay(&self, customer: &Person, order: &str, errand: &str) {
        let dice = self.world.dice();
        let method = match dice.below(100) {
            0..15 => DECLINED,
            15..30 => ASKS,
            _ => GOOD,
        };
        let key = |what: &str| format!("{what}-{errand}");
        let (at_once, afterwards) = (dice.percent(20), dice.percent(20));
        let other = at_once.then_some(async {
            self.world.clock().sleep(dice.up_to(THOUGHT / 8)).await;
            self.pay_with(customer, order, GOOD, &key("pay-too")).await
        });
        let first_key = key("pay");
        let first = self.pay_with(customer, order, method, &first_key);
        let (first, _) = futures::join!(first, OptionFuture::from(other));
        if first.json["status"] == "requires_action" {
            self.confirm(&first).await;
        }
        let anew = first.status == 402 && dice.percent(75);
        if anew || afterwards {
            self.world.clock().sleep(dice.up_to(THOUGHT)).await;
            self.pay_with(customer, order, GOOD, &key("pay-again")).await;
        }
    }

    async fn pay_with(&self, customer: &Person, order: &str, method: &str, key: &str) -> Answer {
        let body = json!({"order_id": order, "payment_method": method});
        let paid = customer.insist_perhaps_twice("/api/payments", body, key).await;
        let fits = match (paid.status, paid.code()) {
            (201 | 401, _) | (402, "card-declined") => true,
            (409, code) => ["already-paid", "payment-open", "not-payable"].contains(&code),
            _ => false,
        };
        assert!(fits, "a payment was answered with {paid:?}");
        paid
    }

    /// Does what the card asks for, or does not, or forgets it.
    async fn confirm(&self, payment: &Answer) {
        let dice = self.world.dice();
        if dice.percent(20) {
            return;
        }
        self.world.clock().sleep(dice.up_to(THOUGHT)).await;
        let id: PaymentId = payment.json["id"]
            .as_str()
            .and_then(|id| id.parse().ok())
            .expect("a payment has an id");
        self.world.confirm(id, dice.percent(70)).await;
    }
}
