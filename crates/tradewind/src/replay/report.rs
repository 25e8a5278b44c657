//! What a replay ends with.

use anyhow::Result;
use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use contracts::{Currency, Money};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::output;
use crate::replay::{Plan, Played, Reconciliation};

/// The report of a replay, as JSON too.
#[derive(Debug, Serialize)]
pub struct Report {
    rows: usize,
    rows_rejected: BTreeMap<&'static str, usize>,
    orders: BTreeMap<&'static str, usize>,
    products: usize,
    captured: Money,
    refunded: Money,
    seconds: f64,
    orders_per_second: f64,
    placed_ms: Percentiles,
    paid_ms: Percentiles,
    /// Whether stock and money agree with the file.
    pub exact: bool,
    /// What does not.
    pub differences: Vec<String>,
}

/// Latencies in milliseconds.
#[derive(Debug, Serialize)]
struct Percentiles {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

#[expect(clippy::cast_precision_loss, reason = "a latency below 2^53 microseconds")]
fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
    Percentiles {
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        max: histogram.max() as f64 / 1000.0,
    }
}

impl Report {
    /// Puts the parts together.
    #[expect(clippy::cast_precision_loss, reason = "a number of orders below 2^53")]
    pub fn new(plan: &Plan, played: &Played, reconciled: Reconciliation, currency: Currency) -> anyhow::Result<Self> {
        let mut rows_rejected = BTreeMap::new();
        for rejected in &plan.rejected {
            *rows_rejected.entry(rejected.reason).or_default() += 1;
        }
        let seconds = played.elapsed.as_secs_f64();
        Ok(Self {
            rows: plan.rows,
            rows_rejected,
            orders: reconciled.statuses,
            products: reconciled.skus,
            captured: Money::new(reconciled.captured, currency)?,
            refunded: Money::new(reconciled.refunded, currency)?,
            seconds,
            orders_per_second: reconciled.orders as f64 / seconds.max(f64::EPSILON),
            placed_ms: percentiles(&played.placing),
            paid_ms: percentiles(&played.paying),
            exact: reconciled.differences.is_empty(),
            differences: reconciled.differences,
        })
    }

    /// For a person.
    pub fn print(&self) -> Result<()> {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        let rejected: usize = self.rows_rejected.values().sum();
        table.add_row(["rows".to_owned(), self.rows.to_string(), format!("{rejected} rejected")]);
        for (reason, count) in &self.rows_rejected {
            table.add_row([String::new(), count.to_string(), (*reason).to_owned()]);
        }
        table.add_row(["products".to_owned(), self.products.to_string(), String::new()]);
        for (status, count) in &self.orders {
            table.add_row(["orders".to_owned(), count.to_string(), (*status).to_owned()]);
        }
        table.add_row(["captured".to_owned(), self.captured.to_string(), String::new()]);
        table.add_row(["refunded".to_owned(), self.refunded.to_string(), String::new()]);
        table.add_row([
            "speed".to_owned(),
            format!("{:.0} orders/s", self.orders_per_second),
            format!("in {:.1} s", self.seconds),
        ]);
        for (name, at) in [("placed", &self.placed_ms), ("paid", &self.paid_ms)] {
            let percentiles = format!(
                "p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
                at.p50, at.p90, at.p99, at.max
            );
            table.add_row(["latency".to_owned(), name.to_owned(), percentiles]);
        }
        if let Some(numbers) = table.column_mut(1) {
            numbers.set_cell_alignment(CellAlignment::Right);
        }
        output::line(table)?;
        match self.exact {
            true => output::line("Every SKU's stock and every order's money agree with the file."),
            false => {
                output::line(format_args!("{} differences from the file:", self.differences.len()))?;
                let mut differences = self.differences.iter();
                differences.try_for_each(|difference| output::line(format_args!("  {difference}")))
            }
        }
    }
}
