//! Every service as a process of its own, a broker between them and a gateway in front.

use std::collections::BTreeMap;
use std::path::PathBuf;

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
/// Those whose events go to the broker.
pub(crate) const FOLLOWED: [&str; 6] = ["users", "catalog", "inventory", "orders", "payments", "notifications"];
const SECRET: &str = "what services show each other, and nobody else";

pub(crate) struct Cluster {
    pub(crate) broker: Broker,
    pub(crate) services: BTreeMap<&'static str, Server>,
    pub(crate) gateway: Server,
    place: TempDir,
}

impl Cluster {
    /// On SQLite stores, one process for each service.
    pub(crate) async fn start(kind: Kind) -> Self {
        let place = tempfile::tempdir().expect("a temporary directory");
        let broker = Broker::start(kind, &place.path().join("broker")).expect("the broker starts");
        let mut settings = Setting {
            bus: broker.url(),
            stores: format!("sqlite:{}", place.path().join("stores").display()),
            known: Vec::new(),
        };
        let mut services = BTreeMap::new();
        for service in SERVICES {
            let server = settings.of(&[service]).start().await;
            settings.known.push((format!("{service}_url"), server.url().to_owned()));
            services.insert(service, server);
        }
        let gateway = settings.of(&["gateway"]).start().await;
        Self {
            broker,
            services,
            gateway,
            place,
        }
    }

    /// The process of a service.
    pub(crate) fn service(&mut self, name: &str) -> &mut Server {
        self.services.get_mut(name).expect("it is one of them")
    }

    /// Ends all processes in order, who is in front first.
    pub(crate) fn stop(&mut self) {
        self.gateway.stop();
        self.services.values_mut().for_each(Server::stop);
    }

    /// Starts what was stopped, in the order of the first start.
    pub(crate) async fn start_again(&mut self) {
        for name in SERVICES {
            self.service(name).start_again().await;
        }
        self.gateway.start_again().await;
    }

    /// Where the stores' files are.
    pub(crate) fn stores(&self) -> PathBuf {
        self.place.path().join("stores")
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Server> {
        self.services.values()
    }
}

/// What every process is told.
struct Setting {
    bus: String,
    stores: String,
    /// Where those are that have started.
    known: Vec<(String, String)>,
}

impl Setting {
    fn of(&self, parts: &[&'static str]) -> Settings {
        let port = servers::free_port().expect("there is a free port");
        let settings = Server::settings()
            .running(parts)
            .with("bus", &self.bus)
            .with("store", &self.stores)
            .with("service_secret", SECRET)
            .with("listen", &format!("127.0.0.1:{port}"));
        let known = self.known.iter();
        known.fold(settings, |settings, (name, url)| settings.with(name, url))
    }
}
