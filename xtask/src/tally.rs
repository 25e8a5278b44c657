//! How many tests there were.

use std::fmt;

/// Tests of all test binaries together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
    /// The names of those that failed: what they said is far up by the end.
    pub(crate) failures: Vec<String>,
}

impl Tally {
    /// Counts a test binary's closing line, and notes the line of a test that failed; other lines say nothing.
    pub(crate) fn count(&mut self, line: &str) {
        let line = line.trim_end();
        let failed = line
            .strip_prefix("test ")
            .and_then(|test| test.strip_suffix(" ... FAILED"));
        self.failures.extend(failed.map(str::to_owned));
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        for part in result.split(';') {
            let mut words = part.split_whitespace().rev();
            let (Some(what), Some(number)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// The last line is always the same, for programs that read it.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(f, "failed: {failure}")?;
        }
        if self.ignored > 0 {
            writeln!(f, "{} ignored", self.ignored)?;
        }
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_summed_up_and_others_are_not_counted() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests\n",
            "test money::tests::sums_are_checked ... ok\n",
            "test orders::a_price_is_checked ... FAILED\n",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.52s\n",
            "test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\r\n",
            "all doctests ran in 0.30s; merged doctests compilation took 0.20s\n",
        ] {
            tally.count(line);
        }
        assert_eq!(
            tally,
            Tally {
                passed: 14,
                failed: 3,
                ignored: 1,
                failures: vec!["orders::a_price_is_checked".to_owned()],
            }
        );
        assert_eq!(
            tally.to_string(),
            "failed: orders::a_price_is_checked\n1 ignored\n14 passed, 3 failed"
        );
    }
}
