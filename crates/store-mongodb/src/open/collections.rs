//! The declared collections. What is declared of each is its validator, which the server holds writes to: who else
//! writes to it cannot break an index silently.

use std::collections::BTreeMap;

use bson::{Document, doc};
use futures::TryStreamExt as _;
use kernel::document::{Collection, Index};
use kernel::store::opening;
use mongodb::options::{IndexOptions, ReadConcern};
use mongodb::{Database, IndexModel};

use crate::failure::{OpenError, has_code};
use crate::names;
use crate::page;

/// The collection is there: another replica has just made it.
const EXISTS: i32 = 48;
/// An index of this name is there, and is another one.
const OTHER_INDEX: [i32; 2] = [85, 86];
/// Fields of every collection.
const FIXED: [&str; 3] = ["_id", "version", "doc"];

/// The collections that are there, each with its columns and their types.
#[derive(Debug)]
pub(super) struct Existing(BTreeMap<String, BTreeMap<String, String>>);

impl Existing {
    pub(super) async fn read(database: &Database) -> Result<Self, OpenError> {
        let mut found = database.list_collections().await?;
        let mut existing = BTreeMap::new();
        while let Some(collection) = found.try_next().await? {
            let validator = collection.options.validator.unwrap_or_default();
            existing.insert(collection.name, columns(&validator));
        }
        Ok(Self(existing))
    }

    /// The columns of one that is there.
    pub(super) fn of(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.0.get(name)
    }

    /// Whether the collection can be what the schema declares.
    pub(super) async fn check(&self, database: &Database, collection: &'static Collection) -> Result<(), OpenError> {
        let Some(columns) = self.of(collection.name) else {
            return Ok(());
        };
        let documents = database.collection::<Document>(collection.name);
        let any = documents.find_one(doc! {}).projection(doc! { "_id": 1 });
        let is_empty = any.read_concern(ReadConcern::majority()).await?.is_none();
        opening::columns_to_add(collection, columns, is_empty, |found, column_type| {
            found == names::column_type(column_type)
        })?;
        Ok(())
    }
}

/// Makes the collection with its indexes, if it is not there with these columns.
pub(super) async fn make(
    database: &Database,
    collection: &Collection,
    existing: Option<&BTreeMap<String, String>>,
) -> Result<(), OpenError> {
    match existing {
        None => {
            create(
                database,
                doc! { "create": collection.name, "validator": validator(collection) },
            )
            .await?
        }
        Some(columns) if columns.len() == collection.columns.len() => {}
        Some(_) => {
            let change = doc! { "collMod": collection.name, "validator": validator(collection) };
            database.run_command(change).await?;
        }
    }
    for index in collection.indexes {
        make_index(database, collection, index).await?;
    }
    Ok(())
}

/// Runs a `create`, or finds that another replica has.
pub(super) async fn create(database: &Database, command: Document) -> Result<(), OpenError> {
    match database.run_command(command).await {
        Err(error) if !has_code(&error, &[EXISTS]) => Err(error.into()),
        _ => Ok(()),
    }
}

/// An index is made from the collection, so one that differs from its declaration is simply made again.
async fn make_index(database: &Database, collection: &Collection, index: &Index) -> Result<(), OpenError> {
    let documents = database.collection::<Document>(collection.name);
    match documents.create_index(model(collection, index)).await {
        Err(error) if has_code(&error, &OTHER_INDEX) => {
            documents.drop_index(index.name).await?;
            documents.create_index(model(collection, index)).await?;
        }
        made => drop(made?),
    }
    Ok(())
}

/// The columns, then the id. Documents whose first column is null are left out, and then an index over what is pending
/// costs nothing for what is done.
fn model(collection: &Collection, index: &Index) -> IndexModel {
    let mut keys = Document::new();
    for column in index.columns {
        keys.insert(*column, 1);
    }
    keys.insert("_id", 1);
    let first = index.columns[0];
    let options = IndexOptions::builder()
        .name(index.name.to_owned())
        .partial_filter_expression(doc! { first: page::is_there(collection, first) })
        .build();
    IndexModel::builder().keys(keys).options(options).build()
}

/// What the server holds each document to.
fn validator(collection: &Collection) -> Document {
    let mut properties = doc! {
        "_id": { "bsonType": "string" },
        "version": { "bsonType": "long" },
    };
    for column in collection.columns {
        let types = [names::column_type(column.column_type), "null"];
        properties.insert(column.name, doc! { "bsonType": types.as_slice() });
    }
    properties.insert("doc", doc! { "bsonType": "string" });
    let required: Vec<&String> = properties.keys().collect();
    doc! { "$jsonSchema": {
        "bsonType": "object",
        "required": required,
        "properties": properties.clone(),
        "additionalProperties": false,
    } }
}

/// The columns that a validator speaks of, with their types.
fn columns(validator: &Document) -> BTreeMap<String, String> {
    let schema = validator.get_document("$jsonSchema");
    let properties = schema.and_then(|schema| schema.get_document("properties"));
    let Ok(properties) = properties else {
        return BTreeMap::new();
    };
    let columns = properties.iter().filter(|(name, _)| !FIXED.contains(&name.as_str()));
    let type_of = |property: &bson::Bson| {
        let types = property.as_document()?.get_array("bsonType").ok()?;
        Some(types.first()?.as_str()?.to_owned())
    };
    columns
        .map(|(name, property)| (name.clone(), type_of(property).unwrap_or_default()))
        .collect()
}
