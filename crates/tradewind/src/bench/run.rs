//! Measuring: which requests, at how many connections, and what is waited for between them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::bench::figures::{Figures, Mode, Row};
use crate::bench::flush;
use crate::bench::load::{Answered, Load, Pace, Shots};
use crate::bench::measured::{Measured, Setup};
use crate::bench::shop::{Basket, Shop, unique};
use crate::client::Client;
use crate::stopwatch::now;
use crate::stores::StoreUrl;

/// Orders placed while the saga runs count if all are decided so long after the end.
pub const SETTLED_MAX: Duration = Duration::from_secs(5);
/// Connections of which half of the load, and the storm of logins, are measured.
pub const USUAL: u32 = 64;

/// How long consumers may take to catch up between two measurements.
const QUIET_MAX: Duration = Duration::from_secs(1200);
/// How often they are asked.
const POLL: Duration = Duration::from_millis(200);
/// Orders that the customers have before they are read.
const ORDERS_TO_READ: u64 = 2000;
/// Clients that log in all the time.
const STORM: u32 = 16;
/// Connections that orders are loaded over.
const LOADERS: u32 = 256;
/// How long orders are loaded before their number is looked at.
const LOAD_STEP: Duration = Duration::from_secs(2);
/// A file that tells the directory of a bench from that of a shop.
const MARK: &str = "bench-only";
/// How a database's name begins that the bench may fill.
const BENCH: &str = "bench";

/// How to measure.
#[derive(Debug)]
pub struct Plan {
    /// How long each measurement counts.
    pub duration: Duration,
    /// How many connections to measure at.
    pub connections: Vec<u32>,
    /// Which modes.
    pub modes: Vec<Mode>,
    /// Orders to have beforehand, for a second round.
    pub preload: Option<u64>,
    /// Where those are kept, so that another bench need not load them again.
    pub keep: Option<PathBuf>,
    /// What to measure on, one after another; the embedded store unless there are any.
    pub stores: Vec<StoreUrl>,
}

/// Measures everything that the plan says. `tell` is given each row once it is there.
pub async fn run(plan: &Plan, progress: &ProgressBar, mut tell: impl FnMut(&Row) -> Result<()>) -> Result<Figures> {
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let mut figures = Figures::default();
    progress.set_message("measuring what a flush takes");
    figures.flush_p99_ms = flush::p99_ms(directory.path())?;
    let stored = plan.keep.clone().unwrap_or_else(|| directory.path().join("preloaded"));
    if let Some(orders) = plan.preload {
        preload(&stored, orders, progress).await?;
    }
    plan.stores.iter().try_for_each(check)?;
    for mode in &plan.modes {
        let data = directory.path().join(format!("{mode:?}"));
        // Each mode on all of them at once: a shared machine is not the same half an hour later.
        for store in &plan.stores {
            let place = Where {
                data: &data,
                is_preloaded: false,
                store: Some(store),
            };
            measure(plan, *mode, place, &mut figures, progress, &mut tell).await?;
        }
        if plan.stores.is_empty() {
            let place = Where {
                data: &data,
                is_preloaded: false,
                store: None,
            };
            measure(plan, *mode, place, &mut figures, progress, &mut tell).await?;
        }
        std::fs::remove_dir_all(&data)?;
        if plan.preload.is_some() {
            let place = Where {
                data: &stored,
                is_preloaded: true,
                store: None,
            };
            measure(plan, *mode, place, &mut figures, progress, &mut tell).await?;
        }
    }
    Ok(figures)
}

/// What is measured on.
#[derive(Clone, Copy)]
struct Where<'a> {
    data: &'a Path,
    is_preloaded: bool,
    /// In place of the embedded one.
    store: Option<&'a StoreUrl>,
}

/// Refuses what may be somebody's shop: the bench fills it, and adds an admin whose password is known.
fn check(store: &StoreUrl) -> Result<()> {
    if let StoreUrl::Sqlite(directory) = store {
        return mark(directory);
    }
    ensure!(
        store.database().starts_with(BENCH),
        "the bench fills the database with orders: give it one of its own, whose name begins with `{BENCH}`, not {store}"
    );
    Ok(())
}

