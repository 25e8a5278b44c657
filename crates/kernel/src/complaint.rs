//! What is tried again and again, as the log tells of it.

use std::fmt;

/// Tells each cause once, and then ever more rarely while it lasts: an outage may be long, and there are many who suffer it.
#[derive(Debug, Default)]
pub(crate) struct Complaint {
    cause: String,
    times: u32,
}

impl Complaint {
    /// Whether to tell of another failure.
    pub(crate) fn is_due(&mut self, cause: impl fmt::Display) -> bool {
        let cause = cause.to_string();
        if self.cause != cause {
            *self = Self { cause, times: 0 };
        }
        self.times = self.times.saturating_add(1);
        self.times.is_power_of_two()
    }

    /// It worked.
    pub(crate) fn is_over(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_told_at_once_and_then_ever_more_rarely() {
        let mut complaint = Complaint::default();
        let told = (1..=20).filter(|_| complaint.is_due("the broker is away")).count();
        assert_eq!(told, 5, "the first, second, fourth, eighth and sixteenth time");
        assert!(complaint.is_due("it may not be written to"));
        complaint.is_over();
        assert!(complaint.is_due("it may not be written to"));
    }
}
