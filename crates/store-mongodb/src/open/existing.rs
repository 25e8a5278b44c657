//! What is in a database before it is opened.

use std::collections::BTreeMap;

use bson::{Document, doc};
use futures::TryStreamExt as _;
use mongodb::options::ReadConcern;
use mongodb::{Database, IndexModel};

use crate::failure::OpenError;
use crate::names::{BATCHES, HEAD, HEAD_ID, JOURNAL};
use crate::rows::HeadRow;
use crate::store::MongodbOptions;

/// What was found.
#[derive(Debug)]
pub(super) struct Existing {
    pub(super) head: Option<HeadRow>,
    /// The journal's collections and declared ones, as far as they are there.
    pub(super) collections: BTreeMap<String, Found>,
}

/// A collection as it is.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) validator: Document,
    /// By their names, as `createIndexes` takes them.
    pub(super) indexes: BTreeMap<String, Document>,
    /// Whether it has no documents.
    pub(super) is_empty: bool,
}

impl Existing {
    pub(super) async fn read(database: &Database, options: &MongodbOptions) -> Result<Self, OpenError> {
        let heads = database.collection::<HeadRow>(HEAD);
        // Not as of one time, which there is none of while another replica makes collections.
        let head = heads
            .find_one(doc! { "_id": HEAD_ID })
            .read_concern(ReadConcern::majority());
        let head = head.await?;
        let mut found = database.list_collections().await?;
        let mut collections = BTreeMap::new();
        while let Some(collection) = found.try_next().await? {
            let name = collection.name;
            if [JOURNAL, BATCHES].contains(&&*name) || options.schema.collection(&name).is_some() {
                let validator = collection.options.validator.unwrap_or_default();
                let collection = Found::read(database, &name, validator).await?;
                collections.insert(name, collection);
            }
        }
        Ok(Self { head, collections })
    }
}

impl Found {
    async fn read(database: &Database, name: &str, validator: Document) -> Result<Self, OpenError> {
        let documents = database.collection::<Document>(name);
        let any = documents.find_one(doc! {}).projection(doc! { "_id": 1 });
        let is_empty = any.read_concern(ReadConcern::majority()).await?.is_none();
        let mut found = documents.list_indexes().await?;
        let mut indexes = BTreeMap::new();
        while let Some(index) = found.try_next().await? {
            let (name, index) = specification(index);
            indexes.insert(name, index);
        }
        Ok(Self {
            validator,
            indexes,
            is_empty,
        })
    }
}

/// The name of an index, and that of it which is declared.
fn specification(index: IndexModel) -> (String, Document) {
    let options = index.options.unwrap_or_default();
    let name = options.name.unwrap_or_default();
    let mut specification = doc! { "key": index.keys, "name": &name };
    if let Some(unique) = options.unique {
        specification.insert("unique", unique);
    }
    if let Some(filter) = options.partial_filter_expression {
        specification.insert("partialFilterExpression", filter);
    }
    (name, specification)
}
