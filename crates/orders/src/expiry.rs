//! Orders that nobody pays for in time.

use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use kernel::context::Context;
use kernel::deadline::{DUE_MAX, Deadline, Expired};
use kernel::document::Document;
use kernel::engine::Engine;
use kernel::store::Query;
use kernel::writer::{self, Priority};

use crate::erasure;
use crate::order::{Command, Order};

/// Asks the orders whose time is over to expire; each looks again whether it is.
#[derive(Debug)]
pub(crate) struct Expiry {
    pub(crate) engine: Engine,
}

#[async_trait]
impl Deadline for Expiry {
    fn due(&self, now: Timestamp) -> Query {
        let mut query = Query::by(Order::COLLECTION, "by_expiry", Vec::new(), DUE_MAX);
        query.range = (Bound::Unbounded, Bound::Included(now.into()));
        query
    }

    async fn expire(&self, ids: Vec<Arc<str>>) -> Expired {
        let expired = self
            .engine
            .writer()
            .execute(Priority::Background, Context::system("expiry"), move |unit| {
                unit.load::<Order>(&ids);
                for id in &ids {
                    // No order refuses to expire; one that is not in memory yet is decided again.
                    let _ = erasure::decide(unit, id, Command::Expire);
                }
                Ok::<(), writer::Error>(())
            });
        Ok(expired.await?)
    }
}
