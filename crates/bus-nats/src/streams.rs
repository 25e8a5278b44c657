//! What is on the server: a stream for each source, with a subject for each lane, and a bucket for what consumers keep.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind, KeyValueErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{ErrorCode, kv, stream};
use contracts::Service;
use kernel::bus::BusError;
use kernel::event::Lane;
use kernel::wire::MESSAGE_BYTES_MAX;

use crate::connect::Connection;
use crate::failure::unavailable;
use crate::options::NatsOptions;

/// Names and settings of everything, and what of it was found to be there.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    pub(crate) connection: Connection,
    prefix: String,
    pub(crate) lanes: u16,
    max_age: Duration,
    replicas: usize,
    /// Sources whose stream was seen to be as it must be.
    seen: Arc<Mutex<BTreeSet<Service>>>,
}

impl Streams {
    pub(crate) fn new(connection: Connection, options: &NatsOptions) -> Self {
        Self {
            connection,
            prefix: options.prefix.clone(),
            lanes: options.lanes,
            max_age: options.max_age,
            replicas: options.replicas,
            seen: Arc::default(),
        }
    }

    /// Of a source.
    pub(crate) fn name(&self, source: Service) -> String {
        format!("{}_{source}", self.prefix)
    }

    /// Of a lane of a source.
    pub(crate) fn subject(&self, source: Service, lane: Lane) -> String {
        format!("{}.{source}.{}", self.prefix, lane.0)
    }

    /// Of the bucket.
    pub(crate) fn bucket(&self) -> String {
        format!("{}_consumers", self.prefix)
    }

