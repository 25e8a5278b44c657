//! Journals to publish, and consumers that note what they receive.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contracts::{EventId, Service};
use kernel::bus::{Bus, BusError, Group, Message, Subscription};
use kernel::event::{Epoch, LANES_DEFAULT, Lane, Meta, Position, Recorded, StreamId};
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{BusFactory, Process};

pub const LANES: u16 = LANES_DEFAULT;
/// How long what must come is waited for, wherever nothing shorter is promised.
pub const COMES_MAX: Duration = Duration::from_secs(60);
/// The pause before a call is repeated that failed.
const AGAIN: Duration = Duration::from_millis(100);
const STREAMS: u64 = 64;
const SOURCE: Service = Service::Orders;

/// A group of this name on the journal of [`Journal::new`].
#[must_use]
pub fn group(consumer: &'static str) -> Group {
    Group {
        service: Service::Events,
        consumer,
        source: SOURCE,
    }
}

/// A process whose groups are declared.
pub async fn joined(factory: &dyn BusFactory, groups: &[Group]) -> Process {
    let process = factory.join(LANES).await;
    process.bus.declare(groups).await.expect("the groups are declared");
    process
}

/// A subscription of a consumer that has handled nothing yet.
pub async fn subscribe(bus: &Arc<dyn Bus>, group: &Group) -> Box<dyn Subscription> {
    let from = vec![Position::START; usize::from(LANES)];
    bus.subscribe(group, from).await.expect("the group is there")
}

/// Events as a journal has them, to be published.
#[derive(Debug)]
pub struct Journal {
    source: Service,
    last: u64,
    heads: BTreeMap<Lane, Position>,
    versions: BTreeMap<StreamId, u64>,
}

impl Journal {
    /// Of the source that [`group`] consumes.
    #[must_use]
    pub fn new() -> Self {
        Self::of(SOURCE)
    }

    /// Of any source.
    #[must_use]
    pub fn of(source: Service) -> Self {
        Self {
            source,
            last: 0,
            heads: BTreeMap::new(),
            versions: BTreeMap::new(),
        }
    }

    /// The next events, in all lanes.
    pub fn next(&mut self, count: u64) -> Vec<Message> {
        let events = (0..count).map(|_| {
            let stream = StreamId::new(format!("s{}", self.last % STREAMS));
            self.event(stream, "{}")
        });
        events.collect()
    }

    /// The next events, one in each lane.
    pub fn next_in_each_lane(&mut self) -> Vec<Message> {
        (0..LANES).flat_map(|lane| self.next_in(Lane(lane), 1)).collect()
    }

    /// The next events, in one lane.
    pub fn next_in(&mut self, lane: Lane, count: u64) -> Vec<Message> {
        (0..count).map(|_| self.event(stream_in(lane), "{}")).collect()
    }

    /// The next event of a stream, with this JSON for its data.
    pub fn event(&mut self, stream: StreamId, data: &str) -> Message {
        self.last += 1;
        let (position, lane) = (Position(self.last), Lane::of(&stream, LANES));
        let version = self.versions.entry(stream.clone()).or_default();
        *version += 1;
        let event = Recorded {
            position,
            prev: self.heads.insert(lane, position).unwrap_or_default(),
            id: EventId::from_uuid(Uuid::from_u128(u128::from(self.last))),
            version: *version,
            lane,
            event_type: "thing.happened".into(),
            time: jiff::Timestamp::UNIX_EPOCH + Duration::from_micros(self.last),
            data: RawValue::from_string(data.to_owned()).expect("the text is JSON"),
            meta: Meta {
                schema: 1,
                actor: "system".into(),
                correlation: "req-1".into(),
                causation: None,
                trace: None,
            },
            stream,
        };
        Message {
            source: self.source,
            epoch: Epoch(Uuid::from_u128(7)),
            event: Arc::new(event),
        }
    }

    /// The last position of each lane that has any.
    #[must_use]
    pub fn heads(&self) -> &BTreeMap<Lane, Position> {
        &self.heads
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self::new()
    }
}

/// A stream whose events are in this lane.
#[must_use]
pub fn stream_in(lane: Lane) -> StreamId {
    let streams = (0..).map(|number| StreamId::new(format!("t{number}")));
    let mut streams = streams.filter(|stream| Lane::of(stream, LANES) == lane);
    streams.next().expect("some stream is in each lane")
}

