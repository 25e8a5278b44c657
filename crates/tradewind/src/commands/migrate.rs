//! `tradewind migrate`: the embedded stores are made, or brought up to date.

use anyhow::Result;
use kernel::clock::{Ids, SystemClock};
use kernel::event::Position;
use kernel::store::Store as _;

use crate::config::Config;
use crate::data::DataDirectory;
use crate::output;
use crate::system::{SERVICES, open_store};

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
        let store = open_store(&data, described, &ids, &clock)?;
        let head = store.tail(Position::START, 0).await?.head;
        store.close().await;
        if !options.json {
            output::line(format_args!(
                "{:<14} {:>10} events   {}",
                described.service.as_str(),
                head.position,
                data.store(described.service).display()
            ))?;
        }
        migrated.push(serde_json::json!({"service": described.service, "events": head.position}));
    }
    if options.json {
        output::json(&migrated)?;
    }
    Ok(())
}