/// One mode, at each number of connections, on a server of its own.
async fn measure(
    plan: &Plan,
    mode: Mode,
    place: Where<'_>,
    figures: &mut Figures,
    progress: &ProgressBar,
    tell: &mut impl FnMut(&Row) -> Result<()>,
) -> Result<()> {
    progress.set_message(format!("starting for: {}", mode.name()));
    let setup = Setup {
        is_limited: mode == Mode::PlaceLimited,
        store: place.store,
        ..Setup::on(place.data)
    };
    let mut server = Measured::start(setup).await?;
    if place.store.is_none() {
        figures.cold_start_ms.push(server.started_in.as_secs_f64() * 1000.0);
    }
    let preloaded = if place.is_preloaded {
        server.tally().await?.placed
    } else {
        0
    };
    let mut bench = Bench {
        preloaded,
        store: place.store,
        shop: Shop::open(&server.url(), &unique()).await?,
        client: Client::new(&server.url())?,
        duration: plan.duration,
        progress,
    };
    bench.quiet().await?;
    let shots = bench.shots(mode, &mut server).await?;
    let usual = [USUAL];
    let connections = if mode.is_usual_only() {
        &usual
    } else {
        plan.connections.as_slice()
    };
    for &connections in connections {
        let pace = match mode {
            Mode::PlaceHalf | Mode::PlaceStorm => {
                progress.set_message("looking for half of the rate that is possible");
                Pace::Rate(bench.flat_out(&mut server, &shots, connections).await? / 2.0)
            }
            _ => Pace::Flat,
        };
        progress.set_message(format!("{} over {connections} connections", mode.name()));
        let row = bench.row(&mut server, mode, &shots, connections, pace).await?;
        tell(&row)?;
        figures.rows.push(row);
    }
    server.stop().await
}

/// A shop that is being measured.
struct Bench<'a> {
    /// Orders that there were before.
    preloaded: u64,
    store: Option<&'a StoreUrl>,
    shop: Shop,
    client: Client,
    duration: Duration,
    progress: &'a ProgressBar,
}

