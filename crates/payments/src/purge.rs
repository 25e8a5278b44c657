//! What payments deletes of a person: what somebody wrote about their refunds.

use async_trait::async_trait;
use contracts::UserId;
use kernel::context::Context;
use kernel::deadline::{DUE_MAX, Expired};
use kernel::document::Document;
use kernel::engine::Engine;
use kernel::erasure::Purge;
use kernel::store::Query;
use kernel::writer::{self, Priority};

use crate::record::RefundRecord;

pub(crate) struct Reasons {
    pub(crate) engine: Engine,
}

#[async_trait]
impl Purge for Reasons {
    async fn purge(&self, user: UserId) -> Expired {
        loop {
            let of_user = vec![user.to_string().into()];
            let ids = self
                .engine
                .reader()
                .ids(&Query::by(RefundRecord::COLLECTION, "by_user", of_user, DUE_MAX))
                .await?;
            if ids.is_empty() {
                return Ok(());
            }
            let erased = self
                .engine
                .writer()
                .execute(Priority::Background, Context::system("erasure"), move |unit| {
                    unit.load::<RefundRecord>(&ids);
                    for id in &ids {
                        if let Some(record) = unit.get::<RefundRecord>(id) {
                            unit.put(
                                id,
                                RefundRecord {
                                    reason: None,
                                    ..RefundRecord::clone(&record)
                                },
                            );
                        }
                    }
                    Ok::<(), writer::Error>(())
                });
            erased.await?;
        }
    }
}
