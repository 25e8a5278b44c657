//! Changing an order that is placed: its texts, its status.

use std::sync::Arc;

use contracts::order::{Canceller, OrderStatus, UpdateOrder};
use contracts::{OrderId, Reason, order as public};
use kernel::auth::User;
use kernel::erasure::is_erased;
use kernel::http::IfMatch;
use kernel::unit::Unit;

use crate::order::{Command, Editor, Order};
use crate::texts::OrderTexts;
use crate::{Error, erasure};

/// Ends an order undelivered.
pub(crate) fn cancel(unit: &mut Unit<'_>, id: OrderId, reason: Option<&Reason>, by: User) -> Result<Arc<Order>, Error> {
    let key = id.to_string();
    let before = own(unit, &key, by)?;
    let canceller = if by.id == before.user_id {
        Canceller::Customer
    } else {
        Canceller::Admin
    };
    // Nothing new is kept of somebody who is gone.
    let reason = reason.filter(|_| !is_erased(unit, before.user_id));
    let details = reason.iter().map(|_| "reason".to_owned()).collect();
    let order = erasure::decide(unit, &key, Command::Cancel { by: canceller, details })?;
    if let Some(reason) = reason
        && order.version != before.version
    {
        let texts = unit.get::<OrderTexts>(&key).as_deref().cloned().unwrap_or_default();
        unit.put(
            &key,
            OrderTexts {
                reason: Some(reason.clone()),
                ..texts
            },
        );
    }
    Ok(order)
}

/// Changes texts and status. What only admins may change is refused to others, even if it is so already.
pub(crate) fn update(
    unit: &mut Unit<'_>,
    id: OrderId,
    request: &UpdateOrder,
    if_match: &IfMatch,
    by: User,
) -> Result<Arc<Order>, Error> {
    let key = id.to_string();
    let order = own(unit, &key, by)?;
    if !by.is_admin() && (request.status.is_some() || !request.metadata.is_keep()) {
        return Err(Error::Forbidden);
    }
    if_match.check(order.version).map_err(|_| Error::Stale)?;
    change_texts(unit, &key, request, by)?;
    match request.status {
        Some(status) if status != order.status() => set_status(unit, &key, &order, status, by),
        Some(_) | None => unit.get(&key).ok_or(Error::Unknown),
    }
}

/// The order with its texts, as this change leaves it.
pub(crate) fn shown(unit: &mut Unit<'_>, order: &Order) -> public::Order {
    let texts = if order.has_texts {
        unit.get::<OrderTexts>(order.id)
    } else {
        None
    };
    order.to_public(texts.as_deref())
}

fn own(unit: &mut Unit<'_>, key: &str, by: User) -> Result<Arc<Order>, Error> {
    let order = unit.get::<Order>(key);
    order.filter(|order| by.may_access(order.user_id)).ok_or(Error::Unknown)
}

fn change_texts(unit: &mut Unit<'_>, key: &str, request: &UpdateOrder, by: User) -> Result<(), Error> {
    if request.shipping_address.is_keep() && request.metadata.is_keep() {
        return Ok(());
    }
    let mut texts = unit.get::<OrderTexts>(key).as_deref().cloned().unwrap_or_default();
    let changed = [
        (
            "shipping_address",
            request.shipping_address.clone().apply(&mut texts.shipping_address),
        ),
        ("metadata", request.metadata.clone().apply(&mut texts.metadata)),
    ];
    let changed = changed
        .into_iter()
        .filter(|(_, changed)| *changed)
        .map(|(name, _)| name.to_owned())
        .collect();
    let editor = if by.is_admin() { Editor::Admin } else { Editor::Owner };
    let before = unit.get::<Order>(key).ok_or(Error::Unknown)?;
    let owner_is_gone = is_erased(unit, before.user_id);
    if owner_is_gone && (before.status() != OrderStatus::Paid || !request.metadata.is_keep()) {
        return Err(Error::TextsSettled {
            status: before.status(),
        });
    }
    let order = erasure::decide(unit, key, Command::Update { by: editor, changed })?;
    if order.version == before.version {
        return Ok(());
    }
    if texts.is_empty() {
        unit.delete::<OrderTexts>(key);
    } else {
        unit.put(key, texts);
    }
    Ok(())
}

/// A status by an admin's hand.
fn set_status(unit: &mut Unit<'_>, key: &str, order: &Order, to: OrderStatus, by: User) -> Result<Arc<Order>, Error> {
    let command = match to {
        OrderStatus::Paid => Command::PayManually { admin: by.id },
        OrderStatus::Fulfilled => Command::Fulfil,
        OrderStatus::Cancelled => Command::Cancel {
            by: Canceller::Admin,
            details: Vec::new(),
        },
        // These follow from what inventory, payments and time say.
        OrderStatus::Pending
        | OrderStatus::Confirmed
        | OrderStatus::Rejected
        | OrderStatus::Expired
        | OrderStatus::Refunded => {
            return Err(Error::IllegalTransition {
                from: order.status(),
                to,
            });
        }
    };
    erasure::decide(unit, key, command).map_err(|refused| match refused {
        Error::NotCancellable { status } => Error::IllegalTransition { from: status, to },
        refused => refused,
    })
}
