//! The product: what is sold, under which SKU, for how much.

use contracts::product::{Archived, CreateProduct, Created, ProductStatus, UpdateProduct, Updated};
use contracts::{Patch, ProductId, product};
use jiff::Timestamp;
use kernel::aggregate::{Aggregate, Occurrence};
use kernel::document::{Collection, Column, ColumnType, Document, Index, Kind, Value};
use serde::{Deserialize, Serialize};

use crate::{Error, Event};

/// A product's state, which is also how clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Product(pub product::Product);

/// What can be asked of a product.
#[derive(Clone, Debug)]
pub enum Command {
    /// Add it to the catalogue.
    Create {
        /// Its new id.
        id: ProductId,
        /// What it is.
        request: CreateProduct,
    },
    /// Change it.
    Update(UpdateProduct),
    /// Take it out of the catalogue.
    Archive,
}

impl Document for Product {
    const COLLECTION: &'static Collection = &Collection {
        name: "products",
        kind: Kind::View,
        columns: &[
            Column {
                name: "sku",
                column_type: ColumnType::Text,
            },
            Column {
                name: "status",
                column_type: ColumnType::Text,
            },
            Column {
                name: "name",
                column_type: ColumnType::Text,
            },
            Column {
                name: "price",
                column_type: ColumnType::Integer,
            },
            Column {
                name: "created_at",
                column_type: ColumnType::Integer,
            },
            Column {
                name: "search",
                column_type: ColumnType::Text,
            },
        ],
        indexes: &[
            Index {
                name: "by_status_created",
                columns: &["status", "created_at"],
            },
            Index {
                name: "by_status_name",
                columns: &["status", "name"],
            },
            Index {
                name: "by_status_price",
                columns: &["status", "price"],
            },
        ],
    };

    fn columns(&self) -> Vec<Value> {
        let product = &self.0;
        let description = product.description.as_ref().map_or("", |it| it.as_str());
        let searched = [product.name.as_str(), product.sku.as_str(), description].join("\n");
        vec![
            product.sku.as_str().into(),
            product.status.as_str().into(),
            product.name.as_str().into(),
            product.price.money().amount().into(),
            product.created_at.into(),
            search_text(&searched).into(),
        ]
    }
}

/// Text as it is searched: without regard to case.
pub(crate) fn search_text(text: &str) -> String {
    text.to_lowercase()
}

impl Aggregate for Product {
    type Command = Command;
    type Event = Event;
    type Error = Error;

    fn version(&self) -> u64 {
        self.0.version
    }

    fn decide(state: Option<&Self>, command: Command, _: Timestamp) -> Result<Vec<Event>, Error> {
        match (command, state) {
            (Command::Create { .. }, Some(_)) => Ok(Vec::new()),
            (Command::Create { id, request }, None) => Ok(vec![created(id, request).into()]),
            (Command::Update(_) | Command::Archive, None) => Err(Error::Unknown),
            (Command::Update(request), Some(Self(product))) => {
                Ok(updated(product.clone(), request).map(Event::from).into_iter().collect())
            }
            (Command::Archive, Some(Self(product))) => Ok(match product.status {
                ProductStatus::Active => {
                    vec![
                        Archived {
                            product_id: product.id,
                            sku: product.sku.clone(),
                        }
                        .into(),
                    ]
                }
                ProductStatus::Archived => Vec::new(),
            }),
        }
    }

    fn apply(state: &mut Option<Self>, event: &Event, at: &Occurrence<'_>) {
        match event {
            Event::Created(created) => *state = Some(Self(new(created, at.time))),
            Event::Updated(updated) => {
                if let Some(Self(product)) = state {
                    product.name.clone_from(&updated.name);
                    product.price = updated.price;
                    product.description.clone_from(&updated.description);
                    product.attributes.clone_from(&updated.attributes);
                    product.image_url.clone_from(&updated.image_url);
                    product.status = updated.status;
                }
            }
            Event::Archived(_) => {
                if let Some(Self(product)) = state {
                    product.status = ProductStatus::Archived;
                }
            }
        }
        if let Some(Self(product)) = state {
            product.updated_at = at.time;
            product.version = at.version;
        }
    }
}

fn created(product_id: ProductId, request: CreateProduct) -> Created {
    let CreateProduct {
        sku,
        name,
        price,
        description,
        attributes,
        image_url,
        initial_stock,
    } = request;
    let initial_stock = initial_stock.map_or(0, |stock| stock.get());
    Created {
        product_id,
        sku,
        name,
        price,
        description,
        attributes,
        image_url,
        initial_stock,
    }
}

fn new(created: &Created, now: Timestamp) -> product::Product {
    product::Product {
        id: created.product_id,
        sku: created.sku.clone(),
        name: created.name.clone(),
        price: created.price,
        description: created.description.clone(),
        attributes: created.attributes.clone(),
        image_url: created.image_url.clone(),
        status: ProductStatus::Active,
        created_at: now,
        updated_at: now,
        version: 0,
    }
}

/// The product after the update, or `None` if that changes nothing.
fn updated(mut product: product::Product, request: UpdateProduct) -> Option<Updated> {
    let UpdateProduct {
        name,
        price,
        description,
        attributes,
        image_url,
        status,
    } = request;
    let changed = [
        ("name", set(&mut product.name, name)),
        ("price", set(&mut product.price, price)),
        ("description", Patch::apply(description, &mut product.description)),
        ("attributes", Patch::apply(attributes, &mut product.attributes)),
        ("image_url", Patch::apply(image_url, &mut product.image_url)),
        ("status", set(&mut product.status, status)),
    ];
    let changed: Vec<String> = changed
        .into_iter()
        .filter(|(_, changed)| *changed)
        .map(|(name, _)| name.into())
        .collect();
    if changed.is_empty() {
        return None;
    }
    Some(Updated {
        product_id: product.id,
        sku: product.sku,
        name: product.name,
        price: product.price,
        description: product.description,
        attributes: product.attributes,
        image_url: product.image_url,
        status: product.status,
        changed,
    })
}

fn set<T: PartialEq>(field: &mut T, new: Option<T>) -> bool {
    match new {
        Some(new) if new != *field => {
            *field = new;
            true
        }
        _ => false,
    }
}
