//! The commands that make of what is there what the schema declares. What is declared of a collection is its validator,
//! which the server holds writes to: who else writes to it cannot break an index silently.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};
use kernel::document::{Collection, Index};
use kernel::store::opening;

use crate::failure::OpenError;
use crate::names::{self, BATCHES, BY_STREAM, FORMS, HEAD, HEAD_ID, JOURNAL};
use crate::open::existing::{Existing, Found};
use crate::page;
use crate::rows::HeadRow;
use crate::store::MongodbOptions;

/// Fields of every collection.
const FIXED: [&str; 3] = ["_id", "version", "doc"];

/// What makes the store what it should be, in order; nothing if it is. Refuses one that cannot be used as it is.
pub(super) fn commands(existing: &Existing, options: &MongodbOptions) -> Result<Vec<Document>, OpenError> {
    let mut plan = Vec::new();
    if let Some(head) = &existing.head {
        check(head, options)?;
    }
    if existing.head.is_none() || !options.rebuild.is_empty() {
        plan.push(make_head(options));
    }
    for name in [JOURNAL, BATCHES] {
        if !existing.collections.contains_key(name) {
            plan.push(doc! { "create": name });
        }
    }
    let by_stream = doc! { "key": { "stream": 1, "version": 1 }, "name": BY_STREAM, "unique": true };
    plan.extend(indexes(JOURNAL, existing.collections.get(JOURNAL), vec![by_stream]));
    for collection in &options.schema.collections {
        plan.extend(declared(existing, collection, options)?);
    }
    // A command takes nothing from the client's settings.
    for command in &mut plan {
        command.insert("writeConcern", doc! { "w": "majority", "j": true });
    }
    Ok(plan)
}

/// Whether the store of this head can be used as it is.
pub(super) fn check(head: &HeadRow, options: &MongodbOptions) -> Result<(), OpenError> {
    opening::check_form(head.form, FORMS.len())?;
    opening::check_lanes(head.lanes.len(), options.schema.lanes)?;
    opening::check_rebuild(head.rebuilding.as_deref().unwrap_or_default(), &options.rebuild)?;
    Ok(())
}

/// The head as it is, or a new one; with the rebuild noted before anything is emptied.
fn make_head(options: &MongodbOptions) -> Document {
    let form = i64::try_from(FORMS.len()).expect("a handful of forms");
    let lanes = vec![0_i64; usize::from(options.schema.lanes)];
    let mut update = doc! { "$setOnInsert": {
        "epoch": options.new_epoch.to_string(),
        "position": 0_i64,
        "time": 0_i64,
        "lanes": lanes,
        "form": form,
        "made_at": options.now.to_string(),
        "taken": 0_i64,
    } };
    if !options.rebuild.is_empty() {
        update.insert("$set", doc! { "rebuilding": &options.rebuild });
    }
    doc! { "findAndModify": HEAD, "query": { "_id": HEAD_ID }, "update": update, "upsert": true, "new": true }
}

fn declared(
    existing: &Existing,
    collection: &'static Collection,
    options: &MongodbOptions,
) -> Result<Vec<Document>, OpenError> {
    let mut plan = Vec::new();
    let mut found = existing.collections.get(collection.name);
    if found.is_some() && options.rebuild.contains(&collection.name) {
        plan.push(doc! { "drop": collection.name });
        found = None;
    }
    let validator = validator(collection);
    match found {
        None => {
            let has_events = existing.head.as_ref().is_some_and(|head| head.position > 0);
            opening::check_missing(collection, &options.rebuild, has_events)?;
            plan.push(doc! { "create": collection.name, "validator": validator });
        }
        Some(found) => {
            let columns = columns(&found.validator);
            opening::columns_to_add(collection, &columns, found.is_empty, |found, column_type| {
                found == names::column_type(column_type)
            })?;
            if found.validator != validator {
                plan.push(doc! { "collMod": collection.name, "validator": validator });
            }
        }
    }
    let wanted = collection.indexes.iter().map(|index| specification(collection, index));
    plan.extend(indexes(collection.name, found, wanted.collect()));
    Ok(plan)
}

/// An index is made from the collection, so one that differs from its declaration is simply made again.
fn indexes(name: &str, found: Option<&Found>, mut wanted: Vec<Document>) -> Vec<Document> {
    let made = |index: &Document| {
        let name = index.get_str("name").ok()?;
        Some((name.to_owned(), found?.indexes.get(name)?))
    };
    wanted.retain(|index| made(index).is_none_or(|(_, made)| made != index));
    let others = wanted.iter().filter_map(made);
    let mut plan: Vec<Document> = others
        .map(|(index, _)| doc! { "dropIndexes": name, "index": index })
        .collect();
    if !wanted.is_empty() {
        plan.push(doc! { "createIndexes": name, "indexes": wanted });
    }
    plan
}

/// The columns, then the id. Documents whose first column is null are left out, and then an index over what is pending
/// costs nothing for what is done.
fn specification(collection: &Collection, index: &Index) -> Document {
    let columns = index.columns.iter().chain(&["_id"]);
    let key: Document = columns.map(|name| ((*name).to_owned(), Bson::Int32(1))).collect();
    let first = index.columns[0];
    let filter = doc! { first: page::is_there(collection, first) };
    doc! { "key": key, "name": index.name, "partialFilterExpression": filter }
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
