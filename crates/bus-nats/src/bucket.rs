//! Keys in a bucket, each written only over what was read: rosters and cursors.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::kv::{self, UpdateErrorKind};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use kernel::bus::BusError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::unavailable;
use crate::streams::Streams;

/// The bucket that all groups share.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    streams: Streams,
    store: kv::Store,
}

impl Bucket {
    pub(crate) async fn open(streams: &Streams) -> Result<Self, BusError> {
        Ok(Self {
            streams: streams.clone(),
            store: streams.find_bucket().await?,
        })
    }

    /// A value and its revision; nothing and 0 where nothing was written. Asks whoever leads a cluster, since others may be
    /// behind.
    pub(crate) async fn read<T: DeserializeOwned>(&self, key: &str) -> Result<(Option<T>, u64), BusError> {
        self.streams.connection.reached()?;
        let subject = format!("{}{key}", self.store.prefix);
        let found = match self.store.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(found) => found,
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => return Ok((None, 0)),
                LastRawMessageErrorKind::JetStream(reason) if reason.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    self.streams.find_bucket().await?;
                    return Ok((None, 0));
                }
                _ => return Err(unavailable(error)),
            },
        };
        // Somebody has deleted it by hand.
        if found.payload.is_empty() {
            return Ok((None, found.sequence));
        }
        let value = serde_json::from_slice(&found.payload);
        let value = value.map_err(|error| {
            BusError::new(format!(
                "{key} in the bucket {} is not as it was written: {error}",
                self.store.name
            ))
        })?;
        Ok((Some(value), found.sequence))
    }

    /// The new revision; `None` if it is not over what is there.
    pub(crate) async fn write<T: Serialize>(&self, key: &str, value: &T, over: u64) -> Result<Option<u64>, BusError> {
        self.streams.connection.reached()?;
        let value = serde_json::to_vec(value).map_err(BusError::new)?;
        match self.store.update(key, value.into(), over).await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
            Err(error) => {
                // It may be the bucket that is not there any more.
                self.streams.find_bucket().await?;
                Err(unavailable(error))
            }
        }
    }
}
