//! The bus between services: within this process, or a broker by its URL.

mod awaited;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use contracts::Service;
use kernel::bus::{Bus, url};
use kernel::clock::{Clock, Ids, SystemClock};
use kernel::embedded::{EmbeddedBus, Journal};
use uuid::Uuid;

#[cfg(any(feature = "nats", feature = "kafka", feature = "rabbitmq", feature = "redis"))]
use self::awaited::Attempt;
use self::awaited::{AwaitedBus, Opening, Refused};

/// Where events go between services.
#[derive(Clone, PartialEq, Eq)]
pub enum BusUrl {
    /// `embedded:`, which reads the journals of this process.
    Embedded,
    /// A broker.
    Broker(Broker, BrokerUrl),
}

/// What speaks to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broker {
    /// NATS JetStream.
    Nats,
    /// Apache Kafka.
    Kafka,
    /// RabbitMQ streams.
    Rabbitmq,
    /// Redis Streams.
    Redis,
}

/// The URL of a broker, and what is asked of every broker alike.
#[derive(Clone, PartialEq, Eq)]
#[expect(missing_debug_implementations, reason = "it has the password")]
pub struct BrokerUrl {
    /// Without options.
    url: String,
    /// What the names of all that is made there begin with; it tells shops on one broker apart.
    prefix: Option<String>,
    /// A file with the certificates of the authorities that may vouch for the broker.
    authorities: Option<PathBuf>,
}

impl Broker {
    /// As it calls itself.
    fn name(self) -> &'static str {
        match self {
            Self::Nats => "NATS",
            Self::Kafka => "Kafka",
            Self::Rabbitmq => "RabbitMQ",
            Self::Redis => "Redis",
        }
    }

    /// The Cargo feature that it is built in with.
    fn feature(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::Kafka => "kafka",
            Self::Rabbitmq => "rabbitmq",
            Self::Redis => "redis",
        }
    }

    fn is_built_in(self) -> bool {
        match self {
            Self::Nats => cfg!(feature = "nats"),
            Self::Kafka => cfg!(feature = "kafka"),
            Self::Rabbitmq => cfg!(feature = "rabbitmq"),
            Self::Redis => cfg!(feature = "redis"),
        }
    }
}

impl FromStr for BrokerUrl {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (url, query) = text.split_once('?').unwrap_or((text, ""));
        let mut parsed = Self {
            url: url.to_owned(),
            prefix: None,
            authorities: None,
        };
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let value = url::decoded(value).filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| anyhow!("has the option {name} without a value, or with a wrong one"))?;
            match name {
                "prefix" => parsed.prefix = Some(value),
                "cacert" => parsed.authorities = Some(value.into()),
                _ => bail!("has an unknown option {name:?}: it may have prefix and cacert"),
            }
        }
        Ok(parsed)
    }
}

impl FromStr for BusUrl {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = "use embedded:, nats://…, kafka://…, amqp://… or redis://…";
        let (scheme, _) = text.split_once(':').ok_or_else(|| anyhow!("is no URL; {known}"))?;
        let broker = match scheme {
            "embedded" if text == "embedded:" => return Ok(Self::Embedded),
            "nats" | "tls" => Broker::Nats,
            "kafka" | "kafka+ssl" => Broker::Kafka,
            "amqp" | "amqps" => Broker::Rabbitmq,
            "redis" | "rediss" => Broker::Redis,
            _ => bail!("there is no broker for {scheme}; {known}"),
        };
        if !broker.is_built_in() {
            let feature = broker.feature();
            bail!(
                "the driver for {scheme} is not built in; build with `--features {feature}`, or `--features full` for all"
            );
        }
        Ok(Self::Broker(broker, text.parse()?))
    }
}

/// Without the login.
impl fmt::Display for BusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Broker(_, BrokerUrl { url, .. }) = self else {
            return f.write_str("embedded:");
        };
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

/// How to open a bus by the options that each of them has.
#[cfg(any(feature = "nats", feature = "kafka", feature = "rabbitmq", feature = "redis"))]
macro_rules! opening {
    ($of:ident, $Options:ident, $Bus:ident, $url:expr, $around:expr $(, $process:ident)?) => {{
        let BrokerUrl {
            url,
            prefix,
            authorities,
        } = $url;
        let (clock, ids) = (Arc::clone($around.clock), Arc::clone($around.ids));
        let prefix = prefix.as_deref().unwrap_or($of::PREFIX_DEFAULT);
        let mut options = $of::$Options::new(url, prefix, kernel::event::LANES_DEFAULT, clock, ids)?;
        $(options.$process = Some($around.process);)?
        options.authorities.clone_from(authorities);
        let open = move || -> Attempt {
            let opened = $of::$Bus::open(options.clone());
            Box::pin(async {
                match opened.await {
                    Ok(bus) => Ok(Arc::new(bus) as Arc<dyn Bus>),
                    Err(error) if error.is_outage() => Err(Refused::Away(error.into())),
                    Err(error) => Err(Refused::Unfit(error.into())),
                }
            })
        };
        Ok(Box::new(open))
    }};
}

