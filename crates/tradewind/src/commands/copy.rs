//! `tradewind copy`: services move from one database to another, which is how a shop outgrows the embedded one.

use anyhow::{Context as _, Result, bail};
use contracts::Service;
use kernel::clock::{Ids, SystemClock};
use kernel::store::Opened;

use crate::carry::target::{self, Purpose};
use crate::carry::{self, Sum};
use crate::config::Config;
use crate::data::DataDirectory;
use crate::output;
use crate::stores::{Place, Source, StoreUrl};
use crate::system::{Described, SERVICES};

/// From where, and where to.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Where the data is now [default: as configured]
    #[arg(long, value_name = "URL")]
    from: Option<StoreUrl>,
    /// Where it is to be: an empty database, or one that this command began to fill
    #[arg(long, value_name = "URL")]
    to: StoreUrl,
    /// Only this service; the URLs are then those of its own store
    #[arg(long)]
    service: Option<Service>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Copies, then compares both.
pub async fn run(config: &Config, options: &Options) -> Result<()> {
    // What is copied must not change meanwhile.
    let data = DataDirectory::lock(&config.data)?;
    let chosen = SERVICES
        .iter()
        .filter(|it| options.service.is_none_or(|service| service == it.service));
    let mut copied = Vec::new();
    for described in chosen {
        let service = described.service;
        let place = |url: &StoreUrl| match options.service {
            Some(_) => Place::at(service, url),
            None => Place::within(service, url),
        };
        let from = options
            .from
            .as_ref()
            .map_or_else(|| Place::of(service, config, &data), place);
        let to = place(&options.to);
        let sum = copy(described, &from, &to, options.json).await?;
        if !options.json {
            let Sum {
                events,
                documents,
                checksum,
            } = &sum;
            output::line(format_args!(
                "{:<14} {events:>10} events {documents:>10} documents   {}   {to}",
                service.as_str(),
                &checksum[..12]
            ))?;
        }
        copied.push(serde_json::json!({"service": service, "to": to.to_string(), "held": sum}));
    }
    match options.json {
        true => output::json(&copied),
        false => output::line("Both hold the same. Set TRADEWIND_STORE (or the service's own) to where it is now."),
    }
}

async fn copy(described: &Described, from: &Place, to: &Place, quiet: bool) -> Result<Sum> {
    let service = described.service;
    if from == to {
        bail!("the store of {service} is at {to} already; name another place");
    }
    let (clock, ids) = (SystemClock::new(), Ids::from_entropy());
    let collections = described.by_name();
    let bar = carry::progress(service, quiet)?;
    let held = Source::of(from, described, &ids, &clock).await?;
    held.check_unused(&clock).await?;
    let mut source = held.snapshot().await?;
    let store = target::open(to, described, Purpose::Copy, &ids, &clock).await?;
    let epoch = source.head().epoch;
    check_continues(store.as_ref(), source.head(), to).await?;
    carry::fill(source.as_mut(), store.as_ref(), &collections, epoch, &bar)
        .await
        .with_context(|| format!("{to} is not whole; run this again to go on"))?;
    drop(source);
    // Looked at anew: whatever was written since the copy began makes it worthless.
    let mut source = held.snapshot().await?;
    let mut target = store.snapshot().await?;
    let sum = carry::sum(source.as_mut(), &collections, &bar).await?;
    let copied = carry::sum(target.as_mut(), &collections, &bar).await?;
    if sum != copied {
        bail!(
            "{service} has changed while it was copied, or the copy is wrong: {sum:?} became {copied:?}; stop whatever \
             uses {from}, remove {to}, and run this again"
        );
    }
    drop((source, target));
    held.close().await;
    store.finish_rebuild().await?;
    store.close().await;
    bar.finish_and_clear();
    Ok(sum)
}

/// Whether what is there already is the beginning of the same journal.
async fn check_continues(store: &dyn Opened, source: &kernel::store::Head, to: &Place) -> Result<()> {
    let head = store.tail(kernel::event::Position::START, 0).await?.head;
    if head.position.0 > 0 && (head.epoch != source.epoch || head.position > source.position) {
        bail!("{to} holds the beginning of another store's copy; remove it, or name another place");
    }
    Ok(())
}
