//! Every service as a process of its own, a broker between them and a gateway in front.

use std::collections::BTreeMap;
use std::path::Path;

use servers::{Kind, Server as Broker};
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
    pub(crate) services: BTreeMap<&'static str, Server>,
    pub(crate) gateway: Server,
    _place: TempDir,
}

impl Cluster {
    /// On SQLite stores, one process for each service.
    pub(crate) async fn start(kind: Kind) -> Self {
        let place = tempfile::tempdir().expect("a temporary directory");
        let broker = Broker::start(kind, &place.path().join("broker")).expect("the broker starts");
        let mut settings = Addresses::new(&broker);
        let mut services = BTreeMap::new();
        for service in SERVICES {
            let server = settings.of(&[service], place.path()).start().await;
            settings.know(service, &server);
            services.insert(service, server);
        }
        let gateway = settings.of(&["gateway"], place.path()).start().await;
        Self {
            broker,
            services,
            gateway,
            _place: place,
        }
    }

    pub(crate) fn service(&mut self, name: &str) -> &mut Server {
        self.services.get_mut(name).expect("it is one of them")
    }
}

/// Where those are that have started.
struct Addresses {
    bus: String,
    known: Vec<(String, String)>,
}

impl Addresses {
    fn new(broker: &Broker) -> Self {
        Self {
            bus: broker.url(),
            known: Vec::new(),
        }
    }

    fn know(&mut self, service: &str, server: &Server) {
        self.known.push((format!("{service}_url"), server.url().to_owned()));
    }

    fn of(&self, parts: &[&'static str], place: &Path) -> Settings {
        let port = servers::free_port().expect("there is a free port");
        let stores = format!("sqlite:{}", place.join("stores").display());
        let settings = Server::settings()
            .running(parts)
            .with("bus", &self.bus)
            .with("store", &stores)
            .with("service_secret", SECRET)
            .with("listen", &format!("127.0.0.1:{port}"));
        self.known
            .iter()
            .fold(settings, |settings, (name, url)| settings.with(name, url))
    }
}
