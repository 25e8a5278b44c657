//! What comes of measuring a bus.

use serde::Serialize;

/// One bus.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What it is.
    pub bus: &'static str,
    /// Where, if it is a broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker: Option<String>,
    /// What the names of all begin with that was left there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Orders placed and confirmed, a second: from when the first was placed to when the last was confirmed.
    pub orders_per_second: f64,
    /// How many times those of the embedded bus that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_embedded: Option<f64>,
    /// Milliseconds from placed to confirmed, at the rate.
    pub p50_ms: f64,
    /// As above.
    pub p99_ms: f64,
    /// As above.
    pub p999_ms: f64,
    /// Microseconds on any processor of all processes of the shop, for each order. What the broker takes is not in them.
    pub cpu_us: f64,
    /// Events that all services journal, and so publish, for each order.
    pub events_an_order: f64,
    /// Requests that were not answered with success.
    pub refused: u64,
    /// What the broker takes at the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
}

/// What a broker takes from one publisher that has nothing else to do, while nobody consumes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Limit {
    /// Events published, a second.
    pub events_per_second: f64,
    /// Events published at a time, on average, as they were by the shop.
    pub events_a_batch: f64,
    /// The orders that have so many events.
    pub orders_per_second: f64,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// Each bus, the embedded one first.
    pub rows: Vec<Row>,
    /// The 99th percentile of what it takes to flush a file, in milliseconds.
    pub flush_p99_ms: f64,
}
