//! A test of a test: a journal whose positions come from a sequence, as outboxes have them, instead of a head row. The
//! suite's tailer must notice what such a journal skips.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use jiff::Timestamp;
use kernel::document::Key;
use kernel::event::{Position, Recorded, StreamId};
use kernel::store::{Batch, CommitError, Committed, Found, Query, Store, StoreError, Stored, Tail};
use servers::Kind;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use store_sql::{PostgresOptions, PostgresStore};
use testkit::store_suite::{StoreFactory, fixture, tailing};
use uuid::Uuid;

/// How long a larger batch takes from its numbers to its commit, as any may: faster ones overtake it.
const BEFORE_COMMIT: Duration = Duration::from_millis(20);

/// Reads as the store does, and writes with a sequence and no head row.
#[derive(Debug)]
struct SerialColumn {
    inner: PostgresStore,
    pool: PgPool,
}

impl SerialColumn {
    async fn write(&self, batch: &Batch) -> Result<i64, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let mut last = 0;
        for event in &batch.events {
            let insert = sqlx::query_scalar(
                "INSERT INTO journal (position, prev, stream, version, lane, id, type, time, data, meta)
                 VALUES (nextval('serial'), 0, $1, $2, $3, $4, $5, $6, $7, $8) RETURNING position",
            );
            last = insert
                .bind(event.stream.as_str())
                .bind(i64::try_from(event.version).unwrap_or(i64::MAX))
                .bind(i64::from(event.lane.0))
                .bind(event.id.to_string())
                .bind(&*event.event_type)
                .bind(event.time.as_microsecond())
                .bind(event.data.get())
                .bind(serde_json::to_string(&*event.meta).expect("metadata is JSON"))
                .fetch_one(&mut *transaction)
                .await?;
        }
        if batch.events.len() > 1 {
            tokio::time::sleep(BEFORE_COMMIT).await;
        }
        transaction.commit().await?;
        Ok(last)
    }
}

#[async_trait]
impl Store for SerialColumn {
    async fn commit(&self, batch: Arc<Batch>) -> Result<Committed, CommitError> {
        let last = self.write(&batch).await.map_err(StoreError::new)?;
        Ok(Committed {
            last: Position(last.unsigned_abs()),
        })
    }

    async fn tail(&self, after: Position, limit: usize) -> Result<Tail, StoreError> {
        let mut tail = self.inner.tail(after, limit.max(1)).await?;
        let last: i64 = sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM journal")
            .fetch_one(&self.pool)
            .await
            .map_err(StoreError::new)?;
        tail.head.position = Position(last.unsigned_abs());
        Ok(tail)
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Stored>>, StoreError> {
        self.inner.get(keys).await
    }

    async fn query(&self, query: &Query) -> Result<Vec<Found>, StoreError> {
        self.inner.query(query).await
    }

    async fn stream(&self, id: &StreamId, from_version: u64, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.inner.stream(id, from_version, limit).await
    }

    async fn scrub(&self) -> Result<(), StoreError> {
        self.inner.scrub().await
    }
}

struct Serial(String);

#[async_trait]
impl StoreFactory for Serial {
    async fn open(&self) -> Arc<dyn Store> {
        let url = Kind::Postgres.shared();
        let options = PostgresOptions::new(
            &url,
            &self.0,
            fixture::schema(),
            Uuid::from_u128(1),
            Timestamp::UNIX_EPOCH,
        );
        let inner = PostgresStore::open(options.expect("the server has a URL")).await;
        let search = format!("{url}?options=-csearch_path%3D{}", self.0);
        let pool = PgPoolOptions::new().connect(&search).await.expect("the server answers");
        let made = sqlx::query("CREATE SEQUENCE IF NOT EXISTS serial").execute(&pool).await;
        made.expect("the sequence is made");
        Arc::new(SerialColumn {
            inner: inner.expect("the store opens"),
            pool,
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_of_a_sequence_are_skipped_and_the_suite_notices() {
    let factory = Serial(servers::unique_name());
    let tailed = tailing::a_tailer_beside_slow_and_fast_writers_skips_nothing(&factory);
    let panic = std::panic::AssertUnwindSafe(tailed).catch_unwind().await;
    let panic = panic.expect_err("the suite does not notice that a tailer skips events");
    let message = panic.downcast_ref::<String>().cloned().unwrap_or_default();
    assert!(message.contains("the tailer skipped events"), "{message}");
}

/// That what is above fails for its positions, and not for the rest of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_store_is_read_well_by_whoever_comes_late() {
    let factory = Serial(servers::unique_name());
    let store = factory.open().await;
    for version in 1..=3 {
        fixture::batch().event("s", version).commit(&store).await;
    }
    let tail = store.tail(Position::START, 10).await.expect("the tail is read");
    assert_eq!(tail.events.len(), 3);
}