impl BusUrl {
    /// What is spoken to there.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Broker(broker, _) => broker.name(),
        }
    }

    /// What the names of all that is made there begin with, if that is said.
    #[must_use]
    pub fn prefix(&self) -> Option<&str> {
        match self {
            Self::Embedded => None,
            Self::Broker(_, url) => url.prefix.as_deref(),
        }
    }

    /// The same broker, with other names for all that is made there.
    #[must_use]
    pub fn with_prefix(&self, prefix: &str) -> Self {
        match self {
            Self::Embedded => Self::Embedded,
            Self::Broker(broker, url) => Self::Broker(
                *broker,
                BrokerUrl {
                    prefix: Some(prefix.to_owned()),
                    ..url.clone()
                },
            ),
        }
    }

    /// As it was given, with the password.
    #[must_use]
    pub fn reveal(&self) -> String {
        let Self::Broker(_, url) = self else {
            return self.to_string();
        };
        let authorities = url.authorities.as_ref().map(|path| path.to_string_lossy());
        let options = [("prefix", url.prefix.as_deref()), ("cacert", authorities.as_deref())];
        let options = options.iter().filter_map(|(name, value)| Some((name, (*value)?)));
        let options: Vec<String> = options
            .map(|(name, value)| format!("{name}={}", url::encoded(value)))
            .collect();
        format!("{}?{}", url.url, options.join("&"))
    }

    /// Refuses a URL that no bus can be opened with, without asking anybody.
    pub fn check(&self) -> Result<()> {
        let Self::Broker(broker, url) = self else {
            return Ok(());
        };
        let clock = Arc::new(SystemClock::new()) as Arc<dyn Clock>;
        let around = Surroundings {
            process: Uuid::nil(),
            journals: BTreeMap::new(),
            clock: &clock,
            ids: &Arc::new(Ids::from_entropy()),
        };
        broker.opening(url, &around).map(drop)
    }

    /// Connects to it. A broker that does not answer is waited for in the background, and the bus is not available meanwhile;
    /// one that will not do is refused.
    pub async fn open(&self, around: Surroundings<'_>) -> Result<Arc<dyn Bus>> {
        let Self::Broker(broker, url) = self else {
            return Ok(Arc::new(EmbeddedBus::new(around.journals)));
        };
        let open = broker.opening(url, &around)?;
        match open().await {
            Err(Refused::Away(error)) => {
                tracing::warn!("{error}; until it does, events wait in the journals");
                Ok(Arc::new(AwaitedBus::new(open, Arc::clone(around.clock))))
            }
            opened => Ok(opened?),
        }
    }

    /// Connects to a broker that has to be there.
    pub async fn connect(&self, around: Surroundings<'_>) -> Result<Arc<dyn Bus>> {
        match self {
            Self::Embedded => self.open(around).await,
            Self::Broker(broker, url) => Ok(broker.opening(url, &around)?().await?),
        }
    }
}

impl Broker {
    #[cfg_attr(
        not(any(feature = "nats", feature = "kafka", feature = "rabbitmq", feature = "redis")),
        expect(unused_variables, reason = "no driver is built in")
    )]
    fn opening(self, url: &BrokerUrl, around: &Surroundings<'_>) -> Result<Opening> {
        match self {
            #[cfg(feature = "nats")]
            Self::Nats => opening!(bus_nats, NatsOptions, NatsBus, url, around, process),
            // Its coordinators know a member that is started again by nothing that a process could keep.
            #[cfg(feature = "kafka")]
            Self::Kafka => opening!(bus_kafka, KafkaOptions, KafkaBus, url, around),
            #[cfg(feature = "rabbitmq")]
            Self::Rabbitmq => opening!(bus_rabbitmq, RabbitmqOptions, RabbitmqBus, url, around, process),
            #[cfg(feature = "redis")]
            Self::Redis => opening!(bus_redis, RedisOptions, RedisBus, url, around, process),
            #[cfg(not(feature = "full"))]
            broker => bail!("the driver {} is not built in", broker.feature()),
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
            assert!(error.contains("use embedded:, nats"), "{text}: {error}");
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
        let url: BusUrl = "nats://me:se@cret@h:1?prefix=SHOP".parse().expect("it is one");
        assert_eq!(url.to_string(), "nats://h:1");
        assert_eq!(format!("{url:?}"), "BusUrl(nats://h:1)");
        assert_eq!((url.name(), url.prefix()), ("NATS", Some("SHOP")));
        let unknown = "nats://h:1?token=secret"
            .parse::<BusUrl>()
            .expect_err("no such option")
            .to_string();
        assert!(
            unknown.contains("\"token\"") && !unknown.contains("secret"),
            "{unknown}"
        );
    }

    #[test]
    #[cfg(feature = "nats")]
    fn what_is_revealed_says_the_same_again() {
        for text in [
            "nats://me:se%40cret@h:1,i",
            "nats://h?prefix=SHOP",
            "tls://h?cacert=/a%20b/%26.pem&prefix=A",
        ] {
            let url: BusUrl = text.parse().expect("it is one");
            assert!(url.reveal().parse::<BusUrl>().is_ok_and(|again| again == url), "{text}");
        }
        let url: BusUrl = "nats://me:pw@h?prefix=A".parse().expect("it is one");
        assert_eq!(url.with_prefix("B").reveal(), "nats://me:pw@h?prefix=B");
    }
}
