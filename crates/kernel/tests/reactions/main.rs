//! What consumers owe: order, exactly one effect, nothing lost or dropped in silence, whatever the bus does.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dead_letters;
mod delivery;
mod fixture;
mod gaps;
mod lives;
mod publishing;
mod waiting;
