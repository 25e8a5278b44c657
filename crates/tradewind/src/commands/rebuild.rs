//! `tradewind rebuild`: views are emptied and folded again from the journal.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use contracts::Service;
use indicatif::{ProgressBar, ProgressStyle};
use kernel::clock::{Ids, SystemClock};
use kernel::document::Kind;
use kernel::rebuild::rebuild;
use kernel::store::Store;

use crate::carry;
use crate::config::Config;
use crate::data::DataDirectory;
use crate::output;
use crate::stores::Place;
use crate::system::{Described, SERVICES};

/// What to rebuild.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only this service
    #[arg(long)]
    service: Option<Service>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Rebuilds the views of every service, or of one.
pub async fn run(config: &Config, options: &Options) -> Result<()> {
    let data = DataDirectory::lock(&config.data)?;
    let (clock, ids) = (SystemClock::new(), Ids::from_entropy());
    let chosen = SERVICES
        .iter()
        .filter(|it| options.service.is_none_or(|service| service == it.service));
    let places: Vec<(&Described, Place)> = chosen
        .map(|described| (described, Place::of(described.service, config, &data)))
        .collect();
    let waiting = carry::waiting(options.json);
    let checks = places
        .iter()
        .map(|(described, place)| place.check_unused(described, &ids, &clock));
    futures::future::try_join_all(checks).await?;
    waiting.finish_and_clear();
    let mut rebuilt = Vec::new();
    for (described, place) in places {
        let events = rebuild_one(&place, described, options.json).await?;
        rebuilt.push(serde_json::json!({"service": described.service, "events": events}));
    }
    if options.json {
        output::json(&rebuilt)?;
    }
    Ok(())
}

async fn rebuild_one(place: &Place, described: &Described, quiet: bool) -> Result<u64> {
    let (clock, ids) = (SystemClock::new(), Ids::from_entropy());
    let views = described
        .collections
        .iter()
        .filter(|collection| collection.kind == Kind::View);
    let views = views.map(|collection| collection.name).collect();
    let opened = place.open(described, views, &ids, &clock).await?;
    let store: Arc<dyn Store> = Arc::clone(&opened) as _;
    let bar = if quiet {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(0)
    };
    bar.set_style(ProgressStyle::with_template(
        "{prefix:<14} {wide_bar} {pos}/{len} events {eta}",
    )?);
    bar.set_prefix(described.service.as_str());
    let folded = rebuild(&store, described.collections, described.fold, &ids, |position, last| {
        bar.set_length(last.0);
        bar.set_position(position.0);
    });
    let events = folded
        .await
        .with_context(|| format!("the views of {} are incomplete", described.service))?;
    opened.finish_rebuild().await?;
    opened.close().await;
    bar.finish_and_clear();
    if !quiet {
        output::line(format_args!(
            "{:<14} {events:>10} events folded",
            described.service.as_str()
        ))?;
    }
    Ok(events)
}
