//! Why stock was adjusted, in the words of whoever did it: a record beside the event, which does not have it.

use std::sync::Arc;

use async_trait::async_trait;
use contracts::{EventId, Reason, UserId};
use kernel::context::Context;
use kernel::deadline::{DUE_MAX, Expired};
use kernel::document::{Collection, Column, ColumnType, Document, Index, Kind, Value};
use kernel::engine::Engine;
use kernel::erasure::Purge;
use kernel::store::Query;
use kernel::unit::Unit;
use kernel::writer::{self, Priority};
use serde::{Deserialize, Serialize};

/// The reason of an adjustment, by the id of its event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AdjustmentReason {
    author: Arc<str>,
    reason: Reason,
}

impl Document for AdjustmentReason {
    const COLLECTION: &'static Collection = &Collection {
        name: "adjustment_reasons",
        kind: Kind::Record,
        columns: &[Column {
            name: "author",
            column_type: ColumnType::Text,
        }],
        indexes: &[Index {
            name: "by_author",
            columns: &["author"],
        }],
    };

    fn columns(&self) -> Vec<Value> {
        vec![Value::Text(Arc::clone(&self.author))]
    }
}

/// Keeps the reason of the event that was just appended.
pub(crate) fn note(unit: &mut Unit<'_>, event_id: EventId, reason: Reason) {
    let author = Arc::clone(&unit.origin().actor);
    unit.fresh::<AdjustmentReason>(event_id);
    unit.put(event_id, AdjustmentReason { author, reason });
}

/// Deletes what an erased user wrote. What was adjusted stays in the books.
#[derive(Debug)]
pub(crate) struct Reasons {
    pub(crate) engine: Engine,
}

#[async_trait]
impl Purge for Reasons {
    async fn purge(&self, user: UserId) -> Expired {
        let author = user.to_string();
        let query = Query::by(AdjustmentReason::COLLECTION, "by_author", vec![author.into()], DUE_MAX);
        loop {
            let ids = self.engine.reader().ids(&query).await?;
            if ids.is_empty() {
                return Ok(());
            }
            let context = Context::system("erasure");
            let deleted = self
                .engine
                .writer()
                .execute(Priority::Background, context, move |unit| {
                    unit.load::<AdjustmentReason>(&ids);
                    for id in &ids {
                        unit.delete::<AdjustmentReason>(id);
                    }
                    Ok::<(), writer::Error>(())
                });
            deleted.await?;
        }
    }
}
