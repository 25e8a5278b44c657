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

#[cfg(test)]
mod tests {
    use contracts::{Attributes, Currency, Price, Service};
    use proptest::prelude::*;
    use testkit::lives::{Life, assert_views_are_the_fold};

    use super::*;

    fn id(number: u8) -> ProductId {
        format!("prd_{number:026}").parse().unwrap()
    }

    fn price() -> impl Strategy<Value = Price> {
        let currency = prop::sample::select(vec![Currency::USD, Currency::EUR]);
        (1..4_i64, currency).prop_map(|(amount, currency)| Price::new(amount, currency).unwrap())
    }

    fn attributes() -> impl Strategy<Value = Attributes> {
        let number = any::<f64>().prop_map(serde_json::Value::from);
        let members = prop::collection::btree_map("[ab]", number, 0..3);
        members.prop_map(|members| Attributes::try_from(serde_json::Map::from_iter(members)).unwrap())
    }

    fn patch<T: Clone + std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Patch<T>> {
        prop::option::of(prop::option::of(value)).prop_map(|patch| match patch {
            None => Patch::Keep,
            Some(None) => Patch::Clear,
            Some(Some(value)) => Patch::Set(value),
        })
    }

    fn create() -> impl Strategy<Value = Command> {
        let optional = (
            prop::option::of("[xy]"),
            prop::option::of(attributes()),
            prop::option::of(0..9_i64),
        );
        ("[AB]", "[a-c]", price(), optional).prop_map(|(sku, name, price, (description, attributes, initial_stock))| {
            let request = CreateProduct {
                sku: sku.parse().unwrap(),
                name: name.parse().unwrap(),
                price,
                description: description.map(|it| it.parse().unwrap()),
                attributes,
                image_url: None,
                initial_stock: initial_stock.map(|it| it.try_into().unwrap()),
            };
            Command::Create { id: id(1), request }
        })
    }

    fn update() -> impl Strategy<Value = Command> {
        let name = prop::option::of("[a-c]".prop_map(|name| name.parse().unwrap()));
        let description = patch("[xy]".prop_map(|it| it.parse().unwrap()));
        let image_url = patch("https://[xy]".prop_map(|it| it.parse().unwrap()));
        let status = prop::option::of(prop::sample::select(ProductStatus::ALL));
        let fields = (
            name,
            prop::option::of(price()),
            description,
            patch(attributes()),
            image_url,
            status,
        );
        fields.prop_map(|(name, price, description, attributes, image_url, status)| {
            Command::Update(UpdateProduct {
                name,
                price,
                description,
                attributes,
                image_url,
                status,
            })
        })
    }

    fn anything() -> impl Strategy<Value = Command> {
        prop_oneof![1 => create(), 4 => update(), 1 => Just(Command::Archive)]
    }

    /// The fields in which two versions of a product differ, as events name them.
    fn differing(one: &product::Product, other: &product::Product) -> Vec<&'static str> {
        let fields = [
            ("name", one.name != other.name),
            ("price", one.price != other.price),
            ("description", one.description != other.description),
            ("attributes", one.attributes != other.attributes),
            ("image_url", one.image_url != other.image_url),
            ("status", one.status != other.status),
        ];
        fields
            .into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(name, _)| name)
            .collect()
    }

    proptest! {
        #[test]
        fn whatever_is_asked_an_event_says_what_changed_and_the_sku_never_does(
            commands in prop::collection::vec((anything(), 0..100_u32), 0..25)
        ) {
            let mut life = Life::<Product>::default();
            for (command, seconds) in commands {
                life.pass(seconds);
                let before = life.state().cloned();
                let events = life.ask(command);
                prop_assert!(events.len() <= 1);
                let (Some(Product(before)), Some(Product(after))) = (before, life.state()) else {
                    prop_assert!(events.iter().all(|event| matches!(event, Event::Created(_))));
                    continue;
                };
                prop_assert_eq!((before.id, &before.sku), (after.id, &after.sku));
                prop_assert_eq!(before.created_at, after.created_at);
                match events.first() {
                    None => prop_assert_eq!(&before, after),
                    Some(Event::Created(created)) => return Err(TestCaseError::fail(format!("again: {created:?}"))),
                    Some(Event::Archived(_)) => prop_assert_eq!(differing(&before, after), ["status"]),
                    Some(Event::Updated(updated)) => {
                        prop_assert_eq!(&differing(&before, after), &updated.changed);
                        prop_assert!(!updated.changed.is_empty());
                        // A replica needs no other event than this one.
                        let shown = (&updated.name, updated.price, &updated.attributes, updated.status);
                        prop_assert_eq!(shown, (&after.name, after.price, &after.attributes, after.status));
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn views_of_products_are_the_fold_of_the_journal(
            commands in prop::collection::vec((1..3_u8, anything()), 0..25)
        ) {
            let commands = commands.into_iter().map(|(number, command)| (id(number).to_string(), command));
            assert_views_are_the_fold::<Product>(Service::Catalog, crate::COLLECTIONS, crate::fold, commands);
        }
    }
}
