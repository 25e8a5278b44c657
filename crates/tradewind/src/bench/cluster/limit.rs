//! What a broker takes at the most from one publisher: events that a shop published, once more through the same adapter, and
//! nothing else done.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use contracts::Service;
use kernel::bus::{Bus, Message};
use kernel::clock::{Clock, Ids, SystemClock};
use kernel::event::Position;

use super::figures::Limit;
use crate::buses::{BusUrl, Surroundings};
use crate::data::DataDirectory;
use crate::stopwatch::now;
use crate::stores::{Place, StoreUrl};
use crate::system::SERVICES;

/// Events that are published once more.
const EVENTS_MAX: usize = 50_000;
/// Events read in one step.
const READ_STEP: usize = 1000;
/// What tells the streams that they go to from those of the shop.
const APART: &str = "limit";

/// What was published.
#[derive(Debug)]
pub(super) struct Published<'a> {
    /// The directory of the process with orders, which has ended.
    pub(super) data: &'a Path,
    /// Where in the journal it begins.
    pub(super) after: u64,
    /// How many events at a time.
    pub(super) batches: &'a [usize],
}

impl Published<'_> {
    /// Publishes it to other streams, batch by batch.
    pub(super) async fn once_more(&self, bus: &BusUrl, events_an_order: f64) -> Result<Limit> {
        let prefix = format!("{}-{APART}", bus.prefix().unwrap_or_default());
        let bus = connected(&bus.with_prefix(&prefix)).await?;
        let messages = self.read().await?;
        let mut rest = messages.as_slice();
        let mut batches = Vec::new();
        for &size in self.batches {
            let (batch, behind) = rest.split_at(size.min(rest.len()));
            if batch.is_empty() {
                break;
            }
            batches.push(batch.to_vec());
            rest = behind;
        }
        let (events, count) = (batches.iter().map(Vec::len).sum::<usize>(), batches.len());
        let first = batches
            .first()
            .context("no order was published that could be published once more")?;
        // What is made for the first of them is not counted.
        bus.publish(first.clone()).await?;
        let began = now();
        for batch in batches {
            bus.publish(batch).await?;
        }
        let seconds = began.elapsed().as_secs_f64();
        bus.close().await;
        #[expect(clippy::cast_precision_loss, reason = "numbers below 2^53")]
        let (events, count) = (events as f64, count as f64);
        Ok(Limit {
            events_per_second: events / seconds,
            events_a_batch: events / count,
            orders_per_second: events / seconds / events_an_order,
        })
    }

    async fn read(&self) -> Result<Vec<Message>> {
        let data = DataDirectory::lock(self.data)?;
        let orders = SERVICES.iter().find(|described| described.service == Service::Orders);
        let orders = orders.expect("it is a service");
        let place = Place::at(Service::Orders, &StoreUrl::Sqlite(data.store(Service::Orders)));
        let (ids, clock) = (Ids::from_entropy(), SystemClock::new());
        let store = place.open(orders, Vec::new(), &ids, &clock).await?;
        let mut messages = Vec::new();
        let mut after = Position(self.after);
        while messages.len() < EVENTS_MAX {
            let tail = store.tail(after, READ_STEP).await?;
            let Some(last) = tail.events.last() else { break };
            after = last.position;
            let epoch = tail.head.epoch;
            messages.extend(tail.events.into_iter().map(|event| Message {
                source: Service::Orders,
                epoch,
                event: Arc::new(event),
            }));
        }
        store.close().await;
        ensure!(
            !messages.is_empty(),
            "the journal of orders has nothing behind {}",
            self.after
        );
        Ok(messages)
    }
}

/// Connects as somebody who only publishes.
pub(super) async fn connected(bus: &BusUrl) -> Result<Arc<dyn Bus>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let ids = Arc::new(Ids::from_entropy());
    let surroundings = Surroundings {
        process: ids.uuid(clock.now()),
        journals: BTreeMap::new(),
        clock: &clock,
        ids: &ids,
    };
    let opened = bus.connect(surroundings).await;
    opened.with_context(|| format!("--cluster: {bus} cannot be measured"))
}
