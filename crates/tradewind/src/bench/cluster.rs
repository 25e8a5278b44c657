//! Measuring what a bus does between two processes: orders in the one, all the rest in the other, beside the embedded bus in one
//! process.

mod figures;
mod limit;
mod report;

use std::collections::BTreeMap;
use std::iter::once;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contracts::Service;
use indicatif::ProgressBar;

pub use self::figures::{Figures, Row};
use self::limit::Published;
pub use self::report::{Report, show};
use crate::bench::flush;
use crate::bench::load::{Answered, Load, Pace};
use crate::bench::measured::{Measured, Part, Setup};
use crate::bench::run::USUAL;
use crate::bench::shop::{Basket, Shop, unique};
use crate::bench::stages::Took;
use crate::buses::BusUrl;
use crate::system::SERVICES;

/// Orders a second at which their way is timed.
pub const RATE: f64 = 500.0;

/// How long it may take until all is done that follows from a measurement.
const QUIET_MAX: Duration = Duration::from_secs(1200);
/// What the names of all that is made on a broker begin with, unless the URL says.
const PREFIX: &str = "bench";
/// What runs apart from the rest.
const APART: &str = "orders";
/// The way in, which runs with the rest.
const GATEWAY: &str = "gateway";

/// How to measure.
#[derive(Debug)]
pub struct Plan {
    /// How long each measurement counts.
    pub duration: Duration,
    /// The brokers, one after another.
    pub buses: Vec<BusUrl>,
}

/// Measures the embedded bus, and everything that the plan says. `tell` is given each row once it is there.
pub async fn run(plan: &Plan, progress: &ProgressBar, mut tell: impl FnMut(&Row) -> Result<()>) -> Result<Figures> {
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let buses: Vec<BusUrl> = plan.buses.iter().map(of_its_own).collect();
    for bus in &buses {
        progress.set_message(format!("looking for {bus}"));
        limit::connected(bus).await?.close().await;
    }
    progress.set_message("measuring what a flush takes");
    let mut figures = Figures {
        rows: Vec::new(),
        flush_p99_ms: flush::p99_ms(directory.path())?,
    };
    for (number, bus) in once(&BusUrl::Embedded).chain(&buses).enumerate() {
        let data = directory.path().join(number.to_string());
        let measuring = Measuring {
            bus,
            duration: plan.duration,
            progress,
        };
        let row = measuring.row(&data, figures.rows.first()).await;
        let row = row.with_context(|| format!("while {bus} was measured"))?;
        tell(&row)?;
        figures.rows.push(row);
        std::fs::remove_dir_all(&data)?;
    }
    Ok(figures)
}

/// With names that no other run has on the broker.
fn of_its_own(bus: &BusUrl) -> BusUrl {
    let beginning = bus.prefix().unwrap_or(PREFIX);
    bus.with_prefix(&format!("{beginning}-{}", unique()))
}

/// A bus that is being measured.
#[derive(Clone, Copy)]
struct Measuring<'a> {
    bus: &'a BusUrl,
    duration: Duration,
    progress: &'a ProgressBar,
}

