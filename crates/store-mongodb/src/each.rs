//! Documents by their ids, from several collections in one command: what was committed together is seen together.

use std::collections::HashMap;

use bson::raw::RawDocument;
use bson::{Document, doc};
use kernel::document::Key;
use kernel::store::serial::Keys;
use kernel::store::{StoreError, Stored};
use mongodb::{ClientSession, Database};

use crate::failure::ReadError;
use crate::names::HEAD_ID;
use crate::rows::{self, damaged};

/// The place of the collection among the keys.
const COLLECTION: &str = "collection";
/// MongoDB counts the documents of an answer with 31 bits.
const ANSWER_MAX: u32 = i32::MAX.cast_unsigned();

/// The documents that are there.
pub(crate) async fn documents(
    database: &Database,
    session: &mut ClientSession,
    keys: &Keys<'_>,
) -> Result<HashMap<Key, Stored>, ReadError> {
    let collections: Vec<&'static str> = keys.keys().copied().collect();
    let Some(first) = collections.first() else {
        return Ok(HashMap::new());
    };
    let mut stages = Vec::new();
    for ((collection, ids), place) in keys.iter().zip(0_i64..) {
        let fields = doc! { "version": 1, "doc": 1, COLLECTION: { "$literal": place } };
        let these = vec![
            doc! { "$match": { "_id": { "$in": ids } } },
            doc! { "$project": fields },
        ];
        match place {
            0 => stages = these,
            _ => stages.push(doc! { "$unionWith": { "coll": *collection, "pipeline": these } }),
        }
    }
    let count = keys.values().map(Vec::len).sum::<usize>();
    let first = database.collection::<Document>(first);
    let aggregate = first
        .aggregate(stages)
        // All of them in the first answer, if they fit.
        .batch_size(u32::try_from(count + 1).unwrap_or(u32::MAX).min(ANSWER_MAX))
        .session(&mut *session);
    let mut rows = aggregate.await?;
    let mut found = HashMap::with_capacity(count);
    while rows.advance(session).await? {
        let row = rows.current();
        let place = usize::try_from(row.get_i64(COLLECTION).map_err(damaged)?).map_err(damaged)?;
        found.insert(key(collections[place], row)?, rows::stored(row)?);
    }
    Ok(found)
}

/// What gives the versions of the documents that are there, in a transaction: MongoDB unites no collections in one, but
/// joins them, here to the head.
pub(crate) fn versions_of(keys: &Keys<'_>) -> Vec<Document> {
    let mut stages = vec![doc! { "$match": { "_id": HEAD_ID } }, doc! { "$project": { "_id": 1 } }];
    for (collection, ids) in keys {
        let these = vec![
            doc! { "$match": { "_id": { "$in": ids } } },
            doc! { "$project": { "version": 1 } },
        ];
        stages.push(doc! { "$lookup": { "from": *collection, "pipeline": these, "as": *collection } });
    }
    stages
}

/// The versions in what [`versions_of`] gave.
pub(crate) fn versions_in(joined: &RawDocument, keys: &Keys<'_>) -> Result<HashMap<Key, u64>, StoreError> {
    let mut versions = HashMap::new();
    for collection in keys.keys() {
        for row in joined.get_array(collection).map_err(damaged)? {
            let row = row
                .map_err(damaged)?
                .as_document()
                .ok_or_else(|| damaged("a document is none"))?;
            versions.insert(key(collection, row)?, rows::version(row)?);
        }
    }
    Ok(versions)
}

fn key(collection: &'static str, row: &RawDocument) -> Result<Key, StoreError> {
    let id = row.get_str("_id").map_err(damaged)?.into();
    Ok(Key { collection, id })
}