/// Publishes, which must succeed.
pub async fn publish(bus: &Arc<dyn Bus>, messages: Vec<Message>) {
    bus.publish(messages).await.expect("the broker takes it");
}

/// Publishes as the relay does: again, until it succeeds.
pub async fn publish_patiently(bus: &Arc<dyn Bus>, messages: Vec<Message>) {
    while let Err(error) = bus.publish(messages.clone()).await {
        assert!(matches!(error, BusError::Unavailable(_)), "{error}");
        sleep(AGAIN).await;
    }
}

/// The next messages, which must come in time.
pub async fn receive(subscription: &mut Box<dyn Subscription>, max: usize) -> Vec<Message> {
    let received = timeout(COMES_MAX, subscription.receive(max)).await;
    let received = received.expect("something comes in time").expect("the bus is there");
    assert!(!received.is_empty(), "no messages are no answer");
    received
}

/// What a consumer has seen of each lane, going by `prev` as the runner does.
#[derive(Clone, Debug, Default)]
pub struct Received {
    reached: BTreeMap<Lane, Position>,
    /// Messages that had been seen before.
    pub repeated: u64,
}

impl Received {
    /// By a consumer whose checkpoints are here.
    #[must_use]
    pub fn from(reached: BTreeMap<Lane, Position>) -> Self {
        Self { reached, repeated: 0 }
    }

    /// Notes a message that must be the next one of its lane, or have been seen before.
    pub fn note(&mut self, message: &Message) {
        let (lane, reached) = (message.event.lane, self.reached_in(message.event.lane));
        assert!(
            self.note_next(message),
            "in lane {} of which {reached} was received came {}, which follows {}",
            lane.0,
            message.event.position,
            message.event.prev
        );
    }

    /// Notes a message if it is the next one of its lane, or was seen before. If not, there is a gap before it.
    pub fn note_next(&mut self, message: &Message) -> bool {
        let reached = self.reached_in(message.event.lane);
        if message.event.position <= reached {
            self.repeated += 1;
            return true;
        }
        let is_next = message.event.prev == reached;
        if is_next {
            self.reached.insert(message.event.lane, message.event.position);
        }
        is_next
    }

    /// The last position that was received of a lane.
    #[must_use]
    pub fn reached_in(&self, lane: Lane) -> Position {
        self.reached.get(&lane).copied().unwrap_or_default()
    }

    /// Whether everything of the journal was received.
    #[must_use]
    pub fn has_all_of(&self, journal: &Journal) -> bool {
        journal.heads.iter().all(|(&lane, &head)| self.reached_in(lane) >= head)
    }

    /// The last position of each lane.
    #[must_use]
    pub fn reached(&self) -> &BTreeMap<Lane, Position> {
        &self.reached
    }
}

/// Receives until the whole journal is there, and acknowledges nothing.
pub async fn receive_all(subscription: &mut Box<dyn Subscription>, received: &mut Received, journal: &Journal) {
    let receiving = async {
        while !received.has_all_of(journal) {
            let messages = receive(subscription, 100).await;
            messages.iter().for_each(|message| received.note(message));
        }
    };
    let outcome = timeout(COMES_MAX, receiving).await;
    outcome.expect("everything comes in time");
}

/// Acknowledges the lanes up to these positions.
pub async fn acknowledge(subscription: &mut Box<dyn Subscription>, positions: &BTreeMap<Lane, Position>) {
    for (&lane, &position) in positions {
        let acknowledged = subscription.acknowledge(lane, position).await;
        acknowledged.expect("the bus is there");
    }
}

/// Waits until it is so, in time.
pub async fn until(within: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let outcome = timeout(within, waiting).await;
    assert!(outcome.is_ok(), "after {within:?} it is not so that {what}");
}

/// Who of several workers has messages of a lane in hand, what they have seen together, and who has seen what.
#[derive(Debug, Default)]
pub struct Floor {
    state: Mutex<FloorState>,
}

#[derive(Debug, Default)]
struct FloorState {
    hands: BTreeMap<Lane, usize>,
    received: Received,
    by_worker: BTreeMap<usize, BTreeMap<Lane, Position>>,
}

impl Floor {
    fn state(&self) -> MutexGuard<'_, FloorState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was received by all together.
    #[must_use]
    pub fn received(&self) -> Received {
        self.state().received.clone()
    }

