//! The bus between services: within this process, or a broker by its URL.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use contracts::Service;
use kernel::bus::Bus;
use kernel::clock::{Clock, Ids};
use kernel::embedded::{EmbeddedBus, Journal};
use uuid::Uuid;

/// Where events go between services.
#[derive(Clone, PartialEq, Eq)]
pub enum BusUrl {
    /// `embedded:`, which reads the journals of this process.
    Embedded,
    /// A broker.
    Broker(Broker, String),
}

/// What speaks to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broker {
    /// NATS JetStream.
    Nats,
}

impl Broker {
    /// The Cargo feature that it is built in with.
    fn feature(self) -> &'static str {
        match self {
            Self::Nats => "nats",
        }
    }

    fn is_built_in(self) -> bool {
        match self {
            Self::Nats => cfg!(feature = "nats"),
        }
    }
}

impl FromStr for BusUrl {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = "use embedded: or nats://host:port";
        let (scheme, _) = text.split_once(':').ok_or_else(|| anyhow!("is no URL; {known}"))?;
        let broker = match scheme {
            "embedded" if text == "embedded:" => return Ok(Self::Embedded),
            "nats" | "tls" => Broker::Nats,
            _ => bail!("there is no broker for {scheme}; {known}"),
        };
        if !broker.is_built_in() {
            let feature = broker.feature();
            bail!(
                "the driver for {scheme} is not built in; build with `--features {feature}`, or `--features full` for all"
            );
        }
        Ok(Self::Broker(broker, text.to_owned()))
    }
}

/// Without the login.
impl fmt::Display for BusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Broker(_, url) = self else {
            return f.write_str("embedded:");
        };
        let (url, _) = url.split_once('?').unwrap_or((url, ""));
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (_, hosts) = rest.rsplit_once('@').unwrap_or(("", rest));
        write!(f, "{scheme}://{hosts}")
    }
}

impl fmt::Debug for BusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BusUrl({self})")
    }
}

/// What a bus is opened with.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// The name that this process has again after a restart.
    pub process: Uuid,
    /// The journals of the services in this process.
    pub journals: BTreeMap<Service, Journal>,
    /// Time.
    pub clock: &'a Arc<dyn Clock>,
    /// Ids.
    pub ids: &'a Arc<Ids>,
}

impl BusUrl {
    /// Connects to it.
    pub async fn open(&self, around: Surroundings<'_>) -> Result<Arc<dyn Bus>> {
        match self {
            Self::Embedded => Ok(Arc::new(EmbeddedBus::new(around.journals))),
            #[cfg(feature = "nats")]
            Self::Broker(Broker::Nats, url) => {
                let (clock, ids) = (Arc::clone(around.clock), Arc::clone(around.ids));
                let lanes = kernel::event::LANES_DEFAULT;
                let mut options = bus_nats::NatsOptions::new(url, bus_nats::PREFIX_DEFAULT, lanes, clock, ids)?;
                options.process = Some(around.process);
                Ok(Arc::new(bus_nats::NatsBus::open(options).await?))
            }
            #[cfg(not(feature = "full"))]
            Self::Broker(broker, _) => bail!("the driver {} is not built in", broker.feature()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_driver_is_refused_with_those_that_there_are() {
        for text in ["", "pulsar://h", "embedded:x", "/a/b"] {
            let error = text.parse::<BusUrl>().expect_err(text).to_string();
            assert!(error.contains("use embedded: or"), "{text}: {error}");
        }
    }

    #[test]
    #[cfg(not(feature = "nats"))]
    fn a_driver_that_is_not_built_in_is_named_by_its_feature() {
        let error = "nats://h"
            .parse::<BusUrl>()
            .expect_err("it is not built in")
            .to_string();
        assert!(error.contains("--features nats"), "{error}");
    }

    #[test]
    #[cfg(feature = "nats")]
    fn a_login_is_not_shown() {
        let url: BusUrl = "nats://me:se@cret@h:1?token=secret".parse().expect("it is one");
        assert_eq!(url.to_string(), "nats://h:1");
        assert_eq!(format!("{url:?}"), "BusUrl(nats://h:1)");
    }
}
