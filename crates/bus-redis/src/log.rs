//! What a group finds on the server: the lanes of its source, and a hash of its own.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kernel::bus::log::{Cursor, Entries, Entry, Life, Log, RosteredLog};
use kernel::bus::shares::Roster;
use kernel::bus::{BusError, Group};
use kernel::event::Lane;
use redis::cmd;
use tokio::sync::watch;
use uuid::Uuid;

use crate::logs::{EntryId, Logs};

/// What is read of a lane at once.
const PAGE_ENTRIES: usize = 128;
/// The same, in bytes. The last entry may go beyond.
const PAGE_BYTES: usize = 512 * 1024;
/// What the server looks at before it counts their bytes.
const LOOK_ENTRIES: usize = 8;
/// How often a lane without news is looked at, should its log have vanished.
const LOOK: Duration = Duration::from_secs(10);

/// Of one group.
#[derive(Debug)]
pub(crate) struct RedisLog {
    logs: Logs,
    group: Group,
}

impl RedisLog {
    pub(crate) fn new(logs: Logs, group: Group) -> Self {
        Self { logs, group }
    }

    /// What a lane's field holds: the log's life, and the last id that is done with.
    fn cursor(&self, field: &str) -> Option<Cursor> {
        let (life, id) = field.split_once(' ')?;
        Some(Cursor {
            life: Life(Uuid::try_parse(life).ok()?.as_u128()),
            place: EntryId::parse(id).ok()?.0,
        })
    }

    fn keys(&self, lane: Lane) -> (String, String) {
        let (keys, source) = (&self.logs.keys, self.group.source);
        (keys.log(source), keys.lane(source, lane))
    }
}

#[async_trait]
impl Log for RedisLog {
    async fn life(&self) -> Result<Life, BusError> {
        self.logs.find(self.group.source, Some(&self.group)).await
    }

    async fn read(&self, lane: Lane, after: Cursor) -> Result<Box<dyn Entries>, BusError> {
        let (log, key) = self.keys(lane);
        let mut last = self.logs.connection.scripts().last.prepare_invoke();
        last.key(log).key(&key).arg(text(after.life));
        let last: Option<String> = self.logs.connection.run(&last).await?;
        let last = EntryId::parse(&last.ok_or_else(made_anew)?)?;
        Ok(Box::new(RedisEntries {
            news: self.logs.connection.news().of(key.clone()),
            logs: self.logs.clone(),
            log: self.logs.keys.log(self.group.source),
            lane: key,
            life: after.life,
            after: EntryId(after.place.min(last.0)),
            page: VecDeque::new(),
            may_have_more: true,
        }))
    }

    fn connections(&self) -> watch::Receiver<u64> {
        self.logs.connection.made()
    }

    fn is_reached(&self) -> bool {
        self.logs.connection.number().is_ok()
    }

    async fn kept(&self, lane: Lane) -> Result<Option<Cursor>, BusError> {
        let key = self.logs.keys.group(&self.group);
        let field = cmd("HGET").arg(key).arg(format!("lane.{}", lane.0)).to_owned();
        let field: Option<String> = self.logs.connection.ask(&field).await?;
        Ok(field.and_then(|field| self.cursor(&field)))
    }

    async fn keep(&self, cursors: &[(Lane, Cursor)]) -> Result<Vec<(Lane, Cursor)>, BusError> {
        let mut by_life: HashMap<u128, Vec<&(Lane, Cursor)>> = HashMap::new();
        for cursor in cursors {
            by_life.entry(cursor.1.life.0).or_default().push(cursor);
        }
        let mut kept = Vec::with_capacity(cursors.len());
        for (life, cursors) in by_life {
            let life = Life(life);
            let mut keep = self.logs.connection.scripts().keep.prepare_invoke();
            keep.key(self.logs.keys.log(self.group.source))
                .key(self.logs.keys.group(&self.group))
                .arg(text(life));
            for (lane, cursor) in cursors {
                keep.arg(lane.0).arg(EntryId(cursor.place).to_string());
            }
            for (lane, id) in self.logs.connection.run::<Vec<(u16, String)>>(&keep).await? {
                let place = EntryId::parse(&id)?.0;
                kept.push((Lane(lane), Cursor { life, place }));
            }
        }
        Ok(kept)
    }
}

#[async_trait]
impl RosteredLog for RedisLog {
    async fn roster(&self) -> Result<(Roster, Option<u64>), BusError> {
        let key = self.logs.keys.group(&self.group);
        let fields = cmd("HMGET").arg(&key).arg("roster").arg("version").to_owned();
        match self.logs.connection.ask(&fields).await? {
            (None::<Vec<u8>>, version) => Ok((Roster::default(), version)),
            (Some(roster), version) => {
                let roster = serde_json::from_slice(&roster);
                let roster = roster.map_err(|error| {
                    BusError::new(format_args!("roster in {key} is not as it was written: {error}"))
                })?;
                Ok((roster, version))
            }
        }
    }

    async fn write_roster(&self, roster: &Roster, over: Option<u64>) -> Result<bool, BusError> {
        let json = serde_json::to_vec(roster).map_err(BusError::new)?;
        let mut write = self.logs.connection.scripts().roster.prepare_invoke();
        write
            .key(self.logs.keys.group(&self.group))
            .arg(over.unwrap_or_default())
            .arg(json);
        self.logs.connection.run(&write).await
    }
}

/// A lane as it is read: page by page, and then whenever there is news of it.
struct RedisEntries {
    logs: Logs,
    log: String,
    lane: String,
    life: Life,
    after: EntryId,
    page: VecDeque<Entry>,
    /// Whether the last page did not end where the lane did.
    may_have_more: bool,
    news: watch::Receiver<()>,
}

impl RedisEntries {
    async fn turn(&mut self) -> Result<(), BusError> {
        let mut page = self.logs.connection.scripts().page.prepare_invoke();
        page.key(&self.log)
            .key(&self.lane)
            .arg(text(self.life))
            .arg(self.after.to_string())
            .arg(PAGE_ENTRIES)
            .arg(PAGE_BYTES)
            .arg(LOOK_ENTRIES);
        let page: Option<Vec<(String, Bytes)>> = self.logs.connection.run(&page).await?;
        let page = page.ok_or_else(made_anew)?;
        let bytes: usize = page.iter().map(|(_, event)| event.len()).sum();
        self.may_have_more = page.len() == PAGE_ENTRIES || bytes >= PAGE_BYTES;
        for (id, bytes) in page {
            let EntryId(place) = EntryId::parse(&id)?;
            self.page.push_back(Entry { place, bytes });
        }
        if let Some(last) = self.page.back() {
            self.after = EntryId(last.place);
        }
        Ok(())
    }
}

#[async_trait]
impl Entries for RedisEntries {
    async fn next(&mut self) -> Result<Entry, BusError> {
        loop {
            if let Some(entry) = self.page.pop_front() {
                return Ok(entry);
            }
            if !self.may_have_more {
                tokio::select! {
                    news = self.news.changed() => news.map_err(BusError::new)?,
                    () = self.logs.clock().sleep(LOOK) => {}
                }
            }
            self.news.borrow_and_update();
            self.turn().await?;
        }
    }

    fn at_hand(&mut self) -> Option<Entry> {
        self.page.pop_front()
    }
}

/// Its reader goes by what is there now.
fn made_anew() -> BusError {
    BusError::new("the log is another one by now")
}

fn text(life: Life) -> String {
    Uuid::from_u128(life.0).to_string()
}