    /// The last positions that a worker has seen, of each lane that it had.
    #[must_use]
    pub fn seen_by(&self, worker: usize) -> BTreeMap<Lane, Position> {
        self.state().by_worker.get(&worker).cloned().unwrap_or_default()
    }

    /// Works off batches as a runner does: handles, acknowledges, and only then receives again. The first batch takes so
    /// much longer. Ends by being dropped.
    pub async fn work(self: Arc<Self>, worker: usize, mut subscription: Box<dyn Subscription>, first: Duration) {
        let mut took = first;
        let _hands = Hands { floor: &self, worker };
        loop {
            let messages = subscription.receive(16).await.expect("the bus is there");
            self.take(worker, &messages);
            sleep(took + Duration::from_millis(2)).await;
            took = Duration::ZERO;
            let done = self.put_down(worker, &messages);
            acknowledge(&mut subscription, &done).await;
        }
    }

    fn drop_all(&self, worker: usize) {
        self.state().hands.retain(|_, by| *by != worker);
    }

    fn take(&self, worker: usize, messages: &[Message]) {
        let mut state = self.state();
        for message in messages {
            let by = *state.hands.entry(message.event.lane).or_insert(worker);
            assert_eq!(by, worker, "two have messages of lane {} in hand", message.event.lane.0);
        }
    }

    fn put_down(&self, worker: usize, messages: &[Message]) -> BTreeMap<Lane, Position> {
        let mut state = self.state();
        let mut done = BTreeMap::new();
        for message in messages {
            state.received.note(message);
            let (lane, position) = (message.event.lane, message.event.position);
            state.by_worker.entry(worker).or_default().insert(lane, position);
            done.insert(lane, state.received.reached_in(lane));
        }
        drop(state);
        self.drop_all(worker);
        done
    }
}

/// Are empty when whoever has them stops, before its subscription is dropped.
struct Hands<'a> {
    floor: &'a Floor,
    worker: usize,
}

impl Drop for Hands<'_> {
    fn drop(&mut self) {
        self.floor.drop_all(self.worker);
    }
}

/// A consumer that goes on whatever happens to the broker: it subscribes again where it was interrupted, and leaves what
/// comes behind a gap aside.
#[derive(Debug, Default)]
pub struct Steadfast {
    state: Mutex<SteadfastState>,
}

#[derive(Debug, Default)]
struct SteadfastState {
    received: Received,
    arrivals: BTreeMap<Position, u32>,
}

impl Steadfast {
    /// One whose checkpoints are here.
    #[must_use]
    pub fn from(reached: BTreeMap<Lane, Position>) -> Self {
        let state = SteadfastState {
            received: Received::from(reached),
            ..SteadfastState::default()
        };
        Self {
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, SteadfastState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it has handled, in order.
    #[must_use]
    pub fn received(&self) -> Received {
        self.state().received.clone()
    }

    /// How often the rarest of these positions has arrived.
    #[must_use]
    pub fn arrivals(&self, positions: std::ops::RangeInclusive<u64>) -> u32 {
        let state = self.state();
        let counts = positions.map(|position| state.arrivals.get(&Position(position)).copied().unwrap_or_default());
        counts.min().unwrap_or_default()
    }

    /// How many messages have arrived.
    #[must_use]
    pub fn arrived(&self) -> u32 {
        self.state().arrivals.values().sum()
    }

    /// Consumes until it is dropped.
    pub async fn consume(self: Arc<Self>, bus: Arc<dyn Bus>, group: Group) {
        loop {
            let from = vec![Position::START; usize::from(LANES)];
            if let Ok(mut subscription) = bus.subscribe(&group, from).await {
                // Whatever the reason is, it is looked for again.
                let _ = self.consume_some(&mut subscription).await;
            }
            sleep(AGAIN).await;
        }
    }

    async fn consume_some(&self, subscription: &mut Box<dyn Subscription>) -> Result<(), BusError> {
        loop {
            let messages = subscription.receive(256).await?;
            let mut done = BTreeMap::new();
            for message in &messages {
                let mut state = self.state();
                *state.arrivals.entry(message.event.position).or_default() += 1;
                if state.received.note_next(message) {
                    let lane = message.event.lane;
                    done.insert(lane, state.received.reached_in(lane));
                }
            }
            for (lane, position) in done {
                subscription.acknowledge(lane, position).await?;
            }
        }
    }
}
