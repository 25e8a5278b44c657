//! Where gateways count requests together: a Redis, by its URL.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Result, bail};
use gateway::RateLimiter;
use gateway::config::RateLimits;
use kernel::clock::Clock;

/// The URL of a Redis in which requests are counted: `redis://…`, or `rediss://…` for TLS, with `?prefix=` and `?cacert=`.
#[derive(Clone, PartialEq, Eq)]
pub struct CounterUrl(String);

impl FromStr for CounterUrl {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once("://") {
            Some(("redis" | "rediss", _)) => {}
            _ => bail!("must be the URL of a Redis: redis://user:password@host:6379, or rediss://… for TLS"),
        }
        #[cfg(feature = "redis")]
        limit_redis::RedisLimiterOptions::check(text)?;
        Ok(Self(text.to_owned()))
    }
}

/// Without the login and the options.
impl fmt::Display for CounterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        let (rest, _) = rest.split_once('?').unwrap_or((rest, ""));
        let (_, host) = rest.rsplit_once('@').unwrap_or(("", rest));
        write!(f, "{scheme}://{host}")
    }
}

impl fmt::Debug for CounterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CounterUrl({self})")
    }
}

impl CounterUrl {
    /// What counts there. A server that is away is no error.
    pub async fn open(&self, limits: RateLimits, clock: Arc<dyn Clock>) -> Result<Arc<dyn RateLimiter>> {
        #[cfg(feature = "redis")]
        {
            let options = limit_redis::RedisLimiterOptions::new(&self.0, limits, clock)?;
            Ok(Arc::new(limit_redis::RedisLimiter::open(options).await?))
        }
        #[cfg(not(feature = "redis"))]
        {
            drop((limits, clock));
            bail!("the driver for {self} is not built in; build with `--features redis`, or `--features full` for all");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_redis_is_refused_with_what_to_write() {
        for text in ["h:6379", "nats://h", "redis"] {
            let error = text.parse::<CounterUrl>().expect_err(text).to_string();
            assert!(error.contains("redis://user:password@host:6379"), "{text}: {error}");
        }
    }

    #[tokio::test]
    #[cfg(not(feature = "redis"))]
    async fn a_driver_that_is_not_built_in_is_named_by_its_feature() {
        let url: CounterUrl = "redis://h".parse().expect("whoever does not count passes it over");
        let clock = Arc::new(kernel::clock::SystemClock::new());
        let error = url
            .open(RateLimits::default(), clock)
            .await
            .expect_err("it is not built in");
        assert!(error.to_string().contains("--features redis"), "{error}");
    }

    #[test]
    #[cfg(feature = "redis")]
    fn a_login_is_not_shown() {
        let url: CounterUrl = "redis://me:se@cret@h:1/3?prefix=SHOP".parse().expect("it is one");
        assert_eq!(url.to_string(), "redis://h:1/3");
        assert_eq!(format!("{url:?}"), "CounterUrl(redis://h:1/3)");
        let unknown = "redis://me:secret@h:1?token=secret".parse::<CounterUrl>();
        let unknown = unknown.expect_err("no such option").to_string();
        assert!(unknown.contains("token") && !unknown.contains("secret"), "{unknown}");
    }
}
