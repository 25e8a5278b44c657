//! Orders for a SKU that the inventory has not heard of yet. The catalogue and the orders are followed apart, so an
//! order may come before the product that it names; it is decided when the product comes.

use std::sync::Arc;

use contracts::{EventId, OrderId, ReservationId, Sku};
use kernel::context::Context;
use kernel::document::{Collection, Document, Kind};
use kernel::reaction::Failed;
use kernel::unit::Unit;
use serde::{Deserialize, Serialize};

use crate::Reservation;
use crate::reactions::place;
use crate::reservation::Demand;

/// Orders that wait for one SKU. They are decided in one commit when it comes, so there is a limit; an order beyond it
/// is rejected, since nothing is known to be had of its SKU.
pub(crate) const WAITING_ORDERS_PER_SKU_MAX: usize = 4096;

/// An order that waits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WaitingOrder {
    demand: Demand,
    /// For which SKU. When it has come, another may be missing.
    sku: Sku,
    /// What the decision will belong to.
    correlation: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    causation: Option<EventId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<Arc<str>>,
}

impl Document for WaitingOrder {
    const COLLECTION: &'static Collection = &Collection {
        name: "waiting_orders",
        kind: Kind::Record,
        columns: &[],
        indexes: &[],
    };
}

/// A SKU that is waited for, by SKU.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct WaitingSku {
    /// First come, first served.
    orders: Vec<OrderId>,
}

impl Document for WaitingSku {
    const COLLECTION: &'static Collection = &Collection {
        name: "waiting_skus",
        kind: Kind::Record,
        columns: &[],
        indexes: &[],
    };
}

/// Lets an order wait. False if too many do already.
pub(crate) fn wait(unit: &mut Unit<'_>, demand: &Demand, sku: &Sku) -> bool {
    let order_id = demand.order_id;
    if unit.get::<WaitingOrder>(order_id).is_some() {
        return true;
    }
    let mut waiting = unit
        .get::<WaitingSku>(sku)
        .map(|waiting| WaitingSku::clone(&waiting))
        .unwrap_or_default();
    if waiting.orders.len() >= WAITING_ORDERS_PER_SKU_MAX {
        return false;
    }
    waiting.orders.push(order_id);
    unit.put(sku, waiting);
    let Context {
        correlation,
        causation,
        trace,
        ..
    } = unit.origin().clone();
    let order = WaitingOrder {
        demand: demand.clone(),
        sku: sku.clone(),
        correlation,
        causation,
        trace,
    };
    unit.put(order_id, order);
    true
}

/// Decides the orders that waited for a SKU, in the order in which they came.
pub(crate) fn arrived(unit: &mut Unit<'_>, sku: &Sku) -> Result<(), Failed> {
    let Some(waiting) = unit.get::<WaitingSku>(sku) else {
        return Ok(());
    };
    unit.delete::<WaitingSku>(sku);
    unit.load::<WaitingOrder>(&waiting.orders);
    unit.load::<Reservation>(waiting.orders.iter().copied().map(ReservationId::of));
    for order_id in &waiting.orders {
        let Some(order) = unit.get::<WaitingOrder>(order_id) else {
            continue;
        };
        unit.delete::<WaitingOrder>(order_id);
        let WaitingOrder {
            demand,
            correlation,
            causation,
            trace,
            ..
        } = WaitingOrder::clone(&order);
        let origin = Context {
            correlation,
            causation,
            trace,
            ..unit.origin().clone()
        };
        place(&mut unit.within(&origin), demand)?;
    }
    Ok(())
}

/// Lets an order wait no longer.
pub(crate) fn forget(unit: &mut Unit<'_>, order_id: OrderId) {
    let Some(order) = unit.get::<WaitingOrder>(order_id) else {
        return;
    };
    unit.delete::<WaitingOrder>(order_id);
    if let Some(waiting) = unit.get::<WaitingSku>(&order.sku) {
        let mut waiting = WaitingSku::clone(&waiting);
        waiting.orders.retain(|other| *other != order_id);
        if waiting.orders.is_empty() {
            unit.delete::<WaitingSku>(&order.sku);
        } else {
            unit.put(&order.sku, waiting);
        }
    }
}
