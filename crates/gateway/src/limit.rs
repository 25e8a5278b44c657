//! How many requests are let through: the port, and what clients are told about it.

mod local;

use std::fmt;
use std::io::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::{Quota, RateLimits};

pub use local::LocalLimiter;

/// The limits that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Requests without a good token, by address.
    Anonymous,
    /// Requests with one, by user.
    User,
    /// All requests, by address.
    Ip,
}

impl Policy {
    /// All of them, in order of declaration.
    pub const ALL: [Self; 3] = [Self::Anonymous, Self::User, Self::Ip];

    /// How clients know it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::User => "user",
            Self::Ip => "ip",
        }
    }

    /// What the operator has decided about it.
    #[must_use]
    pub fn quota(self, limits: &RateLimits) -> Option<Quota> {
        let rate = match self {
            Self::Anonymous => limits.anonymous,
            Self::User => limits.user,
            Self::Ip => limits.ip,
        };
        rate.quota()
    }
}

/// Whether one more request is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is, and so many more would be at once.
    Admitted {
        /// What is left.
        remaining: u32,
    },
    /// It is not.
    Refused {
        /// When the next one will be.
        retry_after: Duration,
    },
}

/// The port to whatever counts requests.
///
/// What every adapter owes, and `testkit::limiter_suite` holds it to:
///
/// - It is built from the same [`RateLimits`] as the gateway, and is never asked about a policy that is off.
/// - Asking counts one request, atomically: of many at once, no more than the quota are admitted. One that is refused
///   costs nothing.
/// - It answers within milliseconds, and always: when what it counts in is out of reach, it admits, or counts for itself. A
///   shop that is down because its counter is down would be the worse fault. Once that is back, it is counted there again.
/// - Its memory is bounded, however many subjects there are.
#[async_trait]
pub trait RateLimiter: Send + Sync + fmt::Debug {
    /// Counts a request of this subject: an address as 128 bits (for IPv6 the /64), or a user's UUID.
    async fn take(&self, policy: Policy, subject: u128) -> Verdict;
}

/// The policies that apply to a request, and what is left of them.
/// See <https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-11>.
pub(crate) const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(crate) const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The policies that are on, and how they are announced.
#[derive(Debug)]
pub(crate) struct Announced([Option<Announcement>; Policy::ALL.len()]);

#[derive(Debug)]
struct Announcement {
    policy: HeaderValue,
    period_seconds: u64,
}

impl Announced {
    pub(crate) fn new(limits: &RateLimits) -> Self {
        Self(Policy::ALL.map(|policy| {
            let quota = policy.quota(limits)?;
            let value = format!("\"{}\";q={};w={}", policy.name(), quota.requests, quota.window_seconds);
            let value = HeaderValue::try_from(value).expect("names and numbers are ASCII");
            Some(Announcement {
                policy: value,
                period_seconds: whole_seconds(quota.period()),
            })
        }))
    }

    pub(crate) fn is_on(&self, policy: Policy) -> bool {
        self.0[policy as usize].is_some()
    }

    /// Tells the client where it stands.
    ///
    /// `r` is what it may send at once. `t` is for how long that holds: until one request comes back, since they come
    /// back one by one. So it agrees with `Retry-After` when there is nothing left.
    fn announce(&self, policy: Policy, verdict: Verdict, headers: &mut HeaderMap) {
        let Some(announcement) = &self.0[policy as usize] else {
            return;
        };
        headers.append(RATELIMIT_POLICY, announcement.policy.clone());
        let (remaining, seconds) = match verdict {
            Verdict::Admitted { remaining } => (remaining, announcement.period_seconds),
            Verdict::Refused { retry_after } => (0, whole_seconds(retry_after)),
        };
        // The longest name, two numbers and ten characters more.
        let mut text = [0; 64];
        let mut rest = &mut text[..];
        let written = write!(rest, "\"{}\";r={remaining};t={seconds}", policy.name());
        let length = 64 - rest.len();
        if let (Ok(()), Ok(value)) = (written, HeaderValue::from_bytes(&text[..length])) {
            headers.append(RATELIMIT, value);
        }
    }
}

/// Rounded up, and never zero.
fn whole_seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

/// What one request was counted under: by address, and by user or as anonymous.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally([Option<(Policy, Verdict)>; 2]);

impl Tally {
    /// Notes a verdict.
    pub(crate) fn note(&mut self, policy: Policy, verdict: Verdict) {
        let free = self.0.iter_mut().find(|noted| noted.is_none());
        *free.expect("a request is counted by address, and by user or as anonymous") = Some((policy, verdict));
    }

    /// Tells the client.
    pub(crate) fn announce(&self, announced: &Announced, headers: &mut HeaderMap) {
        for (policy, verdict) in self.0.iter().flatten() {
            announced.announce(*policy, *verdict, headers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_where_they_stand() {
        let limits = RateLimits {
            ip: "4294967295/31d".parse().unwrap(),
            ..RateLimits::default()
        };
        let announced = Announced::new(&limits);
        let told = |noted: &[(Policy, Verdict)]| {
            let mut tally = Tally::default();
            noted.iter().for_each(|(policy, verdict)| tally.note(*policy, *verdict));
            let mut headers = HeaderMap::new();
            tally.announce(&announced, &mut headers);
            headers
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                .collect::<Vec<_>>()
        };
        insta::assert_snapshot!(told(&[(Policy::Anonymous, Verdict::Admitted { remaining: 99 })]).join("\n"), @r#"
ratelimit-policy: "anonymous";q=100;w=900
ratelimit: "anonymous";r=99;t=9
"#);
        let refused = Verdict::Refused {
            retry_after: Duration::from_millis(8001),
        };
        let ip = (Policy::Ip, Verdict::Admitted { remaining: u32::MAX });
        insta::assert_snapshot!(told(&[ip, (Policy::User, refused)]).join("\n"), @r#"
ratelimit-policy: "ip";q=4294967295;w=2678400
ratelimit-policy: "user";q=6000;w=900
ratelimit: "ip";r=4294967295;t=1
ratelimit: "user";r=0;t=9
"#);
    }
}
