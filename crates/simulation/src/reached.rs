//! What runs came to: silence is no coverage.

use std::collections::BTreeMap;
use std::time::Duration;

use contracts::order::OrderStatus;

use crate::fault::Fault;
use crate::poison::Fate;

/// No order ends here.
const PASSING: [&str; 2] = ["pending", "confirmed"];
/// What people do, each with the first digit of the status that says it was done.
const DONE: [&str; 18] = [
    "POST /api/users 2",
    "DELETE /api/users/{id} 2",
    "POST /api/products 2",
    "PATCH /api/products/{id} 2",
    "POST /api/inventory/{id}/adjustments less 2",
    "POST /api/inventory/{id}/adjustments more 2",
    "POST /api/orders 2",
    "GET /api/orders 2",
    "GET /api/orders/{id} 2",
    "POST /api/orders/{id}/cancel 2",
    "PATCH /api/orders/{id} fulfilled 2",
    "PATCH /api/orders/{id} paid 2",
    "POST /api/payments 2",
    "GET /api/payments 2",
    "POST /api/payments/{id}/refunds 2",
    "GET /api/dead-letters 2",
    "POST /api/dead-letters/{id}/retry 2",
    "DELETE /api/dead-letters/{id} 2",
];
/// Refusals that people are to come upon.
const REFUSED: [&str; 7] = [
    "POST /api/payments 402 card-declined",
    "POST /api/payments 409 already-paid",
    "POST /api/payments 409 not-payable",
    "POST /api/payments 409 payment-open",
    "POST /api/orders 409 price-changed",
    "POST /api/orders/{id}/cancel 404 not-found",
    "POST /api/inventory/{id}/adjustments less 409 below-reserved",
];

/// How often each fault, each state and each answer was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Faults that struck.
    pub faults: BTreeMap<Fault, u64>,
    /// Where the orders ended.
    pub orders: BTreeMap<String, u64>,
    /// What people were answered.
    pub answers: BTreeMap<String, u64>,
    /// What became of dead letters.
    pub letters: BTreeMap<Fate, u64>,
    /// How long it took once the faults had ended.
    pub longest: Longest,
}

/// The longest times from the end of the faults, by the shop's own clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Longest {
    /// Until every order was decided.
    pub decided: Duration,
    /// Until nothing was left to do: payments due, mails sent, what erased people left purged.
    pub settled: Duration,
}

impl Longest {
    /// The longer of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            decided: self.decided.max(other.decided),
            settled: self.settled.max(other.settled),
        }
    }
}

impl Reached {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        fn merge<K: Ord + Clone>(into: &mut BTreeMap<K, u64>, from: &BTreeMap<K, u64>) {
            for (key, count) in from {
                *into.entry(key.clone()).or_default() += count;
            }
        }
        merge(&mut self.faults, &other.faults);
        merge(&mut self.orders, &other.orders);
        merge(&mut self.answers, &other.answers);
        merge(&mut self.letters, &other.letters);
        self.longest = self.longest.max(other.longest);
    }

    /// What many runs should have reached and did not: they prove little then.
    #[must_use]
    pub fn missed(&self) -> Vec<&'static str> {
        let faults = Fault::ALL.iter().filter(|fault| !self.faults.contains_key(fault));
        let orders = OrderStatus::ALL.iter().map(|status| status.as_str());
        let orders = orders.filter(|status| !PASSING.contains(status) && !self.orders.contains_key(*status));
        let fates = Fate::ALL.iter().filter(|fate| !self.letters.contains_key(fate));
        let answers = DONE.iter().chain(&REFUSED).copied();
        let answers = answers.filter(|answer| !self.answers.keys().any(|given| given.starts_with(answer)));
        faults
            .map(|fault| fault.as_str())
            .chain(orders)
            .chain(fates.map(|fate| fate.as_str()))
            .chain(answers)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_that_was_only_refused_is_missed() {
        let mut reached = Reached::default();
        reached
            .answers
            .insert("POST /api/payments 409 payment-open".to_owned(), 3);
        let missed = reached.missed();
        assert!(missed.contains(&"POST /api/payments 2"));
        assert!(!missed.contains(&"POST /api/payments 409 payment-open"));
        reached.answers.insert("POST /api/payments 201".to_owned(), 1);
        assert!(!reached.missed().contains(&"POST /api/payments 2"));
    }
}
