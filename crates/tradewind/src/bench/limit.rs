//! What a database does at the most: the rows that orders were stored as, inserted once more over one connection, and nothing
//! else done.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use contracts::Service;
use kernel::clock::{Clock as _, Ids, SystemClock};
use kernel::event::Position;
use kernel::store::Batch;

use crate::bench::figures::Limit;
use crate::bench::witness::{PLACED, Witness};
use crate::stopwatch::now;
use crate::stores::{Place, StoreUrl};
use crate::system::SERVICES;

/// What the tables are called that are inserted into.
const NAME: &str = "limit";
/// Events of the batches that are kept.
const KEPT_EVENTS_MAX: usize = 10_000;

/// The batches of orders that a store committed last.
#[derive(Debug, Default)]
pub struct Kept {
    batches: Mutex<Batches>,
}

#[derive(Debug, Default)]
struct Batches {
    kept: VecDeque<Arc<Batch>>,
    events: usize,
}

impl Kept {
    fn batches(&self) -> MutexGuard<'_, Batches> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Inserts them beside the services' stores, and forgets them.
    pub async fn insert(&self, all: &StoreUrl) -> Result<Limit> {
        let Batches { kept, events } = std::mem::take(&mut *self.batches());
        ensure!(events > 0, "no order was placed that could be stored once more");
        let (clock, ids) = (SystemClock::new(), Ids::from_entropy());
        let orders = SERVICES.iter().find(|described| described.service == Service::Orders);
        let orders = orders.expect("it is a service");
        let place = Place::beside(Service::Orders, NAME, all);
        let store = place.open(orders, Vec::new(), &ids, &clock).await?;
        // No bench before this one inserted behind the present.
        let after = u64::try_from(clock.now().as_microsecond())?;
        let commits = kept.len();
        let began = now();
        store.insert(kept.into(), Position(after)).await?;
        let seconds = began.elapsed().as_secs_f64();
        store.close().await;
        #[expect(clippy::cast_precision_loss, reason = "thousands of orders")]
        let (events, commits) = (events as f64, commits as f64);
        Ok(Limit {
            per_second: events / seconds,
            orders_a_commit: events / commits,
        })
    }
}

impl Witness for Kept {
    /// What is placed is one event; what else happens to orders while events wait are others, in batches that are not kept.
    fn saw(&self, batch: Arc<Batch>) {
        if !batch.events.iter().any(|event| event.event_type == PLACED) {
            return;
        }
        let mut batches = self.batches();
        batches.events += batch.events.len();
        batches.kept.push_back(batch);
        while batches.events > KEPT_EVENTS_MAX
            && let Some(oldest) = batches.kept.pop_front()
        {
            batches.events -= oldest.events.len();
        }
    }
}
