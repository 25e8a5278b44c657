//! Following the journal while it grows: nothing is skipped, whatever the pace of those who write (P3).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kernel::event::{Position, Recorded, StreamId};
use kernel::store::{Expect, Store};
use tokio::task::JoinSet;

use super::StoreFactory;
use super::fixture::{batch, note};
use super::journal::assert_whole;

/// Slow writers commit several hundred events at a time, fast ones a single one.
const SLOW_EVENTS: u64 = 300;
const SLOW_ROUNDS: u64 = 8;
const FAST_ROUNDS: u64 = 120;

/// Two slow and two fast writers. The count goes down as each ends.
fn write(stores: &[Arc<dyn Store>; 2]) -> (JoinSet<()>, Arc<AtomicUsize>) {
    let mut writers = JoinSet::new();
    let writing = Arc::new(AtomicUsize::new(4));
    for (number, store) in stores.iter().chain(stores).enumerate() {
        let (store, writing) = (Arc::clone(store), Arc::clone(&writing));
        writers.spawn(async move {
            let name = format!("w{number}");
            let (rounds, size) = if number < 2 {
                (SLOW_ROUNDS, SLOW_EVENTS)
            } else {
                (FAST_ROUNDS, 1)
            };
            for round in 0..rounds {
                let mut draft = batch().by(&name);
                for event in 1..=size {
                    // Several aggregates each, so that the writers share the lanes.
                    let stream = format!("{name}-{}", event % 3);
                    let version = if size == 1 {
                        round + 1
                    } else {
                        round * size / 3 + event.div_ceil(3)
                    };
                    draft = draft.event(&stream, version);
                }
                let counted = ((round + 1) * size).to_string();
                draft = draft.put_note(&name, &counted, Expect::Any);
                draft
                    .commit_patiently(&store)
                    .await
                    .expect("nobody else writes these streams");
            }
            writing.fetch_sub(1, Ordering::SeqCst);
        });
    }
    (writers, writing)
}

pub async fn a_tailer_beside_slow_and_fast_writers_skips_nothing(factory: &dyn StoreFactory) {
    let stores = [factory.open().await, factory.open().await];
    let tailer = factory.open().await;
    let (writers, writing) = write(&stores);

    let mut events: Vec<Recorded> = Vec::new();
    let mut pieces = (1..=97).cycle();
    loop {
        let done = writing.load(Ordering::SeqCst) == 0;
        let after = events.last().map_or(Position::START, |event| event.position);
        let tail = tailer
            .tail(after, pieces.next().expect("a cycle has no end"))
            .await
            .expect("the tail is read");
        assert!(
            tail.head.position >= tail.events.last().map_or(after, |event| event.position),
            "a head that lags"
        );
        if tail.events.is_empty() && done {
            break;
        }
        // A tailer asks only for what comes after: what is skipped here is skipped for ever.
        events.extend(tail.events);
    }
    writers.join_all().await;

    let expected = 2 * SLOW_EVENTS * SLOW_ROUNDS + 2 * FAST_ROUNDS;
    assert_eq!(events.len() as u64, expected, "the tailer skipped events");
    let tail = tailer.tail(Position::START, 0).await.expect("the tail is read");
    assert_eq!(tail.head.position.0, expected);
    assert_whole(&tail.head, &events);
}

pub async fn an_event_that_is_seen_has_its_documents(factory: &dyn StoreFactory) {
    let stores = [factory.open().await, factory.open().await];
    let reader = factory.open().await;
    let (writers, writing) = write(&stores);

    let mut seen = Position::START;
    while writing.load(Ordering::SeqCst) > 0 {
        let tail = reader.tail(seen, 50).await.expect("the tail is read");
        let Some(last) = tail.events.last() else { continue };
        seen = last.position;
        // The note counts the writer's events with the commit that wrote them.
        let writer = last
            .stream
            .as_str()
            .split('-')
            .next()
            .expect("a split has a first part");
        let stored = reader.get(&[note(writer)]).await.expect("the note is read");
        let stored = stored[0]
            .as_ref()
            .expect("an event is seen, and the note of its commit is not");
        let counted: u64 = stored.document.parse().expect("the note is a number");
        let mut written = 0;
        for part in 0..3 {
            let stream = StreamId::new(format!("{writer}-{part}"));
            let events = reader.stream(&stream, 1, usize::MAX).await.expect("the stream is read");
            written += events.iter().filter(|event| event.position <= seen).count() as u64;
        }
        assert!(
            counted >= written,
            "{written} events of {writer} are seen, and its note counts {counted}"
        );
    }
    writers.join_all().await;
}
