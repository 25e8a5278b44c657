//! What an operator may decide about the gateway, checked when it is read: a value that cannot work does not exist.

mod network;
mod origins;
mod rate;

use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use network::Network;
pub use origins::Origins;
pub use rate::{Quota, Rate, RateLimits};

/// The gateway's configuration. An absent field has its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many requests are let through.
    pub rate_limit: RateLimits,
    /// Networks whose `X-Forwarded-For` is believed: those of the balancers in front. None by default.
    pub trusted_proxies: Vec<Network>,
    /// Web pages of which origins may call the API from a browser (CORS). None by default.
    pub cors_origins: Origins,
    /// How long an answer may take to begin. Streams go on for as long as they like.
    pub request_timeout_ms: NonZeroU64,
    /// Whether answers are compressed for clients that ask for it.
    pub compression: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rate_limit: RateLimits::default(),
            trusted_proxies: Vec::new(),
            cors_origins: Origins::default(),
            request_timeout_ms: NonZeroU64::new(30_000).expect("30,000 is not zero"),
            compression: true,
        }
    }
}

impl Config {
    /// How long an answer may take to begin.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_read_as_the_api_says() {
        insta::assert_snapshot!(toml::to_string(&Config::default()).unwrap(), @r#"
trusted_proxies = []
cors_origins = []
request_timeout_ms = 30000
compression = true

[rate_limit]
anonymous = "100/15m"
user = "6000/15m"
ip = "off"
"#);
        assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
    }

    #[test]
    fn every_field_is_read_and_an_unknown_one_refused() {
        let text = r#"
            trusted_proxies = ["10.0.0.0/8", "::1"]
            cors_origins = ["https://shop.example"]
            request_timeout_ms = 5000
            compression = false
            [rate_limit]
            anonymous = "5/1s"
            user = "off"
            ip = "10000/1h"
        "#;
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.request_timeout(), Duration::from_secs(5));
        assert_eq!(config.rate_limit.user, Rate::Off);
        assert_eq!(
            toml::from_str::<Config>(&toml::to_string(&config).unwrap()).unwrap(),
            config
        );
        for wrong in [
            "rate_limits = 1",
            "request_timeout_ms = 0",
            "[rate_limit]\nanon = \"5/1s\"",
        ] {
            assert!(toml::from_str::<Config>(wrong).is_err(), "{wrong}");
        }
    }
}