impl Measuring<'_> {
    async fn row(&self, data: &Path, embedded: Option<&Row>) -> Result<Row> {
        self.tell("starting");
        let mut shop = Processes::start(self.bus, data).await?;
        self.tell("warming up");
        self.round(&mut shop, Pace::Flat).await?;
        self.tell(&format!("placing and confirming over {USUAL} connections"));
        let flat = self.round(&mut shop, Pace::Flat).await?;
        let batches = shop.orders.batches().await?;
        self.tell(&format!("placing {RATE} orders a second"));
        let paced = self.round(&mut shop, Pace::Rate(RATE)).await?;
        shop.stop().await?;

        #[expect(clippy::cast_precision_loss, reason = "numbers below 2^53")]
        let [orders, confirmed, events] =
            [flat.answered.accepted, flat.took.confirmed, flat.events].map(|it| it as f64);
        let orders_per_second = confirmed / flat.took.seconds;
        let events_an_order = events / orders;
        let limit = match self.bus {
            BusUrl::Embedded => None,
            BusUrl::Broker(..) => {
                self.tell("publishing the events of orders once more, and nothing else");
                let published = Published {
                    data: &data.join(APART),
                    after: flat.before.get(&Service::Orders).copied().unwrap_or_default(),
                    batches: &batches,
                };
                Some(published.once_more(self.bus, events_an_order).await?)
            }
        };
        Ok(Row {
            bus: self.bus.name(),
            broker: (*self.bus != BusUrl::Embedded).then(|| self.bus.to_string()),
            prefix: self.bus.prefix().map(str::to_owned),
            orders_per_second,
            of_embedded: embedded.map(|embedded| orders_per_second / embedded.orders_per_second),
            p50_ms: paced.took.p50_ms,
            p99_ms: paced.took.p99_ms,
            p999_ms: paced.took.p999_ms,
            cpu_us: flat.cpu.as_secs_f64() * 1e6 / orders,
            events_an_order,
            refused: flat.answered.refusals() + paced.answered.refusals(),
            limit,
        })
    }

    /// Places orders for a while, and waits until all that follows from them is done.
    async fn round(&self, processes: &mut Processes, pace: Pace) -> Result<Round> {
        // A shop for each: a token lives for a quarter of an hour.
        let shop = Shop::open(&processes.door().url(), &unique()).await?;
        shop.until_known(processes.door().address).await?;
        shop.until_caught_up(QUIET_MAX).await?;
        let warm_up = match pace {
            Pace::Flat => Duration::ZERO,
            Pace::Rate(_) => self.duration / 5,
        };
        let load = Load {
            address: processes.door().address,
            connections: USUAL,
            pace,
            warm_up,
            duration: self.duration,
            shots: shop.place(Basket::One),
        };
        let before = processes.heads().await?;
        let tally = processes.orders.tally().await?;
        let usages = processes.all().map(Measured::watch).collect::<Result<Vec<_>>>()?;
        processes.orders.note().await?;
        let again = async {
            tokio::time::sleep(warm_up).await;
            match warm_up.is_zero() {
                true => Ok(()),
                false => processes.orders.note().await,
            }
        };
        let (answered, again) = tokio::join!(load.run(), again);
        let answered = answered?;
        again?;
        processes.orders.settle(QUIET_MAX).await?;
        let took = processes.orders.took().await?;
        shop.until_caught_up(QUIET_MAX).await?;
        let mut cpu = Duration::ZERO;
        for usage in usages {
            cpu += usage.end()?.0;
        }
        let settled = processes.orders.tally().await?;
        let (placed, confirmed) = (settled.placed - tally.placed, settled.confirmed - tally.confirmed);
        ensure!(
            (placed, confirmed) == (answered.accepted, answered.accepted),
            "{} orders were acknowledged, {placed} placed and {confirmed} confirmed",
            answered.accepted
        );
        ensure!(took.timed > 0, "no order was confirmed after the warm-up");
        let after = processes.heads().await?;
        let published = |heads: &BTreeMap<Service, u64>| -> u64 {
            let followed = SERVICES.iter().filter(|described| described.is_followed);
            followed.filter_map(|described| heads.get(&described.service)).sum()
        };
        Ok(Round {
            answered,
            took,
            events: published(&after) - published(&before),
            before,
            cpu,
        })
    }

    fn tell(&self, what: &str) {
        self.progress.set_message(format!("{}: {what}", self.bus.name()));
    }
}

/// Orders that were placed, and what came of them.
struct Round {
    answered: Answered,
    /// Of those that were placed after the warm-up.
    took: Took,
    /// How many events each journal had before.
    before: BTreeMap<Service, u64>,
    /// Those that were added to journals that go to a broker.
    events: u64,
    /// Of all processes, on any processor.
    cpu: Duration,
}

/// The processes of a shop.
struct Processes {
    /// With orders in it.
    orders: Measured,
    /// With everything else, unless that is in the same.
    rest: Option<Measured>,
}

impl Processes {
    async fn start(bus: &BusUrl, data: &Path) -> Result<Self> {
        let (of_orders, of_rest) = (data.join(APART), data.join("rest"));
        let timed = Setup {
            is_timed: true,
            ..Setup::on(&of_orders)
        };
        if *bus == BusUrl::Embedded {
            return Ok(Self {
                orders: Measured::start(timed).await?,
                rest: None,
            });
        }
        let listen = free_address()?;
        let part = Part {
            names: vec![APART],
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            others: format!("http://{listen}"),
            bus: bus.clone(),
        };
        let part = Some(&part);
        let orders = Measured::start(Setup { part, ..timed }).await?;
        let names = Service::ALL.iter().map(|service| service.as_str());
        let part = Part {
            names: names.filter(|name| *name != APART).chain([GATEWAY]).collect(),
            listen,
            others: orders.url(),
            bus: bus.clone(),
        };
        let part = Some(&part);
        let rest = Measured::start(Setup {
            part,
            ..Setup::on(&of_rest)
        });
        Ok(Self {
            orders,
            rest: Some(rest.await?),
        })
    }

    /// The way in.
    fn door(&self) -> &Measured {
        self.rest.as_ref().unwrap_or(&self.orders)
    }

    fn all(&self) -> impl Iterator<Item = &Measured> {
        once(&self.orders).chain(&self.rest)
    }

    /// How many events each journal has.
    async fn heads(&mut self) -> Result<BTreeMap<Service, u64>> {
        let mut heads = self.orders.heads().await?;
        if let Some(rest) = &mut self.rest {
            heads.extend(rest.heads().await?);
        }
        Ok(heads)
    }

    async fn stop(self) -> Result<()> {
        if let Some(rest) = self.rest {
            rest.stop().await?;
        }
        self.orders.stop().await
    }
}

/// Where nobody listens: both processes have to know of each other before they start.
fn free_address() -> Result<SocketAddr> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    Ok(bound.local_addr()?)
}
