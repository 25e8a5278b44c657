//! Carrying whole stores: from one database to another, into a backup, and back.

pub mod backup;
mod line;
pub mod target;

use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_lc_rs::digest::{self, SHA256};
use indicatif::{ProgressBar, ProgressStyle};
use kernel::document::Collection;
use kernel::event::{Epoch, Position};
use kernel::store::carry::{Load, Snapshot};
use kernel::store::{Opened, Query};
use serde::{Deserialize, Serialize};

use crate::carry::line::Line;

/// How often a sign of life moves.
const TICK: Duration = Duration::from_millis(100);

/// How much a store holds, and a checksum that is the same where the same is held, whichever the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// Events.
    pub events: u64,
    /// Documents of all collections.
    pub documents: u64,
    /// SHA-256 over each of them as a line of JSON.
    pub checksum: String,
}

/// Counts what passes.
struct Summing {
    events: u64,
    documents: u64,
    digest: digest::Context,
}

impl Summing {
    fn new() -> Self {
        Self {
            events: 0,
            documents: 0,
            digest: digest::Context::new(&SHA256),
        }
    }

    /// Counts a line; gives its text.
    fn add(&mut self, line: &Line<'_>) -> Result<String> {
        match line {
            Line::Event(_) => self.events += 1,
            Line::Document(_) => self.documents += 1,
        }
        let text = serde_json::to_string(line)? + "\n";
        self.digest.update(text.as_bytes());
        Ok(text)
    }

    fn sum(self) -> Sum {
        let checksum = self.digest.finish();
        Sum {
            events: self.events,
            documents: self.documents,
            checksum: checksum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

/// Goes through a whole store; `each` is given every event and document as a line.
async fn walk(
    snapshot: &mut dyn Snapshot,
    collections: &[&'static Collection],
    bar: &ProgressBar,
    mut each: impl FnMut(&str) -> Result<()>,
) -> Result<Sum> {
    let mut summing = Summing::new();
    let mut after = Position::START;
    bar.set_length(snapshot.head().position.0);
    loop {
        let events = snapshot.events(after).await?;
        let Some(last) = events.last() else { break };
        after = last.position;
        for event in &events {
            each(&summing.add(&event.into())?)?;
        }
        bar.set_position(after.0);
    }
    for &collection in collections {
        let mut after = None;
        loop {
            let documents = snapshot.documents(collection, after.as_deref()).await?;
            let Some(last) = documents.last() else { break };
            after = Some(last.id.clone());
            for document in &documents {
                each(&summing.add(&Line::of(collection, document))?)?;
            }
            bar.set_message(format!("{} documents", summing.documents));
        }
    }
    Ok(summing.sum())
}

/// What a store holds.
pub async fn sum(snapshot: &mut dyn Snapshot, collections: &[&'static Collection], bar: &ProgressBar) -> Result<Sum> {
    walk(snapshot, collections, bar, |_| Ok(())).await
}

/// Fills a store from another, under that epoch, and goes on where an earlier try ended.
pub async fn fill(
    source: &mut dyn Snapshot,
    target: &dyn Opened,
    collections: &[&'static Collection],
    epoch: Epoch,
    bar: &ProgressBar,
) -> Result<()> {
    let mut head = target.tail(Position::START, 0).await?.head;
    head.epoch = epoch;
    bar.set_length(source.head().position.0);
    loop {
        let events = source.events(head.position).await?;
        if events.is_empty() {
            break;
        }
        for event in &events {
            head.lanes[event.lane.index()] = event.position;
            (head.position, head.time) = (event.position, event.time);
        }
        let load = Load {
            head: head.clone(),
            events,
            documents: None,
        };
        target.load(load).await?;
        bar.set_position(head.position.0);
    }
    head = source.head().clone();
    head.epoch = epoch;
    let mut count = 0;
    for &collection in collections {
        let mut highest = Query::all(collection, 1);
        highest.descending = true;
        let highest = target.query(&highest).await?;
        let mut after = highest.into_iter().next().map(|found| found.id);
        loop {
            let documents = source.documents(collection, after.as_deref()).await?;
            let Some(last) = documents.last() else { break };
            after = Some(last.id.clone());
            count += documents.len();
            let load = Load {
                head: head.clone(),
                events: Vec::new(),
                documents: Some((collection, documents)),
            };
            target
                .load(load)
                .await
                .with_context(|| format!("collection {}", collection.name))?;
            bar.set_message(format!("{count} documents"));
        }
    }
    // Also where there was nothing to be written.
    let (events, documents) = (Vec::new(), None);
    Ok(target
        .load(Load {
            head,
            events,
            documents,
        })
        .await?)
}

/// What a person sees while stores are watched for a shop that runs on them; nothing where a program reads the output.
pub fn waiting(quiet: bool) -> ProgressBar {
    match quiet {
        true => ProgressBar::hidden(),
        false => {
            let spinner = ProgressBar::new_spinner();
            spinner.enable_steady_tick(TICK);
            spinner.with_message("looking for a shop that runs on the stores, for some seconds")
        }
    }
}

/// How far a service has been carried; none where a program reads the output.
pub fn progress(service: contracts::Service, quiet: bool) -> Result<ProgressBar> {
    let bar = match quiet {
        true => ProgressBar::hidden(),
        false => ProgressBar::new(0),
    };
    let style = ProgressStyle::with_template("{prefix:<14} {wide_bar} {pos}/{len} events {msg}")?;
    Ok(bar.with_style(style).with_prefix(service.as_str()))
}
