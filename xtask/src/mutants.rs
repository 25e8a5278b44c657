//! Tests of the tests: each promise is broken on purpose, in a copy of the tree, and something must notice.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

mod patch;
mod verdict;
mod workshop;

use patch::{Catcher, Mutant};
use workshop::Workshop;

/// What became of a mutant.
#[derive(Debug)]
enum Fate {
    /// By this seed or test.
    Caught(String),
    Survived,
    /// It proves nothing: it does not apply or build, or what should catch it failed without naming anything.
    Broken(String),
}

/// A mutant, what became of it, and how long that took.
struct Row {
    mutant: Mutant,
    fate: Fate,
    took: Duration,
}

/// Runs all mutants, or those with these names.
#[expect(
    clippy::disallowed_methods,
    reason = "measures real commands, which no injected clock drives"
)]
pub(crate) fn run(names: &[String], as_json: bool) -> Result<ExitCode> {
    let root = root()?;
    let mut mutants = patch::all(root)?;
    if let Some(unknown) = names.iter().find(|name| mutants.iter().all(|it| it.name != **name)) {
        bail!("there is no mutant {unknown} in {}", patch::DIRECTORY);
    }
    mutants.retain(|mutant| names.is_empty() || names.contains(&mutant.name));
    let workshop = Workshop::open(root)?;
    check_catchers(&workshop, &mutants)?;
    let (count, mut rows) = (mutants.len(), Vec::new());
    for (number, mutant) in (1..).zip(mutants) {
        let Mutant {
            promise, name, breaks, ..
        } = &mutant;
        eprintln!("== {number} of {count}: {promise} {name}: {breaks}");
        let start = Instant::now();
        let fate = workshop.test(&mutant)?;
        let took = start.elapsed();
        eprintln!("   {fate}, after {:.0} s", took.as_secs_f64());
        rows.push(Row { mutant, fate, took });
    }
    if as_json {
        println!("{:#}", rows.iter().map(Row::as_json).collect::<Value>());
    } else {
        print(&rows);
    }
    Ok(match rows.iter().all(|row| matches!(row.fate, Fate::Caught(_))) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Whoever is to notice must be content with the tree as it is, or proves nothing.
fn check_catchers(workshop: &Workshop, mutants: &[Mutant]) -> Result<()> {
    let catchers: BTreeSet<&Catcher> = mutants.iter().map(|mutant| &mutant.caught_by).collect();
    for catcher in catchers {
        eprintln!("== nothing is broken: {catcher}");
        match workshop.hunt(catcher)? {
            Fate::Survived => {}
            fate => bail!("{catcher} fails without any mutant: {fate}"),
        }
    }
    Ok(())
}

fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("xtask lies in the repository's root")
}

fn print(rows: &[Row]) {
    println!();
    for Row { mutant, fate, .. } in rows {
        println!("{:<4} {:<36} {fate}", mutant.promise, mutant.name);
    }
    let count = |is: fn(&Fate) -> bool| rows.iter().filter(|row| is(&row.fate)).count();
    println!(
        "{} mutants: {} caught, {} survived, {} broken",
        rows.len(),
        count(|fate| matches!(fate, Fate::Caught(_))),
        count(|fate| matches!(fate, Fate::Survived)),
        count(|fate| matches!(fate, Fate::Broken(_))),
    );
}

impl Row {
    fn as_json(&self) -> Value {
        let Mutant {
            promise, name, breaks, ..
        } = &self.mutant;
        let (by, error) = match &self.fate {
            Fate::Caught(by) => (Some(by), None),
            Fate::Survived => (None, None),
            Fate::Broken(error) => (None, Some(error)),
        };
        json!({
            "promise": promise, "name": name, "breaks": breaks, "caught": by.is_some(), "by": by, "error": error,
            "seconds": self.took.as_secs(),
        })
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caught(by) => f.write_str(by),
            Self::Survived => f.write_str("SURVIVED"),
            Self::Broken(error) => write!(f, "BROKEN: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_promise_is_broken_by_a_mutant() {
        let mutants = patch::all(root().expect("a root")).expect("each patch says what it breaks");
        let promises: BTreeSet<String> = mutants.into_iter().map(|mutant| mutant.promise).collect();
        let all: BTreeSet<String> = (1..=13).map(|number| format!("P{number}")).collect();
        assert_eq!(promises, all);
    }

    /// Whoever changes the code that a mutant changes has to change the mutant too.
    #[test]
    fn each_mutant_applies_to_the_present_tree() {
        let root = root().expect("a root");
        let mutants = patch::all(root).expect("each patch says what it breaks");
        let stale: Vec<String> = mutants
            .into_iter()
            .filter(|mutant| !mutant.apply(root, &["--check"]).expect("git can be run"))
            .map(|mutant| mutant.name)
            .collect();
        assert!(stale.is_empty(), "these no longer apply: {stale:?}");
    }
}
