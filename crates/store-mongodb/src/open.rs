//! Making the collections, and bringing them in line with what the schema declares.
//!
//! Nothing of this can be in a transaction, so each step can be done twice, and by two replicas at once. What would be
//! refused is looked for before the first of them.

mod collections;

use bson::{Document, doc};
use kernel::store::opening;
use mongodb::options::{IndexOptions, ReadConcern, ReturnDocument};
use mongodb::{Database, IndexModel};

use crate::failure::{OpenError, is_forbidden};
use crate::names::{BATCHES, BY_STREAM, FORMS, HEAD, HEAD_ID, JOURNAL};
use crate::open::collections::Existing;
use crate::rows::HeadRow;
use crate::store::MongodbOptions;

/// Makes what is missing.
pub(crate) async fn declare(database: &Database, options: &MongodbOptions) -> Result<(), OpenError> {
    let declared = try_declare(database, options).await;
    declared.map_err(|error| match error {
        OpenError::Database(error) if is_forbidden(&error) => OpenError::Forbidden {
            database: options.database.clone(),
        },
        error => error,
    })
}

async fn try_declare(database: &Database, options: &MongodbOptions) -> Result<(), OpenError> {
    let existing = Existing::read(database).await?;
    if let Some(head) = head(database).await? {
        check(&head, options)?;
    }
    for collection in &options.schema.collections {
        if !options.rebuild.contains(&collection.name) {
            existing.check(database, collection).await?;
        }
    }
    make_head(database, options).await?;
    make_journal(database, &existing).await?;
    for collection in &options.schema.collections {
        if options.rebuild.contains(&collection.name) {
            database.collection::<Document>(collection.name).drop().await?;
            collections::make(database, collection, None).await?;
        } else {
            collections::make(database, collection, existing.of(collection.name)).await?;
        }
    }
    Ok(())
}

async fn head(database: &Database) -> Result<Option<HeadRow>, OpenError> {
    let heads = database.collection::<HeadRow>(HEAD);
    // Not as of one time, which there is none of while another replica makes collections.
    let find = heads
        .find_one(doc! { "_id": HEAD_ID })
        .read_concern(ReadConcern::majority());
    Ok(find.await?)
}

fn check(head: &HeadRow, options: &MongodbOptions) -> Result<(), OpenError> {
    opening::check_form(head.form, FORMS.len())?;
    opening::check_lanes(head.lanes.len(), options.schema.lanes)?;
    opening::check_rebuild(head.rebuilding.as_deref().unwrap_or_default(), &options.rebuild)?;
    Ok(())
}

/// The head as it is, or a new one; with the rebuild noted before anything is emptied.
async fn make_head(database: &Database, options: &MongodbOptions) -> Result<(), OpenError> {
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
    let made = database
        .collection::<HeadRow>(HEAD)
        .find_one_and_update(doc! { "_id": HEAD_ID }, update)
        .upsert(true)
        .return_document(ReturnDocument::After)
        .await?;
    // By whichever replica came first.
    match made {
        Some(head) => check(&head, options),
        None => Ok(()),
    }
}

async fn make_journal(database: &Database, existing: &Existing) -> Result<(), OpenError> {
    for name in [JOURNAL, BATCHES] {
        if existing.of(name).is_none() {
            collections::create(database, doc! { "create": name }).await?;
        }
    }
    let by_stream = IndexModel::builder()
        .keys(doc! { "stream": 1, "version": 1 })
        .options(IndexOptions::builder().name(BY_STREAM.to_owned()).unique(true).build())
        .build();
    let journal = database.collection::<Document>(JOURNAL);
    journal.create_index(by_stream).await?;
    Ok(())
}
