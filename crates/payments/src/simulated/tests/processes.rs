//! Real processes on one file: this test, run by itself.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::*;

const TEST: &str = "simulated::tests::processes::processes_that_start_at_once_and_are_killed_keep_one_ledger";
/// Tells a child which file, and its name.
const LEDGER: &str = "LEDGER_OF_CHILD";
const NAME: &str = "NAME_OF_CHILD";
/// What a child says begins with it.
const SAYS: &str = "captured: ";
const PAYMENTS: u128 = 200;
/// One of the children is killed when it has captured so many.
const KILLED_AFTER: usize = 3;

/// Authorises each payment under the same key as all others do, and captures it under its own.
async fn work(path: &Path, name: &str) {
    let provider = Simulated::open(path).unwrap();
    for number in 0..PAYMENTS {
        authorise(&provider, number, "pm_card_visa").await;
        let key = format!("capture/{}/{name}", payment(number));
        match provider.capture(&held(number, 1000), &key).await {
            Ok(Capture::Captured) => println!("\n{SAYS}{key}"),
            Err(Error::Contradiction(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn start(path: &Path, name: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", TEST, "--nocapture"]);
    command.env(LEDGER, path).env(NAME, name).stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// What it says it has captured, up to its end or to so many.
fn said(child: &mut Child, limit: usize) -> Vec<String> {
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let said = lines.filter_map(|line| line.unwrap().strip_prefix(SAYS).map(str::to_owned));
    said.take(limit).collect()
}

#[tokio::test]
async fn processes_that_start_at_once_and_are_killed_keep_one_ledger() {
    if let (Some(path), Ok(name)) = (std::env::var_os(LEDGER), std::env::var(NAME)) {
        return work(Path::new(&path), &name).await;
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("ledger.jsonl");
    let mut children = ["one", "another", "third"].map(|name| start(&path, name));
    let mut told = said(&mut children[0], KILLED_AFTER);
    children[0].kill().unwrap();
    children[0].wait().unwrap();
    for child in &mut children[1..] {
        told.extend(said(child, usize::MAX));
        assert!(child.wait().unwrap().success());
    }

    let text = fs::read_to_string(&path).unwrap();
    let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut requests: BTreeMap<String, usize> = BTreeMap::new();
    for entry in &entries {
        *requests
            .entry(format!("{} {}", entry["request"], entry["payment"]))
            .or_default() += 1;
    }
    assert_eq!(requests.len() as u128, 2 * PAYMENTS);
    assert!(requests.values().all(|&count| count == 1), "{requests:?}");
    // The killed one may have captured another, and not have come to say so.
    for key in &told {
        assert!(entries.iter().any(|entry| entry["key"] == **key), "{key}");
    }
    let provider = Simulated::open(&path).unwrap();
    assert!(
        provider
            .accounts()
            .iter()
            .all(|(_, account)| matches!(account, Account::Captured { .. }))
    );
}
