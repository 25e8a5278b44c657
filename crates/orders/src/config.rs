//! What can be configured.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How orders behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// For how long a confirmed order waits for its payment: `30m`. A change concerns what is confirmed from then on.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub payment_window: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            payment_window: Duration::from_mins(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_written_as_people_do() {
        let read = |text| serde_json::from_str::<Config>(text);
        assert_eq!(read("{}").unwrap(), Config::default());
        assert_eq!(
            read(r#"{"payment_window":"90s"}"#).unwrap().payment_window,
            Duration::from_secs(90)
        );
        assert_eq!(
            serde_json::to_string(&Config::default()).unwrap(),
            r#"{"payment_window":"30m"}"#
        );
        for wrong in [
            r#"{"payment_window":30}"#,
            r#"{"payment_window":"-1m"}"#,
            r#"{"window":"1m"}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
