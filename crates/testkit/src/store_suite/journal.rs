//! The journal: dense positions, chains of lanes, streams and the tail.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use contracts::EventId;
use jiff::Timestamp;
use kernel::event::{Lane, Meta, Position, Recorded, StreamId};
use kernel::store::{EVENT_BYTES_MAX, Expect, Head, TAIL_BYTES_MAX};
use uuid::Uuid;

use super::StoreFactory;
use super::documents::confusable;
use super::fixture::{LANES, batch, everything, noon, raw};

/// Checks positions and chains of a piece of the journal that begins at the start: dense, each event naming its
/// lane's previous one, and the head beyond it all.
pub fn assert_whole(head: &Head, events: &[Recorded]) {
    let mut lanes = vec![Position::START; usize::from(LANES)];
    let mut versions = BTreeMap::new();
    let mut time = Timestamp::UNIX_EPOCH;
    for (position, event) in (1..).map(Position).zip(events) {
        assert_eq!(event.position, position, "positions have a gap or are out of order");
        assert_eq!(event.lane, Lane::of(&event.stream, LANES));
        assert_eq!(event.prev, lanes[event.lane.index()], "prev of position {position}");
        lanes[event.lane.index()] = position;
        let version = versions.entry(event.stream.clone()).or_insert(0);
        *version += 1;
        assert_eq!(
            event.version, *version,
            "the versions of {} are out of order",
            event.stream
        );
        assert!(event.time >= time, "time runs back at position {position}");
        time = event.time;
    }
    assert!(head.position.0 >= events.len() as u64, "the head is behind its events");
    if head.position.0 == events.len() as u64 {
        assert_eq!(head.lanes, lanes);
        assert_eq!(head.time, time);
    }
}

pub async fn an_empty_store_has_a_head(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let tail = store.tail(Position::START, 10).await.expect("the tail is read");
    assert_eq!(tail.events.len(), 0);
    let lanes = vec![Position::START; usize::from(LANES)];
    let expected = Head {
        epoch: tail.head.epoch,
        position: Position::START,
        lanes,
        time: Timestamp::UNIX_EPOCH,
    };
    assert_eq!(tail.head, expected);
    assert!(!tail.head.epoch.0.is_nil(), "an epoch is a name of its own");
}

pub async fn positions_are_dense_in_commit_order(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let mut last = 0;
    for (round, size) in (1..).zip([1, 3, 0, 40, 1]) {
        let mut draft = batch();
        for number in 0..size {
            draft = draft.event(&format!("r{round}-{number}"), 1);
        }
        last += size;
        assert_eq!(draft.commit(&store).await.last, Position(last));
        let tail = store.tail(Position::START, 1000).await.expect("the tail is read");
        assert_eq!(tail.events.len() as u64, last);
        assert_whole(&tail.head, &tail.events);
    }
}

pub async fn a_refused_batch_gives_its_positions_back(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    batch().event("a", 1).commit(&store).await;
    for _ in 0..3 {
        let refused = batch()
            .event("a", 2)
            .event("b", 1)
            .put_note("none", "{}", Expect::Version(1));
        store.commit(refused.build()).await.expect_err("there is no such note");
    }
    assert_eq!(batch().event("a", 2).commit(&store).await.last, Position(2));
    let tail = store.tail(Position::START, 1000).await.expect("the tail is read");
    assert_eq!(tail.events.len(), 2);
    assert_whole(&tail.head, &tail.events);
}

pub async fn each_event_names_its_predecessor_in_its_lane(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    // Batches that touch all lanes several times, one lane, and few.
    for round in 0..10_u64 {
        let mut draft = batch();
        for number in 0..round * 2 {
            draft = draft.event(&format!("s{}", (number * 7 + round) % 20 + round * 100), 1);
        }
        draft.event("same", round + 1).commit(&store).await;
    }
    let tail = store.tail(Position::START, 1000).await.expect("the tail is read");
    assert_eq!(tail.events.len(), 100);
    assert_whole(&tail.head, &tail.events);
    assert!(
        tail.head.lanes.iter().all(|&last| last > Position::START),
        "every lane was used"
    );
}

