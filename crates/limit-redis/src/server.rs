//! How the server is reached, found to count, and asked.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use gateway::limit::Policy;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ProtocolVersion, RedisError, Script, Value, cmd};
use redis_access::{Place, Prefix, code, words};
use tokio::time::timeout;

use crate::count::{Answer, Count, TAKE};
use crate::failure::OpenError;
use crate::options::RedisLimiterOptions;

/// How long it may take until the server is reached, which no request waits for.
const REACH_MAX: Duration = Duration::from_secs(2);
/// The subject of nobody's requests.
const PROBE: &str = "probe";
/// What a server says that cannot count for a while.
const NOT_NOW: [&str; 6] = ["OOM", "LOADING", "BUSY", "MISCONF", "MASTERDOWN", "NOREPLICAS"];
/// What servers before 7.2 say of what a script may not do, without a word of its own at the beginning.
const FORBIDDEN: &str = "The user executing the script";

pub(crate) struct Server {
    client: Client,
    place: Place,
    prefix: Prefix,
    answer_max: Duration,
    script: Script,
}

/// Without how it is reached, which may have a password in it.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.place.address())
            .field("prefix", &self.prefix.as_str())
            .finish_non_exhaustive()
    }
}

/// Why a request was not counted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotCounted {
    #[error("no answer")]
    NoAnswer,
    #[error("{}", words(.0))]
    Told(RedisError),
}

impl NotCounted {
    /// Whether it was the connection alone, which a server may close whenever it likes.
    pub(crate) fn is_about_the_connection(&self) -> bool {
        matches!(self, Self::Told(error) if error.is_unrecoverable_error() && !error.is_timeout())
    }
}

impl Server {
    pub(crate) fn new(options: &RedisLimiterOptions) -> Result<Self, OpenError> {
        Ok(Self {
            client: options.place.client(ProtocolVersion::RESP2)?,
            place: options.place.clone(),
            prefix: options.prefix.clone(),
            answer_max: options.answer_max,
            script: Script::new(TAKE),
        })
    }

    pub(crate) fn address(&self) -> String {
        self.place.address()
    }

    /// Reaches it, and finds out whether it counts.
    pub(crate) async fn reach(&self) -> Result<MultiplexedConnection, OpenError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(REACH_MAX))
            .set_response_timeout(Some(REACH_MAX));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = connection.map_err(|error| self.failed(&error))?;
        self.check(&mut connection).await?;
        let loaded = self.script.load_async(&mut connection).await;
        loaded.map_err(|error| self.failed(&error))?;
        let counted = self.count(&mut connection, &self.key(PROBE), Count::LEAST).await;
        match counted {
            Ok(_) => Ok(connection),
            Err(NotCounted::Told(error)) => Err(self.failed(&error)),
            Err(NotCounted::NoAnswer) => Err(OpenError::Slow {
                address: self.address(),
                answer_max_ms: self.answer_max.as_millis(),
            }),
        }
    }

    /// A part of a cluster would count some and refuse others. Servers before 6.0 do not say what they are.
    async fn check(&self, connection: &mut MultiplexedConnection) -> Result<(), OpenError> {
        let hello: Result<HashMap<String, Value>, _> = cmd("HELLO").query_async(connection).await;
        let mode = hello.ok().and_then(|mut hello| hello.remove("mode"));
        match mode.map(redis::from_redis_value::<String>) {
            Some(Ok(mode)) if mode == "cluster" => Err(OpenError::Cluster(self.address())),
            _ => Ok(()),
        }
    }

    /// Counts a request.
    pub(crate) async fn take(
        &self,
        connection: &mut MultiplexedConnection,
        policy: Policy,
        subject: u128,
        count: Count,
    ) -> Result<Answer, NotCounted> {
        let key = self.key(&format!("{}:{subject:032x}", policy.name()));
        self.count(connection, &key, count).await
    }

    async fn count(
        &self,
        connection: &mut MultiplexedConnection,
        key: &str,
        count: Count,
    ) -> Result<Answer, NotCounted> {
        let mut take = self.script.key(key);
        take.arg(count.period).arg(count.tolerance);
        match timeout(self.answer_max, take.invoke_async(connection)).await {
            Ok(answer) => answer.map_err(NotCounted::Told),
            Err(_) => Err(NotCounted::NoAnswer),
        }
    }

    fn key(&self, subject: &str) -> String {
        format!("{}:limit:{subject}", self.prefix)
    }

    fn failed(&self, error: &RedisError) -> OpenError {
        let (address, reason) = (self.address(), words(error));
        let is_forbidden = reason.contains(FORBIDDEN);
        match code(error).as_deref() {
            Some(code) if code == "NOPERM" || is_forbidden => OpenError::NotAllowed {
                address,
                reason,
                prefix: self.prefix.to_string(),
            },
            Some("READONLY") => OpenError::Replica(address),
            Some(code) if NOT_NOW.contains(&code) => OpenError::NotNow { address, reason },
            _ => self.place.failed(error).into(),
        }
    }
}
