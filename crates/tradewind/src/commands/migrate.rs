//! `tradewind migrate`: the stores are made, or brought up to date.

use anyhow::Result;
use kernel::clock::{Ids, SystemClock};
use kernel::event::Position;

use crate::config::Config;
use crate::data::DataDirectory;
use crate::output;
use crate::stores::Place;
use crate::system::SERVICES;

/// How to tell about it.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Opens every store, which migrates it.
pub async fn run(config: &Config, options: &Options) -> Result<()> {
    let data = DataDirectory::lock(&config.data)?;
    let (clock, ids) = (SystemClock::new(), Ids::from_entropy());
    let mut migrated = Vec::new();
    for described in &SERVICES {
        let place = Place::of(described.service, config, &data);
        let store = place.open(described, Vec::new(), &ids, &clock).await?;
        let head = store.tail(Position::START, 0).await?.head;
        store.close().await;
        if !options.json {
            output::line(format_args!(
                "{:<14} {:>10} events   {}",
                described.service.as_str(),
                head.position,
                place
            ))?;
        }
        migrated.push(serde_json::json!({"service": described.service, "events": head.position}));
    }
    if options.json {
        output::json(&migrated)?;
    }
    Ok(())
}