    /// Makes sure that the source's stream is there and as it must be, unless it was seen before.
    pub(crate) async fn ensure(&self, source: Service) -> Result<(), BusError> {
        let is_seen = self
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&source);
        match is_seen {
            true => Ok(()),
            false => self.find(source).await.map(drop),
        }
    }

    /// The source's stream as it is now, made if it is not there.
    pub(crate) async fn find(&self, source: Service) -> Result<stream::Stream, BusError> {
        self.connection.reached()?;
        self.forget(source);
        let jetstream = &self.connection.jetstream;
        let found = match jetstream.get_stream(self.name(source)).await {
            Err(error) if matches!(error.kind(), GetStreamErrorKind::JetStream(reason) if is_missing(&reason)) => {
                match jetstream.create_stream(self.wanted(source)).await {
                    // Somebody else was faster, and made it otherwise.
                    Err(error) if matches!(error.kind(), CreateStreamErrorKind::JetStream(reason) if is_taken(&reason)) => {
                        jetstream.get_stream(self.name(source)).await.map_err(unavailable)?
                    }
                    made => made.map_err(unavailable)?,
                }
            }
            found => found.map_err(unavailable)?,
        };
        self.check(source, &found.cached_info().config)?;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(source);
        Ok(found)
    }

    /// The stream was not there when it was used.
    pub(crate) fn forget(&self, source: Service) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(&source);
    }

    fn wanted(&self, source: Service) -> Config {
        Config {
            name: self.name(source),
            description: Some(format!("events of {source}, by lane")),
            subjects: self.subjects(source),
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            max_age: self.max_age,
            max_messages: -1,
            max_bytes: -1,
            max_messages_per_subject: -1,
            num_replicas: self.replicas,
            ..Config::default()
        }
    }

    fn subjects(&self, source: Service) -> Vec<String> {
        (0..self.lanes).map(|lane| self.subject(source, Lane(lane))).collect()
    }

    /// Refuses settings under which events would be lost or out of order.
    fn check(&self, source: Service, found: &Config) -> Result<(), BusError> {
        let ours: BTreeSet<_> = self.subjects(source).into_iter().collect();
        let theirs: BTreeSet<_> = found.subjects.iter().cloned().collect();
        if ours != theirs {
            let beginning = format!("{}.{source}.", self.prefix);
            let is_lane = |subject: &&String| {
                subject
                    .strip_prefix(&beginning)
                    .is_some_and(|it| it.parse::<u16>().is_ok())
            };
            return Err(match theirs.iter().all(|subject| is_lane(&subject)) {
                true => BusError::lanes(source, theirs.len(), self.lanes),
                false => self.differs(
                    source,
                    "the subjects",
                    found.subjects.join(", "),
                    self.subjects(source).join(", "),
                ),
            });
        }
        let differs =
            |setting, found: String, wanted: &str| Err(self.differs(source, setting, found, wanted.to_owned()));
        let limit = |limit: i64| (limit > 0).then(|| limit.to_string());
        let message_bytes = u64::try_from(found.max_message_size).unwrap_or(u64::MAX);
        if found.storage != StorageType::File {
            differs("storage", "memory".to_owned(), "file")
        } else if found.retention != RetentionPolicy::Limits {
            differs("retention", format!("{:?}", found.retention).to_lowercase(), "limits")
        } else if found.max_age != self.max_age {
            differs("max_age", age(found.max_age), &age(self.max_age))
        } else if let Some(limit) = limit(found.max_messages) {
            differs("max_msgs", limit, "no limit")
        } else if let Some(limit) = limit(found.max_bytes) {
            differs("max_bytes", limit, "no limit")
        } else if let Some(limit) = limit(found.max_messages_per_subject) {
            differs("max_msgs_per_subject", limit, "no limit")
        } else if found.max_message_size != 0 && message_bytes < MESSAGE_BYTES_MAX as u64 {
            let wanted = format!("{MESSAGE_BYTES_MAX} or more");
            differs("max_msg_size", found.max_message_size.to_string(), &wanted)
        } else if found.num_replicas < self.replicas {
            differs("replicas", found.num_replicas.to_string(), &self.replicas.to_string())
        } else if found.no_ack {
            differs("no_ack", "true".to_owned(), "false")
        } else if found.sealed {
            differs("sealed", "true".to_owned(), "false")
        } else {
            Ok(())
        }
    }

    fn differs(&self, source: Service, setting: &'static str, found: String, wanted: String) -> BusError {
        BusError::Differs {
            subject: format!("the stream {}", self.name(source)),
            setting,
            found,
            wanted,
        }
    }

    /// As NATS's own tools make a bucket. The client asks for the account before, whose answer it cannot read from 2.9.
    fn wanted_bucket(&self) -> Config {
        let bucket = self.bucket();
        Config {
            name: format!("KV_{bucket}"),
            description: Some("how far consumers have come, and who receives which lanes".to_owned()),
            subjects: vec![format!("$KV.{bucket}.>")],
            max_messages_per_subject: 1,
            max_messages: -1,
            max_bytes: -1,
            discard: DiscardPolicy::New,
            storage: StorageType::File,
            num_replicas: self.replicas,
            allow_rollup: true,
            deny_delete: true,
            allow_direct: true,
            ..Config::default()
        }
    }

    /// The bucket, made if it is not there.
    pub(crate) async fn find_bucket(&self) -> Result<kv::Store, BusError> {
        self.connection.reached()?;
        let jetstream = &self.connection.jetstream;
        let bucket = self.bucket();
        let found = match jetstream.get_key_value(&bucket).await {
            Ok(found) => found,
            Err(error) if error.kind() == KeyValueErrorKind::GetBucket => {
                let made = jetstream.create_stream(self.wanted_bucket()).await;
                made.map_err(unavailable)?;
                jetstream.get_key_value(&bucket).await.map_err(unavailable)?
            }
            Err(error) => return Err(unavailable(error)),
        };
        let config = &found.stream.cached_info().config;
        let (setting, is, wanted) = match config {
            Config { storage, .. } if *storage != StorageType::File => ("storage", "memory".to_owned(), "file"),
            Config { max_age, .. } if !max_age.is_zero() => ("max_age", age(*max_age), "no limit"),
            _ => return Ok(found),
        };
        Err(BusError::Differs {
            subject: format!("the bucket {}", self.bucket()),
            setting,
            found: is,
            wanted: wanted.to_owned(),
        })
    }
}

fn is_missing(reason: &async_nats::jetstream::Error) -> bool {
    reason.error_code() == ErrorCode::STREAM_NOT_FOUND
}

fn is_taken(reason: &async_nats::jetstream::Error) -> bool {
    reason.error_code() == ErrorCode::STREAM_NAME_EXIST
}

fn age(age: Duration) -> String {
    match age {
        Duration::ZERO => "no limit".to_owned(),
        age => format!("{} s", age.as_secs_f64()),
    }
}
