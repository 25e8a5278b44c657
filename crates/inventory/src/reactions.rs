//! What the inventory does about products and orders.

use contracts::order::OrderStatus;
use contracts::stock::Shortage;
use contracts::{EventId, OnHand, OrderId, PublicEvent, ReservationId, Service, Sku, UserId, product};
use kernel::bus::Message;
use kernel::reaction::{Failed, Reaction};
use kernel::unit::Unit;

use crate::reservation::{Command, Demand, NotReserved};
use crate::{Error, Reservation, Stock, StockEvent, stock, waiting};

/// Begins to count the stock of each new product. An archived one keeps its stock: orders may still name it.
#[derive(Debug)]
pub(crate) struct Products;

impl Reaction for Products {
    /// Permanent: its checkpoints are kept under it.
    fn name(&self) -> &'static str {
        "products"
    }

    fn sources(&self) -> &'static [Service] {
        &[Service::Catalog]
    }

    fn types(&self) -> Option<&'static [&'static str]> {
        Some(&["product.created"])
    }

    fn react(&self, message: &Message, unit: &mut Unit<'_>) -> Result<(), Failed> {
        match message.public()? {
            PublicEvent::ProductCreated(created) => create(unit, created),
            _ => Ok(()),
        }
    }
}

fn create(unit: &mut Unit<'_>, created: product::Created) -> Result<(), Failed> {
    let product::Created {
        sku,
        product_id,
        initial_stock,
        ..
    } = created;
    let on_hand =
        OnHand::try_from(initial_stock).map_err(|error| Failed::Poison(format!("the first stock {error}")))?;
    change(
        unit,
        &sku,
        stock::Command::Create {
            sku: sku.clone(),
            product_id,
            on_hand,
        },
    )
    .map_err(|error| Failed::Poison(error.to_string()))?;
    waiting::arrived(unit, &sku)
}

/// Lets the stock decide, and appends what follows to the SKU's own stream. `None` is "already so".
pub(crate) fn change(unit: &mut Unit<'_>, sku: &Sku, command: stock::Command) -> Result<Option<EventId>, Error> {
    let stock = unit.get::<Stock>(sku);
    let Some(updated) = Stock::decide(stock.as_deref(), command)? else {
        return Ok(None);
    };
    let version = stock.map_or(0, |stock| stock.stream_version()) + 1;
    Ok(Some(unit.append(
        Stock::stream(sku),
        version,
        StockEvent::from(updated),
    )))
}

/// Reserves for orders, makes sales of what was paid, releases what was not or no longer.
#[derive(Debug)]
pub(crate) struct Orders;

impl Reaction for Orders {
    /// Permanent: its checkpoints are kept under it.
    fn name(&self) -> &'static str {
        "orders"
    }

    fn sources(&self) -> &'static [Service] {
        &[Service::Orders]
    }

    fn types(&self) -> Option<&'static [&'static str]> {
        Some(&[
            "order.placed",
            "order.paid",
            "order.rejected",
            "order.cancelled",
            "order.expired",
            "order.refunded",
        ])
    }

    fn react(&self, message: &Message, unit: &mut Unit<'_>) -> Result<(), Failed> {
        match message.public()? {
            PublicEvent::OrderPlaced(placed) => place(unit, placed.into()),
            PublicEvent::OrderPaid(paid) => {
                let (order_id, user_id) = (paid.order_id, paid.user_id);
                unit.decide::<Reservation>(ReservationId::of(order_id), Command::Sell { order_id, user_id })?;
                Ok(())
            }
            // What was handed over does not come back by itself.
            PublicEvent::OrderCancelled(order) if order.was != OrderStatus::Fulfilled => {
                release(unit, order.order_id, order.user_id)
            }
            PublicEvent::OrderRefunded(order) if order.was != OrderStatus::Fulfilled => {
                release(unit, order.order_id, order.user_id)
            }
            PublicEvent::OrderExpired(order) => release(unit, order.order_id, order.user_id),
            PublicEvent::OrderRejected(order) => release(unit, order.order_id, order.user_id),
            _ => Ok(()),
        }
    }
}

/// Reserves all that an order wants, or rejects it; lets it wait if a SKU is not known yet.
pub(crate) fn place(unit: &mut Unit<'_>, demand: Demand) -> Result<(), Failed> {
    let reservation_id = ReservationId::of(demand.order_id);
    unit.load::<Stock>(demand.lines.iter().map(|line| &line.sku));
    if unit.get::<Reservation>(reservation_id).is_some() {
        return Ok(());
    }
    let mut shortages = Vec::new();
    for line in &demand.lines {
        let available = match unit.get::<Stock>(&line.sku) {
            Some(stock) => stock.available(),
            None if waiting::wait(unit, &demand, &line.sku) => return Ok(()),
            None => 0,
        };
        if available < line.quantity {
            shortages.push(Shortage {
                sku: line.sku.clone(),
                requested: line.quantity,
                available,
            });
        }
    }
    unit.decide::<Reservation>(reservation_id, Command::Reserve { demand, shortages })?;
    Ok(())
}

fn release(unit: &mut Unit<'_>, order_id: OrderId, user_id: UserId) -> Result<(), Failed> {
    let reservation_id = ReservationId::of(order_id);
    if unit.get::<Reservation>(reservation_id).is_none() {
        waiting::forget(unit, order_id);
    }
    unit.decide::<Reservation>(reservation_id, Command::Release { order_id, user_id })?;
    Ok(())
}

/// It cannot be mapped to anything: a person has to look at what was paid without stock.
impl From<NotReserved> for Failed {
    fn from(error: NotReserved) -> Self {
        Self::Poison(error.to_string())
    }
}
