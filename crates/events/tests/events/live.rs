//! Live streams: what is on them, and going on after a break.

use std::sync::Arc;
use std::time::Duration;

use contracts::{Role, Service, UserId, order, user};
use events::Error;
use jiff::SignedDuration;
use kernel::clock::Clock;
use kernel::context::Context;
use kernel::event::Position;
use serde_json::json;

use crate::rig::{Frame, Rig, next, rig};

const SECOND: Duration = Duration::from_secs(1);

async fn types(live: &mut events::Live, count: usize) -> Vec<String> {
    let mut types = Vec::new();
    for _ in 0..count {
        types.push(next(live).await.unwrap().event().r#type);
    }
    types.sort();
    types
}

/// Reads a stream of nothing but signs of life to its end.
async fn drain(live: &mut events::Live) {
    for _ in 0..100 {
        if live.next().await.is_none() {
            return;
        }
    }
    panic!("the stream does not end");
}

/// Nothing more is on the stream now.
async fn assert_silent(rig: &Rig, live: &mut events::Live) {
    tokio::select! {
        biased;
        frame = next(live) => panic!("{frame:?}"),
        () = rig.pass(SECOND) => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_now_and_tells_where() {
    let rig = rig().await;
    rig.publish("before").await;
    let mut live = rig.stream(rig.user(Role::Admin), None).await;
    let first = Frame::read(&live.next().await.unwrap());
    assert_eq!(
        first,
        Frame {
            id: Some(1),
            data: None,
            comment: false
        }
    );
    let id = rig.publish("after").await;
    let frame = next(&mut live).await.unwrap();
    assert_eq!((frame.id, frame.event().id, frame.event().sequence), (Some(2), id, 2));
    assert_silent(&rig, &mut live).await;
}

#[tokio::test(start_paused = true)]
async fn an_admin_sees_everything_and_a_customer_the_events_of_own_orders() {
    let rig = rig().await;
    let (admin, ada) = (rig.user(Role::Admin), rig.user(Role::Customer));
    let (mut all, mut own) = (rig.stream(admin, None).await, rig.stream(ada, None).await);
    let bob = rig.registered().await;
    rig.journey(bob).await;
    rig.journey(ada.id).await;
    rig.harness
        .publish(
            Service::Users,
            ada.id,
            user::Updated {
                user_id: ada.id,
                changed: vec![],
                role: Role::Customer,
            },
        )
        .await;
    // Custom data may say anything.
    rig.publish_with("trap", json!({"user_id": ada.id})).await;
    rig.settle().await;
    assert_eq!(types(&mut all, 15).await.len(), 15);
    assert_silent(&rig, &mut all).await;
    let own_types = [
        "inventory.reserved",
        "order.confirmed",
        "order.paid",
        "order.placed",
        "payment.authorized",
        "payment.captured",
    ];
    assert_eq!(types(&mut own, 6).await, own_types);
    assert_silent(&rig, &mut own).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_narrowed_by_type_and_subject() {
    let rig = rig().await;
    let admin = rig.user(Role::Admin);
    let user = rig.registered().await;
    let order = rig.journey(user).await;
    rig.journey(user).await;
    rig.settle().await;
    let mut orders = rig.filtered(admin, json!({"type": "order.*"}), Some(0)).await;
    assert_eq!(types(&mut orders, 6).await[0], "order.confirmed");
    assert_silent(&rig, &mut orders).await;
    let mut one = rig
        .filtered(admin, json!({"type": "order.*", "subject": order}), Some(0))
        .await;
    assert_eq!(
        types(&mut one, 3).await,
        ["order.confirmed", "order.paid", "order.placed"]
    );
    assert_silent(&rig, &mut one).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_comes_back_misses_nothing_and_sees_nothing_twice() {
    let rig = Arc::new(rig().await);
    let user = rig.user(Role::Customer);
    let admin = rig.user(Role::Admin);
    let writers = (0..4).map(|writer| {
        let rig = Arc::clone(&rig);
        tokio::spawn(async move {
            for number in 0..150_u64 {
                if number % 10 == writer {
                    rig.journey(user.id).await;
                }
                rig.publish("noise").await;
                rig.pass(Duration::from_millis(number % 7)).await;
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let read = |reader, wanted: usize| {
        let rig = Arc::clone(&rig);
        async move {
            let (mut from, mut seen) = (Some(0), Vec::new());
            for round in 1_usize.. {
                let mut live = rig.stream(reader, from).await;
                // Each connection lasts for a few pieces, heartbeats and hellos among them.
                for _ in 0..1 + round * 7 % 23 {
                    let piece = tokio::select! {
                        piece = live.next() => Frame::read(&piece.unwrap()),
                        // The client breaks off in the middle of waiting.
                        () = rig.pass(Duration::from_millis(40)) => break,
                    };
                    from = piece.id.or(from);
                    if piece.data.is_some() {
                        seen.push(piece.event());
                    }
                }
                if seen.len() >= wanted {
                    break;
                }
            }
            seen
        }
    };
    let journeys = 4 * 15;
    let (all, own) = tokio::join!(read(admin, 600 + journeys * 6), read(user, journeys * 6));
    for writer in writers {
        writer.await.unwrap();
    }
    let positions: Vec<u64> = all.iter().map(|event| event.sequence).collect();
    assert_eq!(positions, (1..=600 + 60 * 6).collect::<Vec<u64>>());
    let own: Vec<u64> = own.iter().map(|event| event.sequence).collect();
    let expected = all
        .iter()
        .filter(|event| event.source != Service::Events)
        .map(|event| event.sequence);
    assert_eq!(own, expected.collect::<Vec<u64>>());
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_says_that_it_is_alive_and_how_far_it_is() {
    let rig = rig().await;
    let mut live = rig.stream(rig.user(Role::Customer), None).await;
    live.next().await.unwrap();
    assert!(Frame::read(&live.next().await.unwrap()).comment);
    for _ in 0..100 {
        rig.publish("not for customers").await;
    }
    let alive = Frame::read(&live.next().await.unwrap());
    assert_eq!(
        alive,
        Frame {
            id: Some(100),
            data: None,
            comment: false
        }
    );
    assert!(Frame::read(&live.next().await.unwrap()).comment);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_token() {
    let rig = rig().await;
    let started = rig.harness.clock().now();
    let mut live = rig.stream(rig.user(Role::Admin), None).await;
    drain(&mut live).await;
    assert_eq!(rig.harness.clock().now().duration_since(started).as_secs(), 15 * 60);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_its_user_is_erased() {
    let rig = rig().await;
    let user = rig.user(Role::Customer);
    let started = rig.harness.clock().now();
    let mut live = rig.stream(user, None).await;
    live.next().await.unwrap();
    rig.harness
        .publish(Service::Users, user.id, user::Erased { user_id: user.id })
        .await;
    drain(&mut live).await;
    assert!(rig.harness.clock().now().duration_since(started) < SignedDuration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_the_service_stops() {
    let rig = rig().await;
    let mut live = rig.stream(rig.user(Role::Admin), None).await;
    live.next().await.unwrap();
    let engine = rig.engine.clone();
    let (ended, ()) = tokio::join!(live.next(), engine.stop());
    assert_eq!(ended, None);
}

#[tokio::test(start_paused = true)]
async fn a_stream_does_not_go_on_from_where_the_log_never_was() {
    let rig = rig().await;
    rig.publish("a").await;
    let (admin, until) = (
        rig.user(Role::Admin),
        rig.harness.clock().now() + SignedDuration::from_mins(1),
    );
    let beyond = rig
        .events
        .stream(admin, until, Default::default(), Some(Position(2)))
        .await;
    assert!(matches!(beyond, Err(Error::BeyondEnd)), "{beyond:?}");
}

#[tokio::test(start_paused = true)]
async fn accesses_are_on_the_streams_of_those_who_may_see_them_and_have_no_id() {
    let rig = rig().await;
    let (admin, ada, bob) = (
        rig.user(Role::Admin),
        rig.user(Role::Customer),
        rig.user(Role::Customer),
    );
    let mut all = rig.stream(admin, None).await;
    let (mut adas, mut bobs) = (rig.stream(ada, None).await, rig.stream(bob, None).await);
    let view = |user_id: UserId| {
        let order_id = rig.order();
        let context = Context {
            actor: "usr_x".into(),
            ..Context::system("request")
        };
        rig.access
            .record(Service::Orders, order_id, order::Viewed { order_id, user_id }, &context);
        rig.access
            .record(Service::Users, user_id, user::Viewed { user_id }, &context);
    };
    view(ada.id);
    let seen = next(&mut adas).await.unwrap();
    assert_eq!(
        (seen.id, &*seen.event().r#type, seen.event().sequence),
        (None, "order.viewed", 0)
    );
    assert_eq!(seen.event().correlationid, "request");
    assert_eq!(types(&mut all, 2).await, ["order.viewed", "user.viewed"]);
    assert_silent(&rig, &mut adas).await;
    assert_silent(&rig, &mut bobs).await;
    assert_eq!(rig.log().await.len(), 0);
    // Streams come and go.
    drop((all, adas));
    view(bob.id);
    assert_eq!(next(&mut bobs).await.unwrap().event().r#type, "order.viewed");
    drop(bobs);
    view(bob.id);
    rig.pass(SECOND).await;
    let mut bobs = rig.stream(bob, None).await;
    view(bob.id);
    assert_eq!(next(&mut bobs).await.unwrap().event().r#type, "order.viewed");
    assert_silent(&rig, &mut bobs).await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_accesses_does_not_hold_the_log_up() {
    let rig = Arc::new(rig().await);
    let mut live = rig.stream(rig.user(Role::Admin), None).await;
    let flood = {
        let rig = Arc::clone(&rig);
        tokio::spawn(async move {
            let context = Context::system("request");
            loop {
                let user_id = UserId::from_uuid(rig.harness.uuid());
                rig.access
                    .record(Service::Users, user_id, user::Viewed { user_id }, &context);
                rig.pass(Duration::from_millis(1)).await;
            }
        })
    };
    for number in 1..=20 {
        rig.publish("log").await;
        let published = rig.harness.clock().monotonic();
        loop {
            if next(&mut live).await.unwrap().id == Some(number) {
                break;
            }
        }
        assert!(rig.harness.clock().monotonic() - published < Duration::from_millis(100));
    }
    flood.abort();
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_gets_everything_at_its_own_pace() {
    let rig = rig().await;
    let mut slow = rig.stream(rig.user(Role::Admin), None).await;
    slow.next().await.unwrap();
    for _ in 0..6000 {
        rig.publish("fast").await;
    }
    for position in 1..=6000 {
        assert_eq!(next(&mut slow).await.unwrap().id, Some(position));
    }
}
