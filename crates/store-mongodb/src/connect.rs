//! Reaching the server, and finding out whether it will do.

use std::pin::pin;
use std::time::Duration;

use bson::doc;
use mongodb::Client;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{
    Acknowledgment, ClientOptions, ConnectionString, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
};
use serde::Deserialize;
use tokio::time::timeout;

use crate::failure::OpenError;
use crate::store::MongodbOptions;

/// How long a call waits for a server that takes it, so that one that is down is noticed soon.
const SERVER_MAX: Duration = Duration::from_secs(5);
/// How long a server may take to say what it is, or that it is there, whatever else it does.
const HELLO_MAX: Duration = Duration::from_secs(10);
/// How long a command of the opening is waited for before the server is asked whether it is there.
const ASK_AFTER: Duration = Duration::from_secs(5);
/// How long a server is asked what it is, after it was found to be of no use.
const PROBE_MAX: Duration = Duration::from_secs(2);
/// How long the driver may take to end what it has begun.
const CLOSE_MAX: Duration = Duration::from_secs(5);
/// The version of the protocol that came with MongoDB 5.0.
const WIRE_VERSION_MIN: i32 = 13;

/// What rustls says of a server whose certificate was made by somebody else, or for somebody else.
const UNTRUSTED: &str = "invalid peer certificate";

/// A write is there for good when it returns, whatever the URL says: a majority has it on disk.
pub(crate) fn durable() -> WriteConcern {
    WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .build()
}

/// What a client of this database calls itself.
pub(crate) fn app_name(database: &str) -> String {
    format!("tradewind {database}")
}

/// What the URL says.
pub(crate) fn parse(url: &str) -> Result<ConnectionString, OpenError> {
    ConnectionString::parse(url).map_err(|error| match unknown_option(url, &error) {
        Some(name) => OpenError::Option(name.to_owned()),
        // The driver's words repeat parts of the URL, and so, it may be, of a password, also of one among the options.
        None if url.contains(['@', '?']) => OpenError::Url(String::new()),
        None => OpenError::Url(format!(" ({})", error.kind)),
    })
}

/// The name of the option that the driver does not know. What comes before the last @ may be a password that was not
/// written as it should be, whatever the driver took it for.
fn unknown_option<'a>(url: &'a str, error: &Error) -> Option<&'a str> {
    let ErrorKind::InvalidArgument { message, .. } = &*error.kind else {
        return None;
    };
    let after_password = url.rsplit('@').next()?;
    let (_, options) = after_password.split_once('?')?;
    let mut names = options.split('&').filter_map(|option| Some(option.split_once('=')?.0));
    names.find(|name| message.starts_with(&format!("{} is an invalid option", name.to_lowercase())))
}

/// The URL's settings, with those that its name has in DNS where it is one for that.
async fn resolve(options: &MongodbOptions) -> Result<ClientOptions, OpenError> {
    match timeout(HELLO_MAX, ClientOptions::parse(options.connect.clone()).into_future()).await {
        Ok(parsed) => parsed.map_err(|error| OpenError::Unreachable(error.kind.to_string())),
        Err(_) => Err(OpenError::Unreachable(String::from("the name in the URL"))),
    }
}

/// A client of a server that will do for a store.
pub(crate) async fn client(options: &MongodbOptions) -> Result<Client, OpenError> {
    let mut wanted = resolve(options).await?;
    wanted.app_name = Some(app_name(&options.database));
    wanted.max_pool_size = Some(options.connections);
    wanted.server_selection_timeout = Some(SERVER_MAX);
    wanted.connect_timeout = Some(SERVER_MAX);
    wanted.write_concern = Some(durable());
    wanted.read_concern = Some(ReadConcern::snapshot());
    wanted.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    let client = Client::with_options(wanted.clone())?;
    match timeout(HELLO_MAX, hello(&client)).await {
        Ok(Ok(hello)) => hello.check(&addresses(&wanted))?,
        Ok(Err(error)) => return Err(of_silence(error, wanted).await),
        Err(_) => return Err(OpenError::Unreachable(addresses(&wanted))),
    }
    Ok(client)
}

