//! How a server is reached, and found to be one that will do.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, RedisError};
use redis_access::{Place, code, words};
use tokio::sync::Notify;

use crate::check::{Check, Writes};
use crate::failure::OpenError;
use crate::news::News;
use crate::options::RedisOptions;
use crate::scripts::Scripts;

/// How long reaching the server, or an answer of it, is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A server that will do.
#[derive(Clone)]
pub(crate) struct Reached {
    pub(crate) commands: MultiplexedConnection,
    /// Hears what is new. It is apart because the server ends connections of listeners that are slow to read, and pages are
    /// large.
    pub(crate) listener: MultiplexedConnection,
    /// One of the two has ended.
    pub(crate) lost: Arc<Notify>,
    pub(crate) writes: Writes,
}

/// How the server is reached.
pub(crate) struct Target {
    client: Client,
    /// In the protocol in which the server speaks of its own accord.
    listening: Client,
    place: Place,
    pub(crate) address: String,
    prefix: String,
    pub(crate) news: News,
    pub(crate) scripts: Scripts,
}

impl Target {
    pub(crate) fn new(options: &RedisOptions) -> Result<Self, OpenError> {
        let mut place = options.place.clone();
        place.authorities.clone_from(&options.authorities);
        Ok(Self {
            client: place.client(ProtocolVersion::RESP2)?,
            listening: place.client(ProtocolVersion::RESP3)?,
            address: place.address(),
            place,
            prefix: options.prefix.to_string(),
            news: News::default(),
            scripts: Scripts::new(),
        })
    }

    /// Reaches a server, and finds out whether it will do.
    pub(crate) async fn reach(&self) -> Result<Reached, OpenError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_MAX))
            .set_response_timeout(Some(ANSWER_MAX));
        let lost = Arc::new(Notify::new());
        let mut commands = connect(&self.client, &config)
            .await
            .map_err(|error| self.failed(&error))?;
        let check = Check {
            server: &mut commands,
            address: &self.address,
        };
        let writes = check.run().await?;
        let (news, ended) = (self.news.clone(), Arc::clone(&lost));
        let config = config.set_push_sender(move |info: PushInfo| {
            match info.kind {
                PushKind::Disconnection => ended.notify_one(),
                _ => news.take(&info),
            }
            Ok::<(), ()>(())
        });
        let listener = connect(&self.listening, &config).await;
        let mut listener = listener.map_err(|error| self.failed(&error))?;
        let subscribed = listener.subscribe(&self.prefix).await;
        subscribed.map_err(|error| self.failed(&error))?;
        for script in self.scripts.all() {
            let loaded = script.load_async(&mut commands).await;
            loaded.map_err(|error| self.failed(&error))?;
        }
        Ok(Reached {
            commands,
            listener,
            lost,
            writes,
        })
    }

    fn failed(&self, error: &RedisError) -> OpenError {
        match code(error).as_deref() {
            Some("NOPERM") => OpenError::NotAllowed {
                address: self.address.clone(),
                reason: words(error),
                prefix: self.prefix.clone(),
            },
            _ => self.place.failed(error).into(),
        }
    }
}

async fn connect(client: &Client, config: &AsyncConnectionConfig) -> Result<MultiplexedConnection, RedisError> {
    client.get_multiplexed_async_connection_with_config(config).await
}
