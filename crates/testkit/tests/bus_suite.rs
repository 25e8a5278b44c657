//! The bus in memory against the port's contract, and the contract against buses that break it: each obligation is broken
//! at least once, and notices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use contracts::{EventId, Service};
use kernel::bus::{Bus, BusError, Group, Message, SourceHead, Subscription};
use kernel::event::{LANES_DEFAULT, Lane, Position};
use kernel::memory::bus::MemoryBus;
use kernel::store::EVENT_BYTES_MAX;
use testkit::bus_suite::{BrokerFactory, BusFactory, OBLIGATION_TIME_MAX, Process};
use tokio::time::{sleep, timeout};

/// How long nothing may be heard of a subscriber. The bus in memory waits for ever.
const PATIENCE: Duration = Duration::from_millis(300);

mod memory_bus {
    use super::*;

    testkit::bus_suite!(Broken::new(Breach::Nothing));
    testkit::bus_outage_suite!(Broken::new(Breach::Nothing));
}

/// What is wrong with a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breach {
    Nothing,
    /// Data is parsed and written anew on its way.
    RewritesData,
    ReversesBatches,
    HandsOutTooMuch,
    AcknowledgesOnReceipt,
    IgnoresRewinds,
    ForgetsAcknowledgements,
    /// No more comes while a thousand messages are unacknowledged.
    WaitsForAcknowledgements,
    /// A `receive` that is dropped may have taken messages.
    LosesWhatIsGivenUp,
    SwallowsDuplicates,
    /// What is published before anybody subscribes is lost.
    KeepsNothingForLater,
    DeclaringBeginsAnew,
    TakesAnyLanes,
    MergesGroups,
    MergesSources,
    RefusesLargeMessages,
    TakesTooLargeMessages,
    /// Messages before the one that is too large are sent.
    RefusesInTheMiddle,
    GivesEverybodyEverything,
    StarvesNewcomers,
    KeepsLanesOfTheDropped,
    KeepsLanesOfTheDead,
    /// What was read ahead is handed out, whoever has the lanes by then.
    HandsOutWhatWasReadAhead,
    /// A subscriber that is not heard of loses its lanes while it is at work.
    IsImpatient,
    LosesItsDisk,
    TakesWhatItLoses,
    LosesWhatComesWhileItStandsStill,
    /// What was once received is not received again.
    RemembersWhatWasSeen,
    /// Whatever becomes of the broker.
    SaysThatItIsReached,
}

struct Broken {
    breach: Breach,
    bus: MemoryBus,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    seen: Mutex<BTreeSet<EventId>>,
    is_away: AtomicBool,
    subscriptions: AtomicUsize,
}

impl Broken {
    fn new(breach: Breach) -> Self {
        Self {
            breach,
            bus: MemoryBus::default(),
            state: Arc::default(),
        }
    }
}

