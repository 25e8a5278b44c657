//! Whether this process can do its work, for whoever balances load between several.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contracts::Service;
use contracts::log::Journal;
use futures::future::join_all;
use kernel::clock::Clock;
use kernel::engine::Engine;
use kernel::event::{Epoch, Position};
use kernel::reaction::Consumers;
use metrics::gauge;
use serde::Serialize;

/// A store that has not answered by then counts as down.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// What this process knows of itself. The binary, which has started everything, says so; [`Process`] is how.
#[async_trait]
pub trait Health: Send + Sync + fmt::Debug {
    /// Looks at everything, within a few seconds. Asked at most once a second.
    async fn look(&self) -> Report;

    /// Brings the gauges of `/metrics` up to date. Asked at most once a second.
    async fn measure(&self) {}
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The stores of the services in this process. The process is ready if all are up.
    pub stores: BTreeMap<Service, Condition>,
    /// The life of each of their journals, for the gateway: the replicas of a service have one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub journals: BTreeMap<Service, Epoch>,
    /// Services of which a task has panicked: they have stopped doing part of their work.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Service>,
    /// The broker. It may be down: orders are accepted all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bus: Option<Condition>,
    /// How the consumers in this process are doing, by group (`orders.catalog/catalog`).
    pub consumers: BTreeMap<String, Consumer>,
}

/// Whether something answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// It does.
    Up,
    /// It does not; the log says why.
    Down,
}

/// How a consumer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Consumer {
    /// Whether it is known not to have seen everything.
    pub behind: bool,
    /// Lanes that wait for a retry, a missing message or an operator.
    pub lanes_held: u64,
    /// Events handled since the process started.
    pub handled: u64,
}

impl Report {
    /// Whether the process's own stores answer, and its services do all of their work. Nothing else counts: an outage of what all processes share would take all
    /// of them out of the balancer.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.failed.is_empty() && self.stores.values().all(|store| *store == Condition::Up)
    }
}

/// Services that run in this process.
#[derive(Clone, Debug)]
pub struct Process {
    /// What each runs on. Its store was migrated before it was started.
    pub engines: Vec<Engine>,
    /// What they consume.
    pub consumers: Vec<Consumers>,
    /// Gives up on a store.
    pub clock: Arc<dyn Clock>,
}

/// Positions by lane, so that the lag of a consumer is the difference to its source, whichever process says so.
#[expect(clippy::cast_precision_loss, reason = "gauges are floats, exact up to 2^53")]
fn measured(journal: &Journal) {
    let service = journal.service.as_str();
    for (lane, &position) in (0_u16..).zip(&journal.lanes) {
        gauge!("journal_lane_position", "service" => service, "lane" => lane.to_string()).set(position as f64);
    }
    if let Some(published) = journal.published {
        let lag = journal.position.saturating_sub(published);
        gauge!("relay_lag_events", "service" => service).set(lag as f64);
    }
    for consumer in &journal.consumers {
        let labels = [
            ("service", service.to_owned()),
            ("consumer", consumer.consumer.clone()),
            ("source", consumer.source.to_string()),
        ];
        gauge!("dead_letters", &labels).set(consumer.dead_letters as f64);
        for (lane, &position) in (0_u16..).zip(&consumer.lanes) {
            let mut labels = labels.to_vec();
            labels.push(("lane", lane.to_string()));
            gauge!("consumer_lane_position", &labels).set(position as f64);
        }
    }
}

#[async_trait]
impl Health for Process {
    async fn measure(&self) {
        for journal in join_all(self.consumers.iter().map(Consumers::journal)).await {
            match journal {
                Ok(journal) => measured(&journal),
                Err(error) => tracing::debug!(%error, "a store does not say how far its events have come"),
            }
        }
    }

    async fn look(&self) -> Report {
        let stores = self.engines.iter().map(|engine| async move {
            let service = engine.service();
            let epoch = tokio::select! {
                biased;
                answered = engine.reader().store().tail(Position::START, 0) => match answered {
                    Ok(tail) => Some(tail.head.epoch),
                    Err(error) => {
                        tracing::warn!(%service, %error, "a store does not answer");
                        None
                    }
                },
                () = self.clock.sleep(LOOK_MAX) => {
                    tracing::warn!(%service, "a store does not answer in time");
                    None
                }
            };
            (service, epoch)
        });
        let stores: BTreeMap<Service, Option<Epoch>> = join_all(stores).await.into_iter().collect();
        let condition = |epoch: Option<Epoch>| match epoch {
            Some(_) => Condition::Up,
            None => Condition::Down,
        };
        let failed = self.engines.iter().filter(|engine| engine.has_failed());
        let failed = failed.map(Engine::service).collect();
        let progress = self
            .consumers
            .iter()
            .flat_map(Consumers::progress)
            .map(|(group, progress)| {
                let (behind, lanes_held, handled) = (progress.is_behind(), progress.lanes_held(), progress.handled());
                (
                    group.to_string(),
                    Consumer {
                        behind,
                        lanes_held,
                        handled,
                    },
                )
            });
        Report {
            consumers: progress.collect(),
            journals: stores
                .iter()
                .filter_map(|(&service, &epoch)| Some((service, epoch?)))
                .collect(),
            stores: stores
                .into_iter()
                .map(|(service, epoch)| (service, condition(epoch)))
                .collect(),
            failed,
            bus: None,
        }
    }
}
