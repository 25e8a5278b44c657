//! The measured process: the shop, or parts of it, in a data directory, told by lines on its standard input.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Bytes;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use contracts::Service;
use contracts::order::PlaceOrder;
use kernel::auth::{Person, Verifier};
use kernel::bus::Bus;
use kernel::clock::{Ids, SystemClock};
use kernel::event::Position;
use kernel::http::{Created, Failure, Kit, Query, Write, serve_with};
use kernel::store::Store;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::watch;

use crate::bench::limit::Kept;
use crate::bench::stages::Stages;
use crate::bench::valve::{Batches, Valve};
use crate::bench::witness::{CONFIRMED, PLACED, REJECTED, Witness, Witnessed};
use crate::commands::serve::OwnServer;
use crate::config::Config;
use crate::data::DataDirectory;
use crate::system::Around;
use crate::topology::Topology;

/// Takes the body of an order, and answers with it.
pub const BARE: &str = "/api/notify/bare";
/// Answers with so many bytes: `?bytes=`.
pub const BYTES: &str = "/api/notify/bytes";
/// Who may do everything.
pub const ADMIN: &str = "admin@bench.example";
/// Everybody's password.
pub const PASSWORD: &str = "only for this bench";

/// A limit that no bench reaches, so that counting is measured and not refusing.
const HIGH_LIMIT: &str = "1000000000/1m";
/// Events counted in one step.
const TALLY_STEP: usize = 1000;
/// Places in the journal that a sample is taken at.
const SAMPLE: u64 = 1000;

/// The variable that names the store, if it is not to be in the data directory.
pub const STORE: &str = "BENCH_STORE";
/// The variable that names the broker, if there is one.
pub const BUS: &str = "BENCH_BUS";

/// What to serve.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The directory of the stores
    #[arg(long)]
    data: PathBuf,
    /// With rate limits, but high ones
    #[arg(long)]
    limited: bool,
    /// Note how long orders take to be confirmed
    #[arg(long)]
    timed: bool,
    /// These parts alone
    #[arg(long, value_delimiter = ',')]
    parts: Vec<String>,
    /// Where it listens
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where the other parts listen
    #[arg(long, default_value = "")]
    others: String,
}

/// What the bench asks for, one a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// Keep events from all consumers.
    Pause,
    /// Let them come again.
    Resume,
    /// Count the orders.
    Tally,
    /// Name orders from all over the journal.
    Sample,
    /// Insert once more what was last committed to orders, and time that.
    Limit,
    /// Note anew how long orders take to be confirmed, and how they are published.
    Note,
    /// Say how long they took.
    Took,
    /// Say how many events of orders were published at a time.
    Batches,
    /// Say how many events the journals have.
    Heads,
}

/// The orders in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Accepted.
    pub placed: u64,
    /// Reserved.
    pub confirmed: u64,
    /// Refused for want of stock.
    pub rejected: u64,
    /// How far was counted.
    position: u64,
}

impl Tally {
    /// How many are decided.
    pub fn settled(&self) -> u64 {
        self.confirmed + self.rejected
    }

    async fn go_on(&mut self, journal: &Arc<dyn Store>) -> Result<()> {
        loop {
            let tail = journal.tail(Position(self.position), TALLY_STEP).await?;
            let Some(last) = tail.events.last() else {
                return Ok(());
            };
            self.position = last.position.0;
            for event in &tail.events {
                match &*event.event_type {
                    PLACED => self.placed += 1,
                    CONFIRMED => self.confirmed += 1,
                    REJECTED => self.rejected += 1,
                    _ => {}
                }
            }
        }
    }
}

/// Orders from all over the journal, as many as are asked for at the most.
async fn sample(journal: &Arc<dyn Store>) -> Result<Vec<String>> {
    let last = journal.tail(Position::START, 0).await?.head.position.0;
    let mut orders = BTreeSet::new();
    for number in 0..SAMPLE {
        let tail = journal.tail(Position(last * number / SAMPLE), 1).await?;
        orders.extend(tail.events.first().map(|event| event.stream.to_string()));
    }
    Ok(orders.into_iter().collect())
}

/// How many events each journal has, of the services that run here.
async fn heads(server: &OwnServer, topology: &Topology) -> Result<BTreeMap<Service, u64>> {
    let mut heads = BTreeMap::new();
    for &service in &topology.services {
        let tail = server.journal(service).tail(Position::START, 0).await?;
        heads.insert(service, tail.head.position.0);
    }
    Ok(heads)
}

