//! Placing an order: its lines at the catalogue's prices, as this service's replica has them.

use std::sync::Arc;

use contracts::order::{LineRequest, LineRequests, OrderLine, PlaceOrder, Placed, ProductRef};
use contracts::product::ProductStatus;
use contracts::{Money, OrderId, ProductId, Service, UserId, money};
use kernel::engine::Engine;
use kernel::erasure;
use kernel::freshness::{self, Missing};
use kernel::reaction::Consumers;
use kernel::store::StoreError;
use kernel::unit::Unit;

use crate::Error;
use crate::error::{PriceChanged, UnknownProduct};
use crate::order::{Command, Order};
use crate::products::{Product, SkuOwner};
use crate::texts::OrderTexts;

/// What is to be ordered, made ready once for however often it is decided.
#[derive(Debug)]
pub(crate) struct Placement {
    owner: UserId,
    lines: LineRequests,
    pub(crate) texts: OrderTexts,
    details: Vec<String>,
}

impl Placement {
    pub(crate) fn new(request: PlaceOrder, owner: UserId) -> Self {
        let PlaceOrder {
            lines,
            shipping_address,
            metadata,
            user_id: _,
        } = request;
        let texts = OrderTexts {
            shipping_address,
            metadata,
            reason: None,
        };
        let details = texts.names();
        Self {
            owner,
            lines,
            texts,
            details,
        }
    }

    /// Places the order.
    pub(crate) fn decide(&self, unit: &mut Unit<'_>) -> Result<Arc<Order>, Error> {
        // Everything is asked for before anything is judged, so that it is read in one query.
        let owner_is_gone = erasure::is_erased(unit, self.owner);
        let offers: Vec<_> = self.lines.iter().map(|line| find(unit, &line.product)).collect();
        if owner_is_gone {
            return Err(Error::ErasedUser);
        }
        let (lines, total) = price(&self.lines, offers)?;
        let order_id = OrderId::from_uuid(unit.uuid());
        let key = order_id.to_string();
        unit.fresh::<Order>(&key);
        let details = self.details.clone();
        let placed = Placed {
            order_id,
            user_id: self.owner,
            lines,
            total,
            details,
        };
        unit.decide::<Order>(&key, Command::Place(placed))?;
        if !self.details.is_empty() {
            unit.fresh::<OrderTexts>(&key);
            unit.put(&key, self.texts.clone());
        }
        unit.get(&key).ok_or(Error::Unknown)
    }

    /// Waits for products that the replica has not seen, or not as ones that can be ordered.
    pub(crate) async fn wait_for_products(&self, engine: &Engine) -> Result<(), StoreError> {
        freshness::wait_for(engine, || self.look(engine)).await.map(|_| ())
    }

    async fn look(&self, engine: &Engine) -> Result<Option<()>, StoreError> {
        let reader = engine.reader();
        let skus = self.lines.iter().filter_map(|line| match &line.product {
            ProductRef::Sku(sku) => Some(sku),
            ProductRef::Id(_) => None,
        });
        let mut owners = reader.get_many::<SkuOwner>(skus).await?.into_iter();
        let ids: Option<Vec<ProductId>> = self
            .lines
            .iter()
            .map(|line| match line.product {
                ProductRef::Id(id) => Some(id),
                ProductRef::Sku(_) => owners.next().flatten().map(|owner| owner.product_id),
            })
            .collect();
        let Some(ids) = ids else { return Ok(None) };
        let products = reader.get_many::<Product>(ids).await?;
        let all = products
            .iter()
            .all(|it| it.as_ref().is_some_and(|it| it.status == ProductStatus::Active));
        Ok(all.then_some(()))
    }
}

/// The refusal of products that were waited for in vain: some may be on their way, or there are none such.
pub(crate) fn waited_in_vain(error: Error, engine: &Engine, consumers: &Consumers) -> Error {
    let Error::UnknownProduct(lines) = &error else {
        return error;
    };
    let on_its_way = |unknown: &UnknownProduct| {
        freshness::missing(engine, consumers, Service::Catalog, unknown.made_at) == Missing::CatchingUp
    };
    if lines.iter().any(on_its_way) {
        Error::CatchingUp
    } else {
        error
    }
}

/// A product as it was found for a line.
type Offer = Result<(ProductId, Arc<Product>), Absent>;

/// That there is no such product, or none that can be ordered.
struct Absent {
    unseen: Option<ProductId>,
}

fn find(unit: &mut Unit<'_>, product: &ProductRef) -> Offer {
    let id = match product {
        ProductRef::Id(id) => *id,
        ProductRef::Sku(sku) => unit.get::<SkuOwner>(sku).ok_or(Absent { unseen: None })?.product_id,
    };
    let product = unit.get::<Product>(id).ok_or(Absent { unseen: Some(id) })?;
    match product.status {
        ProductStatus::Active => Ok((id, product)),
        ProductStatus::Archived => Err(Absent { unseen: None }),
    }
}

/// The lines at their prices, and what they cost together.
fn price(requests: &[LineRequest], offers: Vec<Offer>) -> Result<(Vec<OrderLine>, Money), Error> {
    let unknown: Vec<UnknownProduct> = offers
        .iter()
        .enumerate()
        .filter_map(|(line, offer)| {
            let absent = offer.as_ref().err()?;
            Some(UnknownProduct {
                line,
                made_at: absent.unseen.map(ProductId::created_at),
            })
        })
        .collect();
    if !unknown.is_empty() {
        return Err(Error::UnknownProduct(unknown));
    }
    let offers = || requests.iter().zip(offers.iter().flatten());
    let changed: Vec<PriceChanged> = offers()
        .enumerate()
        .filter(|(_, (request, (_, product)))| request.expected_unit_price.is_some_and(|it| it != product.price))
        .map(|(line, (_, (_, product)))| PriceChanged {
            line,
            price: product.price,
        })
        .collect();
    if !changed.is_empty() {
        return Err(Error::PriceChanged(changed));
    }
    let lines: Vec<OrderLine> = offers()
        .map(|(request, (id, product))| {
            OrderLine::new(
                product.sku.clone(),
                *id,
                product.name.clone(),
                request.quantity,
                product.price,
            )
        })
        .collect::<Result<_, _>>()
        .map_err(|_| Error::TotalTooLarge)?;
    let totals = lines.iter().map(|line| line.total);
    let currency = lines.first().ok_or(Error::TotalTooLarge)?.total.currency();
    let total = Money::checked_sum(currency, totals).map_err(|error| match error {
        money::Error::MixedCurrencies { .. } => Error::MixedCurrencies,
        _ => Error::TotalTooLarge,
    })?;
    Ok((lines, total))
}
