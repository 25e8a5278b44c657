//! The inventory: what lies in the warehouse, what of it is promised to orders, and what was sold.

use std::ops::Bound;
use std::sync::Arc;

use contracts::stock::{AdjustStock, ListStock, SetStock};
use contracts::{Page, Problem, Service, Sku};
use kernel::auth::Verifier;
use kernel::bus::Bus;
use kernel::context::Context;
use kernel::document::{Collection, Document};
use kernel::engine::Engine;
use kernel::erasure::{self, Erasure};
use kernel::freshness::{self, Missing};
use kernel::http::{IfMatch, Kit, Paging};
use kernel::reaction::Consumers;
use kernel::store::Query;
use kernel::writer;

mod adjustment;
mod error;
mod events;
mod http;
mod reactions;
mod reservation;
mod stock;
mod views;
mod waiting;

pub use error::Error;
pub use events::{ReservationEvent, StockEvent};
pub use reservation::{Demand, NotReserved, Reservation, State};
pub use stock::Stock;
pub use views::fold;

/// What the inventory keeps besides what every service has.
pub const COLLECTIONS: &[&Collection] = &[
    Stock::COLLECTION,
    Reservation::COLLECTION,
    waiting::WaitingOrder::COLLECTION,
    waiting::WaitingSku::COLLECTION,
    adjustment::AdjustmentReason::COLLECTION,
];

/// The inventory's use cases.
#[derive(Clone, Debug)]
pub struct Inventory {
    engine: Engine,
    consumers: Consumers,
    kit: Kit,
}

impl Inventory {
    /// Starts consuming, and is ready to answer.
    pub async fn start(engine: Engine, bus: &Arc<dyn Bus>, verifier: &Arc<Verifier>) -> Result<Self, writer::Error> {
        let kit = Kit::of(&engine, verifier).await?;
        erasure::start(
            &engine,
            verifier,
            Arc::new(adjustment::Reasons { engine: engine.clone() }),
        )
        .await?;
        let consumers = Consumers::start(
            &engine,
            bus,
            vec![
                Arc::new(Erasure),
                Arc::new(reactions::Products),
                Arc::new(reactions::Orders),
            ],
        );
        Ok(Self { engine, consumers, kit })
    }

    /// What it follows, and how far.
    #[must_use]
    pub fn consumers(&self) -> &Consumers {
        &self.consumers
    }

    /// The stock of a SKU. One that was not seen yet is waited for.
    pub async fn stock(&self, sku: &Sku) -> Result<Arc<Stock>, Error> {
        let reader = self.engine.reader();
        let found = freshness::wait_for(&self.engine, || reader.get::<Stock>(sku)).await?;
        found.ok_or_else(|| freshness::missing(&self.engine, &self.consumers, Service::Catalog, None).into())
    }

    /// The stock of all SKUs; or of those of which fewer pieces are available than asked for, the fewest first.
    pub async fn stocks(&self, filter: &ListStock, paging: &Paging) -> Result<Page<contracts::stock::Stock>, Problem> {
        let query = match filter.available_below {
            None => Query::all(Stock::COLLECTION, 0),
            Some(below) => Query {
                range: (Bound::Unbounded, Bound::Excluded(stock::count(below))),
                ..Query::by(Stock::COLLECTION, "by_available", Vec::new(), 0)
            },
        };
        let found = self.engine.reader().find(&paging.apply(query)?).await?;
        Ok(paging.page(found, |found| {
            self.engine
                .reader()
                .document::<Stock>(&found)
                .map(|stock| stock.shown())
        })?)
    }

    /// Says how many pieces lie in the warehouse, reserved ones included.
    pub async fn set(
        &self,
        sku: Sku,
        request: SetStock,
        if_match: IfMatch,
        context: Context,
    ) -> Result<contracts::stock::Stock, Error> {
        self.stock(&sku).await?;
        let changed = self.engine.writer().answer(context, move |unit| {
            let stock = unit.get::<Stock>(&sku).ok_or(Missing::Unknown)?;
            if_match.check(stock.version()).map_err(|_| Error::Stale)?;
            reactions::change(unit, &sku, stock::Command::Set(request.on_hand))?;
            Ok(unit.get::<Stock>(&sku).ok_or(Missing::Unknown)?.shown())
        });
        changed.await
    }

    /// Adds pieces that came, or removes pieces that went other than by a sale, and keeps the reason.
    pub async fn adjust(
        &self,
        sku: Sku,
        request: AdjustStock,
        context: Context,
    ) -> Result<contracts::stock::Stock, Error> {
        self.stock(&sku).await?;
        let changed = self.engine.writer().answer(context, move |unit| {
            if let Some(event_id) = reactions::change(unit, &sku, stock::Command::Adjust(request.delta))? {
                adjustment::note(unit, event_id, request.reason.clone());
            }
            Ok(unit.get::<Stock>(&sku).ok_or(Missing::Unknown)?.shown())
        });
        changed.await
    }
}
