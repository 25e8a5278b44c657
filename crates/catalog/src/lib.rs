//! The catalogue: products, their prices, and which of them can be bought.

use std::sync::Arc;

use contracts::product::{CreateProduct, ListProducts, ProductSort, ProductStatus, UpdateProduct};
use contracts::{Page, Problem, ProductId};
use kernel::auth::Verifier;
use kernel::bus::Bus;
use kernel::context::Context;
use kernel::document::Collection;
use kernel::engine::Engine;
use kernel::erasure::{self, Erasure, NothingKept};
use kernel::http::{IfMatch, Kit, Paging};
use kernel::reaction::Consumers;
use kernel::store::Query;
use kernel::{document::Document, writer};

mod error;
mod events;
mod http;
mod product;
mod views;

pub use error::Error;
pub use events::Event;
pub use product::{Command, Product};
pub use views::fold;

/// What the catalogue keeps besides what every service has.
pub const COLLECTIONS: &[&Collection] = &[Product::COLLECTION, views::SkuOwner::COLLECTION];

/// The catalogue's use cases.
#[derive(Clone, Debug)]
pub struct Catalog {
    engine: Engine,
    consumers: Consumers,
    kit: Kit,
}

impl Catalog {
    /// Starts consuming, and is ready to answer.
    pub async fn start(engine: Engine, bus: &Arc<dyn Bus>, verifier: &Arc<Verifier>) -> Result<Self, writer::Error> {
        let kit = Kit::of(&engine, verifier).await?;
        erasure::start(&engine, verifier, Arc::new(NothingKept)).await?;
        let consumers = Consumers::start(&engine, bus, vec![Arc::new(Erasure)]);
        Ok(Self { engine, consumers, kit })
    }

    /// How its consumers are doing.
    #[must_use]
    pub fn consumers(&self) -> &Consumers {
        &self.consumers
    }

    /// Adds a product under a SKU that no other has.
    pub async fn create(&self, request: CreateProduct, context: Context) -> Result<Product, Error> {
        let created = self.engine.writer().answer(context, move |unit| {
            let id = ProductId::from_uuid(unit.uuid());
            if unit.get::<views::SkuOwner>(&request.sku).is_some() {
                return Err(Error::SkuTaken);
            }
            unit.fresh::<Product>(id);
            unit.decide::<Product>(
                id,
                Command::Create {
                    id,
                    request: request.clone(),
                },
            )?;
            Ok(Product::clone(&*unit.get(id).ok_or(Error::Unknown)?))
        });
        created.await
    }

    /// Changes what is sold; placed orders keep their price.
    pub async fn update(
        &self,
        id: ProductId,
        request: UpdateProduct,
        if_match: IfMatch,
        context: Context,
    ) -> Result<Product, Error> {
        self.change(id, Command::Update(request), if_match, context).await
    }

    /// Takes a product out of the catalogue. Old orders keep it.
    pub async fn archive(&self, id: ProductId, if_match: IfMatch, context: Context) -> Result<(), Error> {
        self.change(id, Command::Archive, if_match, context).await.map(|_| ())
    }

    async fn change(
        &self,
        id: ProductId,
        command: Command,
        if_match: IfMatch,
        context: Context,
    ) -> Result<Product, Error> {
        let changed = self.engine.writer().answer(context, move |unit| {
            let product = unit.get::<Product>(id).ok_or(Error::Unknown)?;
            if_match.check(product.0.version).map_err(|_| Error::Stale)?;
            unit.decide::<Product>(id, command.clone())?;
            Ok(Product::clone(&*unit.get(id).ok_or(Error::Unknown)?))
        });
        changed.await
    }

    /// A product, archived ones included.
    pub async fn product(&self, id: ProductId) -> Result<Arc<Product>, Error> {
        self.engine.reader().get(id).await?.ok_or(Error::Unknown)
    }

    /// Products in the order asked for; active ones unless another status is asked for.
    pub async fn products(&self, filter: &ListProducts, paging: &Paging) -> Result<Page<Arc<Product>>, Problem> {
        let (index, descending) = match filter.sort.unwrap_or(ProductSort::NewestFirst) {
            ProductSort::NewestFirst => ("by_status_created", true),
            ProductSort::OldestFirst => ("by_status_created", false),
            ProductSort::Name => ("by_status_name", false),
            ProductSort::NameDescending => ("by_status_name", true),
            ProductSort::Price => ("by_status_price", false),
            ProductSort::PriceDescending => ("by_status_price", true),
        };
        let status = filter.status.unwrap_or(ProductStatus::Active);
        let mut query = Query::by(Product::COLLECTION, index, vec![status.as_str().into()], 0);
        if let Some(sku) = &filter.sku {
            query.filters.push(("sku", sku.as_str().into()));
        }
        query.contains = filter
            .q
            .as_ref()
            .map(|q| ("search", product::search_text(q.as_str()).into()));
        query.descending = descending;
        let found = self.engine.reader().find(&paging.apply(query)?).await?;
        Ok(paging.page(found, |found| self.engine.reader().document(&found))?)
    }
}
