//! Whether a server will do: what would lose events is refused.

use std::collections::HashMap;

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, RedisError, Value, cmd};
use redis_access::{AccessError, code, words};

use crate::failure::OpenError;

/// Flags of scripts, as they are from there on.
const VERSION_MIN: (u32, u32) = (7, 0);

/// What it has not written yet, in bytes, by [`INFO`](https://redis.io/docs/latest/commands/info/).
const BUFFERED: &str = "aof_buffer_length";
/// What it has written.
const WRITTEN: &str = "aof_current_size";

/// What of a server matters later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    /// What it has answered is on the disk.
    First,
    /// It may answer before it has written, and says how much that is.
    Late,
    /// It does not say anything about that to this user.
    Silently,
}

/// Asks the server about itself.
pub(crate) struct Check<'a> {
    pub(crate) server: &'a mut MultiplexedConnection,
    pub(crate) address: &'a str,
}

impl Check<'_> {
    pub(crate) async fn run(mut self) -> Result<Writes, OpenError> {
        self.what_it_is().await?;
        let info = self.info().await?;
        let address = self.address.to_owned();
        match self.known(&info, "aof_enabled", "appendonly").await?.as_str() {
            "1" | "yes" => {}
            _ => return Err(OpenError::NotKept(address)),
        }
        let policy = self.known(&info, "maxmemory_policy", "maxmemory-policy").await?;
        if policy != "noeviction" {
            return Err(OpenError::Forgets { address, policy });
        }
        match self.setting("appendfsync").await?.as_deref() {
            Some("no") => Err(OpenError::NotFlushed(address)),
            Some("always") => Ok(Writes::First),
            // Where servers are hosted, settings may not be told.
            _ if info.contains_key(BUFFERED) => Ok(Writes::Late),
            _ => Ok(Writes::Silently),
        }
    }

    async fn what_it_is(&mut self) -> Result<(), OpenError> {
        let hello: HashMap<String, Value> = self.ask(&cmd("HELLO")).await.map_err(|error| self.refusal(&error))?;
        let said = |name: &str| {
            let value = hello
                .get(name)
                .and_then(|value| String::from_redis_value_ref(value).ok());
            value.unwrap_or_default()
        };
        let (version, address) = (said("version"), self.address.to_owned());
        let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
        if (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()) < VERSION_MIN {
            return Err(OpenError::TooOld { address, version });
        }
        match (said("mode").as_str(), said("role").as_str()) {
            ("cluster", _) => Err(OpenError::Cluster(address)),
            ("sentinel", _) => Err(OpenError::Role {
                address,
                role: "sentinel".to_owned(),
            }),
            (_, "master") => Ok(()),
            (_, role) => Err(OpenError::Role {
                address,
                role: role.to_owned(),
            }),
        }
    }

    /// What it says of itself, if this user may know.
    async fn info(&mut self) -> Result<HashMap<String, String>, OpenError> {
        let Some(info) = self.allowed::<String>(&cmd("INFO")).await? else {
            return Ok(HashMap::new());
        };
        Ok(facts(&info))
    }

    /// A setting, if this user may know.
    async fn setting(&mut self, name: &str) -> Result<Option<String>, OpenError> {
        let settings: Option<HashMap<String, String>> = self.allowed(cmd("CONFIG").arg("GET").arg(name)).await?;
        Ok(settings.and_then(|mut settings| settings.remove(name)))
    }

    async fn known(
        &mut self,
        info: &HashMap<String, String>,
        name: &str,
        setting: &'static str,
    ) -> Result<String, OpenError> {
        let found = match info.get(name) {
            Some(found) => Some(found.clone()),
            None => self.setting(setting).await?,
        };
        found.ok_or_else(|| OpenError::Silent {
            address: self.address.to_owned(),
            setting,
        })
    }

    /// Nothing if the server does not want to say it: it may not be allowed, or have no such command.
    async fn allowed<T: FromRedisValue>(&mut self, command: &redis::Cmd) -> Result<Option<T>, OpenError> {
        match self.ask(command).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if matches!(code(&error).as_deref(), Some("NOPERM" | "ERR")) => Ok(None),
            Err(error) => Err(self.refusal(&error)),
        }
    }

    async fn ask<T: FromRedisValue>(&mut self, command: &redis::Cmd) -> Result<T, RedisError> {
        command.query_async(self.server).await
    }

    fn refusal(&self, error: &RedisError) -> OpenError {
        let address = self.address.to_owned();
        let refusal = match code(error).as_deref() {
            Some("NOAUTH") => AccessError::Login(address),
            Some(_) => AccessError::Server {
                address,
                reason: words(error),
            },
            None => AccessError::Unreachable {
                address,
                reason: words(error),
            },
        };
        refusal.into()
    }
}

/// By their names.
fn facts(info: &str) -> HashMap<String, String> {
    let lines = info.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// How much of what it has answered a server has written, and how much it has not.
pub(crate) fn written(info: &str) -> Option<(u64, u64)> {
    let facts = facts(info);
    let bytes = |name| facts.get(name)?.parse().ok();
    Some((bytes(WRITTEN)?, bytes(BUFFERED)?))
}
