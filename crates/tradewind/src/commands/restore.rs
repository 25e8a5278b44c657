//! `tradewind restore`: services from a backup, each journal beginning a new life.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use contracts::Service;
use indicatif::ProgressBar;
use kernel::clock::{Clock as _, Ids, SystemClock};
use kernel::event::Epoch;
use kernel::reaction::{Adopted, adopt, note_restore};
use kernel::store::Opened;

use crate::carry::backup::{self, Kept, Reading};
use crate::carry::target::{self, Purpose, Target};
use crate::carry::{self, Sum};
use crate::config::Config;
use crate::data::DataDirectory;
use crate::output;
use crate::stores::Place;
use crate::system::{Described, SERVICES};

/// What from where.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The directory of the backup
    #[arg(long, value_name = "DIRECTORY")]
    from: PathBuf,
    /// Only this service; the stores of the others stay as they are
    #[arg(long)]
    service: Option<Service>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Restores into empty stores, and tells consumers where they stand in the journals that are new.
pub async fn run(config: &Config, options: &Options) -> Result<()> {
    let data = DataDirectory::lock(&config.data)?;
    let manifest = backup::manifest(&options.from)?;
    // Of the others too: they are told where they stand.
    let (clock, ids) = (SystemClock::new(), Ids::from_entropy());
    let places = SERVICES
        .iter()
        .map(|described| (described, Place::of(described.service, config, &data)));
    let places: Vec<(&Described, Place)> = places.collect();
    let checks = places
        .iter()
        .map(|(described, place)| place.check_unused(described, &ids, &clock));
    futures::future::try_join_all(checks).await?;
    let is_chosen = |service| options.service.is_none_or(|chosen| chosen == service);
    let (places, others): (Vec<_>, Vec<_>) = places
        .into_iter()
        .partition(|(described, _)| is_chosen(described.service));
    let missing = places
        .iter()
        .find(|(described, _)| !manifest.services.contains_key(&described.service));
    if let Some((described, _)) = missing {
        bail!("the backup has nothing of {}", described.service);
    }
    let checksums = manifest.services.iter();
    let purpose = Purpose::Restore(
        checksums
            .map(|(&service, kept)| (service, kept.sum.checksum.clone()))
            .collect(),
    );
    let targets = target::open_all(&places, &purpose, &ids, &clock).await?;
    let mut restored = Vec::new();
    let mut to_note = Vec::new();
    for ((described, place), Target { store, is_whole }) in places.iter().zip(&targets) {
        let service = described.service;
        let kept = &manifest.services[&service];
        // One that was cut short may have been done with this one, or only not have told so.
        if !is_whole && !purpose.is_done(service, store.as_ref()).await? {
            let bar = carry::progress(service, options.json)?;
            fill(described, place, store.as_ref(), kept, &options.from, &bar)
                .await
                .with_context(|| format!("cannot restore {service}"))?;
            bar.finish_and_clear();
            to_note.push((store, kept));
        }
        if !options.json {
            let Sum {
                events,
                documents,
                checksum,
            } = &kept.sum;
            output::line(format_args!(
                "{:<14} {events:>10} events {documents:>10} documents   {}   {place}",
                service.as_str(),
                &checksum[..12]
            ))?;
        }
        restored.push(serde_json::json!({"service": service, "held": kept.sum}));
    }
    for (store, kept) in to_note {
        note_restore(store.as_ref(), ids.uuid(clock.now()), kept.epoch(), &kept.sum.checksum).await?;
    }
    let mut all: BTreeMap<Service, Arc<dyn Opened>> = BTreeMap::new();
    for (described, place) in &others {
        let store = place.open(described, Vec::new(), &ids, &clock).await?;
        all.insert(described.service, store);
    }
    let filled = places.iter().zip(&targets);
    all.extend(filled.map(|((described, _), target)| (described.service, Arc::clone(&target.store))));
    let adopted = adopt_all(&all).await?;
    for target in targets.iter().filter(|target| !target.is_whole) {
        target.store.finish_rebuild().await?;
    }
    for store in all.values() {
        store.close().await;
    }
    if options.json {
        return output::json(&serde_json::json!({"restored": restored, "consumers": adopted}));
    }
    for Consumers { service, source, lanes } in &adopted {
        if lanes.beyond > 0 {
            output::line(format_args!(
                "{service} has seen more of {source} than the backup holds, in {} lanes, which it holds until {service} is \
                 restored from the same backup",
                lanes.beyond
            ))?;
        }
    }
    let lanes: usize = adopted.iter().map(|it| it.lanes.adopted).sum();
    output::line(format_args!("{lanes} lanes of consumers go on where they were"))
}

/// Fills a store, and sees that it holds what was kept.
async fn fill(
    described: &Described,
    place: &Place,
    store: &dyn Opened,
    kept: &Kept,
    from: &Path,
    bar: &ProgressBar,
) -> Result<()> {
    let (clock, ids) = (SystemClock::new(), Ids::from_entropy());
    let collections = described.by_name();
    let mut reading = Reading::open(from, described.service, kept)?;
    let epoch = Epoch(ids.uuid(clock.now()));
    carry::fill(&mut reading, store, &collections, epoch, bar)
        .await
        .with_context(|| format!("{place} is not whole; run this again to go on"))?;
    let mut snapshot = store.snapshot().await?;
    let held = carry::sum(snapshot.as_mut(), &collections, bar).await?;
    drop(snapshot);
    if held != kept.sum {
        bail!(
            "{place} holds something else than the backup: {held:?}, and not {:?}; the backup is damaged, or of another \
             version of tradewind. Remove {place} and take another backup",
            kept.sum
        );
    }
    Ok(())
}

/// How the consumers of a service stand with a source that was restored.
#[derive(Debug, serde::Serialize)]
struct Consumers {
    service: Service,
    source: Service,
    #[serde(flatten)]
    lanes: Adopted,
}

/// Of every service, restored or not.
async fn adopt_all(stores: &BTreeMap<Service, Arc<dyn Opened>>) -> Result<Vec<Consumers>> {
    let (clock, ids) = (SystemClock::new(), Ids::from_entropy());
    let mut all = Vec::new();
    for (&service, store) in stores {
        for (&source, journal) in stores {
            let lanes = adopt(store.as_ref(), ids.uuid(clock.now()), source, journal.as_ref()).await?;
            if lanes != Adopted::default() {
                all.push(Consumers { service, source, lanes });
            }
        }
    }
    Ok(all)
}
