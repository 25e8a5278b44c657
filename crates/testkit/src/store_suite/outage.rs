//! A database server that is killed, or cannot be reached any more, while batches are committed: what was acknowledged is there, nothing is there twice, and
//! the store finds the server again by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kernel::event::Position;
use kernel::store::{Batch, CommitError, Expect, Store};
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{sleep, timeout};

use super::StoreFactory;
use super::fixture::{batch, everything, get, note};
use super::journal::assert_whole;

/// Writers at once, and events in each of their batches.
const WRITERS: u64 = 3;
const EVENTS: u64 = 10;
/// Acknowledgements to wait for before each kill.
const KILLS: [u64; 3] = [20, 1, 60];
/// How long a commit may take, server or no server.
const COMMIT_TIME_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// A server of a test's own.
pub trait Server {
    /// Stops it with SIGKILL, or takes it away otherwise.
    fn kill(&mut self);

    /// Starts it again on the same data and at the same address.
    fn start_again(&mut self);
}

/// What the writers tell the test.
#[derive(Debug, Default)]
struct Progress {
    acknowledged: AtomicU64,
    /// Commits that were refused for want of a server, or ended without an answer.
    failed: AtomicU64,
    enough: AtomicBool,
}

pub async fn what_was_acknowledged_survives_a_killed_server(factory: &dyn StoreFactory, server: &mut dyn Server) {
    let store = factory.open().await;
    let progress = Arc::new(Progress::default());
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let (store, progress) = (Arc::clone(&store), Arc::clone(&progress));
        writers.spawn(async move { write_until_enough(&store, &format!("w{number}"), &progress).await });
    }
    for more in KILLS {
        rise(&progress.acknowledged, more).await;
        block_in_place(|| server.kill());
        rise(&progress.failed, WRITERS).await;
        block_in_place(|| server.start_again());
    }
    // Through the same handle.
    rise(&progress.acknowledged, WRITERS).await;
    progress.enough.store(true, Ordering::Relaxed);
    let rounds = writers.join_all().await;
    check(&store, &rounds).await;
    check(&factory.open().await, &rounds).await;
}

/// Waits until a number has grown by so many.
async fn rise(number: &AtomicU64, by: u64) {
    let wanted = number.load(Ordering::Relaxed) + by;
    while number.load(Ordering::Relaxed) < wanted {
        sleep(POLL).await;
    }
}

/// One batch after another, each of which changes the writer's stream and its note, and adds a thing. How many there were.
async fn write_until_enough(store: &Arc<dyn Store>, name: &str, progress: &Progress) -> u64 {
    let mut round = 0;
    while !progress.enough.load(Ordering::Relaxed) {
        let mut draft = batch().by(name);
        for event in 1..=EVENTS {
            draft = draft.event(name, round * EVENTS + event);
        }
        let expect = if round == 0 {
            Expect::Absent
        } else {
            Expect::Version(round)
        };
        round += 1;
        let draft = draft.put_note(name, &round.to_string(), expect);
        let draft = draft.put_thing(&format!("{name}-{round:06}"), Expect::Absent);
        commit(store, draft.build(), progress).await;
        progress.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    round
}

/// Commits as a service's writer does: the same batch again until there is an answer.
async fn commit(store: &Arc<dyn Store>, batch: Arc<Batch>, progress: &Progress) {
    loop {
        let answer = timeout(COMMIT_TIME_MAX, store.commit(Arc::clone(&batch))).await;
        match answer.expect("a commit ends in time, server or no server") {
            Ok(_) => return,
            Err(CommitError::Unavailable(_) | CommitError::Unknown(_)) => {
                progress.failed.fetch_add(1, Ordering::Relaxed);
                sleep(POLL).await;
            }
            Err(error) => panic!("a batch that nothing speaks against: {error}"),
        }
    }
}

/// Whether each writer's rounds are there, whole and once.
async fn check(store: &Arc<dyn Store>, rounds: &[u64]) {
    let tail = store.tail(Position::START, usize::MAX).await.expect("the tail is read");
    assert_eq!(tail.head.position.0, rounds.iter().sum::<u64>() * EVENTS);
    assert_eq!(tail.head.position.0, tail.events.len() as u64);
    assert_whole(&tail.head, &tail.events);
    let things = everything(store).await.documents;
    let things = things.iter().filter(|found| found.id.contains('-')).count() as u64;
    assert_eq!(things, rounds.iter().sum::<u64>());
    let mut noted = 0;
    for number in 0..WRITERS {
        let name = format!("w{number}");
        let note = get(store, note(&name)).await.expect("each writer wrote its note");
        assert_eq!(note.document.parse(), Ok(note.version), "a round is there twice");
        noted += note.version;
        let events = tail.events.iter().filter(|event| event.stream.as_str() == name);
        assert_eq!(events.count() as u64, note.version * EVENTS);
    }
    assert_eq!(noted, rounds.iter().sum::<u64>());
}
