//! Reaching the server, and finding out whether it will do.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, RequestErrorKind, ServerAddr, rustls};
use bytes::Bytes;
use kernel::bus::BusError;
use kernel::wire::MESSAGE_BYTES_MAX;
use serde::Deserialize;
use tokio::sync::watch;

use crate::failure::{OpenError, words};
use crate::options::{Login, NatsOptions};

/// How long reaching the server, or an answer of it, is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How often the server is asked whether it is there. A second silence in a row ends the connection.
const PING: Duration = Duration::from_secs(5);
/// The longest pause before a server that was lost is tried again.
const RECONNECT_MAX: Duration = Duration::from_secs(2);
/// Publications that may wait for their acknowledgement at once.
const IN_FLIGHT_MAX: usize = 4096;
/// JetStream consumers by filter, and rosters by compare and set, as they are from there on.
const VERSION_MIN: (u32, u32) = (2, 9);
const ACCOUNT_INFO: &str = "$JS.API.INFO";
const NOT_ENABLED: [ErrorCode; 2] = [
    ErrorCode::JETSTREAM_NOT_ENABLED,
    ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
];

/// A connection that restores itself for as long as it takes.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) jetstream: jetstream::Context,
    /// Counts how often it was made, so that readers begin again.
    pub(crate) made: watch::Receiver<u64>,
}

impl Connection {
    /// Fails while there is no connection: the client would keep what it is told until there is one, and send it long after
    /// it was given up here.
    pub(crate) fn reached(&self) -> Result<(), BusError> {
        match self.jetstream.client().connection_state() {
            State::Connected => Ok(()),
            _ => Err(BusError::new("NATS is not reached; it is tried again and again")),
        }
    }
}

/// A connection to a server that will do for a bus.
pub(crate) async fn connect(options: &NatsOptions) -> Result<Connection, OpenError> {
    let address = options.place.addresses.join(", ");
    let scheme = if options.place.is_tls { "tls" } else { "nats" };
    let servers = options
        .place
        .addresses
        .iter()
        .map(|address| format!("{scheme}://{address}").parse());
    let servers: Vec<ServerAddr> = servers.collect::<Result<_, _>>().map_err(|_| OpenError::Url)?;
    let (count, made) = watch::channel(0);
    let told = address.clone();
    let wanted = match options.place.login.clone() {
        Some(Login::Password { user, password }) => ConnectOptions::with_user_and_password(user, password),
        Some(Login::Token(token)) => ConnectOptions::with_token(token),
        None => ConnectOptions::new(),
    };
    let wanted = match options.authorities.clone() {
        Some(file) => wanted.add_root_certificates(file),
        None => wanted,
    };
    let wanted = wanted
        .name(format!("tradewind {}", options.prefix))
        .require_tls(options.place.is_tls)
        .connection_timeout(ANSWER_MAX)
        .request_timeout(Some(ANSWER_MAX))
        .ping_interval(PING)
        .reconnect_delay_callback(pause)
        .event_callback(move |event| {
            if matches!(event, Event::Connected) {
                if *count.borrow() > 0 {
                    tracing::info!("NATS at {told} is reached again");
                }
                count.send_modify(|count| *count += 1);
            }
            std::future::ready(())
        });
    let connected = wanted.connect(servers).await;
    let client = connected.map_err(|error| match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            OpenError::Login(address.clone())
        }
        _ if is_about_tls(&error) => OpenError::Tls {
            address: address.clone(),
            reason: words(&error),
        },
        _ => OpenError::Unreachable {
            address: address.clone(),
            reason: words(&error),
        },
    })?;
    check(&client, &address)?;
    let jetstream = ContextBuilder::new()
        .timeout(ANSWER_MAX)
        .max_ack_inflight(IN_FLIGHT_MAX)
        .build(client);
    check_jetstream(&jetstream, &address).await?;
    Ok(Connection { jetstream, made })
}

/// Whether it went wrong where the two agree on TLS, which may look like any other trouble with the connection.
fn is_about_tls(error: &ConnectError) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inside = inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if inside.is_some_and(|inside| inside.is::<rustls::Error>()) {
            return true;
        }
        cause = inner.source();
    }
    error.kind() == ConnectErrorKind::Tls
}

/// None before the first attempt; then 50 ms, and twice as long each time.
fn pause(attempts: usize) -> Duration {
    let doubled = u32::try_from(attempts.saturating_sub(2)).unwrap_or(u32::MAX).min(16);
    match attempts {
        0 | 1 => Duration::ZERO,
        _ => (Duration::from_millis(50) * 2_u32.pow(doubled)).min(RECONNECT_MAX),
    }
}

fn check(client: &Client, address: &str) -> Result<(), OpenError> {
    let info = client.server_info();
    let mut numbers = info.version.split('.').map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    if version < VERSION_MIN {
        return Err(OpenError::TooOld {
            address: address.to_owned(),
            version: info.version,
        });
    }
    if info.max_payload < MESSAGE_BYTES_MAX {
        return Err(OpenError::Payload {
            address: address.to_owned(),
            bytes_max: info.max_payload,
        });
    }
    Ok(())
}

/// Asks for what the account may use. Read here by hand: the client wants more of the answer than a server of 2.9 gives.
async fn check_jetstream(jetstream: &jetstream::Context, address: &str) -> Result<(), OpenError> {
    let address = address.to_owned();
    let answer = match jetstream.client().request(ACCOUNT_INFO, Bytes::new()).await {
        Ok(answer) => answer,
        Err(error) if error.kind() == RequestErrorKind::NoResponders => return Err(OpenError::NoJetStream(address)),
        Err(error) => {
            let reason = words(&error);
            return Err(OpenError::Server { address, reason });
        }
    };
    let answer: Result<AccountInfo, _> = serde_json::from_slice(&answer.payload);
    match answer.map(|answer| answer.error) {
        Ok(None) => Ok(()),
        Ok(Some(error)) if NOT_ENABLED.contains(&error.error_code()) => Err(OpenError::NoJetStream(address)),
        Ok(Some(error)) => Err(OpenError::Server {
            address,
            reason: error.to_string(),
        }),
        Err(error) => Err(OpenError::Server {
            address,
            reason: error.to_string(),
        }),
    }
}

/// The answer to [`ACCOUNT_INFO`], as far as it matters.
#[derive(Debug, Deserialize)]
struct AccountInfo {
    error: Option<jetstream::Error>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_server_is_tried_at_once_and_then_more_and_more_rarely() {
        let pauses: Vec<u128> = (1..=9).map(|attempts| pause(attempts).as_millis()).collect();
        assert_eq!(pauses, [0, 50, 100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(pause(usize::MAX), RECONNECT_MAX);
    }
}
