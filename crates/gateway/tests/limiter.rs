//! The limiter in memory against the port's contract.

use std::sync::Arc;

use async_trait::async_trait;
use gateway::RateLimiter;
use gateway::config::RateLimits;
use gateway::limit::LocalLimiter;
use kernel::clock::{Clock, SystemClock};
use testkit::limiter_suite::LimiterFactory;

struct InMemory;

#[async_trait]
impl LimiterFactory for InMemory {
    async fn limiter(&self, limits: RateLimits) -> Arc<dyn RateLimiter> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        Arc::new(LocalLimiter::new(&limits, &clock))
    }
}

mod local_limiter {
    use super::*;

    testkit::limiter_suite!(InMemory);
}
