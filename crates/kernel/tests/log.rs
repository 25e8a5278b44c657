//! Subscriptions over a broker that keeps a log of each lane.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kernel::bus::BusError;
use kernel::bus::keeper::Tenancy;
use kernel::bus::log::{Cursor, Cursors, Entries, Entry, Life, Log, Subscriptions};
use kernel::clock::{Ids, ManualClock};
use kernel::event::{LANES_DEFAULT, Lane};
use kernel::wire;
use testkit::bus_suite::fixture::{Journal, group, stream_in};
use tokio::sync::watch;

/// Of the events in the log.
const EVENT_BYTES: usize = 200 * 1024;
/// What one subscription may have read ahead.
const READ_AHEAD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A log without an end, which counts what is read of it.
#[derive(Debug)]
struct Endless {
    made: watch::Sender<u64>,
    bytes: Arc<AtomicUsize>,
}

#[async_trait]
impl Log for Endless {
    async fn life(&self) -> Result<Life, BusError> {
        Ok(Life(1))
    }

    async fn read(&self, lane: Lane, after: Cursor) -> Result<Box<dyn Entries>, BusError> {
        assert_eq!(after.place, 0, "nothing was acknowledged");
        Ok(Box::new(EndlessLane {
            lane,
            journal: Journal::new(),
            place: 0,
            bytes: Arc::clone(&self.bytes),
        }))
    }

    fn connections(&self) -> watch::Receiver<u64> {
        self.made.subscribe()
    }

    fn is_reached(&self) -> bool {
        true
    }

    async fn kept(&self, _: Lane) -> Result<Option<Cursor>, BusError> {
        Ok(None)
    }

    async fn keep(&self, _: &[(Lane, Cursor)]) -> Result<Vec<(Lane, Cursor)>, BusError> {
        Ok(Vec::new())
    }
}

struct EndlessLane {
    lane: Lane,
    journal: Journal,
    place: u128,
    bytes: Arc<AtomicUsize>,
}

#[async_trait]
impl Entries for EndlessLane {
    async fn next(&mut self) -> Result<Entry, BusError> {
        let data = format!("\"{}\"", "x".repeat(EVENT_BYTES));
        let bytes = wire::encode(&self.journal.event(stream_in(self.lane), &data));
        self.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        self.place += 1;
        Ok(Entry {
            place: self.place,
            bytes: bytes.into(),
        })
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_read_ahead_of_a_slow_consumer_is_limited_in_bytes_and_comes_all_the_same() {
    let clock = Arc::new(ManualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
    let subscriptions = Subscriptions::new(clock, Arc::new(Ids::from_seed(1)), None);
    let bytes = Arc::new(AtomicUsize::new(0));
    let log: Arc<dyn Log> = Arc::new(Endless {
        made: watch::Sender::new(0),
        bytes: Arc::clone(&bytes),
    });
    let tenancy = Arc::new(Tenancy::default());
    tenancy.grant((0..LANES_DEFAULT).map(Lane).collect(), Duration::MAX);
    let cursors = Arc::new(Cursors::new(Arc::clone(&log), group("a")));
    let mut subscription = subscriptions.start(&group("a"), log, cursors, tenancy, |stop| async move {
        stop.cancelled().await;
    });
    let mut received = 0;
    for _ in 0..50 {
        received += subscription.receive(1).await.unwrap().len();
        tokio::time::sleep(Duration::from_millis(10)).await;
        let ahead = bytes.load(Ordering::Relaxed) - received * EVENT_BYTES;
        // Each lane may have one more in hand, for which there is no room yet.
        let limit = READ_AHEAD_BYTES_MAX + usize::from(LANES_DEFAULT) * (EVENT_BYTES + 4096);
        assert!(ahead <= limit, "{ahead} bytes were read ahead");
    }
    let batch = subscription.receive(256).await.unwrap();
    assert!(
        batch.len() * EVENT_BYTES <= READ_AHEAD_BYTES_MAX,
        "{} at once",
        batch.len()
    );
}
