//! The figures, and the targets beside them.

use anyhow::Result;
use serde::Serialize;

use super::RATE;
use super::figures::{Figures, Row};
use crate::bench::report::{Target, print};
use crate::output;

/// From placed to confirmed, at the rate.
const CONFIRMED_P99_MAX_MS: f64 = 50.0;
/// Of what the embedded bus does, unless the broker's own limit is lower.
const OF_EMBEDDED_MIN: f64 = 0.5;

/// The outcome, as JSON too.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was measured.
    #[serde(flatten)]
    pub figures: Figures,
    /// What should have been.
    pub targets: Vec<Target>,
}

impl Report {
    /// Compares.
    pub fn new(figures: Figures) -> Self {
        let targets = targets(&figures);
        Self { figures, targets }
    }

    /// For a person: what was not said row by row.
    pub fn print(&self) -> Result<()> {
        print(&self.targets, self.figures.flush_p99_ms)?;
        output::line("")?;
        for row in &self.figures.rows {
            if let Some((broker, prefix)) = row.broker.as_ref().zip(row.prefix.as_ref()) {
                output::line(format_args!("Left on {broker}: all whose name begins with {prefix}"))?;
            }
        }
        Ok(())
    }
}

/// Shows a row to a person as soon as it is there, the first with the columns.
pub fn show(row: &Row) -> Result<()> {
    if row.of_embedded.is_none() {
        output::line(heading())?;
    }
    output::line(line(row))
}

/// The columns of a row, aligned one by one as they come.
fn heading() -> String {
    format!(
        "{:<10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7} {:>12} {:>12} {:>10} {:>9}",
        "",
        "orders/s",
        ": embedd.",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "CPU µs",
        "events/order",
        "limit: ev./s",
        "at a time",
        "orders/s"
    )
}

/// A row for a person.
fn line(row: &Row) -> String {
    let of_embedded = row.of_embedded.map_or_else(String::new, |part| format!("{part:.2}"));
    let mut line = format!(
        "{:<10} {:>9.0} {of_embedded:>9} {:>9.2} {:>9.2} {:>9.2} {:>7.0} {:>12.1}",
        row.bus, row.orders_per_second, row.p50_ms, row.p99_ms, row.p999_ms, row.cpu_us, row.events_an_order
    );
    if let Some(limit) = row.limit {
        line += &format!(
            " {:>12.0} {:>10.0} {:>9.0}",
            limit.events_per_second, limit.events_a_batch, limit.orders_per_second
        );
    }
    if row.refused > 0 {
        line += &format!("  {} refused", row.refused);
    }
    line
}

fn targets(figures: &Figures) -> Vec<Target> {
    let mut targets = Vec::new();
    let embedded = figures.rows.iter().find(|row| row.limit.is_none());
    for row in &figures.rows {
        let what = format!(
            "{}: p99 from placed to confirmed at {RATE} orders a second, ms",
            row.bus
        );
        targets.push(Target::most(what, row.p99_ms, CONFIRMED_P99_MAX_MS));
        let Some((limit, embedded)) = row.limit.zip(embedded) else {
            continue;
        };
        let half = embedded.orders_per_second * OF_EMBEDDED_MIN;
        let (least, of) = match limit.orders_per_second < half {
            true => (limit.orders_per_second, "what it takes at the most"),
            false => (half, "half of the embedded bus"),
        };
        let what = format!("{}: orders confirmed a second, {of}", row.bus);
        targets.push(Target::least(what, row.orders_per_second, least));
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::super::figures::Limit;
    use super::*;

    fn row(bus: &'static str, orders_per_second: f64, p99_ms: f64, limit: Option<f64>) -> Row {
        Row {
            bus,
            broker: None,
            prefix: None,
            orders_per_second,
            of_embedded: None,
            p50_ms: 1.0,
            p99_ms,
            p999_ms: 60.0,
            cpu_us: 400.0,
            events_an_order: 9.0,
            refused: 0,
            limit: limit.map(|orders_per_second| Limit {
                events_per_second: orders_per_second * 9.0,
                events_a_batch: 100.0,
                orders_per_second,
            }),
        }
    }

    fn met(of: Row) -> Vec<bool> {
        let figures = Figures {
            rows: vec![row("embedded", 4000.0, 20.0, None), of],
            flush_p99_ms: 1.0,
        };
        let targets = Report::new(figures).targets;
        targets.iter().map(|target| target.is_met).collect()
    }

    #[test]
    fn a_broker_is_held_against_the_embedded_bus_and_its_own_limit() {
        assert_eq!(met(row("NATS", 2000.0, 50.0, Some(3000.0))), [true, true, true]);
        assert_eq!(met(row("NATS", 1999.0, 50.1, Some(3000.0))), [true, false, false]);
        // Nobody can do more than the broker takes.
        assert_eq!(met(row("NATS", 1500.0, 50.0, Some(1500.0))), [true, true, true]);
        assert_eq!(met(row("NATS", 1499.0, 50.0, Some(1500.0))), [true, true, false]);
    }
}
