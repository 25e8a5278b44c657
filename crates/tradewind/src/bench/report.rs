//! The figures, and the targets beside them.

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::bench::figures::{Figures, Mode, Row};
use crate::bench::run::{SETTLED_MAX, USUAL};
use crate::output;

/// Orders a second that must be placed and confirmed at the least.
const CONFIRMED_MIN: f64 = 5000.0;
/// Resident memory at the usual number of connections.
const MEMORY_MAX_MIB: f64 = 100.0;
/// From the start of the process to that it listens.
const COLD_START_MAX_MS: f64 = 300.0;
/// At half of the possible rate, besides three flushes.
const HALF_P99_MAX_MS: f64 = 10.0;
/// On a database server, of what its database does at the most, and a second.
const OF_LIMIT_MIN: f64 = 0.5;
const ON_SERVER_MIN: f64 = 3000.0;
/// What is left of the speed with many orders stored.
const PRELOADED_MIN: f64 = 0.9;
/// How much slower the slowest may become in a login storm.
const STORM_MAX: f64 = 2.0;

/// A figure that the design sets itself.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    /// Of what.
    pub what: String,
    /// What was measured.
    pub measured: f64,
    /// The least, or the most, that it should be.
    pub target: f64,
    /// Whether less is better.
    pub is_most: bool,
    /// Whether it was reached.
    pub is_met: bool,
}

impl Target {
    /// At least so much.
    pub fn least(what: impl Into<String>, measured: f64, target: f64) -> Self {
        Self {
            what: what.into(),
            measured,
            target,
            is_most: false,
            is_met: measured >= target,
        }
    }

    /// At most so much.
    pub fn most(what: impl Into<String>, measured: f64, target: f64) -> Self {
        Self {
            is_most: true,
            is_met: measured <= target,
            ..Self::least(what, measured, target)
        }
    }
}

/// The bench's outcome, as JSON too.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was measured.
    #[serde(flatten)]
    pub figures: Figures,
    /// What should have been, where enough was measured to say.
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
        print(&self.targets, self.figures.flush_p99_ms)
    }
}

