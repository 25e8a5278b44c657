//! What one process runs: all of the shop, or some of its services, or the way in.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Result, anyhow, bail, ensure};
use contracts::Service;

use crate::buses::BusUrl;
use crate::config::Config;

/// The name of the way in among those of the services.
const GATEWAY: &str = "gateway";

/// The parts of the shop that a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Services of its own.
    pub services: BTreeSet<Service>,
    /// Whether it is the way in to all services, its own or others'. One that is not answers for its own alone.
    pub is_gateway: bool,
}

impl Topology {
    /// Everything.
    #[must_use]
    pub fn whole() -> Self {
        Self {
            services: Service::ALL.iter().copied().collect(),
            is_gateway: true,
        }
    }

    /// What these words name; everything, if there are none. Refuses what cannot work as it is configured.
    pub fn of(words: &[String], config: &Config) -> Result<Self> {
        if words.is_empty() {
            return Ok(Self::whole());
        }
        let mut parts = Self {
            services: BTreeSet::new(),
            is_gateway: false,
        };
        for word in words {
            match word.as_str() {
                GATEWAY => parts.is_gateway = true,
                word => drop(parts.services.insert(service(word)?)),
            }
        }
        parts.check(config)?;
        Ok(parts)
    }

    /// Whether the service runs here.
    #[must_use]
    pub fn runs(&self, service: Service) -> bool {
        self.services.contains(&service)
    }

    fn check(&self, config: &Config) -> Result<()> {
        if config.bus == BusUrl::Embedded && !self.services.is_empty() && self.services.len() < Service::ALL.len() {
            bail!(
                "{} would never hear of the other services: the embedded bus is within one process. Set TRADEWIND_BUS to the URL of a \
                 broker (nats://…), or run `tradewind serve` without names",
                self.names()
            );
        }
        let asked: Vec<Service> = match self.is_gateway {
            true => Service::ALL
                .iter()
                .copied()
                .filter(|&service| !self.runs(service))
                .collect(),
            // Their keys verify tokens.
            false => [Service::Users]
                .into_iter()
                .filter(|&service| !self.runs(service))
                .collect(),
        };
        let mut lacks = Vec::new();
        let unknown = asked
            .into_iter()
            .filter(|&service| config.replicas_of(service).is_empty());
        let unknown: Vec<&str> = unknown.map(Service::as_str).collect();
        if !unknown.is_empty() {
            let variables = unknown
                .iter()
                .map(|name| format!("TRADEWIND_{}_URL", name.to_uppercase()));
            lacks.push(format!(
                "what runs here needs {} of other processes: set {} to where each listens (http://host:port, several separated by \
                 commas)",
                unknown.join(", "),
                variables.collect::<Vec<_>>().join(", ")
            ));
        }
        if self.runs(Service::Notifications) && !self.runs(Service::Users) && config.service_secret.is_none() {
            lacks.push(
                "notifications asks users for addresses, and needs a token for that: set TRADEWIND_SERVICE_SECRET to the same text \
                 for both"
                    .to_owned(),
            );
        }
        ensure!(lacks.is_empty(), lacks.join("; "));
        Ok(())
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.services.iter().map(|service| service.as_str()).collect();
        names.join(" and ")
    }
}

/// The words that name it.
impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services = self.services.iter().map(|service| service.as_str());
        let words: Vec<&str> = services.chain(self.is_gateway.then_some(GATEWAY)).collect();
        f.write_str(&words.join(" "))
    }
}

fn service(word: &str) -> Result<Service> {
    word.parse().map_err(|_| {
        let all: Vec<&str> = Service::ALL.iter().map(|service| service.as_str()).collect();
        anyhow!("{word} is no service: there are {} and {GATEWAY}", all.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(words: &str, settings: &[(&str, &str)]) -> Result<Topology, String> {
        let config = Config::with(settings).expect("the settings are fine");
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        Topology::of(&words, &config).map_err(|error| error.to_string())
    }

    #[test]
    fn without_names_everything_runs() {
        assert_eq!(topology("", &[]), Ok(Topology::whole()));
        let all = "users catalog inventory orders payments notifications events gateway";
        assert_eq!(topology(all, &[]), Ok(Topology::whole()));
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_to_set() {
        let refusal = |words, settings: &[(&str, &str)]| topology(words, settings).expect_err(words);
        assert!(refusal("ordres", &[]).contains("ordres is no service: there are users, catalog"));
        assert!(refusal("orders payments", &[]).contains("orders and payments would never hear"));
        let of_users = ("users_url", "http://127.0.0.1:1");
        let gateway = refusal("gateway", &[of_users]);
        for variable in ["TRADEWIND_CATALOG_URL", "TRADEWIND_EVENTS_URL"] {
            assert!(gateway.contains(variable), "{gateway}");
        }
        assert!(!gateway.contains("TRADEWIND_USERS_URL"), "{gateway}");
    }

    #[test]
    #[cfg(feature = "nats")]
    fn services_of_their_own_have_a_broker_and_know_where_users_is() {
        let (bus, of_users) = (("bus", "nats://127.0.0.1"), ("users_url", "http://127.0.0.1:1"));
        assert!(
            topology("orders", &[bus])
                .expect_err("no keys")
                .contains("TRADEWIND_USERS_URL")
        );
        let refused = topology("notifications", &[bus]).expect_err("neither keys nor a secret");
        for variable in ["TRADEWIND_USERS_URL", "TRADEWIND_SERVICE_SECRET"] {
            assert!(refused.contains(variable), "{refused}");
        }
        assert!(topology("orders", &[bus, of_users]).is_ok());
        assert!(topology("users", &[bus]).is_ok());
        let refused = topology("notifications", &[bus, of_users]).expect_err("no secret");
        assert!(refused.contains("TRADEWIND_SERVICE_SECRET"), "{refused}");
        assert!(
            topology(
                "notifications",
                &[bus, of_users, ("service_secret", "0123456789abcdef0123456789abcdef")]
            )
            .is_ok()
        );
    }
}
