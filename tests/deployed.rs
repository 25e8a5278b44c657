//! A shop as a directory in `deploy` describes it, on servers that tests share.
#![expect(unreachable_pub, reason = "nobody depends on a test; `pub` marks what its files use")]

use std::collections::BTreeMap;
use std::path::Path;

use servers::{Deployed, Deployment, Fresh, Kind};
use tempfile::TempDir;

use crate::support::{ADMIN_EMAIL, Actor};

/// How much of each log a failing test shows.
const LOG_SHOWN_BYTES: usize = 4000;

/// It, and what it stands on.
pub struct Shop {
    pub deployed: Deployed,
    _databases: Vec<Fresh>,
    _place: TempDir,
}

impl Shop {
    /// On the servers that tests share. Where a shop does not name its broker, it is this one.
    pub fn start(deployment: &Deployment, broker: Kind) -> Self {
        if deployment.has_nginx().unwrap() {
            servers::install_nginx().unwrap();
        }
        let (mut urls, mut databases) = (BTreeMap::new(), Vec::new());
        for server in deployment.servers() {
            let kind = match &*server {
                "broker" => broker,
                server => server.parse().unwrap(),
            };
            let url = if Kind::DATABASES.contains(&kind) {
                let fresh = Fresh::new(kind).unwrap();
                let url = match kind {
                    // It is the store of one service, whose database must be there.
                    Kind::Mariadb if server == "mariadb" => fresh.url_for("shop").unwrap(),
                    _ => fresh.url(),
                };
                databases.push(fresh);
                url
            } else {
                format!("{}?prefix={}", kind.shared(), servers::unique_name())
            };
            urls.insert(server, url);
        }
        let place = tempfile::tempdir().unwrap();
        let binary = Path::new(env!("CARGO_BIN_EXE_tradewind"));
        Self {
            deployed: deployment.start(binary, &urls, place.path()).unwrap(),
            _databases: databases,
            _place: place,
        }
    }

    /// Somebody without a token, at the way in.
    pub fn anonymous(&self) -> Actor {
        Actor::at(self.deployed.way_in())
    }

    pub async fn admin(&self) -> Actor {
        let nobody = self.anonymous();
        nobody.signed_in(ADMIN_EMAIL, self.deployed.password()).await
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        for part in self.deployed.parts().iter().filter(|_| std::thread::panicking()) {
            let log = std::fs::read(part.log()).unwrap_or_default();
            let from = log.len().saturating_sub(LOG_SHOWN_BYTES);
            eprintln!("---- {} ----\n{}", part.name(), String::from_utf8_lossy(&log[from..]));
        }
    }
}
