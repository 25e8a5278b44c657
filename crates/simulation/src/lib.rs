//! The whole shop in one thread, under a seed: every service on a store in memory, a broker in memory, a provider; what
//! goes wrong between any two steps; people who go on all the same; and what must be so afterwards.
//!
//! A seed decides everything: the same seed gives the same trace, byte for byte.

mod audit;
mod bus;
mod dice;
mod fault;
mod line;
mod people;
mod poison;
mod provider;
mod reached;
mod run;
mod store;
mod trace;
mod world;

pub use fault::{Fault, Weather};
pub use poison::Fate;
pub use reached::{Longest, Reached};
pub use run::{Outcome, run, shrink};
