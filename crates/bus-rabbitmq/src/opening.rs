//! Finding out whether a broker will do, before anything depends on it.

use std::io;

use kernel::wire::MESSAGE_BYTES_MAX;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, ErrorKind, ExchangeKind};

use crate::connect::{Dialler, Line};
use crate::connection::BLOCKED;
use crate::failure::{ACCESS_REFUSED, CallError, NOT_ALLOWED, OpenError, PRECONDITION_FAILED, answered, reply};
use crate::options::{Address, RabbitmqOptions};

/// Streams are there from here on.
const VERSION_MIN: (u32, u32) = (3, 9);
/// What the message at the opening is routed by.
const KEY: &str = "opening";

/// A line to the first of the nodes that is reached and will do.
pub(crate) async fn open(dialler: &Dialler, options: &RabbitmqOptions) -> Result<Line, OpenError> {
    let mut refusal = OpenError::Url;
    for address in &options.place.addresses {
        let (line, version) = dialler.dial_first(address).await;
        if let Some(version) = version.filter(|version| is_too_old(version)) {
            let address = address.to_string();
            return Err(OpenError::TooOld { address, version });
        }
        let found = match line {
            Ok(line) => match probe(&line, options).await {
                Ok(()) => return Ok(line),
                Err(_) if line.is_blocked() => OpenError::Server {
                    address: address.to_string(),
                    reason: BLOCKED.to_owned(),
                },
                Err(error) => refused_by_probe(address, &options.prefix, &error),
            },
            Err(error) => refused(address, options, &error),
        };
        refusal = found;
        // Another node may be reached, and would refuse the same.
        if !matches!(refusal, OpenError::Unreachable { .. }) {
            break;
        }
    }
    Err(refusal)
}

fn is_too_old(version: &str) -> bool {
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()) < VERSION_MIN
}

/// Sends the largest message through an exchange and a queue that nobody else sees, and receives it: all that a bus does.
async fn probe(line: &Line, options: &RabbitmqOptions) -> Result<(), CallError> {
    let id = options.ids.uuid(options.clock.now()).simple();
    let name = ShortString::from(format!("{}.opening.{id}", options.prefix));
    let channel = line.channel().await?;
    answered(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    let exchange = ExchangeDeclareOptions {
        auto_delete: true,
        ..ExchangeDeclareOptions::default()
    };
    let queue = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let (bind, none) = (QueueBindOptions::default(), FieldTable::default());
    answered(channel.exchange_declare(name.clone(), ExchangeKind::Direct, exchange, none.clone())).await?;
    answered(channel.queue_declare(name.clone(), queue, none.clone())).await?;
    answered(channel.queue_bind(name.clone(), name.clone(), KEY.into(), bind, none)).await?;
    let largest = vec![b' '; MESSAGE_BYTES_MAX];
    let publishing = channel.basic_publish(
        name.clone(),
        KEY.into(),
        BasicPublishOptions::default(),
        &largest,
        BasicProperties::default(),
    );
    let confirmation = answered(publishing).await?;
    answered(confirmation).await?;
    answered(channel.basic_get(name.clone(), BasicGetOptions { no_ack: true })).await?;
    // The exchange goes with its only queue.
    answered(channel.queue_delete(name, QueueDeleteOptions::default())).await?;
    Ok(())
}

fn refused_by_probe(address: &Address, prefix: &str, error: &CallError) -> OpenError {
    let address = address.to_string();
    match error.reply() {
        Some((ACCESS_REFUSED, reason)) => OpenError::Permission {
            address,
            reason: reason.to_owned(),
            prefix: prefix.to_owned(),
        },
        Some((PRECONDITION_FAILED, reason)) if reason.contains("max size") => OpenError::MessageSize { address },
        _ => OpenError::Server {
            address,
            reason: error.to_string(),
        },
    }
}

fn refused(address: &Address, options: &RabbitmqOptions, error: &CallError) -> OpenError {
    let address = address.to_string();
    let reason = error.to_string();
    let CallError::Broker(error) = error else {
        return OpenError::Unreachable { address, reason };
    };
    match (reply(error), error.kind()) {
        (Some((ACCESS_REFUSED, _)), _) => OpenError::Login(address),
        (Some((NOT_ALLOWED, words)), _) if words.contains("vhost") => OpenError::Vhost {
            address,
            vhost: options.place.vhost.clone(),
        },
        (Some(_), _) => OpenError::Server { address, reason },
        (None, ErrorKind::IOError(error)) if is_about_tls(error) => OpenError::Tls { address, reason },
        (None, ErrorKind::IOError(error)) if error.kind() == io::ErrorKind::InvalidData => {
            OpenError::Server { address, reason }
        }
        (None, _) => OpenError::Unreachable { address, reason },
    }
}

/// Whether it went wrong where the two agree on TLS.
fn is_about_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_came_with_3_9() {
        for (version, expected) in [
            ("3.8.34", true),
            ("2.9", true),
            ("", true),
            ("3.9.0", false),
            ("3.10.8", false),
            ("4.2.0-rc.1", false),
            ("10.0", false),
        ] {
            assert_eq!(is_too_old(version), expected, "{version:?}");
        }
    }
}
