//! What reads bytes from outside, each given any bytes at all. A target panics if something is read that it should not
//! be, or otherwise than it was written.
//!
//! `cargo xtask fuzz` lets libFuzzer look for such bytes; the tests of this crate try some at every run.

mod events;
mod files;
mod requests;
mod values;

/// A target: its name, and what it does with some bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target. Each has a binary and seeds of its name in `fuzz/`.
pub const TARGETS: &[Target] = &[
    ("authorization", requests::authorization),
    ("bodies", requests::bodies),
    ("configuration", files::configuration),
    ("cursors", values::cursors),
    ("events", events::stored),
    ("cloud_events", events::on_the_wire),
    ("history", files::history),
    ("idempotency_key", requests::idempotency_key),
    ("ids", values::ids),
    ("if_match", requests::if_match),
    ("money", values::money),
    ("networks", files::networks),
    ("queries", requests::queries),
    ("texts", values::texts),
    ("traces", requests::traces),
];

/// Gives the bytes to the target of this name.
///
/// # Panics
/// If something is wrong with what reads them, or there is no such target.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = target.unwrap_or_else(|| panic!("there is no target {name}"));
    target(bytes);
}

/// The first byte chooses; the others are what is read.
fn chosen<'a, T>(choices: &'a [T], bytes: &'a [u8]) -> Option<(&'a T, &'a [u8])> {
    let (choice, rest) = bytes.split_first()?;
    Some((&choices[usize::from(*choice) % choices.len()], rest))
}
