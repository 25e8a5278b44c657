//! The event service: the public log, custom events, webhooks and dead letters.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Cursor, DeadLetterId, DeliveryId, EventId, HttpUrl, JsonObject, Limit, List, Secret, Service, Text, WebhookId,
    patch,
    text::{Error, check_length, shown, text_newtype},
    word::words,
};

/// The type of a custom event: up to 100 of the characters `a-z 0-9 . _ -`, after `custom.`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CustomType(String);

text_newtype!(CustomType, |text| {
    check_length(text, 1, 100)?;
    match text.strip_prefix("custom.") {
        Some(name) if !name.is_empty() && !name.starts_with('.') => check_type(text),
        _ => Err(Error::MissingPrefix { prefix: "custom." }),
    }
});
shown!(CustomType);

/// Which types of events somebody wants: one type (`order.paid`), a family (`order.*`) or all (`*`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TypePattern(String);

text_newtype!(TypePattern, |text| {
    check_length(text, 1, 100)?;
    match text.strip_suffix('*') {
        Some("") => Ok(()),
        Some(family) if family.ends_with('.') => check_type(family),
        Some(_) => Err(Error::NotAWord {
            also: ". _ - with `*` alone or after a point",
        }),
        None => check_type(text),
    }
});
shown!(TypePattern);

impl TypePattern {
    /// True if events of this type are wanted.
    pub fn matches(&self, event_type: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(family) => event_type.starts_with(family),
            None => event_type == self.0,
        }
    }
}

fn check_type(text: &str) -> Result<(), Error> {
    let sound = text
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-'));
    if sound {
        Ok(())
    } else {
        Err(Error::NotAWord {
            also: ". _ - in lower case",
        })
    }
}

/// The query of `GET /api/events`. Positions are those of the events service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListEvents {
    /// Those of these types.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<TypePattern>,
    /// Those of this stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Text<200>>,
    /// Those of this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Service>,
    /// Those after this position; by the name that other lists have for it, too.
    #[serde(default, alias = "cursor", skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// How many at most.
    #[serde(default)]
    pub limit: Limit,
}

/// The query of `GET /api/events/stream`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamEvents {
    /// Those of these types.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<TypePattern>,
    /// Those of this stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Text<200>>,
}

/// `POST /api/events`: publishes a custom event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishEvent {
    /// Its type, under `custom.`.
    #[serde(rename = "type")]
    pub event_type: CustomType,
    /// What it is about. Events about the same stay in order.
    pub subject: Text<200>,
    /// Its payload. It goes to everybody who listens and is not scanned for personal data.
    pub data: JsonObject<1_048_576>,
}

/// The types that a webhook wants: 1 to 100 patterns.
pub type TypePatterns = List<TypePattern, 1, 100>;

/// A webhook: a server of somebody's that is told of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Where deliveries are posted.
    pub url: HttpUrl,
    /// Of which events.
    pub types: TypePatterns,
    /// False while deliveries are held back.
    pub enabled: bool,
    /// What deliveries are signed with: `whsec_…`. Shown when it is made or changed, and then no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The number of its changes, for `If-Match`.
    pub version: u64,
}

/// `POST /api/webhooks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateWebhook {
    /// Where deliveries are posted; never a private address.
    pub url: HttpUrl,
    /// Of which events.
    pub types: TypePatterns,
    /// What deliveries are signed with; made here unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
}

/// `PATCH /api/webhooks/{id}`. Nothing can be cleared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateWebhook {
    /// Where deliveries are posted.
    #[serde(
        default,
        deserialize_with = "patch::required",
        skip_serializing_if = "Option::is_none"
    )]
    pub url: Option<HttpUrl>,
    /// Of which events.
    #[serde(
        default,
        deserialize_with = "patch::required",
        skip_serializing_if = "Option::is_none"
    )]
    pub types: Option<TypePatterns>,
    /// What deliveries are signed with.
    #[serde(
        default,
        deserialize_with = "patch::required",
        skip_serializing_if = "Option::is_none"
    )]
    pub secret: Option<Secret>,
    /// False to hold deliveries back.
    #[serde(
        default,
        deserialize_with = "patch::required",
        skip_serializing_if = "Option::is_none"
    )]
    pub enabled: Option<bool>,
}

