//! `tradewind backup`: what all services hold, at one moment, in one directory. The shop may be running.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use contracts::Service;
use kernel::clock::{Clock as _, Ids, SystemClock};
use kernel::document::Document as _;
use kernel::reaction::{Checkpoint, seen_by};
use kernel::store::carry::Snapshot;

use crate::carry::backup::Writing;
use crate::carry::{self, Sum};
use crate::config::Config;
use crate::data::DataDirectory;
use crate::output;
use crate::stores::{Place, Source};
use crate::system::SERVICES;

/// How often all stores are looked at again until what they say fits together, and how soon.
const LOOKS_MAX: u32 = 100;
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Where to.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// A directory that is not there yet
    #[arg(long, value_name = "DIRECTORY")]
    to: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

type Snapshots = BTreeMap<Service, Box<dyn Snapshot>>;

/// Backs up every service.
pub async fn run(config: &Config, options: &Options) -> Result<()> {
    let data = DataDirectory::imagine(&config.data)?;
    let clock = SystemClock::new();
    let ids = Ids::from_entropy();
    let opening = SERVICES.iter().map(|described| {
        let place = Place::of(described.service, config, &data);
        let (ids, clock) = (&ids, &clock);
        async move {
            let source = Source::of(&place, described, ids, clock).await?;
            anyhow::Ok((described.service, source))
        }
    });
    let sources = futures::future::try_join_all(opening).await?;
    let mut writing = Writing::begin(&options.to, clock.now())?;
    let mut snapshots = at_one_moment(&sources, &clock).await?;
    for described in &SERVICES {
        let service = described.service;
        let Some(snapshot) = snapshots.get_mut(&service) else {
            continue;
        };
        let bar = carry::progress(service, options.json)?;
        let sum = writing
            .add(service, snapshot.as_mut(), &described.by_name(), &bar)
            .await?;
        bar.finish_and_clear();
        if !options.json {
            let Sum {
                events,
                documents,
                checksum,
            } = sum;
            output::line(format_args!(
                "{:<14} {events:>10} events {documents:>10} documents   {}",
                service.as_str(),
                &checksum[..12]
            ))?;
        }
    }
    let manifest = writing.finish()?;
    drop(snapshots);
    futures::future::join_all(sources.iter().map(|(_, source)| source.close())).await;
    match options.json {
        true => output::json(&manifest),
        false => output::line(format_args!("The backup is in {}", options.to.display())),
    }
}

/// Of all services, such that none has seen of another what the other's does not hold. Should some lack something, all are
/// looked at again, a little later.
async fn at_one_moment(sources: &[(Service, Source)], clock: &SystemClock) -> Result<Snapshots> {
    for _ in 0..LOOKS_MAX {
        let looking = sources
            .iter()
            .map(|(service, source)| async { anyhow::Ok((*service, source.snapshot().await?)) });
        let mut snapshots: Snapshots = futures::future::try_join_all(looking).await?.into_iter().collect();
        if fit_together(&mut snapshots).await? {
            return Ok(snapshots);
        }
        drop(snapshots);
        clock.sleep(LOOK_PAUSE).await;
    }
    bail!(
        "the shop is too busy to be looked at all at once ({LOOKS_MAX} tries): back it up at a quieter time, or stop it"
    )
}

async fn fit_together(snapshots: &mut Snapshots) -> Result<bool> {
    let mut seen = Vec::new();
    for snapshot in snapshots.values_mut() {
        let mut after = None;
        loop {
            let checkpoints = snapshot.documents(Checkpoint::COLLECTION, after.as_deref()).await?;
            let Some(last) = checkpoints.last() else { break };
            after = Some(last.id.clone());
            seen.extend(seen_by(&checkpoints));
        }
    }
    Ok(seen.into_iter().all(|seen| {
        let head = snapshots.get(&seen.source).map(|snapshot| snapshot.head());
        head.is_none_or(|head| head.epoch != seen.epoch || seen.position <= head.lanes[seen.lane.index()])
    }))
}
