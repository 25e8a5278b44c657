//! What was run, and how it went.

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::matrix::Matrix;
use crate::step::{Outcome, Seen, Step};
use crate::tally::Tally;

/// The steps so far, in order.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<(&'static str, &'static str, Duration)>,
    seen: Seen,
    /// What steps are told besides: where servers are.
    given: Vec<(&'static str, String)>,
}

impl Report {
    /// One whose steps are told this.
    pub(crate) fn given(given: Vec<(&'static str, String)>) -> Self {
        Self {
            given,
            ..Self::default()
        }
    }

    /// Runs the steps until one fails, and says how it went.
    pub(crate) fn run(mut self, steps: &[Step]) -> ExitCode {
        let failure = steps.iter().find_map(|step| self.add(step).err());
        let failure = failure.or_else(|| self.untested());
        println!("\n{self}");
        match failure {
            None => ExitCode::SUCCESS,
            Some(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    /// Where there are servers, each obligation is tested on each of them.
    fn untested(&self) -> Option<anyhow::Error> {
        let gaps: Vec<String> = self.seen.matrices.iter().flat_map(Matrix::gaps).collect();
        let is_whole = self.given.is_empty() || gaps.is_empty();
        (!is_whole).then(|| anyhow!("not tested: {}", gaps.join(", ")))
    }

    /// Runs the step and notes how it went.
    #[expect(
        clippy::disallowed_methods,
        reason = "measures real commands, which no injected clock drives"
    )]
    fn add(&mut self, step: &Step) -> Result<()> {
        let start = Instant::now();
        let outcome = step.run(&self.given, &mut self.seen);
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

/// What stores, buses and limiters owe and did, and a table of the steps; the last line sums the tests up, if any ran.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.seen.tally == Tally::default() {
            return self.steps(f);
        }
        for matrix in &self.seen.matrices {
            writeln!(f, "{matrix}")?;
        }
        self.steps(f)?;
        write!(f, "{}", self.seen.tally)
    }
}

impl Report {
    fn steps(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Duration = self.rows.iter().map(|(_, _, took)| took).sum();
        for (name, word, took) in self.rows.iter().copied().chain([("all", "", all)]) {
            writeln!(f, "{name:<20} {word:<8} {:>7.1} s", took.as_secs_f64())?;
        }
        Ok(())
    }
}
