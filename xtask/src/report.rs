//! What was run, and how it went.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::step::{Outcome, Step};
use crate::tally::Tally;

/// The steps so far, in order.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<(&'static str, &'static str, Duration)>,
    tally: Tally,
}

impl Report {
    /// Runs the step and notes how it went.
    #[expect(
        clippy::disallowed_methods,
        reason = "measures real commands, which no injected clock drives"
    )]
    pub(crate) fn add(&mut self, step: &Step) -> Result<()> {
        let start = Instant::now();
        let outcome = step.run(&mut self.tally);
        let word = match outcome {
            Ok(Outcome::Passed) => "ok",
            Ok(Outcome::Skipped) => "skipped",
            Err(_) => "FAILED",
        };
        let took = start.elapsed();
        println!("== {}: {word} after {:.1} s", step.name, took.as_secs_f64());
        self.rows.push((step.name, word, took));
        outcome.map(|_| ())
    }
}

/// A table of the steps; the last line sums the tests up, if any ran.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Duration = self.rows.iter().map(|(_, _, took)| took).sum();
        for (name, word, took) in self.rows.iter().copied().chain([("all", "", all)]) {
            writeln!(f, "{name:<20} {word:<8} {:>7.1} s", took.as_secs_f64())?;
        }
        if self.tally == Tally::default() {
            Ok(())
        } else {
            write!(f, "{}", self.tally)
        }
    }
}