impl Bench<'_> {
    async fn shots(&self, mode: Mode, server: &mut Measured) -> Result<Shots> {
        if matches!(mode, Mode::Order | Mode::OrderBare | Mode::List | Mode::ListBare) {
            let mut placed = 0;
            while placed < ORDERS_TO_READ {
                let placing = loading(server, self.shop.place(Basket::One));
                placed += placing.run().await?.accepted;
            }
            server.settle(QUIET_MAX).await?;
            self.quiet().await?;
        }
        Ok(match mode {
            Mode::Bare => self.shop.bare(),
            Mode::Place | Mode::PlaceLimited | Mode::Confirm | Mode::PlaceHalf | Mode::PlaceStorm => {
                self.shop.place(Basket::One)
            }
            Mode::HotSku => self.shop.place(Basket::Hot),
            Mode::Lines => self.shop.place(Basket::Wide),
            Mode::Product => self.shop.look_at_product(),
            Mode::Order if self.preloaded > 0 => self.shop.look_at_orders_of_others(&server.sample().await?),
            Mode::Order => self.shop.look_at_orders().await?,
            Mode::List => self.shop.list_orders(),
            Mode::ProductBare => self.as_large(server, &self.shop.look_at_product()).await?,
            Mode::OrderBare => self.as_large(server, &self.shop.look_at_orders().await?).await?,
            Mode::ListBare => self.as_large(server, &self.shop.list_orders()).await?,
        })
    }

    /// Answers of the same size as these requests get.
    async fn as_large(&self, server: &Measured, shots: &Shots) -> Result<Shots> {
        let one = crate::bench::load::answer(server.address, shots(0)).await?;
        Ok(self.shop.read_bytes(one.len()))
    }

    fn load(&self, server: &Measured, shots: &Shots, connections: u32, pace: Pace) -> Load {
        Load {
            address: server.address,
            connections,
            pace,
            warm_up: self.duration / 5,
            duration: self.duration,
            shots: Shots::clone(shots),
        }
    }

    /// How many requests a second are possible while events wait.
    async fn flat_out(&self, server: &mut Measured, shots: &Shots, connections: u32) -> Result<f64> {
        server.pause().await?;
        let answered = self.load(server, shots, connections, Pace::Flat).run().await?;
        self.catch_up(server).await?;
        Ok(answered.per_second())
    }

    async fn row(
        &mut self,
        server: &mut Measured,
        mode: Mode,
        shots: &Shots,
        connections: u32,
        pace: Pace,
    ) -> Result<Row> {
        if mode.pauses_events() {
            server.pause().await?;
        }
        let before = server.tally().await?;
        let storm = (mode == Mode::PlaceStorm).then(|| {
            let logins = self.load(server, &self.shop.log_in(), STORM, Pace::Flat);
            tokio::spawn(logins.run())
        });
        let usage = server.watch()?;
        let answered = self.load(server, shots, connections, pace).run().await?;
        let mut settled_s = None;
        if mode.places() && !mode.pauses_events() {
            self.progress
                .set_message("waiting until all orders are decided, and all customers told");
            settled_s = Some(server.settle(QUIET_MAX).await?.as_secs_f64());
            self.quiet().await?;
        }
        let (cpu, memory) = usage.end()?;
        if let Some(storm) = storm {
            storm.await??;
        }
        let mut limit = None;
        if mode.pauses_events() {
            if self.store.is_some() {
                self.progress.set_message("inserting the same rows, and nothing else");
                limit = Some(server.limit().await?);
            }
            self.catch_up(server).await?;
        }
        if mode.places() {
            let after = server.tally().await?;
            let (placed, confirmed) = (after.placed - before.placed, after.confirmed - before.confirmed);
            ensure!(
                (placed, confirmed) == (answered.accepted, answered.accepted),
                "{} orders were acknowledged, {placed} placed and {confirmed} confirmed",
                answered.accepted
            );
        }
        Ok(Row {
            preloaded: self.preloaded,
            store: self.store.map(StoreUrl::server),
            settled_s,
            limit,
            ..row(mode, connections, &answered, cpu, memory)
        })
    }

    /// Lets events come again, and waits for all of them.
    async fn catch_up(&self, server: &mut Measured) -> Result<()> {
        self.progress.set_message("waiting for events to be caught up with");
        server.resume().await?;
        server.settle(QUIET_MAX).await?;
        self.quiet().await
    }

    /// Waits until no consumer is behind, and every customer was told.
    async fn quiet(&self) -> Result<()> {
        let began = now();
        loop {
            let report: Value = self.client.get("/readyz").await?;
            let consumers = report["consumers"]
                .as_object()
                .context("readiness names the consumers")?;
            if consumers.values().all(|consumer| consumer["behind"] == false) && !self.shop.is_writing().await? {
                return Ok(());
            }
            ensure!(began.elapsed() < QUIET_MAX, "consumers do not catch up: {report}");
            tokio::time::sleep(POLL).await;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers below 2^53")]
fn row(mode: Mode, connections: u32, answered: &Answered, cpu: Duration, memory: u64) -> Row {
    Row {
        mode,
        connections,
        preloaded: 0,
        store: None,
        per_second: answered.per_second(),
        p50_ms: answered.milliseconds(0.5),
        p99_ms: answered.milliseconds(0.99),
        p999_ms: answered.milliseconds(0.999),
        cpu_us: cpu.as_secs_f64() * 1e6 / answered.accepted.max(1) as f64,
        memory_mib: memory as f64 / f64::from(1 << 20),
        refused: answered.refusals(),
        settled_s: None,
        limit: None,
    }
}

/// Orders that are only there to be there.
fn loading(server: &Measured, shots: Shots) -> Load {
    Load {
        address: server.address,
        connections: LOADERS,
        pace: Pace::Flat,
        warm_up: Duration::ZERO,
        duration: LOAD_STEP,
        shots,
    }
}

/// Fills a directory with so many orders that have come to an end, unless it has them. They are of what is sold out, and
/// so were rejected: the shortest way to an end.
async fn preload(data: &Path, orders: u64, progress: &ProgressBar) -> Result<()> {
    mark(data)?;
    let mut server = Measured::start(Setup::on(data)).await?;
    progress.set_style(ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}")?);
    progress.set_length(orders);
    progress.set_message("loading orders");
    while server.tally().await?.placed < orders {
        // A token lives for a quarter of an hour; a shop for one step.
        let shop = Shop::open(&server.url(), &unique()).await?;
        loading(&server, shop.place(Basket::SoldOut)).run().await?;
        progress.set_position(server.tally().await?.placed);
    }
    progress.set_message("waiting until they are decided");
    server.settle(QUIET_MAX).await?;
    progress.set_style(ProgressStyle::default_spinner());
    server.stop().await
}

/// Makes a directory the bench's own, unless something else is in it: the bench adds an admin whose password is known.
fn mark(data: &Path) -> Result<()> {
    let mark = data.join(MARK);
    if !mark.exists() {
        std::fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
        let is_empty = std::fs::read_dir(data)?.next().is_none();
        ensure!(
            is_empty,
            "{} holds something else than a bench's orders: name an empty directory",
            data.display()
        );
        std::fs::write(mark, "").with_context(|| format!("cannot write to {}", data.display()))?;
    }
    Ok(())
}
