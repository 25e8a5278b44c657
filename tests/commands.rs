//! The commands of the binary, as a person or a script runs them.
#![expect(clippy::unwrap_used, reason = "what is not as expected should stop the test")]

#[path = "commands/carrying.rs"]
mod carrying;
#[path = "commands/configuration.rs"]
mod configuration;
#[path = "commands/first_start.rs"]
mod first_start;
#[path = "commands/history.rs"]
mod history;
#[path = "commands/measuring.rs"]
mod measuring;
#[path = "commands/migrating.rs"]
mod migrating;
#[path = "commands/running.rs"]
mod running;
#[expect(dead_code, reason = "each file of tests uses another part of it")]
mod support;

use std::process::{Command, Output};

use serde_json::Value;
use support::tradewind;

/// Runs a command to its end.
fn run(command: &mut Command) -> Ended {
    Ended(command.output().unwrap())
}

/// The binary in an empty directory that is gone with the second part.
fn in_an_empty_directory(arguments: &[&str]) -> (Command, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = tradewind();
    command.args(arguments).current_dir(directory.path());
    (command, directory)
}

/// A command that has ended.
#[derive(Debug)]
struct Ended(Output);

impl Ended {
    fn out(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    fn err(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    /// What it printed, if it ended well.
    #[track_caller]
    fn done(&self) -> String {
        assert_eq!(self.0.status.code(), Some(0), "{}\n{}", self.out(), self.err());
        self.out()
    }

    /// The JSON that it printed, if it ended well and printed nothing else.
    #[track_caller]
    fn json(&self) -> Value {
        let out = self.done();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// Panics unless it failed with one line that says all of this, and printed nothing else.
    #[track_caller]
    fn failed(&self, parts: &[&str]) {
        let said = self.err();
        assert_eq!((self.0.status.code(), self.out().as_str()), (Some(1), ""), "{said}");
        assert!(said.starts_with("error: ") && said.lines().count() == 1, "{said}");
        for part in parts {
            assert!(said.contains(part), "it does not say {part:?}: {said}");
        }
    }
}

#[test]
fn the_demonstration_ends_well() {
    let (mut demo, _directory) = in_an_empty_directory(&["demo"]);
    let said = run(&mut demo).done();
    for part in [
        "Ada",
        "order.confirmed",
        "payment.captured",
        "inventory.rejected",
        "Everything was as it should be",
    ] {
        assert!(said.contains(part), "{said}");
    }
    // What is piped has no colours.
    assert!(!said.contains('\u{1b}'), "{said}");
}

#[test]
fn the_demonstration_tells_machines_too_and_leaves_nothing_behind() {
    let (mut demo, directory) = in_an_empty_directory(&["demo", "--json"]);
    let ended = run(&mut demo);
    let told = ended.json();
    assert_eq!(told["ok"], true);
    let steps = told["steps"].as_array().unwrap();
    assert!(steps.len() > 8, "{told}");
    let types: Vec<&str> = steps
        .iter()
        .flat_map(|step| step["events"].as_array().unwrap())
        .map(|it| it["type"].as_str().unwrap())
        .collect();
    for expected in [
        "user.registered",
        "product.created",
        "order.rejected",
        "payment.failed",
        "payment.refunded",
    ] {
        assert!(types.contains(&expected), "no {expected}: {types:?}");
    }
    assert_eq!(ended.err(), "");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
