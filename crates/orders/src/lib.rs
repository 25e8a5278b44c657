//! Orders: what users want to buy, at the catalogue's prices, from placed to delivered.

use std::sync::Arc;

use contracts::order::{AsOf, ListOrderEvents, ListOrders, PlaceOrder, UpdateOrder, Viewed};
use contracts::{CloudEvent, OrderId, Page, Problem, Reason, Service, order as public};
use kernel::access::AccessEvents;
use kernel::auth::{User, Verifier};
use kernel::bus::Bus;
use kernel::context::Context;
use kernel::document::{Collection, Document};
use kernel::engine::Engine;
use kernel::erasure::Erasure;
use kernel::http::{IfMatch, Kit, Paging};
use kernel::reaction::{Consumers, Reaction};
use kernel::writer;

mod changing;
mod config;
mod erasure;
mod error;
mod events;
mod expiry;
mod http;
pub mod order;
mod placing;
mod products;
mod reactions;
mod reading;
mod texts;
mod views;

pub use config::Config;
pub use error::{Error, PriceChanged, UnknownProduct};
pub use events::{Event, PaymentNoted};
pub use order::Order;
pub use texts::OrderTexts;
pub use views::fold;

/// What orders keeps besides what every service has.
pub const COLLECTIONS: &[&Collection] = &[
    Order::COLLECTION,
    OrderTexts::COLLECTION,
    products::Product::COLLECTION,
    products::SkuOwner::COLLECTION,
];

/// What orders consumes: for the bus, which must know its groups before the first message.
#[must_use]
pub fn reactions(config: &Config) -> Vec<Arc<dyn Reaction>> {
    let payment_window = config.payment_window;
    vec![
        Arc::new(products::Products),
        Arc::new(reactions::Reservations { payment_window }),
        Arc::new(reactions::Payments { payment_window }),
        Arc::new(Erasure),
    ]
}

/// The use cases of orders. Each is on behalf of a user: an order of somebody else is there for admins only.
#[derive(Clone, Debug)]
pub struct Orders {
    engine: Engine,
    consumers: Consumers,
    accesses: AccessEvents,
    kit: Kit,
}

impl Orders {
    /// Starts consuming, and is ready to answer.
    pub async fn start(
        engine: Engine,
        bus: &Arc<dyn Bus>,
        verifier: &Arc<Verifier>,
        accesses: AccessEvents,
        config: &Config,
    ) -> Result<Self, writer::Error> {
        let kit = Kit::of(&engine, verifier).await?;
        let purge = erasure::Orders { engine: engine.clone() };
        kernel::erasure::start(&engine, verifier, Arc::new(purge)).await?;
        engine.watch(Arc::new(expiry::Expiry { engine: engine.clone() }));
        let consumers = Consumers::start(&engine, bus, reactions(config));
        Ok(Self {
            engine,
            consumers,
            accesses,
            kit,
        })
    }

    /// Places an order, for oneself or, as an admin, for another.
    pub async fn place(&self, request: PlaceOrder, by: User, context: Context) -> Result<public::Order, Error> {
        let owner = request.user_id.unwrap_or(by.id);
        if !by.may_access(owner) {
            return Err(Error::Forbidden);
        }
        let placement = Arc::new(placing::Placement::new(request, owner));
        let order = match self.try_to_place(&placement, context.clone()).await {
            Err(Error::UnknownProduct(_)) => {
                placement.wait_for_products(&self.engine).await?;
                let placed = self.try_to_place(&placement, context).await;
                placed.map_err(|error| placing::waited_in_vain(error, &self.engine, &self.consumers))?
            }
            placed => placed?,
        };
        Ok(order.to_public(Some(&placement.texts)))
    }

    async fn try_to_place(&self, placement: &Arc<placing::Placement>, context: Context) -> Result<Arc<Order>, Error> {
        let placement = Arc::clone(placement);
        // The texts are the request's, so that no recorded answer holds any.
        self.engine
            .writer()
            .answer(context, move |unit| placement.decide(unit))
            .await
    }

    /// Ends an order undelivered. Again is the same.
    pub async fn cancel(
        &self,
        id: OrderId,
        reason: Option<Reason>,
        by: User,
        context: Context,
    ) -> Result<public::Order, Error> {
        let context = self.about_owner(id, by, context).await?;
        let cancelled = self.engine.writer().answer(context, move |unit| {
            let order = changing::cancel(unit, id, reason.as_ref(), by)?;
            Ok(changing::shown(unit, &order))
        });
        cancelled.await
    }

    /// Changes texts and status: its owner the address, an admin everything that the table of states allows.
    pub async fn update(
        &self,
        id: OrderId,
        request: UpdateOrder,
        if_match: IfMatch,
        by: User,
        context: Context,
    ) -> Result<public::Order, Error> {
        let context = self.about_owner(id, by, context).await?;
        let updated = self.engine.writer().answer(context, move |unit| {
            let order = changing::update(unit, id, &request, &if_match, by)?;
            Ok(changing::shown(unit, &order))
        });
        updated.await
    }

    /// The recorded answer holds what people wrote, and goes with the order's owner.
    async fn about_owner(&self, id: OrderId, by: User, context: Context) -> Result<Context, Error> {
        let order = reading::own(self.engine.reader(), id, by).await?;
        Ok(context.about(order.user_id))
    }

    /// An order as it is, or as it was.
    pub async fn order(&self, id: OrderId, as_of: &AsOf, by: User, context: &Context) -> Result<public::Order, Error> {
        let order = reading::as_of(self.engine.reader(), id, as_of, by).await?;
        let viewed = Viewed {
            order_id: id,
            user_id: order.user_id,
        };
        self.accesses.record(Service::Orders, id, viewed, context);
        Ok(order)
    }

    /// Orders, newest first: one's own, and all of them for an admin.
    pub async fn orders(&self, filter: &ListOrders, paging: &Paging, by: User) -> Result<Page<public::Order>, Problem> {
        reading::list(self.engine.reader(), filter, paging, by).await
    }

    /// What happened to an order, in order.
    pub async fn events(&self, id: OrderId, filter: &ListOrderEvents, by: User) -> Result<Page<CloudEvent>, Problem> {
        reading::events(self.engine.reader(), id, filter, by).await
    }

    /// What is consumed, and how far.
    #[must_use]
    pub fn consumers(&self) -> &Consumers {
        &self.consumers
    }
}