pub async fn events_come_back_as_they_were_committed(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let data = "{ \"b\" : 1.0,\"a\":[1e2, \"Zoë 🦀 \\ud83e\\udd80\"],\"a\":null }";
    let meta = Meta {
        schema: 7,
        actor: "usr_01h455vb4pex5vsknk084sn02q".into(),
        correlation: "c \"quoted\" é 🦀".into(),
        causation: Some(EventId::from_uuid(Uuid::from_u128(u128::MAX >> 1))),
        trace: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
    };
    let long = "s:".to_owned() + &"🦀".repeat(64);
    let streams: Vec<_> = confusable().into_iter().chain([long]).collect();
    let mut draft = batch();
    for stream in &streams {
        draft = draft.event_with(stream, 1, data);
    }
    let sent = draft
        .with(|batch| {
            batch.events[1].meta = Arc::new(meta);
            batch.events[2].event_type = Cow::Owned("order.placed".into());
        })
        .build();
    store
        .commit(Arc::clone(&sent))
        .await
        .expect("nothing speaks against it");

    let tail = store.tail(Position::START, 1000).await.expect("the tail is read");
    assert_eq!(tail.events.len(), sent.events.len());
    assert_whole(&tail.head, &tail.events);
    for (event, found) in sent.events.iter().zip(&tail.events) {
        assert_eq!(found.id, event.id);
        assert_eq!(found.stream, event.stream);
        assert_eq!(found.version, 1);
        assert_eq!(found.event_type, event.event_type);
        assert_eq!(found.time, noon());
        assert_eq!(found.data.get(), data);
        assert_eq!(found.meta, *event.meta);
        let stream = store.stream(&event.stream, 1, 10).await.expect("the stream is read");
        assert_eq!(stream.len(), 1, "streams that differ in one byte are different");
        assert_eq!(stream[0].position, found.position);
    }
}

pub async fn the_largest_event_is_kept(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let data = format!("\"{}\"", "x".repeat(EVENT_BYTES_MAX - 2));
    batch()
        .event_with("big", 1, &data)
        .event_with("big", 2, &data)
        .commit(&store)
        .await;
    let stream = store
        .stream(&StreamId::new("big"), 1, 10)
        .await
        .expect("the stream is read");
    assert!(stream.len() == 2 && stream.iter().all(|event| event.data.get() == raw(&data).get()));
}

pub async fn a_stream_is_read_from_a_version_up_to_a_limit(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    for round in 0..5 {
        let other = format!("other{round}");
        let draft = batch()
            .event("s", round * 2 + 1)
            .event(&other, 1)
            .event("s", round * 2 + 2);
        draft.commit(&store).await;
    }
    let cases: [(u64, usize, &[u64]); 8] = [
        (0, 3, &[1, 2, 3]),
        (1, 3, &[1, 2, 3]),
        (4, 2, &[4, 5]),
        (9, 10, &[9, 10]),
        (10, 10, &[10]),
        (11, 10, &[]),
        (u64::MAX, usize::MAX, &[]),
        (1, 0, &[]),
    ];
    for (from, limit, expected) in cases {
        let events = store
            .stream(&StreamId::new("s"), from, limit)
            .await
            .expect("the stream is read");
        let versions: Vec<_> = events.iter().map(|event| event.version).collect();
        assert_eq!(versions, expected, "from {from}, at most {limit}");
        assert!(events.is_sorted_by_key(|event| event.position));
    }
    let unknown = store
        .stream(&StreamId::new("unknown"), 1, 10)
        .await
        .expect("the stream is read");
    assert!(unknown.is_empty());
}

pub async fn a_tail_ends_with_the_event_that_fills_it(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let data = format!("\"{}\"", "x".repeat(EVENT_BYTES_MAX - 2));
    let full = TAIL_BYTES_MAX / EVENT_BYTES_MAX;
    for version in 1..=full as u64 + 1 {
        batch().event_with("big", version, &data).commit(&store).await;
    }
    batch().event("small", 1).commit(&store).await;
    let mut lengths = Vec::new();
    let mut after = Position::START;
    loop {
        let tail = store.tail(after, usize::MAX).await.expect("the tail is read");
        let Some(last) = tail.events.last() else { break };
        lengths.push(tail.events.len());
        after = last.position;
    }
    assert_eq!(lengths, [full, 2]);
}

pub async fn the_tail_is_read_in_pieces(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    for number in 0..10 {
        batch()
            .event(&format!("a{number}"), 1)
            .event(&format!("b{number}"), 1)
            .commit(&store)
            .await;
    }
    let mut events = Vec::new();
    let mut after = Position::START;
    loop {
        let tail = store.tail(after, 3).await.expect("the tail is read");
        assert_eq!(tail.head.position, Position(20));
        let Some(last) = tail.events.last() else { break };
        assert!(tail.events.len() <= 3);
        after = last.position;
        events.extend(tail.events);
    }
    let head = everything(&store).await.head;
    assert_eq!(events.len(), 20);
    assert_whole(&head, &events);

    for (after, limit) in [(0, 0), (20, 5), (21, 5), (u64::MAX, usize::MAX)] {
        let tail = store.tail(Position(after), limit).await.expect("the tail is read");
        assert_eq!(tail.events.len(), 0, "after {after}, at most {limit}");
        assert_eq!(tail.head, head);
    }
}
