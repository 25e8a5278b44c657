//! The port: counting.

use std::sync::Arc;

use async_trait::async_trait;
use gateway::RateLimiter;
use gateway::limit::{LocalLimiter, Policy, Verdict};

use crate::count::Count;
use crate::failure::OpenError;
use crate::link::{Link, warn_of};
use crate::options::RedisLimiterOptions;
use crate::server::Server;

/// Counts in Redis, together with all who count there; in the memory of this process while it is away.
#[derive(Debug)]
pub struct RedisLimiter {
    server: Arc<Server>,
    link: Link,
    counts: [Option<Count>; Policy::ALL.len()],
    local: LocalLimiter,
}

impl RedisLimiter {
    /// Connects. A server that is away is no error: it is told in the log, and waited for in the background.
    ///
    /// # Errors
    /// If somebody has to change something before it can count, with what that is.
    pub async fn open(options: RedisLimiterOptions) -> Result<Self, OpenError> {
        let server = Arc::new(Server::new(&options)?);
        let reached = match server.reach().await {
            Ok(connection) => Some(connection),
            Err(error) if error.is_outage() => {
                warn_of(&error);
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            link: Link::new(Arc::clone(&server), Arc::clone(&options.clock), reached),
            counts: Policy::ALL.map(|policy| policy.quota(&options.limits).map(Count::of)),
            local: LocalLimiter::new(&options.limits, &options.clock),
            server,
        })
    }
}

#[async_trait]
impl RateLimiter for RedisLimiter {
    async fn take(&self, policy: Policy, subject: u128) -> Verdict {
        let Some(count) = self.counts[policy as usize] else {
            return Verdict::Admitted { remaining: u32::MAX };
        };
        if let Some(mut line) = self.link.line() {
            match self.server.take(&mut line.connection, policy, subject, count).await {
                Ok(answer) => return count.verdict(answer),
                Err(error) => self.link.fail(&line, &error),
            }
        }
        self.local.take(policy, subject).await
    }
}