/// Serves until its standard input ends.
pub async fn run(options: &Options) -> Result<()> {
    let config = options.config()?;
    let topology = Topology::of(&options.parts, &config)?;
    // The provider of each measurement knows nothing, whatever the database has seen.
    std::fs::create_dir_all(&options.data)?;
    let ledger = config.ledger(&DataDirectory::imagine(&options.data)?);
    std::fs::File::options().create(true).append(true).open(ledger)?;
    let (valve, is_open) = watch::channel(true);
    let kept = config.store.as_ref().map(|store| (store, Arc::new(Kept::default())));
    let stages = Arc::new(Stages::new());
    let witness: Option<Arc<dyn Witness>> = match &kept {
        Some((_, kept)) => Some(Arc::clone(kept) as _),
        None => options.timed.then(|| Arc::clone(&stages) as _),
    };
    let batches = Arc::new(Batches::default());
    let tapped = Tapped {
        is_open,
        witness,
        batches: Arc::clone(&batches),
    };
    let server = OwnServer::start_within(&config, &topology, &tapped).await?;
    answer(&server.url)?;
    let mut tally = Tally::default();
    let mut asked = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = asked.next_line().await? {
        match serde_json::from_str(&line)? {
            Ask::Pause => answer(&valve.send_replace(false))?,
            Ask::Resume => answer(&valve.send_replace(true))?,
            Ask::Tally => {
                tally.go_on(server.journal(Service::Orders)).await?;
                answer(&tally)?;
            }
            Ask::Sample => answer(&sample(server.journal(Service::Orders)).await?)?,
            Ask::Limit => {
                let (store, kept) = kept.as_ref().context("the store is not in the data directory")?;
                answer(&kept.insert(store).await?)?;
            }
            Ask::Note => {
                stages.begin();
                batches.begin();
                answer(&true)?;
            }
            Ask::Took => answer(&stages.took())?,
            Ask::Batches => answer(&batches.noted())?,
            Ask::Heads => answer(&heads(&server, &topology).await?)?,
        }
    }
    server.stop().await
}

impl Options {
    fn config(&self) -> Result<Config> {
        let variable = |name| std::env::var(name).unwrap_or_default();
        let limit = if self.limited { HIGH_LIMIT } else { "off" };
        let mut settings = vec![
            ("store".to_owned(), variable(STORE)),
            ("listen".to_owned(), self.listen.to_string()),
            ("data".to_owned(), self.data.to_string_lossy().into_owned()),
            ("admin_email".to_owned(), ADMIN.to_owned()),
            ("admin_password".to_owned(), PASSWORD.to_owned()),
        ];
        for who in ["anonymous", "user", "ip"] {
            settings.push((format!("rate_limit_{who}"), limit.to_owned()));
        }
        if !self.parts.is_empty() {
            settings.push(("bus".to_owned(), variable(BUS)));
            // A service of its own is not looked for there.
            let urls = Service::ALL
                .iter()
                .map(|service| (format!("{service}_url"), self.others.clone()));
            settings.extend(urls);
        }
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (&**name, &**value)).collect();
        Config::with(&settings)
    }
}

fn answer(value: &impl Serialize) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(value)?)?)
}

/// The shop with a valve on its bus, a witness at the store of orders, and routes that touch nothing.
struct Tapped {
    is_open: watch::Receiver<bool>,
    /// Who sees what is committed to orders.
    witness: Option<Arc<dyn Witness>>,
    /// How orders are published.
    batches: Arc<Batches>,
}

impl Around for Tapped {
    fn store(&self, service: Service, store: Arc<dyn Store>) -> Arc<dyn Store> {
        match &self.witness {
            Some(witness) if service == Service::Orders => Arc::new(Witnessed {
                store,
                witness: Arc::clone(witness),
            }),
            _ => store,
        }
    }

    fn bus(&self, bus: Arc<dyn Bus>) -> Arc<dyn Bus> {
        Arc::new(Valve {
            bus,
            is_open: self.is_open.clone(),
            batches: Arc::clone(&self.batches),
        })
    }

    /// Beside the routes of a service that is not measured, so that those that are do not carry them.
    fn router(&self, service: Service, router: Router, verifier: &Arc<Verifier>) -> Router {
        if service != Service::Notifications {
            return router;
        }
        let kit = Kit {
            service: "bench",
            verifier: Arc::clone(verifier),
            clock: Arc::new(SystemClock::new()),
            ids: Arc::new(Ids::from_entropy()),
            idempotency_secret: [0; 32],
        };
        let bare = Router::new().route(BARE, post(bare)).route(BYTES, get(bytes));
        serve_with(bare, kit).fallback_service(router)
    }
}

/// What placing an order does at the least: the body is parsed and checked, and an answer is written.
async fn bare(_: Person, request: Write<PlaceOrder>) -> Result<Created<PlaceOrder>, Failure> {
    Ok(Created {
        location: "/api/orders/none".to_owned(),
        version: 1,
        body: request.body,
    })
}

#[derive(Debug, Deserialize)]
struct Size {
    bytes: usize,
}

async fn bytes(_: Person, Query(size): Query<Size>) -> Response {
    static ZEROS: [u8; 1 << 20] = [b'0'; 1 << 20];
    let body = Bytes::from_static(ZEROS.get(..size.bytes).unwrap_or(&ZEROS));
    ([(http::header::CONTENT_TYPE, "application/json")], body).into_response()
}
