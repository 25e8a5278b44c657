//! Variables that the original systems' documents name: what they mean here, or what to use instead.

use std::collections::BTreeMap;

const MEANINGS: &[(&str, &str)] = &[
    (
        "JWT_SECRET",
        "tokens are signed with Ed25519 keys that Tradewind makes and keeps itself; remove it",
    ),
    (
        "MONGO_URI",
        "this build keeps its data in the embedded store under TRADEWIND_DATA; remove it",
    ),
    (
        "STRIPE_SECRET_KEY",
        "this build charges through the simulated provider; nothing is sent to Stripe",
    ),
    ("EMAIL_USER", "this build writes messages to the log; no mail is sent"),
    ("EMAIL_PASS", "this build writes messages to the log; no mail is sent"),
];

/// A sentence for each of them that is set.
pub(super) fn notes(variables: &BTreeMap<String, String>) -> Vec<String> {
    let set = MEANINGS.iter().filter(|(name, _)| variables.contains_key(*name));
    set.map(|(name, meaning)| format!("{name} is set: {meaning}")).collect()
}
