//! A process that is killed at any instant loses nothing that it acknowledged, and leaves nothing half done (P1, P2).
//!
//! The test starts its own binary again as the victim, reads the acknowledgements that it prints, kills it with SIGKILL
//! and looks at what it left.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use jiff::Timestamp;
use kernel::event::Position;
use kernel::store::{Expect, Store};
use store_sql::{SqliteOptions, SqliteStore};
use tempfile::TempDir;
use testkit::store_suite::fixture::{batch, everything, get, note, schema};
use testkit::store_suite::journal::assert_whole;
use uuid::Uuid;

const VICTIM: &str = "TRADEWIND_TEST_KILL_DIRECTORY";
const TEST: &str = "what_was_acknowledged_survives_sigkill_whole";

/// Acknowledgements to wait for before each kill: at once, early, and after the log was written back several times.
const KILLS: [usize; 8] = [1, 2, 30, 3, 150, 1, 700, 60];

/// Writers at once, and events in each of their batches.
const WRITERS: u64 = 3;
const EVENTS: u64 = 40;

fn open(directory: &Path) -> Arc<dyn Store> {
    let path = directory.join("store.db");
    let mut options = SqliteOptions::new(path, schema(), Uuid::from_u128(1), Timestamp::UNIX_EPOCH);
    options.alone = true;
    Arc::new(SqliteStore::open(options).expect("the store opens"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_sigkill_whole() {
    if let Some(directory) = std::env::var_os(VICTIM) {
        return write_until_killed(Path::new(&directory)).await;
    }
    let directory = TempDir::new().expect("a directory for the test");
    let mut acknowledged = BTreeMap::new();
    for wanted in KILLS {
        let mut victim = start_victim(directory.path());
        let lines = BufReader::new(victim.stdout.take().expect("its output is piped")).lines();
        let mut count = 0;
        for line in lines {
            let line = line.expect("its output is text");
            let Some((writer, round)) = line.strip_prefix("committed ").and_then(|rest| rest.split_once(' ')) else {
                continue;
            };
            let round: u64 = round.parse().expect("a round is a number");
            acknowledged.insert(writer.to_owned(), round);
            count += 1;
            if count == wanted {
                // SIGKILL; what it still had in the pipe counts as acknowledged too.
                victim.kill().expect("the victim is alive");
            }
        }
        assert!(count >= wanted, "the victim ended by itself after {count} commits");
        assert!(!victim.wait().expect("the victim has ended").success());
        // The next victim goes on from what is there, a batch further, it may be, than what this one acknowledged.
        acknowledged = check(directory.path(), &acknowledged).await;
    }
}

fn start_victim(directory: &Path) -> Child {
    let this = std::env::current_exe().expect("a test knows its binary");
    Command::new(this)
        .args(["--exact", TEST, "--nocapture"])
        .env(VICTIM, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts again")
}

/// Each writer goes on from the round that its note names, in batches that change its stream, its note and a thing.
async fn write_until_killed(directory: &Path) {
    let store = open(directory);
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let name = format!("w{number}");
            let mut seen = get(&store, note(&name)).await;
            loop {
                let round = seen.as_ref().map_or(1, |stored| stored.version + 1);
                let mut draft = batch().by(&name);
                for event in 1..=EVENTS {
                    draft = draft.event(&name, (round - 1) * EVENTS + event);
                }
                let expect = seen.map_or(Expect::Absent, |stored| Expect::Version(stored.version));
                let draft = draft.put_note(&name, &round.to_string(), expect);
                let draft = draft.put_thing(&format!("{name}-{round:06}"), Expect::Absent);
                draft.commit(&store).await;
                // One write, so that a line is there whole or not at all.
                let line = format!("committed {name} {round}\n");
                std::io::stdout()
                    .write_all(line.as_bytes())
                    .expect("the parent listens");
                seen = get(&store, note(&name)).await;
            }
        });
    }
    writers.join_all().await;
}

/// The round of each writer that is there.
async fn check(directory: &Path, acknowledged: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let store = open(directory);
    let tail = store.tail(Position::START, usize::MAX).await.expect("the tail is read");
    assert_eq!(tail.head.position.0, tail.events.len() as u64);
    assert_whole(&tail.head, &tail.events);
    let things = everything(&store)
        .await
        .documents
        .iter()
        .filter(|found| found.id.contains('-'))
        .count() as u64;

    let mut rounds = BTreeMap::new();
    for number in 0..WRITERS {
        let name = format!("w{number}");
        let events = tail.events.iter().filter(|event| event.stream.as_str() == name).count() as u64;
        let note = get(&store, note(&name)).await.map_or(0, |stored| {
            let round: u64 = stored.document.parse().expect("a round is a number");
            assert_eq!(round, stored.version);
            round
        });
        assert_eq!(
            events,
            note * EVENTS,
            "the view of {name} is not the fold of its events"
        );
        let promised = acknowledged.get(&name).copied().unwrap_or(0);
        assert!(
            note >= promised,
            "{name} was told of round {promised}, and {note} is there"
        );
        assert!(
            note <= promised + 1,
            "{name} sends one batch at a time: {note} rounds after {promised}"
        );
        rounds.insert(name, note);
    }
    assert_eq!(
        things,
        rounds.values().sum::<u64>(),
        "documents of a batch are missing, or are there without it"
    );
    rounds
}