#[async_trait]
impl BusFactory for Broken {
    async fn join(&self, lanes: u16) -> Process {
        let lanes = match self.breach {
            Breach::TakesAnyLanes => LANES_DEFAULT,
            _ => lanes,
        };
        let (bus, breach) = (self.bus.joined(lanes), self.breach);
        let handle = BrokenBus {
            breach,
            bus: bus.clone(),
            state: Arc::clone(&self.state),
        };
        Process::new(Arc::new(handle), move || {
            if breach != Breach::KeepsLanesOfTheDead {
                bus.cut();
            }
        })
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

#[async_trait]
impl BrokerFactory for Broken {
    async fn kill(&self) {
        self.state.is_away.store(true, Ordering::Relaxed);
        self.bus.stand_still(true);
        if self.breach == Breach::LosesItsDisk {
            self.bus.wipe();
        }
    }

    async fn pause(&self) {
        self.state.is_away.store(true, Ordering::Relaxed);
        self.bus.stand_still(true);
    }

    async fn resume(&self) {
        self.start().await;
    }

    async fn start(&self) {
        self.bus.stand_still(false);
        self.state.is_away.store(false, Ordering::Relaxed);
    }

    async fn wipe(&self) {
        self.bus.wipe();
    }

    fn many(&self) -> u64 {
        20_000
    }
}

#[derive(Debug)]
struct BrokenBus {
    breach: Breach,
    bus: MemoryBus,
    state: Arc<State>,
}

#[async_trait]
impl Bus for BrokenBus {
    async fn declare(&self, groups: &[Group]) -> Result<(), BusError> {
        if self.breach == Breach::DeclaringBeginsAnew {
            self.bus.wipe();
        }
        self.bus.declare(groups).await
    }

    async fn publish(&self, mut messages: Vec<Message>) -> Result<(), BusError> {
        match self.breach {
            Breach::SwallowsDuplicates => {
                let mut seen = self.state.seen.lock().unwrap_or_else(PoisonError::into_inner);
                messages.retain(|message| seen.insert(message.event.id));
            }
            Breach::KeepsNothingForLater if self.state.subscriptions.load(Ordering::Relaxed) == 0 => return Ok(()),
            Breach::MergesSources => messages.iter_mut().for_each(|message| message.source = Service::Orders),
            Breach::RefusesLargeMessages if messages.iter().any(|it| it.event.data.get().len() > EVENT_BYTES_MAX) => {
                return Err(BusError::new("that is large"));
            }
            Breach::TakesTooLargeMessages => {
                return match self.bus.publish(messages).await {
                    Err(BusError::TooLarge { .. }) => Ok(()),
                    published => published,
                };
            }
            Breach::RefusesInTheMiddle => {
                for message in messages {
                    self.bus.publish(vec![message]).await?;
                }
                return Ok(());
            }
            Breach::TakesWhatItLoses | Breach::LosesWhatComesWhileItStandsStill
                if self.state.is_away.load(Ordering::Relaxed) =>
            {
                return Ok(());
            }
            _ => {}
        }
        self.bus.publish(messages).await
    }

    async fn subscribe(&self, group: &Group, from: Vec<Position>) -> Result<Box<dyn Subscription>, BusError> {
        let number = self.state.subscriptions.fetch_add(1, Ordering::Relaxed);
        let mut group = group.clone();
        match self.breach {
            Breach::GivesEverybodyEverything => group.consumer = ["x", "y", "z", "u", "v"][number % 5],
            Breach::MergesGroups => (group.service, group.consumer) = (Service::Events, "x"),
            Breach::MergesSources => group.source = Service::Orders,
            _ => {}
        }
        if self.breach == Breach::StarvesNewcomers && number > 0 {
            group.consumer = "nobody";
            group.source = Service::Users;
        }
        let inner = self.bus.subscribe(&group, from).await?;
        Ok(Box::new(BrokenSubscription {
            breach: self.breach,
            inner: Arc::new(tokio::sync::Mutex::new(Some(inner))),
            receives: (0..LANES_DEFAULT).map(Lane).collect(),
            unacknowledged: 0,
            read_ahead: Vec::new(),
            seen: BTreeMap::new(),
            resubscribe: (self.bus.clone(), group),
        }))
    }
}

type Shared = Arc<tokio::sync::Mutex<Option<Box<dyn Subscription>>>>;

struct BrokenSubscription {
    breach: Breach,
    inner: Shared,
    receives: BTreeSet<Lane>,
    unacknowledged: usize,
    read_ahead: Vec<Message>,
    seen: BTreeMap<Lane, Position>,
    resubscribe: (MemoryBus, Group),
}

impl BrokenSubscription {
    async fn receive_broken(&mut self, max: usize) -> Result<Vec<Message>, BusError> {
        if !self.read_ahead.is_empty() {
            return Ok(self.read_ahead.drain(..).collect());
        }
        let shared = Arc::clone(&self.inner);
        let mut inner = shared.lock().await;
        if inner.is_none() {
            let (bus, group) = &self.resubscribe;
            *inner = Some(bus.subscribe(group, Vec::new()).await?);
        }
        let subscription = inner.as_mut().expect("it was just made");
        let max = match self.breach {
            Breach::HandsOutTooMuch => max + 1,
            Breach::HandsOutWhatWasReadAhead => max + 5,
            _ => max,
        };
        if self.breach == Breach::WaitsForAcknowledgements && self.unacknowledged >= 1000 {
            std::future::pending::<()>().await;
        }
        let mut messages = subscription.receive(max).await?;
        self.unacknowledged += messages.len();
        self.receives = (0..LANES_DEFAULT)
            .map(Lane)
            .filter(|lane| subscription.receives(*lane))
            .collect();
        match self.breach {
            Breach::ReversesBatches => messages.reverse(),
            Breach::HandsOutWhatWasReadAhead => self.read_ahead = messages.split_off(1),
            Breach::AcknowledgesOnReceipt => {
                for message in &messages {
                    let (lane, position) = (message.event.lane, message.event.position);
                    subscription.acknowledge(lane, position).await?;
                }
            }
            Breach::RewritesData => messages.iter_mut().for_each(|message| {
                let event = Arc::make_mut(&mut message.event);
                let value: Option<serde_json::Value> = serde_json::from_str(event.data.get()).ok();
                let data = value.and_then(|value| serde_json::value::to_raw_value(&value).ok());
                event.data = data.unwrap_or_else(|| event.data.clone());
            }),
            Breach::LosesWhatIsGivenUp => sleep(Duration::from_millis(1)).await,
            Breach::RemembersWhatWasSeen => messages.retain(|message| {
                let seen = self.seen.entry(message.event.lane).or_default();
                let is_new = message.event.position > *seen;
                *seen = message.event.position.max(*seen);
                is_new
            }),
            Breach::IsImpatient => {
                let shared = Arc::clone(&self.inner);
                tokio::spawn(async move {
                    sleep(PATIENCE).await;
                    shared.lock().await.take();
                });
            }
            _ => {}
        }
        Ok(messages)
    }
}

#[async_trait]
impl Subscription for BrokenSubscription {
    async fn receive(&mut self, max: usize) -> Result<Vec<Message>, BusError> {
        loop {
            let messages = self.receive_broken(max).await?;
            if !messages.is_empty() {
                return Ok(messages);
            }
        }
    }

    async fn acknowledge(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        match &mut *self.inner.lock().await {
            Some(inner) if self.breach != Breach::ForgetsAcknowledgements => inner.acknowledge(lane, position).await,
            _ => Ok(()),
        }
    }

    async fn rewind(&mut self, lane: Lane, position: Position) -> Result<(), BusError> {
        match &mut *self.inner.lock().await {
            Some(inner) if self.breach != Breach::IgnoresRewinds => inner.rewind(lane, position).await,
            _ => Ok(()),
        }
    }

    fn receives(&self, lane: Lane) -> bool {
        self.receives.contains(&lane)
    }

    fn is_live(&self) -> bool {
        let inner = self.inner.try_lock();
        let is_live = inner.is_ok_and(|inner| inner.as_ref().is_some_and(|inner| inner.is_live()));
        is_live || self.breach == Breach::SaysThatItIsReached
    }

    async fn head(&mut self) -> Option<SourceHead> {
        None
    }
}

impl Drop for BrokenSubscription {
    fn drop(&mut self) {
        if self.breach == Breach::KeepsLanesOfTheDropped {
            std::mem::forget(Arc::clone(&self.inner));
        }
    }
}

/// Runs obligations on buses that break them, in paused time.
macro_rules! noticed {
    ($($breach:ident: $module:ident::$name:ident;)+) => {
        const BROKEN: &[&str] = &[$(stringify!($module: $name;)),+];

        mod noticed {
            use super::*;
            $(
                #[tokio::test(start_paused = true)]
                #[expect(non_snake_case, reason = "named as the breach is")]
                async fn $breach() {
                    let obligation = async {
                        let factory = Broken::new(Breach::$breach);
                        testkit::bus_suite::$module::$name(&factory).await;
                    };
                    let outcome = tokio::spawn(timeout(OBLIGATION_TIME_MAX, obligation)).await;
                    assert!(!matches!(outcome, Ok(Ok(()))), "nobody has noticed it");
                }
            )+
        }
    };
}

noticed! {
    RewritesData: delivery::messages_arrive_as_they_were_published;
    ReversesBatches: delivery::within_a_lane_messages_come_in_the_order_of_publication;
    HandsOutTooMuch: delivery::no_more_messages_come_at_once_than_were_asked_for;
    AcknowledgesOnReceipt: delivery::what_was_not_acknowledged_comes_again_to_whoever_subscribes_next;
    IgnoresRewinds: delivery::what_was_not_acknowledged_comes_again_after_a_rewind;
    ForgetsAcknowledgements: delivery::what_was_acknowledged_does_not_come_again;
    WaitsForAcknowledgements: delivery::what_is_published_later_comes_however_much_is_unacknowledged;
    LosesWhatIsGivenUp: delivery::receiving_can_be_given_up_at_any_moment;
    SwallowsDuplicates: publishing::what_is_published_again_comes_again;
    KeepsNothingForLater: publishing::a_declared_group_misses_nothing;
    DeclaringBeginsAnew: publishing::declaring_again_changes_nothing;
    TakesAnyLanes: publishing::another_number_of_lanes_is_refused;
    MergesGroups: publishing::groups_do_not_know_of_each_other;
    MergesSources: publishing::a_group_receives_its_source_alone;
    RefusesLargeMessages: publishing::the_largest_message_passes;
    TakesTooLargeMessages: publishing::what_is_too_large_is_refused_with_its_size;
    RefusesInTheMiddle: publishing::what_is_too_large_is_refused_with_its_size;
    GivesEverybodyEverything: sharing::each_lane_is_received_by_one_subscriber_at_a_time;
    StarvesNewcomers: sharing::all_subscribers_have_a_share_and_together_everything;
    KeepsLanesOfTheDropped: sharing::lanes_of_a_subscriber_that_was_dropped_are_taken_over_soon;
    KeepsLanesOfTheDead: sharing::lanes_of_a_subscriber_that_died_without_a_word_are_taken_over;
    HandsOutWhatWasReadAhead: sharing::whoever_is_cut_off_hands_nothing_out_that_others_may_have;
    IsImpatient: sharing::a_slow_handler_keeps_its_lanes_and_their_order;
    LosesItsDisk: outages::a_broker_that_is_killed_loses_nothing_that_it_took;
    TakesWhatItLoses: outages::a_broker_that_is_away_is_waited_for;
    LosesWhatComesWhileItStandsStill: outages::a_broker_that_stands_still_is_waited_for;
    RemembersWhatWasSeen: outages::a_broker_that_lost_everything_serves_what_is_published_then;
    SaysThatItIsReached: outages::a_subscription_says_whether_the_broker_is_reached;
}

#[test]
fn each_obligation_is_broken_by_some_bus() {
    let suite = include_str!("../src/bus_suite.rs");
    let listed = suite
        .lines()
        .map(str::trim)
        .filter(|line| line.ends_with(';') && !line.contains(['(', '{', '=']));
    let obligations: Vec<&str> = listed
        .filter(|line| {
            ["delivery: ", "publishing: ", "sharing: ", "outages: "]
                .iter()
                .any(|it| line.starts_with(it))
        })
        .collect();
    assert!(obligations.len() >= 24, "{obligations:?}");
    let plain = |text: &str| text.replace([' ', ';', ':'], "");
    let broken: BTreeSet<String> = BROKEN.iter().map(|name| plain(name)).collect();
    for obligation in obligations {
        assert!(broken.contains(&plain(obligation)), "{obligation} is broken by no bus");
    }
}