/// `POST /api/webhooks/{id}/replay`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// Sends again what comes after this position of the events service.
    pub after: u64,
}

words! {
    /// Where a delivery is on its way.
    pub enum DeliveryStatus {
        /// To be sent, or to be tried again.
        Pending = "pending",
        /// The server answered 2xx.
        Delivered = "delivered",
        /// Given up after three days.
        Failed = "failed",
    }
}

/// One attempt to deliver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When.
    pub at: Timestamp,
    /// What the server answered; absent if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How many milliseconds it took.
    pub latency_ms: u64,
    /// Why it did not answer: a stable word, such as `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The delivery of one event to one webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// To which webhook.
    pub webhook_id: WebhookId,
    /// Of which event.
    pub event_id: EventId,
    /// The event's type.
    pub event_type: String,
    /// The event's stream. Deliveries of one stream are in order.
    pub subject: String,
    /// Where it is on its way.
    pub status: DeliveryStatus,
    /// Every attempt so far, oldest first.
    pub attempts: Vec<Attempt>,
    /// When the next one is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
}

/// An event that a consumer could not apply, or that waits behind one of the same stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its id, which names the service.
    pub id: DeadLetterId,
    /// The service that keeps it.
    pub service: Service,
    /// The consumer that could not apply it.
    pub consumer: String,
    /// The service whose event it is.
    pub source: Service,
    /// The event.
    pub event_id: EventId,
    /// The event's type.
    pub event_type: String,
    /// The event's stream.
    pub subject: String,
    /// The event's position in its source's journal.
    pub position: u64,
    /// What went wrong, for an operator.
    pub cause: String,
    /// The dead letter of the same stream that goes first; absent if this one is the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<DeadLetterId>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was parked.
    pub parked_at: Timestamp,
}

/// The query of `GET /api/dead-letters`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListDeadLetters {
    /// Those that this service keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// How many at most.
    #[serde(default)]
    pub limit: Limit,
    /// Where to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_custom_event_keeps_to_its_own_types() {
        assert!(CustomType::try_from("custom.cart-abandoned").is_ok());
        for wrong in [
            "order.placed",
            "custom.",
            "custom",
            "custom..x",
            "custom.A",
            "custom.a b",
        ] {
            assert!(CustomType::try_from(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_pattern_is_a_type_a_family_or_all() {
        let matches = |pattern: &str, event_type| TypePattern::try_from(pattern).unwrap().matches(event_type);
        assert!(matches("order.paid", "order.paid") && !matches("order.paid", "order.paid.x"));
        assert!(matches("order.*", "order.paid") && !matches("order.*", "orders.paid"));
        assert!(matches("*", "custom.x"));
        for wrong in ["", "ord*", "*.paid", "order.*.x", "Order.paid"] {
            assert!(TypePattern::try_from(wrong).is_err(), "{wrong}");
        }
    }
}

/// How far a service's events have come: into its journal, to the broker, and of other services' into its consumers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// Whose it is.
    pub service: Service,
    /// The life of the journal: another one after a restore.
    pub epoch: String,
    /// The last position.
    pub position: u64,
    /// The last position of each lane.
    pub lanes: Vec<u64>,
    /// Up to where the broker has it, of this life; `null` on the embedded bus, where consumers read the journal itself.
    pub published: Option<u64>,
    /// Why nothing is published until somebody acts, where that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// What the service follows.
    pub consumers: Vec<Consumer>,
}

/// How far a consumer has come in another service's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consumer {
    /// Its name within its service.
    pub consumer: String,
    /// Whose journal it follows.
    pub source: Service,
    /// The position that it has come to in each lane.
    pub lanes: Vec<u64>,
    /// Its events in dead letters.
    pub dead_letters: u64,
    /// Lanes that wait for a retry, a missing event or an operator, in all replicas. The log says which, and for what.
    #[serde(default)]
    pub lanes_held: u64,
}

/// `POST /api/journals/{service}/republish`: the journal is sent to the broker again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Republish {
    /// From after this position on; 0 is all. What comes before it and was never sent is sent, too.
    pub from: u64,
}
