//! Every service as a process of its own, a broker between them and a gateway in front.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use servers::{Fresh, Kind, Server as Broker};
use tempfile::TempDir;

use crate::support::{Server, Settings};

/// In the order in which they start: who is asked by others comes first.
pub(crate) const SERVICES: [&str; 7] = [
    "users",
    "catalog",
    "inventory",
    "orders",
    "payments",
    "notifications",
    "events",
];
const SECRET: &str = "what services show each other, and nobody else";

pub(crate) struct Cluster {
    pub(crate) broker: Broker,
    pub(crate) services: BTreeMap<&'static str, Vec<Server>>,
    pub(crate) gateway: Server,
    ledger: PathBuf,
    _databases: Option<Fresh>,
    _place: TempDir,
}

impl Cluster {
    /// On SQLite stores, one process for each service.
    pub(crate) async fn start(kind: Kind) -> Self {
        let place = tempfile::tempdir().expect("a temporary directory");
        let stores = format!("sqlite:{}", place.path().join("stores").display());
        Self::start_on(kind, place, &stores, 1).await
    }

    /// On one PostgreSQL, two of each service.
    pub(crate) async fn start_twice(kind: Kind) -> Self {
        let place = tempfile::tempdir().expect("a temporary directory");
        let databases = Fresh::new(Kind::Postgres).expect("the server makes databases");
        let mut cluster = Self::start_on(kind, place, &databases.url(), 2).await;
        cluster._databases = Some(databases);
        cluster
    }

    async fn start_on(kind: Kind, place: TempDir, stores: &str, count: usize) -> Self {
        let broker = Broker::start(kind, &place.path().join("broker")).expect("the broker starts");
        let ledger = place.path().join("payment-ledger.jsonl");
        let mut settings = Setting {
            bus: broker.url(),
            stores: stores.to_owned(),
            ledger: ledger.display().to_string(),
            known: Vec::new(),
        };
        let mut services = BTreeMap::new();
        for service in SERVICES {
            let mut replicas = Vec::new();
            for _ in 0..count {
                replicas.push(settings.of(&[service]).start().await);
            }
            settings.know(service, &replicas);
            services.insert(service, replicas);
        }
        let gateway = settings.of(&["gateway"]).start().await;
        Self {
            broker,
            services,
            gateway,
            ledger,
            _databases: None,
            _place: place,
        }
    }

    /// The first process of a service.
    pub(crate) fn service(&mut self, name: &str) -> &mut Server {
        &mut self.services.get_mut(name).expect("it is one of them")[0]
    }

    /// Ends all processes in order, who is in front first.
    pub(crate) fn stop(&mut self) {
        self.gateway.stop();
        self.services.values_mut().flatten().for_each(Server::stop);
    }

    /// What the payment provider has been asked and has answered.
    pub(crate) fn ledger(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.ledger).expect("the ledger is there");
        let entries = text.lines().map(serde_json::from_str);
        entries.collect::<Result<_, _>>().expect("each line is an entry")
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Server> {
        self.services.values().flatten()
    }
}

/// What every process is told.
struct Setting {
    bus: String,
    stores: String,
    ledger: String,
    /// Where those are that have started.
    known: Vec<(String, String)>,
}

impl Setting {
    fn know(&mut self, service: &str, replicas: &[Server]) {
        let urls: Vec<&str> = replicas.iter().map(Server::url).collect();
        self.known.push((format!("{service}_url"), urls.join(",")));
    }

    fn of(&self, parts: &[&'static str]) -> Settings {
        let port = servers::free_port().expect("there is a free port");
        let settings = Server::settings()
            .running(parts)
            .with("bus", &self.bus)
            .with("store", &self.stores)
            .with("simulated_ledger", &self.ledger)
            .with("service_secret", SECRET)
            .with("listen", &format!("127.0.0.1:{port}"));
        let known = self.known.iter();
        known.fold(settings, |settings, (name, url)| settings.with(name, url))
    }
}
