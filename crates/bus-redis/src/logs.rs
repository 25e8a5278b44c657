//! The logs of sources: making them, adding to them, and removing what is old.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contracts::Service;
use kernel::bus::log::Life;
use kernel::bus::{BusError, Group};
use kernel::clock::{Clock, Ids};
use kernel::event::Lane;
use redis::{cmd, pipe};
use uuid::Uuid;

use crate::connection::Connection;
use crate::keys::Keys;
use crate::options::RedisOptions;

/// Bytes of events that are sent before they are acknowledged, or one event.
const BATCH_BYTES_MAX: usize = 512 * 1024;
/// How often a source's old events are removed while it publishes.
const TRIM: Duration = Duration::from_secs(60);

/// Of one shop on one server. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Logs {
    pub(crate) connection: Connection,
    pub(crate) keys: Keys,
    pub(crate) lanes: u16,
    max_age: Duration,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
    /// On which connection a log was last seen to be as it must be.
    seen: Arc<Mutex<BTreeMap<Service, u64>>>,
    /// When old events were last removed.
    trimmed: Arc<Mutex<BTreeMap<Service, Duration>>>,
}

impl Logs {
    pub(crate) fn new(connection: Connection, options: &RedisOptions) -> Self {
        Self {
            connection,
            keys: Keys::new(options.prefix.as_str()),
            lanes: options.lanes,
            max_age: options.max_age,
            clock: Arc::clone(&options.clock),
            ids: Arc::clone(&options.ids),
            seen: Arc::default(),
            trimmed: Arc::default(),
        }
    }

