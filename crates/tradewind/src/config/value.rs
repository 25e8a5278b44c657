//! The types of settings, each parsed from text.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use contracts::Email;

use crate::buses::BusUrl;
use crate::limits::CounterUrl;
use crate::stores::StoreUrl;

/// A type that a setting can have.
pub(super) trait Setting: Sized {
    /// Whether its text may hold a secret, and is not repeated.
    const SECRET: bool = false;

    /// Reads it; the error says what to write instead.
    fn parse(text: &str) -> Result<Self>;

    /// What is shown of it where settings are.
    fn shown(&self, text: &str) -> String {
        match Self::SECRET && !text.is_empty() {
            true => "(set)".to_owned(),
            false => text.to_owned(),
        }
    }
}

macro_rules! from_str {
    ($($Type:ty),+) => {$(
        impl Setting for $Type {
            fn parse(text: &str) -> Result<Self> {
                text.parse().map_err(|error| anyhow!("{error}"))
            }
        }
    )+};
}

from_str!(
    PathBuf,
    String,
    super::LogFormat,
    gateway::config::Rate,
    gateway::config::Network,
    Span,
    Email,
    gateway::BaseUrl
);

impl Setting for SocketAddr {
    fn parse(text: &str) -> Result<Self> {
        text.parse()
            .map_err(|_| anyhow!("must be an address with a port, such as 127.0.0.1:3000"))
    }
}

/// Empty text is nothing.
impl<T: Setting> Setting for Option<T> {
    const SECRET: bool = T::SECRET;

    fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            Ok(None)
        } else {
            T::parse(text).map(Some)
        }
    }

    fn shown(&self, text: &str) -> String {
        self.as_ref().map_or_else(String::new, |value| value.shown(text))
    }
}

impl Setting for BusUrl {
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self> {
        text.parse()
    }

    fn shown(&self, _: &str) -> String {
        self.to_string()
    }
}

impl Setting for CounterUrl {
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self> {
        text.parse()
    }

    fn shown(&self, _: &str) -> String {
        self.to_string()
    }
}

impl Setting for StoreUrl {
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self> {
        text.parse()
    }

    fn shown(&self, _: &str) -> String {
        self.to_string()
    }
}

/// Values separated by commas.
#[derive(Clone, Debug, Default)]
pub struct List<T>(pub Vec<T>);

impl<T: Setting> Setting for List<T> {
    fn parse(text: &str) -> Result<Self> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        Ok(Self(entries.map(T::parse).collect::<Result<_>>()?))
    }
}

/// A length of time above zero: `500ms`, `30s`, `15m`, `2h`, `1d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(Duration);

impl Span {
    /// The length.
    #[must_use]
    pub fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let number: u64 = text[..text.len() - unit.len()].parse().unwrap_or(0);
        let millis = match unit {
            "ms" => Some(number),
            "s" => number.checked_mul(1000),
            "m" => number.checked_mul(60 * 1000),
            "h" => number.checked_mul(60 * 60 * 1000),
            "d" => number.checked_mul(24 * 60 * 60 * 1000),
            _ => None,
        };
        match millis {
            Some(millis @ 1..) => Ok(Self(Duration::from_millis(millis))),
            _ => bail!("must be a length of time such as 500ms, 30s, 15m, 2h or 1d"),
        }
    }
}

/// Text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Concealed(String);

impl Concealed {
    /// The text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Concealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Concealed(…)")
    }
}

impl Setting for Concealed {
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self> {
        Ok(Self(text.to_owned()))
    }
}
