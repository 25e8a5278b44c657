//! `tradewind copy`: services move from one database to another, which is how a shop outgrows the embedded one.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use contracts::Service;
use indicatif::ProgressBar;
use kernel::clock::{Ids, SystemClock};
use kernel::store::Opened;

use crate::carry::target::{self, Purpose, Target};
use crate::carry::{self, Sum};
use crate::config::Config;
use crate::data::DataDirectory;
use crate::output;
use crate::stores::{Place, Source, StoreUrl, UrlArgument};
use crate::system::{Described, SERVICES};

/// From where, and where to.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Where the data is now [default: as configured]
    #[arg(long, value_name = "URL")]
    from: Option<UrlArgument>,
    /// Where it is to be: an empty database, or one that this command began to fill
    #[arg(long, value_name = "URL")]
    to: UrlArgument,
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
    let (clock, ids) = (SystemClock::new(), Ids::from_entropy());
    let named_from = options.from.as_ref().map(|url| url.parse("--from")).transpose()?;
    let named_to = options.to.parse("--to")?;
    let mut from = Vec::new();
    let mut to = Vec::new();
    for described in &SERVICES {
        let service = described.service;
        if options.service.is_some_and(|chosen| chosen != service) {
            continue;
        }
        let place = |url: &StoreUrl| match options.service {
            Some(_) => Place::at(service, url),
            None => Place::within(service, url),
        };
        let named = named_from.as_ref().map(place);
        let (source, target) = (
            named.unwrap_or_else(|| Place::of(service, config, &data)),
            place(&named_to),
        );
        if source == target {
            bail!("the store of {service} is at {target} already; name another place");
        }
        from.push((described, source));
        to.push((described, target));
    }
    let waiting = carry::waiting(options.json);
    let opening = from.iter().map(async |(described, place)| {
        let source = Source::of(place, described, &ids, &clock).await?;
        source.check_unused(&clock).await?;
        anyhow::Ok(source)
    });
    let sources = futures::future::try_join_all(opening).await?;
    waiting.finish_and_clear();
    let mut heads = BTreeMap::new();
    for (source, (described, _)) in sources.iter().zip(&to) {
        heads.insert(described.service, source.snapshot().await?.head().clone());
    }
    let targets = target::open_all(&to, &Purpose::Copy(heads.clone()), &ids, &clock).await?;
    let mut copied = Vec::new();
    for ((source, target), (described, place)) in sources.iter().zip(&targets).zip(&to) {
        let service = described.service;
        let bar = carry::progress(service, options.json)?;
        let sum = copy(described, source, target, &bar).await;
        let sum = sum.with_context(|| format!("cannot copy {service} to {place}"))?;
        bar.finish_and_clear();
        if !options.json {
            let Sum {
                events,
                documents,
                checksum,
            } = &sum;
            output::line(format_args!(
                "{:<14} {events:>10} events {documents:>10} documents   {}   {place}",
                service.as_str(),
                &checksum[..12]
            ))?;
        }
        copied.push(serde_json::json!({"service": service, "to": place.to_string(), "held": sum}));
    }
    for (source, (described, _)) in sources.iter().zip(&to) {
        let head = source.snapshot().await?.head().clone();
        if heads.get(&described.service) != Some(&head) {
            bail!(
                "{} has gone on while its store was copied: stop whatever uses it, remove the copy and run this again",
                described.service
            );
        }
    }
    for (source, target) in sources.iter().zip(&targets) {
        source.close().await;
        if !target.is_whole {
            target.store.finish_rebuild().await?;
        }
        target.store.close().await;
    }
    match options.json {
        true => output::json(&copied),
        false => output::line(
            "Both hold the same. Set TRADEWIND_STORE (or the service's own) to where it is now; what was copied is left as \
             it was.",
        ),
    }
}

async fn copy(described: &Described, from: &Source, to: &Target, bar: &ProgressBar) -> Result<Sum> {
    let service = described.service;
    let collections = described.by_name();
    if !to.is_whole {
        let mut source = from.snapshot().await?;
        let epoch = source.head().epoch;
        check_continues(to.store.as_ref(), source.head()).await?;
        carry::fill(source.as_mut(), to.store.as_ref(), &collections, epoch, bar)
            .await
            .context("the copy is not whole; run this again to go on")?;
    }
    // Looked at anew: whatever was written since the copy began makes it worthless.
    let mut source = from.snapshot().await?;
    let mut target = to.store.snapshot().await?;
    let sum = carry::sum(source.as_mut(), &collections, bar).await?;
    let copied = carry::sum(target.as_mut(), &collections, bar).await?;
    if sum == copied {
        return Ok(sum);
    }
    if to.is_whole {
        bail!("there is a copy of {service} already, which was used since, or the source was; name another place");
    }
    bail!(
        "{service} has changed while it was copied, or the copy is wrong: {sum:?} became {copied:?}; stop whatever uses \
         the store that is copied, and remove the copy"
    );
}

/// Whether what is there already is the beginning of the same journal.
async fn check_continues(store: &dyn Opened, source: &kernel::store::Head) -> Result<()> {
    let head = store.tail(kernel::event::Position::START, 0).await?.head;
    if head.position.0 > 0 && (head.epoch != source.epoch || head.position > source.position) {
        bail!("it holds the beginning of another store's copy: remove it, or name another place");
    }
    Ok(())
}
