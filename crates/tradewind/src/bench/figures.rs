//! What is measured, and what comes of it.

use serde::{Deserialize, Serialize};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Orders that are parsed, checked and not stored
    Bare,
    /// Orders stored durably, while events wait
    Place,
    /// The same with rate limits on, but high ones
    PlaceLimited,
    /// Orders stored and decided: stock reserved, payment expected, customer told
    Confirm,
    /// The same, all of one product
    HotSku,
    /// The same, of 20 lines each
    Lines,
    /// One product
    Product,
    /// Answers of a product's size that touch nothing
    ProductBare,
    /// An order, by its owner
    Order,
    /// Answers of an order's size that touch nothing
    OrderBare,
    /// The latest 50 orders of a customer
    List,
    /// Answers of such a list's size that touch nothing
    ListBare,
    /// Orders stored durably, at half of the rate that is possible
    PlaceHalf,
    /// The same, beside a storm of logins
    PlaceStorm,
}

impl Mode {
    /// As the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "parse an order, store nothing",
            Self::Place => "place, events wait",
            Self::PlaceLimited => "place, with rate limits",
            Self::Confirm => "place and confirm",
            Self::HotSku => "place and confirm, one SKU",
            Self::Lines => "place and confirm, 20 lines",
            Self::Product => "read a product",
            Self::ProductBare => "read as many bytes",
            Self::Order => "read an order",
            Self::OrderBare => "read as many bytes",
            Self::List => "read 50 orders",
            Self::ListBare => "read as many bytes",
            Self::PlaceHalf => "place at half the rate",
            Self::PlaceStorm => "the same in a login storm",
        }
    }

    /// Whether it is measured at the usual number of connections only.
    pub(super) fn is_usual_only(self) -> bool {
        matches!(self, Self::PlaceLimited | Self::PlaceHalf | Self::PlaceStorm)
    }

    pub(super) fn pauses_events(self) -> bool {
        matches!(
            self,
            Self::Place | Self::PlaceLimited | Self::PlaceHalf | Self::PlaceStorm
        )
    }

    pub(super) fn places(self) -> bool {
        self.pauses_events() || matches!(self, Self::Confirm | Self::HotSku | Self::Lines)
    }
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was asked for.
    pub mode: Mode,
    /// Over how many connections.
    pub connections: u32,
    /// Orders that there were before.
    pub preloaded: u64,
    /// The database, if it was another than the embedded one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<&'static str>,
    /// Requests answered with success, a second.
    pub per_second: f64,
    /// Latencies in milliseconds.
    pub p50_ms: f64,
    /// As above.
    pub p99_ms: f64,
    /// As above.
    pub p999_ms: f64,
    /// Microseconds on any processor of the server, for each request.
    pub cpu_us: f64,
    /// The most resident memory of the server, in MiB.
    pub memory_mib: f64,
    /// Requests that were not answered with success.
    pub refused: u64,
    /// Seconds from the end until all orders were decided, where they were to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_s: Option<f64>,
    /// What the database does at the most, where orders were placed on it while events waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
}

/// What a database does at the most: one connection of the same driver that inserts the same rows in the same transactions,
/// and does nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Orders inserted, a second.
    pub per_second: f64,
    /// Orders in a transaction, on average, as they were when the shop placed them.
    pub orders_a_commit: f64,
}

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
pub struct Figures {
    /// Each measurement.
    pub rows: Vec<Row>,
    /// Milliseconds from the start of the process to that it listens, on no data and on some.
    pub cold_start_ms: Vec<f64>,
    /// The 99th percentile of what it takes to flush a file, in milliseconds.
    pub flush_p99_ms: f64,
}
