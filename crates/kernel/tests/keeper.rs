//! Shares of lanes, kept over a broker that knows no more than to compare and set: who has a lane, and when another one.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use contracts::Service;
use kernel::bus::keeper::{Keeper, Ledger, Tenancy};
use kernel::bus::shares::{LEASE, Member, Roster};
use kernel::bus::{BusError, Group, HANDOVER_MAX, TAKEOVER_MAX};
use kernel::clock::{Clock, SystemClock};
use kernel::event::Lane;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const LANES: u16 = 8;

/// A roster that all members reach, each over a line of its own.
#[derive(Clone, Debug, Default)]
struct Line {
    table: Arc<Mutex<(Roster, Option<u64>)>>,
    is_cut: Arc<AtomicBool>,
    settled: Arc<Mutex<BTreeSet<Lane>>>,
}

impl Line {
    fn another(&self) -> Self {
        Self {
            table: Arc::clone(&self.table),
            ..Self::default()
        }
    }

    /// A call takes its time, and does not get through a line that is cut.
    async fn pass(&self) -> Result<(), BusError> {
        sleep(Duration::from_millis(30)).await;
        match self.is_cut.load(Ordering::Relaxed) {
            true => Err(BusError::new("the line is cut")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Ledger for Line {
    async fn read(&self) -> Result<(Roster, Option<u64>), BusError> {
        self.pass().await?;
        Ok(self.table.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn write(&self, roster: &Roster, over: Option<u64>) -> Result<bool, BusError> {
        self.pass().await?;
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = table.1 == over;
        if is_over {
            *table = (roster.clone(), Some(over.unwrap_or_default() + 1));
        }
        Ok(is_over)
    }

    async fn settle(&self, lanes: &BTreeSet<Lane>) -> Result<(), BusError> {
        self.pass().await?;
        self.settled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(lanes);
        Ok(())
    }
}

/// A subscription that handles nothing, and so lets go of lanes as soon as it is asked.
struct Subscriber {
    line: Line,
    tenancy: Arc<Tenancy>,
    clock: Arc<SystemClock>,
    /// While this is set, it is at work, and lets go of nothing.
    is_busy: Arc<AtomicBool>,
    stop: CancellationToken,
    keeper: JoinHandle<()>,
}

impl Subscriber {
    async fn join(number: u128, line: Line) -> Self {
        let group = Group {
            service: Service::Events,
            consumer: "a",
            source: Service::Orders,
        };
        let clock = Arc::new(SystemClock::new());
        let (me, ledger) = (Member(Uuid::from_u128(number)), Arc::new(line.clone()));
        let keeper = Keeper::join(group, me, LANES, ledger, Arc::clone(&clock) as Arc<dyn Clock>).await;
        let keeper = keeper.expect("the line is there");
        let (tenancy, stop, is_busy) = (
            keeper.tenancy(),
            CancellationToken::new(),
            Arc::new(AtomicBool::new(false)),
        );
        let (entered, busy, stopped) = (Arc::clone(&tenancy), Arc::clone(&is_busy), stop.clone());
        tokio::spawn(async move {
            while !stopped.is_cancelled() {
                if !busy.load(Ordering::Relaxed) {
                    entered.enter();
                }
                sleep(Duration::from_millis(10)).await;
            }
        });
        Self {
            line,
            tenancy,
            clock,
            is_busy,
            keeper: tokio::spawn(keeper.run(stop.clone())),
            stop,
        }
    }

    /// The lanes of which it would hand out messages now.
    fn lanes(&self) -> BTreeSet<Lane> {
        let holds = self.tenancy.holds(self.clock.monotonic());
        let lanes = (0..LANES).map(Lane).filter(|lane| holds && self.tenancy.has(*lane));
        lanes.collect()
    }
}

/// Lets time pass until it is so, and sees all the while that no two have the same lane.
async fn until(subscribers: &[&Subscriber], within: Duration, is_so: impl Fn(&[BTreeSet<Lane>]) -> bool) -> Duration {
    let began = Instant::now();
    loop {
        let lanes: Vec<_> = subscribers.iter().map(|it| it.lanes()).collect();
        let all: BTreeSet<_> = lanes.iter().flatten().collect();
        let count: usize = lanes.iter().map(BTreeSet::len).sum();
        assert_eq!(all.len(), count, "two have the same lane: {lanes:?}");
        if is_so(&lanes) {
            return began.elapsed();
        }
        assert!(began.elapsed() < within, "after {within:?}: {lanes:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn counts(lanes: &[BTreeSet<Lane>]) -> Vec<usize> {
    lanes.iter().map(BTreeSet::len).collect()
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_gets_a_share_and_whoever_leaves_gives_it_back() {
    let line = Line::default();
    let a = Subscriber::join(1, line.another()).await;
    until(&[&a], Duration::ZERO + Duration::from_millis(1), |lanes| {
        counts(lanes) == [8]
    })
    .await;
    let b = Subscriber::join(2, line.another()).await;
    until(&[&a, &b], HANDOVER_MAX, |lanes| counts(lanes) == [4, 4]).await;
    let c = Subscriber::join(3, line.another()).await;
    until(&[&a, &b, &c], HANDOVER_MAX, |lanes| counts(lanes) == [3, 3, 2]).await;
    let given = a.lanes();
    a.stop.cancel();
    until(&[&b, &c], HANDOVER_MAX, |lanes| counts(lanes) == [4, 4]).await;
    a.keeper.await.expect("it ends well");
    let settled = a.line.settled.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(
        settled.is_superset(&given),
        "what was acknowledged is sent before a lane is given back"
    );
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_stops_before_others_take_over() {
    let line = Line::default();
    let a = Subscriber::join(1, line.another()).await;
    let b = Subscriber::join(2, line.another()).await;
    until(&[&a, &b], HANDOVER_MAX, |lanes| counts(lanes) == [4, 4]).await;
    a.line.is_cut.store(true, Ordering::Relaxed);
    let took = until(&[&a, &b], TAKEOVER_MAX, |lanes| counts(lanes) == [0, 8]).await;
    assert!(took > LEASE / 2, "after {took:?}");
    // The line is mended: it gets its share again.
    a.line.is_cut.store(false, Ordering::Relaxed);
    until(&[&a, &b], HANDOVER_MAX, |lanes| counts(lanes) == [4, 4]).await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_for_long_is_found_again_and_nobody_had_a_lane_meanwhile() {
    let line = Line::default();
    let members = [
        Subscriber::join(1, line.another()).await,
        Subscriber::join(2, line.another()).await,
    ];
    let both = [&members[0], &members[1]];
    until(&both, HANDOVER_MAX, |lanes| counts(lanes) == [4, 4]).await;
    members
        .iter()
        .for_each(|it| it.line.is_cut.store(true, Ordering::Relaxed));
    until(&both, TAKEOVER_MAX, |lanes| counts(lanes) == [0, 0]).await;
    sleep(Duration::from_secs(100)).await;
    *line.table.lock().unwrap_or_else(PoisonError::into_inner) = (Roster::default(), None);
    members
        .iter()
        .for_each(|it| it.line.is_cut.store(false, Ordering::Relaxed));
    until(&both, HANDOVER_MAX, |lanes| counts(lanes) == [4, 4]).await;
}

#[tokio::test(start_paused = true)]
async fn a_lane_at_work_stays_until_the_work_is_done_however_long_that_takes() {
    let line = Line::default();
    let a = Subscriber::join(1, line.another()).await;
    sleep(Duration::from_millis(100)).await;
    a.is_busy.store(true, Ordering::Relaxed);
    let b = Subscriber::join(2, line.another()).await;
    let began = Instant::now();
    while began.elapsed() < LEASE * 3 {
        assert_eq!(b.lanes().len(), 0, "after {:?}", began.elapsed());
        sleep(Duration::from_millis(100)).await;
    }
    a.is_busy.store(false, Ordering::Relaxed);
    until(&[&a, &b], HANDOVER_MAX, |lanes| counts(lanes) == [4, 4]).await;
}

#[tokio::test(start_paused = true)]
async fn of_many_who_come_at_once_each_gets_a_lane_and_one_too_many_waits() {
    let line = Line::default();
    let joining = (1..=9).map(|number| Subscriber::join(number, line.another()));
    let members = futures::future::join_all(joining).await;
    let members: Vec<_> = members.iter().collect();
    until(&members, HANDOVER_MAX * 2, |lanes| {
        let counts = counts(lanes);
        counts.iter().sum::<usize>() == 8 && counts.iter().all(|count| *count <= 1)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_started_again_under_its_name_goes_on_at_once() {
    let line = Line::default();
    let dead = Subscriber::join(1, line.another()).await;
    dead.line.is_cut.store(true, Ordering::Relaxed);
    dead.keeper.abort();
    let again = Subscriber::join(1, line.another()).await;
    until(&[&again], Duration::from_secs(1), |lanes| counts(lanes) == [8]).await;
}
