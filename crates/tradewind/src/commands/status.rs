//! `tradewind status` and `republish`: how far events have come, and what helps where a broker has lost some.

use std::collections::BTreeMap;

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use contracts::Service;
use contracts::log::{self, Consumer, Journal};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::commands::api::System;
use crate::config::Config;
use crate::output;

/// Which system.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    system: System,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Which journal, from where.
#[derive(Debug, clap::Args)]
pub struct Republish {
    #[command(flatten)]
    system: System,
    /// Whose journal
    #[arg(long)]
    service: Service,
    /// From after this position, or from where the broker has it, whichever is before; 0 is all of it
    #[arg(long, value_name = "POSITION")]
    from: u64,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What the gateway says.
#[derive(Debug, Deserialize)]
struct Journals {
    data: Vec<Journal>,
    missing: Vec<Service>,
}

/// What is shown.
#[derive(Debug, Serialize)]
struct Status {
    services: Vec<ServiceStatus>,
    /// Services that give no answer.
    missing: Vec<Service>,
}

#[derive(Debug, Serialize)]
struct ServiceStatus {
    service: Service,
    position: u64,
    /// Events that the broker does not have yet; `null` where there is none.
    relay_lag: Option<u64>,
    /// Why nothing is published until somebody acts.
    #[serde(skip_serializing_if = "Option::is_none")]
    relay_stopped: Option<String>,
    consumers: Vec<ConsumerStatus>,
}

#[derive(Debug, Serialize)]
struct ConsumerStatus {
    consumer: String,
    source: Service,
    /// How many positions the lane that is farthest behind has not come to; `null` while the source gives no answer.
    lag: Option<u64>,
    /// Lanes that are behind.
    lanes_behind: Option<usize>,
    /// Lanes that wait for a retry, a missing event or an operator.
    lanes_held: u64,
    dead_letters: u64,
}

impl Status {
    fn of(Journals { data, missing }: Journals) -> Self {
        let heads: BTreeMap<Service, &Journal> = data.iter().map(|journal| (journal.service, journal)).collect();
        let services = data.iter().map(|journal| ServiceStatus {
            service: journal.service,
            position: journal.position,
            relay_lag: journal
                .published
                .map(|published| journal.position.saturating_sub(published)),
            relay_stopped: journal.stopped.clone(),
            consumers: journal
                .consumers
                .iter()
                .map(|consumer| ConsumerStatus::of(consumer, heads.get(&consumer.source).copied()))
                .collect(),
        });
        Self {
            services: services.collect(),
            missing,
        }
    }
}

impl ConsumerStatus {
    fn of(consumer: &Consumer, source: Option<&Journal>) -> Self {
        let lags = source.map(|source| {
            let lanes = source.lanes.iter().zip(&consumer.lanes);
            lanes
                .map(|(head, reached)| head.saturating_sub(*reached))
                .collect::<Vec<u64>>()
        });
        Self {
            consumer: consumer.consumer.clone(),
            source: consumer.source,
            lag: lags.as_ref().map(|lags| lags.iter().copied().max().unwrap_or(0)),
            lanes_behind: lags.map(|lags| lags.iter().filter(|lag| **lag > 0).count()),
            lanes_held: consumer.lanes_held,
            dead_letters: consumer.dead_letters,
        }
    }
}

/// Shows how far events have come.
pub async fn status(config: &Config, options: &Options) -> Result<()> {
    let client = options.system.client(config).await?;
    let status = Status::of(client.get("/api/journals").await?);
    if options.json {
        return output::json(&status);
    }
    output::line(table(&status))?;
    for service in &status.services {
        if let Some(reason) = &service.relay_stopped {
            output::line(format_args!("{} is not published any more: {reason}", service.service))?;
        }
    }
    for service in &status.missing {
        output::line(format_args!("{service} gives no answer"))?;
    }
    Ok(())
}

/// A line for each consumer, and one for a service that has none.
fn table(status: &Status) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header([
        "SERVICE",
        "EVENTS",
        "NOT PUBLISHED",
        "CONSUMER",
        "OF",
        "BEHIND BY",
        "LANES HELD",
        "DEAD LETTERS",
    ]);
    let shown = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    for service in &status.services {
        let relay = service.relay_lag.map_or_else(|| "-".to_owned(), |lag| lag.to_string());
        let mut begin = [service.service.to_string(), service.position.to_string(), relay];
        if service.consumers.is_empty() {
            table.add_row(begin.clone());
        }
        for it in &service.consumers {
            let behind = [shown(it.lag), it.lanes_held.to_string(), it.dead_letters.to_string()];
            let row = begin
                .iter()
                .cloned()
                .chain([it.consumer.clone(), it.source.to_string()])
                .chain(behind);
            table.add_row(row.collect::<Vec<_>>());
            // The name stays, for whoever looks for the lines of one service.
            begin[1..].fill(String::new());
        }
    }
    table
}

/// Has a journal sent again.
pub async fn republish(config: &Config, options: &Republish) -> Result<()> {
    let client = options.system.client(config).await?;
    let (service, from) = (options.service, options.from);
    let path = format!("/api/journals/{service}/republish");
    client.post::<Value>(&path, &log::Republish { from }, None).await?;
    match options.json {
        true => output::json(&serde_json::json!({"service": service, "from": from})),
        false => output::line(format_args!(
            "the journal of {service} is to be sent again from after {from} on, and before that what was never sent: as soon as the \
             broker takes it. Consumers drop what they have seen"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_names_its_service() {
        let of = |consumer: &str| Consumer {
            consumer: consumer.to_owned(),
            source: Service::Catalog,
            lanes: vec![1],
            dead_letters: 0,
            lanes_held: 0,
        };
        let journal = |service, consumers: &[&str]| Journal {
            service,
            epoch: String::new(),
            position: 9,
            lanes: vec![9],
            published: None,
            stopped: None,
            consumers: consumers.iter().copied().map(of).collect(),
        };
        let status = Status::of(Journals {
            data: vec![
                journal(Service::Orders, &["one", "another"]),
                journal(Service::Users, &[]),
            ],
            missing: Vec::new(),
        });
        let mut table = table(&status);
        // As wide as it has to be, whatever terminal the test runs in.
        let table = table.set_width(120).to_string();
        let names = table.lines().filter_map(|line| line.split_whitespace().next());
        assert_eq!(names.collect::<Vec<_>>(), ["SERVICE", "orders", "orders", "users"]);
    }

    #[test]
    fn a_consumer_is_as_far_behind_as_the_lane_that_is_farthest() {
        let source = Journal {
            service: Service::Catalog,
            epoch: String::new(),
            position: 9,
            lanes: vec![9, 8, 7],
            published: Some(5),
            stopped: None,
            consumers: Vec::new(),
        };
        let consumer = Consumer {
            consumer: "catalog".to_owned(),
            source: Service::Catalog,
            lanes: vec![9, 2, 6],
            dead_letters: 3,
            lanes_held: 1,
        };
        let status = ConsumerStatus::of(&consumer, Some(&source));
        assert_eq!(
            (status.lag, status.lanes_behind, status.lanes_held, status.dead_letters),
            (Some(6), Some(2), 1, 3)
        );
        let away = ConsumerStatus::of(&consumer, None);
        assert_eq!((away.lag, away.lanes_behind), (None, None));
    }
}
