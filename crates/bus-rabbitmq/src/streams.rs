//! What is on the broker: an exchange for each source, with a stream for each lane, and an exchange with the groups' logs.

use std::time::Duration;

use contracts::Service;
use kernel::bus::{BusError, Group};
use kernel::event::Lane;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{Channel, ExchangeKind};

use crate::connection::Connection;
use crate::failure::{CallError, PRECONDITION_FAILED, answered};
use crate::options::RabbitmqOptions;

/// The broker forgets events by whole segments.
const LANE_SEGMENT_BYTES: i64 = 64 * 1024 * 1024;
/// What of a group's log tells how it stands is its last few entries; a segment has thousands of them.
const LOG_SEGMENT_BYTES: i64 = 1024 * 1024;
const LOG_BYTES_MAX: i64 = 4 * LOG_SEGMENT_BYTES;
/// Of a short text in AMQP.
const SHORT_BYTES_MAX: usize = 255;
/// All settings that may differ, by the broker's names.
const SETTINGS: [&str; 12] = [
    "x-queue-type",
    "x-max-age",
    "x-max-length-bytes",
    "x-stream-max-segment-size-bytes",
    "x-initial-cluster-size",
    "x-queue-leader-locator",
    "durable",
    "exclusive",
    "auto_delete",
    "internal",
    "type",
    LANES,
];
/// Where an exchange sends what it has no stream for. There is no exchange of the name that is given, so such a message is returned;
/// but the name says how many lanes the exchange was made for, and the broker compares it.
const LANES: &str = "alternate-exchange";

/// Names and settings of everything.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    pub(crate) connection: Connection,
    prefix: String,
    pub(crate) lanes: u16,
    max_age: Duration,
}

impl Streams {
    pub(crate) fn new(connection: Connection, options: &RabbitmqOptions) -> Self {
        Self {
            connection,
            prefix: options.prefix.clone(),
            lanes: options.lanes,
            max_age: options.max_age,
        }
    }

    /// What all names begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The exchange of a source.
    pub(crate) fn exchange(&self, source: Service) -> ShortString {
        format!("{}.{source}", self.prefix).into()
    }

    /// The stream of a lane of a source.
    pub(crate) fn stream(&self, source: Service, lane: Lane) -> ShortString {
        format!("{}.{source}.{}", self.prefix, lane.0).into()
    }

    /// What an event is routed by.
    pub(crate) fn key(lane: Lane) -> ShortString {
        lane.0.to_string().into()
    }

    /// The text, or nothing if it does not fit where AMQP has short ones.
    pub(crate) fn short(text: &str) -> Option<ShortString> {
        (text.len() <= SHORT_BYTES_MAX).then(|| text.into())
    }

    /// The exchange of the groups' logs.
    pub(crate) fn logs(&self) -> ShortString {
        format!("{}.consumers", self.prefix).into()
    }

    /// The log of a group, and what its entries are routed by.
    pub(crate) fn log(&self, group: &Group) -> (ShortString, ShortString) {
        let Group {
            service,
            consumer,
            source,
        } = group;
        let key = format!("{service}.{consumer}.{source}");
        (format!("{}.{key}", self.logs()).into(), key.into())
    }

    /// Makes sure that the source's exchange and streams are there and as they must be, unless that was seen on this connection.
    pub(crate) async fn ensure(&self, source: Service) -> Result<(), BusError> {
        match self.connection.line()?.has_seen(source) {
            true => Ok(()),
            false => self.find(source).await,
        }
    }

    /// The source's exchange and streams as they are now, made if they are not there.
    pub(crate) async fn find(&self, source: Service) -> Result<(), BusError> {
        let line = self.connection.line()?;
        line.forget(source);
        let channel = line.channel().await?;
        let exchange = self.exchange(source);
        let made_for = format!("{exchange}.lanes-{}", self.lanes);
        declare_exchange(
            &channel,
            &exchange,
            ExchangeKind::Direct,
            table([(LANES, text(made_for))]),
        )
        .await
        .map_err(|error| self.refused(Some(source), error))?;
        for lane in (0..self.lanes).map(Lane) {
            let settings = [
                ("x-max-age", text(age(self.max_age))),
                (
                    "x-stream-max-segment-size-bytes",
                    AMQPValue::LongLongInt(LANE_SEGMENT_BYTES),
                ),
            ];
            declare_stream(
                &channel,
                &self.stream(source, lane),
                settings,
                &exchange,
                Self::key(lane),
            )
            .await
            .map_err(|error| self.refused(Some(source), error))?;
        }
        line.note_seen(source);
        Ok(())
    }

    /// The log of a group as it is now, made if it is not there.
    pub(crate) async fn find_log(&self, channel: &Channel, group: &Group) -> Result<(), BusError> {
        let (exchange, (stream, key)) = (self.logs(), self.log(group));
        let settings = [
            ("x-max-length-bytes", AMQPValue::LongLongInt(LOG_BYTES_MAX)),
            (
                "x-stream-max-segment-size-bytes",
                AMQPValue::LongLongInt(LOG_SEGMENT_BYTES),
            ),
        ];
        let found = async {
            declare_exchange(channel, &exchange, ExchangeKind::Direct, FieldTable::default()).await?;
            declare_stream(channel, &stream, settings, &exchange, key).await
        };
        found.await.map_err(|error| self.refused(None, error))
    }

