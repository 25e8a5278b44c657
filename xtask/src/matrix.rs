//! Which store met which obligation of the contract suite.

use std::collections::BTreeMap;
use std::fmt;

/// The stores, by the modules that their adapters' tests put the suite in.
const STORES: [&str; 5] = ["memory", "sqlite", "postgres", "mariadb", "mongodb"];

/// By obligation, what became of it on each store; nothing where it was not run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Matrix {
    rows: BTreeMap<String, [Option<bool>; STORES.len()]>,
}

impl Matrix {
    /// Notes the line of a test, if it is one of the suite.
    pub(crate) fn note(&mut self, line: &str) {
        let Some((test, outcome)) = line
            .trim_end()
            .strip_prefix("test ")
            .and_then(|line| line.split_once(" ... "))
        else {
            return;
        };
        let Some((store, obligation)) = test.split_once("::") else {
            return;
        };
        let place = STORES.iter().position(|known| *known == store);
        if let Some(place) = place.filter(|_| !obligation.contains("::")) {
            self.rows.entry(obligation.to_owned()).or_default()[place] = Some(outcome == "ok");
        }
    }

    /// What was tested on the first store, to which nothing is peculiar, and not on each of the others.
    pub(crate) fn gaps(&self) -> Vec<String> {
        let suite = self.rows.iter().filter(|(_, row)| row[0].is_some());
        let gaps = suite.flat_map(|(obligation, row)| {
            let untested = STORES.iter().zip(row).filter(|(_, outcome)| outcome.is_none());
            untested.map(move |(store, _)| format!("{store}::{obligation}"))
        });
        gaps.collect()
    }
}

/// A table with a column for each store that was tested. Of some stores more is tested than the suite; such rows are left
/// out, unless they failed.
impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tested = |place: &usize| self.rows.values().any(|row| row[*place].is_some());
        let stores: Vec<usize> = (0..STORES.len()).filter(tested).collect();
        let is_shared = |row: &[Option<bool>]| stores.iter().all(|&place| row[place].is_some());
        let title = "obligation of a store";
        let width = self.rows.keys().map(String::len).fold(title.len(), usize::max);
        write!(f, "{title:width$}")?;
        stores
            .iter()
            .try_for_each(|&place| write!(f, "  {:<8}", STORES[place]))?;
        writeln!(f)?;
        for (obligation, row) in &self.rows {
            if !is_shared(row) && !row.contains(&Some(false)) {
                continue;
            }
            write!(f, "{obligation:width$}")?;
            for &place in &stores {
                let word = match row[place] {
                    Some(true) => "ok",
                    Some(false) => "FAILED",
                    None => "-",
                };
                write!(f, "  {word:<8}")?;
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
    fn each_store_has_a_column_and_each_obligation_a_row() {
        let mut matrix = Matrix::default();
        for line in [
            "test memory::ids_compare_as_bytes ... ok\n",
            "test postgres::ids_compare_as_bytes ... FAILED\n",
            "test memory::no_update_is_lost ... ok\n",
            "test postgres::no_update_is_lost ... ok\n",
            "test postgres::only_here ... ok\n",
            "test orders::tests::something_else ... ok\n",
            "test postgres::opening::another ... ok\n",
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
        let mut matrix = Matrix::default();
        for store in STORES {
            matrix.note(&format!("test {store}::no_update_is_lost ... ok"));
        }
        matrix.note("test postgres::only_here ... ok");
        assert!(matrix.gaps().is_empty());
        for store in &STORES[..4] {
            matrix.note(&format!("test {store}::ids_compare_as_bytes ... ok"));
        }
        assert_eq!(matrix.gaps(), ["mongodb::ids_compare_as_bytes"]);
    }
}
