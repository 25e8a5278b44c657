//! How long orders take from placed to confirmed, as the store of orders sees it: from when the commit of the one event
//! returned to when that of the other did.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hdrhistogram::Histogram;
use kernel::event::StreamId;
use kernel::store::Batch;
use serde::{Deserialize, Serialize};

use crate::bench::load::{latencies, milliseconds};
use crate::bench::witness::{CONFIRMED, PLACED, Witness};
use crate::stopwatch::now;

/// Orders that wait to be confirmed and are timed. Whatever is placed beyond them is counted alone.
const TIMED_MAX: usize = 1 << 20;

/// What was seen of orders since it was begun.
#[derive(Debug)]
pub struct Stages {
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// When those were placed that are not confirmed.
    placed: HashMap<StreamId, Instant>,
    /// When the first was placed, and when the last was confirmed.
    first: Option<Instant>,
    last: Option<Instant>,
    confirmed: u64,
    /// Microseconds from placed to confirmed.
    took: Histogram<u64>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            placed: HashMap::new(),
            first: None,
            last: None,
            confirmed: 0,
            took: latencies(),
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Took {
    /// Orders that were confirmed.
    pub confirmed: u64,
    /// Seconds from when the first was placed to when the last was confirmed.
    pub seconds: f64,
    /// How many of them were placed since it was begun, and so are in what follows.
    pub timed: u64,
    /// Milliseconds from placed to confirmed.
    pub p50_ms: f64,
    /// As above.
    pub p99_ms: f64,
    /// As above.
    pub p999_ms: f64,
}

impl Stages {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self { seen: Mutex::default() }
    }

    /// Forgets what was seen.
    pub fn begin(&self) {
        *self.seen() = Seen::default();
    }

    /// What was seen since it was begun.
    pub fn took(&self) -> Took {
        let seen = self.seen();
        let between = seen.first.zip(seen.last);
        let seconds = between.map(|(first, last)| last.saturating_duration_since(first).as_secs_f64());
        Took {
            confirmed: seen.confirmed,
            seconds: seconds.unwrap_or_default(),
            timed: seen.took.len(),
            p50_ms: milliseconds(&seen.took, 0.5),
            p99_ms: milliseconds(&seen.took, 0.99),
            p999_ms: milliseconds(&seen.took, 0.999),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn note(&mut self, event_type: &str, order: &StreamId, at: Instant) {
        match event_type {
            PLACED => {
                self.first.get_or_insert(at);
                if self.placed.len() < TIMED_MAX {
                    self.placed.insert(order.clone(), at);
                }
            }
            CONFIRMED => {
                self.last = Some(at);
                self.confirmed += 1;
                if let Some(placed) = self.placed.remove(order) {
                    let took = at.saturating_duration_since(placed).as_micros();
                    self.took
                        .saturating_record(u64::try_from(took).unwrap_or(u64::MAX).max(1));
                }
            }
            _ => {}
        }
    }
}

impl Witness for Stages {
    fn saw(&self, batch: Arc<Batch>) {
        let at = now();
        let mut seen = self.seen();
        for event in &batch.events {
            seen.note(&event.event_type, &event.stream, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_orders_placed_since_it_was_begun_are_timed() {
        let (stages, began) = (Stages::new(), now());
        let note = |event_type, order: &str, milliseconds| {
            let at = began + Duration::from_millis(milliseconds);
            stages.seen().note(event_type, &StreamId::new(order), at);
        };
        note(PLACED, "early", 0);
        stages.begin();
        note(PLACED, "a", 100);
        note(CONFIRMED, "early", 400);
        note(PLACED, "b", 500);
        note(CONFIRMED, "a", 120);
        note(CONFIRMED, "b", 600);
        let took = stages.took();
        assert_eq!((took.confirmed, took.timed), (3, 2));
        assert!((took.seconds - 0.5).abs() < 0.001, "{took:?}");
        assert!(
            (took.p50_ms - 20.0).abs() < 0.1 && (took.p999_ms - 100.0).abs() < 0.1,
            "{took:?}"
        );
    }
}