/// Targets, for a person.
pub fn print(targets: &[Target], flush_p99_ms: f64) -> Result<()> {
    if targets.is_empty() {
        return Ok(());
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    for target in targets {
        let sign = if target.is_most { '≤' } else { '≥' };
        table.add_row([
            if target.is_met { "✓" } else { "✗" }.to_owned(),
            target.what.clone(),
            number(target.measured),
            format!("{sign} {}", number(target.target)),
        ]);
    }
    if let Some(numbers) = table.column_mut(2) {
        numbers.set_cell_alignment(CellAlignment::Right);
    }
    output::line(format_args!(
        "\nTargets (a flush takes {} ms, p99)",
        number(flush_p99_ms)
    ))?;
    output::line(table)
}

/// The columns of a row, aligned one by one as they come.
pub fn heading() -> String {
    format!(
        "{:<30} {:>5} {:>9} {:>10} {:>9} {:>9} {:>9} {:>7} {:>6}",
        "", "conns", "stored", "/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU µs", "MiB"
    )
}

/// A row for a person.
pub fn line(row: &Row) -> String {
    let mut line = format!(
        "{:<30} {:>5} {:>9} {:>10.0} {:>9.2} {:>9.2} {:>9.2} {:>7.0} {:>6.0}",
        row.mode.name(),
        row.connections,
        row.preloaded,
        row.per_second,
        row.p50_ms,
        row.p99_ms,
        row.p999_ms,
        row.cpu_us,
        row.memory_mib
    );
    if row.refused > 0 {
        line += &format!("  {} refused", row.refused);
    }
    if let Some(settled) = row.settled_s {
        let counts = if is_counted(row) { "" } else { ": too late to count" };
        line += &format!("  all confirmed {settled:.1} s after{counts}");
    }
    if let Some(store) = row.store {
        line += &format!("  {store}");
    }
    if let Some(limit) = row.limit {
        line += &format!(
            ": {:.0} orders a commit, at most {:.0}/s",
            limit.orders_a_commit, limit.per_second
        );
    }
    line
}

fn number(value: f64) -> String {
    match value {
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Whether its orders were decided in time.
fn is_counted(row: &Row) -> bool {
    row.settled_s.is_none_or(|settled| settled <= SETTLED_MAX.as_secs_f64())
}

/// How many a second count: none, if they were decided too late.
fn counted(row: &Row) -> f64 {
    if is_counted(row) { row.per_second } else { 0.0 }
}

fn targets(figures: &Figures) -> Vec<Target> {
    let find = |mode: Mode, connections: u32, preloaded: bool| {
        figures
            .rows
            .iter()
            .filter(|row| row.store.is_none())
            .find(move |row| row.mode == mode && row.connections == connections && (row.preloaded > 0) == preloaded)
    };
    let ratio = |mode: Mode, of: Mode, connections: u32| {
        let (row, of) = (find(mode, connections, false)?, find(of, connections, false)?);
        Some(counted(row) / of.per_second)
    };
    let mut targets = Vec::new();
    for (mode, of, connections, least) in [
        (Mode::Place, Mode::Bare, 64, 0.5),
        (Mode::Place, Mode::Bare, 256, 0.6),
        (Mode::Confirm, Mode::Bare, 64, 0.2),
        (Mode::Product, Mode::ProductBare, 64, 0.8),
        (Mode::Order, Mode::OrderBare, 64, 0.6),
        (Mode::List, Mode::ListBare, 64, 0.3),
    ] {
        let what = format!("{} : {}, {connections} connections", mode.name(), of.name());
        targets.extend(ratio(mode, of, connections).map(|measured| Target::least(what, measured, least)));
    }
    let confirmed = find(Mode::Confirm, USUAL, false);
    targets.extend(confirmed.map(|row| Target::least("orders confirmed a second", counted(row), CONFIRMED_MIN)));
    let half = find(Mode::PlaceHalf, USUAL, false);
    let half_max = HALF_P99_MAX_MS + 3.0 * figures.flush_p99_ms;
    targets.extend(half.map(|row| Target::most("p99 at half of the rate, ms", row.p99_ms, half_max)));
    if let Some((storm, half)) = find(Mode::PlaceStorm, USUAL, false).zip(half) {
        let measured = storm.p99_ms / half.p99_ms;
        targets.push(Target::most("p99 in a login storm : p99 without", measured, STORM_MAX));
    }
    let usual = figures
        .rows
        .iter()
        .filter(|row| row.connections == USUAL && row.store.is_none());
    let memory = usual.map(|row| row.memory_mib).max_by(f64::total_cmp);
    targets.extend(memory.map(|measured| Target::most("most memory at 64 connections, MiB", measured, MEMORY_MAX_MIB)));
    let cold_start = figures.cold_start_ms.iter().copied().max_by(f64::total_cmp);
    targets.extend(cold_start.map(|measured| Target::most("slowest start, ms", measured, COLD_START_MAX_MS)));
    for mode in [Mode::Place, Mode::Confirm, Mode::Product, Mode::Order, Mode::List] {
        if let Some((after, before)) = find(mode, USUAL, true).zip(find(mode, USUAL, false)) {
            let what = format!("{}: with {} orders : without", mode.name(), after.preloaded);
            targets.push(Target::least(what, counted(after) / before.per_second, PRELOADED_MIN));
        }
    }
    let placing = figures
        .rows
        .iter()
        .filter(|row| row.mode == Mode::Place && row.connections == USUAL);
    for (row, store) in placing.filter_map(|row| Some((row, row.store?))) {
        if let Some(limit) = row.limit {
            let what = format!("place on {store} : what it does at the most, 64 connections");
            targets.push(Target::least(what, row.per_second / limit.per_second, OF_LIMIT_MIN));
        }
        let what = format!("orders placed a second on {store}, 64 connections");
        targets.push(Target::least(what, row.per_second, ON_SERVER_MIN));
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::Limit;

    fn measured(mode: Mode, per_second: f64, settled_s: Option<f64>) -> Row {
        Row {
            mode,
            connections: USUAL,
            preloaded: 0,
            store: None,
            per_second,
            p50_ms: 1.0,
            p99_ms: 2.0,
            p999_ms: 3.0,
            cpu_us: 50.0,
            memory_mib: 80.0,
            refused: 0,
            settled_s,
            limit: None,
        }
    }

    fn met(rows: Vec<Row>) -> Vec<(String, bool)> {
        let figures = Figures {
            rows,
            cold_start_ms: vec![100.0, 250.0],
            flush_p99_ms: 1.0,
        };
        Report::new(figures)
            .targets
            .into_iter()
            .map(|it| (it.what, it.is_met))
            .collect()
    }

    #[test]
    fn orders_that_were_decided_too_late_do_not_count() {
        let in_time = met(vec![measured(Mode::Confirm, 6000.0, Some(4.9))]);
        assert!(in_time.contains(&("orders confirmed a second".to_owned(), true)));
        let too_late = met(vec![measured(Mode::Confirm, 6000.0, Some(5.1))]);
        assert!(too_late.contains(&("orders confirmed a second".to_owned(), false)));
    }

    #[test]
    fn what_was_placed_on_a_server_is_held_against_its_database_alone() {
        let limit = Limit {
            per_second: 8000.0,
            orders_a_commit: 25.0,
        };
        let on_server = Row {
            store: Some("PostgreSQL"),
            limit: Some(limit),
            ..measured(Mode::Place, 4000.0, None)
        };
        let met = met(vec![measured(Mode::Bare, 4000.0, None), on_server]);
        assert!(met.iter().all(|(what, _)| !what.contains("store nothing")), "{met:?}");
        for what in ["at the most", "a second on PostgreSQL"] {
            let is_met = met.iter().find(|(it, _)| it.contains(what)).map(|(_, is_met)| *is_met);
            assert_eq!(is_met, Some(true), "{what}: {met:?}");
        }
    }

    #[test]
    fn a_ratio_is_of_two_rows_of_the_same_run() {
        let rows = |place| vec![measured(Mode::Bare, 20_000.0, None), measured(Mode::Place, place, None)];
        let what = "place, events wait : parse an order, store nothing, 64 connections".to_owned();
        assert!(met(rows(10_000.0)).contains(&(what.clone(), true)));
        assert!(met(rows(9_999.0)).contains(&(what, false)));
    }
}