/// Ends the driver's own tasks and connections. One that finds the others gone when the process ends would panic.
pub(crate) async fn close(client: &Client) {
    let _ = timeout(CLOSE_MAX, client.clone().shutdown().into_future()).await;
}

/// Waits for what may take as long as an index over all documents takes to be made, if only the server answers meanwhile.
pub(crate) async fn while_it_answers<T>(
    client: &Client,
    options: &MongodbOptions,
    work: impl Future<Output = Result<T, OpenError>>,
) -> Result<T, OpenError> {
    let mut work = pin!(work);
    loop {
        if let Ok(done) = timeout(ASK_AFTER, &mut work).await {
            return done;
        }
        if !matches!(timeout(HELLO_MAX, hello(client)).await, Ok(Ok(_))) {
            return Err(OpenError::Unreachable(addresses(&resolve(options).await?)));
        }
    }
}

/// Why no server takes writes, as far as they say so themselves.
async fn of_silence(error: Error, mut wanted: ClientOptions) -> OpenError {
    let address = addresses(&wanted);
    match &*error.kind {
        ErrorKind::Authentication { .. } => return OpenError::Login(address),
        // Only these words tell it from a server that is not there.
        ErrorKind::ServerSelection { message, .. } if message.contains(UNTRUSTED) => {
            return OpenError::Untrusted(address);
        }
        ErrorKind::ServerSelection { .. } => {}
        _ => return error.into(),
    }
    wanted.direct_connection = Some(true);
    wanted.repl_set_name = None;
    wanted.credential = None;
    wanted.server_selection_timeout = Some(PROBE_MAX);
    for host in std::mem::take(&mut wanted.hosts) {
        wanted.hosts = vec![host];
        let Ok(client) = Client::with_options(wanted.clone()) else {
            continue;
        };
        if let Ok(Ok(hello)) = timeout(PROBE_MAX, hello(&client)).await {
            let name = wanted.hosts[0].to_string();
            return match hello.check(&name) {
                Err(reason) => reason,
                Ok(()) => OpenError::NoPrimary {
                    address: name,
                    reason: format!(
                        "it is of the replica set {}, whose primary is not reached under the URL",
                        hello.set_name.unwrap_or_default()
                    ),
                },
            };
        }
    }
    OpenError::Unreachable(address)
}

/// What a server says of itself, to whoever asks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hello {
    set_name: Option<String>,
    /// Of a member of a replica set that was never initiated.
    #[serde(default)]
    isreplicaset: bool,
    /// `isdbgrid` of the router of a sharded cluster.
    msg: Option<String>,
    #[serde(default)]
    is_writable_primary: bool,
    #[serde(default)]
    max_wire_version: i32,
}

impl Hello {
    fn check(&self, address: &str) -> Result<(), OpenError> {
        let address = address.to_owned();
        let is_router = self.msg.as_deref() == Some("isdbgrid");
        if self.isreplicaset {
            Err(OpenError::Uninitiated(address))
        } else if self.set_name.is_none() && !is_router {
            Err(OpenError::Standalone(address))
        } else if self.max_wire_version < WIRE_VERSION_MIN {
            Err(OpenError::TooOld(address))
        } else if !self.is_writable_primary {
            let reason = "it is not the primary: wait for one to be elected, or leave directConnection out of the URL";
            let reason = reason.to_owned();
            Err(OpenError::NoPrimary { address, reason })
        } else {
            Ok(())
        }
    }
}

async fn hello(client: &Client) -> Result<Hello, Error> {
    let hello = client.database("admin").run_command(doc! { "hello": 1 }).await?;
    Ok(bson::deserialize_from_document(hello)?)
}

fn addresses(options: &ClientOptions) -> String {
    let hosts: Vec<String> = options.hosts.iter().map(ToString::to_string).collect();
    hosts.join(", ")
}
