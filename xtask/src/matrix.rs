//! Which adapter met which obligation of its port's contract suite.

use std::collections::BTreeMap;
use std::fmt;

/// By obligation, what became of it on each adapter; nothing where it was not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Matrix {
    title: &'static str,
    /// By the modules that the adapters' tests put the suite in.
    adapters: &'static [&'static str],
    rows: BTreeMap<String, Vec<Option<bool>>>,
}

impl Matrix {
    /// Of what keeps the services' data.
    pub(crate) fn of_stores() -> Self {
        Self::of(
            "obligation of a store",
            &["memory", "sqlite", "postgres", "mariadb", "mongodb"],
        )
    }

    /// Of what carries their events.
    pub(crate) fn of_buses() -> Self {
        Self::of(
            "obligation of a bus",
            &["memory_bus", "nats", "rabbitmq", "redis", "kafka"],
        )
    }

    /// Of what counts requests.
    pub(crate) fn of_limiters() -> Self {
        Self::of("obligation of a limiter", &["local_limiter", "redis_limiter"])
    }

    fn of(title: &'static str, adapters: &'static [&'static str]) -> Self {
        Self {
            title,
            adapters,
            rows: BTreeMap::new(),
        }
    }

    /// Notes the line of a test, if it is one of the suite.
    pub(crate) fn note(&mut self, line: &str) {
        let Some((test, outcome)) = line
            .trim_end()
            .strip_prefix("test ")
            .and_then(|line| line.split_once(" ... "))
        else {
            return;
        };
        let Some((adapter, obligation)) = test.split_once("::") else {
            return;
        };
        let place = self.adapters.iter().position(|known| *known == adapter);
        if let Some(place) = place.filter(|_| !obligation.contains("::")) {
            let row = self.rows.entry(obligation.to_owned());
            let is_met = (!outcome.starts_with("ignored")).then_some(outcome == "ok");
            row.or_insert_with(|| vec![None; self.adapters.len()])[place] = is_met;
        }
    }

    /// What was tested on the first adapter, to which nothing is peculiar, and not on each of the others.
    pub(crate) fn gaps(&self) -> Vec<String> {
        let suite = self.rows.iter().filter(|(_, row)| row[0].is_some());
        let gaps = suite.flat_map(|(obligation, row)| {
            let untested = self.adapters.iter().zip(row).filter(|(_, outcome)| outcome.is_none());
            untested.map(move |(adapter, _)| format!("{adapter}::{obligation}"))
        });
        gaps.collect()
    }
}

/// A table with a column for each adapter that was tested. Of some more is tested than the suite; such rows are left out,
/// unless they failed.
impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tested = |place: &usize| self.rows.values().any(|row| row[*place].is_some());
        let tested: Vec<usize> = (0..self.adapters.len()).filter(tested).collect();
        let is_shared = |row: &[Option<bool>]| tested.iter().all(|&place| row[place].is_some());
        let title = self.title;
        let width = self.rows.keys().map(String::len).fold(title.len(), usize::max);
        write!(f, "{title:width$}")?;
        let names = tested.iter().map(|&place| self.adapters[place]);
        names.clone().try_for_each(|name| write!(f, "  {name:<8}"))?;
        writeln!(f)?;
        for (obligation, row) in &self.rows {
            if !is_shared(row) && !row.contains(&Some(false)) {
                continue;
            }
            write!(f, "{obligation:width$}")?;
            for (&place, name) in tested.iter().zip(names.clone()) {
                let word = match row[place] {
                    Some(true) => "ok",
                    Some(false) => "FAILED",
                    None => "-",
                };
                write!(f, "  {word:<0$}", name.len().max(8))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_adapter_has_a_column_and_each_obligation_a_row() {
        let mut matrix = Matrix::of_stores();
        for line in [
            "test memory::ids_compare_as_bytes ... ok\n",
            "test postgres::ids_compare_as_bytes ... FAILED\n",
            "test memory::no_update_is_lost ... ok\n",
            "test postgres::no_update_is_lost ... ok\n",
            "test postgres::only_here ... ok\n",
            "test postgres::by_hand ... ignored, takes long\n",
            "test orders::tests::something_else ... ok\n",
            "test postgres::opening::another ... ok\n",
            "test nats::messages_arrive ... ok\n",
        ] {
            matrix.note(line);
        }
        let lines: Vec<String> = matrix
            .to_string()
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect();
        assert_eq!(
            lines,
            [
                "obligation of a store  memory    postgres",
                "ids_compare_as_bytes   ok        FAILED",
                "no_update_is_lost      ok        ok",
            ]
        );
    }

    #[test]
    fn an_obligation_that_was_not_tested_on_each_store_is_a_gap() {
        let mut matrix = Matrix::of_stores();
        for store in matrix.adapters {
            matrix.note(&format!("test {store}::no_update_is_lost ... ok"));
        }
        matrix.note("test postgres::only_here ... ok");
        assert!(matrix.gaps().is_empty());
        for store in &matrix.adapters[..4] {
            matrix.note(&format!("test {store}::ids_compare_as_bytes ... ok"));
        }
        assert_eq!(matrix.gaps(), ["mongodb::ids_compare_as_bytes"]);
    }
}