    /// Which log a source has now, made if it is not there. What is in the way of it or of a group is refused.
    pub(crate) async fn find(&self, source: Service, group: Option<&Group>) -> Result<Life, BusError> {
        let mut declare = self.connection.scripts().declare.prepare_invoke();
        declare
            .key(self.keys.log(source))
            .arg(self.new_life())
            .arg(self.lanes)
            .arg("hash");
        for lane in (0..self.lanes).map(Lane) {
            declare.key(self.keys.lane(source, lane)).arg("stream");
        }
        if let Some(group) = group {
            declare.key(self.keys.group(group)).arg("hash");
        }
        let answer: Vec<String> = self.connection.run(&declare).await?;
        match answer.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["type", key, found, wanted] => Err(BusError::Differs {
                subject: format!("the key {key}"),
                setting: "type",
                found: (*found).to_owned(),
                wanted: (*wanted).to_owned(),
            }),
            ["log", life, lanes, missing] => {
                if *lanes != self.lanes.to_string() {
                    return Err(BusError::lanes(source, lanes, self.lanes));
                }
                if *missing != "0" {
                    self.make(source).await?;
                }
                let life = Uuid::try_parse(life).map_err(|_| {
                    BusError::new(format_args!(
                        "{} has a life {life}, which is no UUID",
                        self.keys.log(source)
                    ))
                })?;
                Ok(Life(life.as_u128()))
            }
            _ => Err(BusError::new(format_args!("Redis says {answer:?} of a log"))),
        }
    }

    async fn make(&self, source: Service) -> Result<(), BusError> {
        let mut batch = pipe();
        for lane in (0..self.lanes).map(Lane) {
            let mut make = self.connection.scripts().make.prepare_invoke();
            batch.invoke_script(make.key(self.keys.lane(source, lane))).ignore();
        }
        self.connection.send(&batch).await
    }

    /// Makes sure that the source's log is there and as it must be, unless that was seen on this connection.
    async fn ensure(&self, source: Service, number: u64) -> Result<(), BusError> {
        let seen = self.seen().get(&source).copied();
        if seen != Some(number) {
            self.find(source, None).await?;
            self.seen().insert(source, number);
        }
        Ok(())
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<Service, u64>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds events in this order, some at a time.
    pub(crate) async fn publish(&self, source: Service, events: &[(Lane, Vec<u8>)]) -> Result<(), BusError> {
        let number = self.connection.number()?;
        self.ensure(source, number).await?;
        self.trim(source).await?;
        let mut rest = events;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fit = rest.iter().position(|(_, event)| {
                bytes += event.len();
                bytes > BATCH_BYTES_MAX
            });
            let (some, after) = rest.split_at(fit.unwrap_or(rest.len()).max(1));
            if !self.add(source, some).await? {
                self.find(source, None).await?;
                if !self.add(source, some).await? {
                    return Err(BusError::new(format_args!(
                        "the log {} does not stay",
                        self.keys.log(source)
                    )));
                }
            }
            rest = after;
        }
        self.connection.written(number).await
    }

    /// The answers are the acknowledgement. False if a lane is not there: then some may have been added.
    async fn add(&self, source: Service, events: &[(Lane, Vec<u8>)]) -> Result<bool, BusError> {
        let mut batch = pipe();
        let mut lanes: BTreeMap<Lane, String> = BTreeMap::new();
        for (lane, event) in events {
            let key = lanes.entry(*lane).or_insert_with(|| self.keys.lane(source, *lane));
            let add = batch.cmd("XADD").arg(key.as_str()).arg("NOMKSTREAM");
            add.arg("*").arg("event").arg(event);
        }
        let news = lanes.into_values().collect::<Vec<_>>().join(" ");
        batch.publish(self.keys.channel(), news).ignore();
        let ids: Vec<Option<String>> = self.connection.send(&batch).await?;
        Ok(ids.iter().all(Option::is_some))
    }

    /// Removes what is too old, from time to time, by whole nodes of a stream: nothing younger goes with it. That is possible
    /// when memory is full, unlike publishing.
    async fn trim(&self, source: Service) -> Result<(), BusError> {
        let now = self.clock.monotonic();
        let is_due = |last: &Duration| now.saturating_sub(*last) >= TRIM;
        {
            let mut trimmed = self.trimmed.lock().unwrap_or_else(PoisonError::into_inner);
            if !trimmed.get(&source).is_none_or(is_due) {
                return Ok(());
            }
            trimmed.insert(source, now);
        }
        // The ids of entries are of the server's time.
        let (seconds, _): (u64, u64) = self.connection.ask(&cmd("TIME")).await?;
        let oldest = seconds.saturating_sub(self.max_age.as_secs()) * 1000;
        let mut batch = pipe();
        for lane in (0..self.lanes).map(Lane) {
            let trim = batch
                .cmd("XTRIM")
                .arg(self.keys.lane(source, lane))
                .arg("MINID")
                .arg("~");
            trim.arg(oldest).arg("LIMIT").arg(0).ignore();
        }
        self.connection.send(&batch).await
    }

    fn new_life(&self) -> String {
        self.ids.uuid(self.clock.now()).to_string()
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }
}

/// The id of an entry as Redis writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryId(pub(crate) u128);

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0 >> 64, self.0 & u128::from(u64::MAX))
    }
}

impl EntryId {
    pub(crate) fn parse(id: &str) -> Result<Self, BusError> {
        let parts = id.split_once('-').and_then(|(time, number)| {
            let (time, number) = (time.parse::<u64>().ok()?, number.parse::<u64>().ok()?);
            Some(u128::from(time) << 64 | u128::from(number))
        });
        parts
            .map(Self)
            .ok_or_else(|| BusError::new(format_args!("{id} is no id of an entry")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ordered_by_time_and_number() {
        let ids = [
            "0-0",
            "0-1",
            "1-0",
            "1526919030474-55",
            "1526919030475-0",
            "18446744073709551615-18446744073709551615",
        ];
        let parsed: Vec<u128> = ids.iter().map(|id| EntryId::parse(id).expect("it is one").0).collect();
        assert!(parsed.is_sorted());
        for (id, place) in ids.iter().zip(parsed) {
            assert_eq!(&EntryId(place).to_string(), id);
        }
        for wrong in ["", "1", "1-", "-1", "1-2-3", "a-b"] {
            EntryId::parse(wrong).expect_err("it is none");
        }
    }
}
