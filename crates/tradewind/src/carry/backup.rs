//! A backup: a directory with a file for each service and a list of what is in them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use contracts::Service;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use indicatif::ProgressBar;
use jiff::Timestamp;
use kernel::document::Collection;
use kernel::event::{Epoch, Position, Recorded};
use kernel::store::carry::{Carried, PIECE_DOCUMENTS_MAX, PIECE_EVENTS_MAX, Snapshot};
use kernel::store::{Head, StoreError};
use serde::{Deserialize, Serialize};

use crate::carry::line::Line;
use crate::carry::{Sum, walk};

const FORM: u32 = 1;
const LIST: &str = "backup.json";

/// What is in a backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    form: u32,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// The services, each with a file of its own.
    pub services: BTreeMap<Service, Kept>,
}

/// A service's part of a backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    epoch: Epoch,
    position: Position,
    lanes: Vec<Position>,
    time: Timestamp,
    /// How much, and its checksum.
    #[serde(flatten)]
    pub sum: Sum,
}

impl Kept {
    /// Of the life that the backup was taken in.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn head(&self) -> Head {
        Head {
            epoch: self.epoch,
            position: self.position,
            lanes: self.lanes.clone(),
            time: self.time,
        }
    }
}

/// A backup that is being written. Until it is whole its directory has another name.
#[derive(Debug)]
pub struct Writing {
    directory: PathBuf,
    partial: PathBuf,
    manifest: Manifest,
}

impl Writing {
    /// Begins one in a directory that is not there yet.
    pub fn begin(directory: &Path, taken_at: Timestamp) -> Result<Self> {
        ensure!(
            !directory.exists(),
            "{} is there already; name another directory",
            directory.display()
        );
        let mut partial = directory.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        std::fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
        private(&partial)?;
        Ok(Self {
            directory: directory.to_owned(),
            partial,
            manifest: Manifest {
                form: FORM,
                taken_at,
                services: BTreeMap::new(),
            },
        })
    }

    /// Writes a service's part.
    pub async fn add(
        &mut self,
        service: Service,
        snapshot: &mut dyn Snapshot,
        collections: &[&'static Collection],
        bar: &ProgressBar,
    ) -> Result<Sum> {
        let path = self.partial.join(file_name(service));
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut gzip = GzEncoder::new(BufWriter::new(file), Compression::fast());
        let written = walk(snapshot, collections, bar, |line| Ok(gzip.write_all(line.as_bytes())?)).await;
        let sum = written.with_context(|| format!("cannot write {}", path.display()))?;
        let file = gzip.finish()?.into_inner()?;
        file.sync_all()?;
        let Head {
            epoch,
            position,
            lanes,
            time,
        } = snapshot.head().clone();
        let kept = Kept {
            epoch,
            position,
            lanes,
            time,
            sum: sum.clone(),
        };
        self.manifest.services.insert(service, kept);
        Ok(sum)
    }

    /// Gives the directory its name.
    pub fn finish(self) -> Result<Manifest> {
        let list = File::create(self.partial.join(LIST))?;
        serde_json::to_writer_pretty(&list, &self.manifest)?;
        list.sync_all()?;
        std::fs::rename(&self.partial, &self.directory)?;
        let parent = self.directory.parent().filter(|it| !it.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(self.manifest)
    }
}

/// It holds people's addresses and the hashes of their passwords.
fn private(directory: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(std::fs::set_permissions(
        directory,
        std::fs::Permissions::from_mode(0o700),
    )?)
}

fn file_name(service: Service) -> String {
    format!("{service}.jsonl.gz")
}

/// What is in the backup in this directory.
pub fn manifest(directory: &Path) -> Result<Manifest> {
    let path = directory.join(LIST);
    let file =
        File::open(&path).with_context(|| format!("{} is no backup: cannot read {LIST}", directory.display()))?;
    let manifest: Manifest =
        serde_json::from_reader(BufReader::new(file)).with_context(|| format!("{} is damaged", path.display()))?;
    ensure!(
        manifest.form == FORM,
        "the backup has the form {}, and this version of tradewind reads form {FORM}: use a newer one",
        manifest.form
    );
    Ok(manifest)
}

/// A service's part of a backup, which is read from its beginning to its end, once.
pub struct Reading {
    head: Head,
    lines: std::io::Lines<BufReader<GzDecoder<File>>>,
    path: PathBuf,
    /// Read already, and not yet asked for.
    next: Option<Line<'static>>,
}

impl Reading {
    /// Opens the part of a service that is in the backup.
    pub fn open(directory: &Path, service: Service, kept: &Kept) -> Result<Self> {
        let path = directory.join(file_name(service));
        let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self {
            head: kept.head(),
            lines: BufReader::new(GzDecoder::new(file)).lines(),
            path,
            next: None,
        })
    }

    fn next(&mut self) -> Result<Option<Line<'static>>> {
        if let Some(line) = self.next.take() {
            return Ok(Some(line));
        }
        let Some(line) = self.lines.next() else {
            return Ok(None);
        };
        let read = line
            .map_err(anyhow::Error::from)
            .and_then(|line| Ok(serde_json::from_str(&line)?));
        read.map(Some)
            .with_context(|| format!("{} is damaged", self.path.display()))
    }

    fn read_events(&mut self, after: Position) -> Result<Vec<Recorded>> {
        let mut events = Vec::new();
        while events.len() < PIECE_EVENTS_MAX {
            match self.next()? {
                Some(Line::Event(event)) => {
                    let event = event.recorded()?;
                    if event.position > after {
                        events.push(event);
                    }
                }
                other => {
                    self.next = other;
                    break;
                }
            }
        }
        Ok(events)
    }

    fn read_documents(&mut self, collection: &Collection, after: Option<&str>) -> Result<Vec<Carried>> {
        let mut documents = Vec::new();
        while documents.len() < PIECE_DOCUMENTS_MAX {
            match self.next()? {
                Some(Line::Document(document)) if document.collection == collection.name => {
                    let carried = document.carried();
                    ensure!(
                        carried.columns.len() == collection.columns.len(),
                        "the backup's {} have other columns than this version of tradewind: restore it with the version that took it",
                        collection.name
                    );
                    if after.is_none_or(|after| &*carried.id > after) {
                        documents.push(carried);
                    }
                }
                Some(Line::Event(_)) => bail!("{} is damaged: an event among documents", self.path.display()),
                other => {
                    self.next = other;
                    break;
                }
            }
        }
        Ok(documents)
    }
}

#[async_trait]
impl Snapshot for Reading {
    fn head(&self) -> &Head {
        &self.head
    }

    async fn events(&mut self, after: Position) -> Result<Vec<Recorded>, StoreError> {
        self.read_events(after)
            .map_err(|error| StoreError::new(format_args!("{error:#}")))
    }

    async fn documents(
        &mut self,
        collection: &'static Collection,
        after: Option<&str>,
    ) -> Result<Vec<Carried>, StoreError> {
        self.read_documents(collection, after)
            .map_err(|error| StoreError::new(format_args!("{error:#}")))
    }
}
