//! What is deleted of users who are gone: everything but the address of what they paid for and await.

use std::sync::Arc;

use async_trait::async_trait;
use contracts::UserId;
use contracts::order::Canceller;
use kernel::context::Context;
use kernel::deadline::{DUE_MAX, Expired};
use kernel::document::Document;
use kernel::engine::Engine;
use kernel::erasure::{self, Purge};
use kernel::store::Query;
use kernel::unit::Unit;
use kernel::writer::{self, Priority};

use crate::Error;
use crate::order::{Command, Order, State};
use crate::texts::OrderTexts;

/// Lets an order decide. If that settles it and its owner is gone, its texts go too.
pub(crate) fn decide(unit: &mut Unit<'_>, id: &str, command: Command) -> Result<Arc<Order>, Error> {
    let events = unit.decide::<Order>(id, command)?;
    let order = unit.get::<Order>(id).ok_or(Error::Unknown)?;
    if !events.is_empty() && order.has_texts && is_settled(&order.state) && erasure::is_erased(unit, order.user_id) {
        unit.delete::<OrderTexts>(id);
        erasure::note_deleted(unit, order.user_id);
    }
    Ok(order)
}

/// Whether nobody needs to know any more where the order goes.
fn is_settled(state: &State) -> bool {
    match state {
        State::Pending | State::Confirmed { .. } | State::Paid { .. } => false,
        State::Rejected { .. }
        | State::Fulfilled { .. }
        | State::Cancelled { .. }
        | State::Expired
        | State::Refunded { .. } => true,
    }
}

/// Cancels the unpaid orders of an erased user, and deletes the texts; of paid ones all but the address.
#[derive(Debug)]
pub(crate) struct Orders {
    pub(crate) engine: Engine,
}

#[async_trait]
impl Purge for Orders {
    async fn purge(&self, user: UserId) -> Expired {
        let mut query = Query::by(Order::COLLECTION, "by_user", vec![user.to_string().into()], DUE_MAX);
        loop {
            let ids = self.engine.reader().ids(&query).await?;
            let Some(last) = ids.last() else { return Ok(()) };
            query.after = Some((None, Arc::clone(last)));
            let purged = self
                .engine
                .writer()
                .execute(Priority::Background, Context::system("erasure"), move |unit| {
                    unit.load::<Order>(&ids);
                    unit.load::<OrderTexts>(&ids);
                    ids.iter().for_each(|id| forget(unit, id));
                    Ok::<(), writer::Error>(())
                });
            purged.await?;
        }
    }
}

fn forget(unit: &mut Unit<'_>, id: &str) {
    let cancel = Command::Cancel {
        by: Canceller::Erasure,
        details: Vec::new(),
    };
    // Erasure is refused by no order; one that is not in memory yet is decided again.
    let Ok(order) = decide(unit, id, cancel) else { return };
    let Some(texts) = unit.get::<OrderTexts>(id) else {
        return;
    };
    let left = texts.for_delivery();
    if is_settled(&order.state) || left.is_empty() {
        unit.delete::<OrderTexts>(id);
    } else if left != *texts {
        unit.put(id, left);
    }
}