    /// Names the setting that differs, where it is that.
    fn refused(&self, source: Option<Service>, error: CallError) -> BusError {
        let Some(difference) = error
            .reply()
            .filter(|(code, _)| *code == PRECONDITION_FAILED)
            .and_then(|(_, words)| Difference::read(words))
        else {
            return error.into();
        };
        let lanes = |of: &str| {
            of.rsplit_once(".lanes-")
                .and_then(|(_, lanes)| lanes.parse::<u16>().ok())
        };
        if let (LANES, Some(source), Some(found)) = (difference.setting, source, lanes(&difference.found)) {
            return BusError::lanes(source, found, self.lanes);
        }
        BusError::Differs {
            subject: difference.subject,
            setting: difference.setting,
            found: difference.found,
            wanted: difference.wanted,
        }
    }
}

async fn declare_exchange(
    channel: &Channel,
    name: &ShortString,
    kind: ExchangeKind,
    arguments: FieldTable,
) -> Result<(), CallError> {
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    answered(channel.exchange_declare(name.clone(), kind, options, arguments)).await
}

async fn declare_stream<const COUNT: usize>(
    channel: &Channel,
    name: &ShortString,
    settings: [(&str, AMQPValue); COUNT],
    exchange: &ShortString,
    key: ShortString,
) -> Result<(), CallError> {
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let mut arguments = table(settings);
    arguments.insert("x-queue-type".into(), text("stream"));
    answered(channel.queue_declare(name.clone(), options, arguments)).await?;
    let (options, none) = (QueueBindOptions::default(), FieldTable::default());
    answered(channel.queue_bind(name.clone(), exchange.clone(), key, options, none)).await
}

pub(crate) fn table<const COUNT: usize>(entries: [(&str, AMQPValue); COUNT]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(name.into(), value);
    }
    table
}

pub(crate) fn text(text: impl Into<LongString>) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// As RabbitMQ writes ages, in its largest unit: it compares what is written.
fn age(age: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    match age.as_secs() {
        seconds if seconds > 0 && seconds.is_multiple_of(DAY) => format!("{}D", seconds / DAY),
        seconds => format!("{seconds}s"),
    }
}

/// What the broker says about what is there and was made with other settings:
/// `inequivalent arg 'x-max-age' for queue 'q' in vhost '/': received '7D' but current is '8D'`, where a value may also be
/// `none`, or `the value '7D' of type 'longstr'`.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    subject: String,
    setting: &'static str,
    found: String,
    wanted: String,
}

impl Difference {
    fn read(words: &str) -> Option<Self> {
        let (_, rest) = words.split_once("inequivalent arg '")?;
        let (setting, rest) = rest.split_once("' for ")?;
        let (subject, rest) = rest.split_once(" in vhost ")?;
        let (_, values) = rest.split_once(": received ")?;
        let (wanted, found) = values.split_once(" but current is ")?;
        let value = |words: &str| {
            let quoted = words.split('\'').nth(1);
            quoted.unwrap_or(words).to_owned()
        };
        Some(Self {
            subject: format!("the {}", subject.replace('\'', "")),
            setting: SETTINGS
                .into_iter()
                .find(|known| *known == setting)
                .unwrap_or("another setting"),
            found: value(found),
            wanted: value(wanted),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_read_from_the_brokers_words() {
        let difference = |subject: &str, setting, found: &str, wanted: &str| {
            Some(Difference {
                subject: subject.to_owned(),
                setting,
                found: found.to_owned(),
                wanted: wanted.to_owned(),
            })
        };
        for (words, expected) in [
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-max-age' for queue 's.0' in vhost '/': received '7D' but current is '8D'",
                difference("the queue s.0", "x-max-age", "8D", "7D"),
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-max-length-bytes' for queue 's.0' in vhost 'a': received none but current is the value '5' of type 'signedint'",
                difference("the queue s.0", "x-max-length-bytes", "5", "none"),
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 's' in vhost '/': received 'topic' but current is 'direct'",
                difference("the exchange s", "type", "direct", "topic"),
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-new' for exchange 's' in vhost '/': received 'a' but current is 'b'",
                difference("the exchange s", "another setting", "b", "a"),
            ),
            ("PRECONDITION_FAILED - unknown delivery tag 7", None),
        ] {
            assert_eq!(Difference::read(words), expected, "{words}");
        }
    }

    #[test]
    fn ages_are_in_days_where_that_is_exact() {
        let ages = [60, 86_400, 7 * 86_400, 86_401].map(|seconds| age(Duration::from_secs(seconds)));
        assert_eq!(ages, ["60s", "1D", "7D", "86401s"]);
    }

    #[test]
    fn types_are_told_as_far_as_short_texts_go() {
        assert_eq!(Streams::short("order.placed"), Some("order.placed".into()));
        assert_eq!(Streams::short(&"x".repeat(300)), None);
    }
}
