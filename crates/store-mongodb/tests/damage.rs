//! A store that somebody has damaged under a running shop: it is not available, and no command is to blame for that.

use std::sync::Arc;

use bson::{Bson, Document, doc};
use jiff::Timestamp;
use kernel::event::Position;
use kernel::store::{CommitError, Store};
use mongodb::{Client, Database};
use servers::Kind;
use store_mongodb::{MongodbOptions, MongodbStore};
use testkit::store_suite::fixture::{batch, schema};
use uuid::Uuid;

/// A store with one event, and a shell beside it.
async fn store() -> (Arc<dyn Store>, Database) {
    let (url, database) = (Kind::Mongodb.shared(), servers::unique_name());
    let options = MongodbOptions::new(&url, &database, schema(), Uuid::from_u128(1), Timestamp::UNIX_EPOCH);
    let opened = MongodbStore::open(options.expect("the server has a URL")).await;
    let store: Arc<dyn Store> = Arc::new(opened.expect("the store opens"));
    batch().event("s", 1).commit(&store).await;
    let shell = Client::with_uri_str(&url).await.expect("the server has a URL");
    (store, shell.database(&database))
}

async fn is_unavailable(store: &Arc<dyn Store>, what: &str) {
    let refused = store.commit(batch().event("s", 2).build()).await;
    assert!(
        matches!(refused, Err(CommitError::Unavailable(_))),
        "{what}: {refused:?}"
    );
}

#[tokio::test]
async fn commands_wait_for_an_index_that_is_missing() {
    let (store, shell) = store().await;
    let journal = shell.collection::<Document>("journal");
    journal.drop_index("by_stream").await.expect("it is there");
    is_unavailable(&store, "without the index").await;
    let index = doc! { "key": { "stream": 1, "version": 1 }, "name": "by_stream", "unique": true };
    let again = shell.run_command(doc! { "createIndexes": "journal", "indexes": [index] });
    again.await.expect("the server does as it is told");
    assert_eq!(batch().event("s", 2).commit(&store).await.last, Position(2));
}

#[tokio::test]
async fn no_command_is_refused_for_what_is_wrong_with_the_head_or_the_batches() {
    for (collection, field) in [
        ("head", "taken"),
        ("head", "position"),
        ("head", "lanes"),
        ("batches", "last"),
    ] {
        let (store, shell) = store().await;
        let documents = shell.collection::<Document>(collection);
        let before = documents.find_one(doc! {}).await.expect("the collection is read");
        let before = before.and_then(|it| it.get(field).cloned()).expect("it has the field");
        let set = async |value: Bson| {
            let set = documents.update_one(doc! {}, doc! { "$set": { field: value } });
            set.await.expect("the shell does as it is told");
        };
        set("wrong".into()).await;
        is_unavailable(&store, field).await;
        set(before).await;
        batch().event("s", 2).commit(&store).await;
    }
}
