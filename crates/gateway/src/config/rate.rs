//! How many requests in how much time: `100/15m`, or `off`.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest window: 31 days.
const WINDOW_SECONDS_MAX: u32 = 31 * 24 * 3600;

/// The limits on how many requests are let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimits {
    /// Per address, for requests without a good token.
    pub anonymous: Rate,
    /// Per user, for requests with one.
    pub user: Rate,
    /// Per address, whoever sends the request.
    pub ip: Rate,
}

impl Default for RateLimits {
    fn default() -> Self {
        let per_quarter_of_an_hour = |requests| {
            let requests = NonZeroU32::new(requests).expect("the defaults are not zero");
            Rate::Limited(Quota {
                requests,
                window_seconds: NonZeroU32::new(15 * 60).expect("15 minutes are not zero"),
            })
        };
        Self {
            anonymous: per_quarter_of_an_hour(100),
            user: per_quarter_of_an_hour(6000),
            ip: Rate::Off,
        }
    }
}

impl RateLimits {
    /// Everything is let through.
    pub const OFF: Self = Self {
        anonymous: Rate::Off,
        user: Rate::Off,
        ip: Rate::Off,
    };
}

/// `100/15m`, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Rate {
    /// There is no limit.
    Off,
    /// At most so many in so much time.
    Limited(Quota),
}

/// So many requests in so much time. They come back one by one, evenly spread over the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many requests may come at once.
    pub requests: NonZeroU32,
    /// In how many seconds that many come back; 31 days at most.
    pub window_seconds: NonZeroU32,
}

/// A text that is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be `off`, or a number of requests per time, such as `100/15m` (s, m, h or d; at most 31 days)")]
pub struct InvalidRate;

impl Rate {
    /// The quota, unless it is off.
    #[must_use]
    pub fn quota(self) -> Option<Quota> {
        match self {
            Self::Off => None,
            Self::Limited(quota) => Some(quota),
        }
    }
}

impl Quota {
    /// How long it takes until one request more is let through; never zero.
    #[must_use]
    pub fn period(&self) -> Duration {
        let window = Duration::from_secs(self.window_seconds.get().into());
        (window / self.requests.get()).max(Duration::from_nanos(1))
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let (requests, window) = text.split_once('/').ok_or(InvalidRate)?;
        let unit = window.chars().next_back().ok_or(InvalidRate)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 24 * 3600,
            _ => return Err(InvalidRate),
        };
        let requests = requests.parse().map_err(|_| InvalidRate)?;
        // A bare unit, as in `100/h`, is one of it.
        let number = match &window[..window.len() - 1] {
            "" => 1,
            number => number.parse::<u32>().map_err(|_| InvalidRate)?,
        };
        let window = number
            .checked_mul(seconds)
            .filter(|seconds| *seconds <= WINDOW_SECONDS_MAX);
        let window_seconds = window.and_then(NonZeroU32::new).ok_or(InvalidRate)?;
        Ok(Self::Limited(Quota {
            requests,
            window_seconds,
        }))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Limited(Quota {
            requests,
            window_seconds,
        }) = self
        else {
            return f.write_str("off");
        };
        let units = [(24 * 3600, 'd'), (3600, 'h'), (60, 'm'), (1, 's')];
        let whole = units
            .into_iter()
            .find(|(seconds, _)| window_seconds.get() % seconds == 0);
        let (seconds, unit) = whole.unwrap_or((1, 's'));
        write!(f, "{requests}/{}{unit}", window_seconds.get() / seconds)
    }
}

impl TryFrom<String> for Rate {
    type Error = InvalidRate;

    fn try_from(text: String) -> Result<Self, InvalidRate> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_reads_back_as_it_was_written() {
        for text in ["off", "100/15m", "6000/15m", "1/1s", "10/90s", "5/2h", "4294967295/31d"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert_eq!("100/60s".parse::<Rate>().unwrap().to_string(), "100/1m");
        assert_eq!("100/h".parse::<Rate>(), "100/60m".parse());
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for wrong in [
            "", "/", "100", "0/1m", "100/", "100/0m", "100/1w", "-1/1m", "1.5/1m", "100/32d", "100/15ü", "Off",
        ] {
            assert_eq!(wrong.parse::<Rate>(), Err(InvalidRate), "{wrong}");
        }
    }

    #[test]
    fn requests_come_back_evenly() {
        let period = |text: &str| text.parse::<Rate>().unwrap().quota().unwrap().period();
        assert_eq!(period("100/15m"), Duration::from_secs(9));
        assert_eq!(period("4294967295/1s"), Duration::from_nanos(1));
    }
}
