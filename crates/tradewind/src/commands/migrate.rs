//! `tradewind migrate`: the stores are made, or brought up to date.

use anyhow::Result;
use kernel::clock::{Ids, SystemClock};
use kernel::event::Position;

use crate::config::Config;
use crate::data::DataDirectory;
use crate::output;
use crate::stores::Place;
use crate::system::SERVICES;

/// What to do, and how to tell about it.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Print the statements that would be run, and change nothing
    #[arg(long)]
    plan: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Migrates every store, or says how it would.
pub async fn run(config: &Config, options: &Options) -> Result<()> {
    match options.plan {
        true => plan(config, options.json).await,
        false => migrate(config, options.json).await,
    }
}

/// Opens every store, which migrates it.
async fn migrate(config: &Config, json: bool) -> Result<()> {
    let data = DataDirectory::lock(&config.data)?;
    let (clock, ids) = (SystemClock::new(), Ids::from_entropy());
    let mut migrated = Vec::new();
    for described in &SERVICES {
        let place = Place::of(described.service, config, &data);
        let store = place.open(described, Vec::new(), &ids, &clock).await?;
        let head = store.tail(Position::START, 0).await?.head;
        store.close().await;
        if !json {
            output::line(format_args!(
                "{:<14} {:>10} events   {}",
                described.service.as_str(),
                head.position,
                place
            ))?;
        }
        migrated.push(serde_json::json!({"service": described.service, "events": head.position}));
    }
    if json {
        output::json(&migrated)?;
    }
    Ok(())
}

/// All stores are read before anything is printed: a plan of some of them would look like the whole.
async fn plan(config: &Config, json: bool) -> Result<()> {
    let data = DataDirectory::imagine(&config.data)?;
    let (clock, ids) = (SystemClock::new(), Ids::from_entropy());
    let mut plans = Vec::new();
    for described in &SERVICES {
        let place = Place::of(described.service, config, &data);
        let statements = place.plan(described, &ids, &clock).await?;
        plans.push((described.service, place, statements));
    }
    if json {
        let plans = plans.into_iter().map(|(service, place, statements)| {
            serde_json::json!({"service": service, "place": place.to_string(), "statements": statements})
        });
        return output::json(&plans.collect::<Vec<_>>());
    }
    for (service, place, statements) in plans {
        let (remark, state) = (place.remark(), if statements.is_empty() { ": up to date" } else { "" });
        output::line(format_args!("{remark} {service} at {place}{state}"))?;
        for statement in statements {
            output::line(format_args!("{statement};"))?;
        }
    }
    Ok(())
}
