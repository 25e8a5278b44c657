//! How a server is reached, and found to be one that will do.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo as _, ProtocolVersion, PushInfo,
    PushKind, RedisConnectionInfo, RedisError, TlsCertificates,
};
use tokio::sync::Notify;

use crate::check::{Check, Writes};
use crate::failure::{OpenError, code, is_about_tls, words};
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
    pub(crate) address: String,
    prefix: String,
    database: u16,
    pub(crate) news: News,
    pub(crate) scripts: Scripts,
}

impl Target {
    pub(crate) fn new(options: &RedisOptions) -> Result<Self, OpenError> {
        let place = &options.place;
        let certificates = options.authorities.as_ref().map(|path| authorities(path)).transpose()?;
        let client = |protocol| {
            let (host, port) = (place.host.clone(), place.port);
            let server = match place.is_tls {
                false => ConnectionAddr::Tcp(host, port),
                true => ConnectionAddr::TcpTls {
                    host,
                    port,
                    insecure: false,
                    tls_params: None,
                },
            };
            let mut who = RedisConnectionInfo::default()
                .set_db(place.database.into())
                .set_protocol(protocol);
            if let Some(login) = &place.login {
                who = who.set_password(&login.password);
                if let Some(user) = &login.user {
                    who = who.set_username(user);
                }
            }
            let info = server.into_connection_info()?.set_redis_settings(who);
            match certificates.clone().filter(|_| place.is_tls) {
                None => Client::open(info),
                root_cert => {
                    let client_tls = None;
                    Client::build_with_tls(info, TlsCertificates { client_tls, root_cert })
                }
            }
        };
        let refused = |error: RedisError| match &options.authorities {
            Some(path) => OpenError::Authorities {
                path: path.clone(),
                reason: words(&error),
            },
            None => OpenError::Url,
        };
        Ok(Self {
            client: client(ProtocolVersion::RESP2).map_err(refused)?,
            listening: client(ProtocolVersion::RESP3).map_err(refused)?,
            address: place.address(),
            prefix: options.prefix.clone(),
            database: place.database,
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
        let (address, reason) = (self.address.clone(), words(error));
        match (error.kind(), code(error).as_deref()) {
            (_, Some("NOPERM")) => OpenError::NotAllowed {
                address,
                reason,
                prefix: self.prefix.clone(),
            },
            (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => OpenError::Login(address),
            (ErrorKind::Server(_), _) if reason.contains("DB index") => OpenError::Database {
                address,
                database: self.database,
            },
            (ErrorKind::Server(_), _) | (_, Some(_)) => OpenError::Server { address, reason },
            _ if is_about_tls(error) => OpenError::Tls { address, reason },
            _ => OpenError::Unreachable { address, reason },
        }
    }
}

async fn connect(client: &Client, config: &AsyncConnectionConfig) -> Result<MultiplexedConnection, RedisError> {
    client.get_multiplexed_async_connection_with_config(config).await
}

/// What is in a file of certificates.
fn authorities(path: &Path) -> Result<Vec<u8>, OpenError> {
    let refused = |reason: String| OpenError::Authorities {
        path: path.to_owned(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    match text.contains("-----BEGIN CERTIFICATE-----") {
        true => Ok(text.into_bytes()),
        false => Err(refused("there is none in it".to_owned())),
    }
}
