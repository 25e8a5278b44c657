//! Identifiers: [TypeIDs](https://github.com/jetify-com/typeid), a prefix that names the kind and a UUIDv7.
//!
//! `ord_01h455vb4pex5vsknk084sn02q` is an order, and it sorts by the time at which it was made. No constructor
//! here draws a clock or randomness; the kernel's `Ids` hands out the UUIDs.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use type_safe_id::{DynamicType, TypeSafeId};
use uuid::Uuid;

use crate::Service;

/// A string that is not an identifier of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be an id such as `{prefix}_01h455vb4pex5vsknk084sn02q`")]
pub struct Error {
    /// The prefix that was expected, without the underscore.
    pub prefix: &'static str,
}

/// What every identifier knows. Generic code (path extractors, loaders) asks for this.
pub trait Id: Copy + Eq + Ord + fmt::Display + FromStr<Err = Error> + Send + Sync + 'static {
    /// The letters before the underscore.
    const PREFIX: &'static str;

    /// The UUID inside.
    fn uuid(&self) -> Uuid;
}

macro_rules! ids {
    ($($(#[$doc:meta])* $Id:ident $prefix:literal $tag:ident;)+) => {$(
        #[derive(Default)]
        struct $tag;

        impl type_safe_id::StaticType for $tag {
            const TYPE: &'static str = $prefix;
        }

        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $Id(Uuid);

        impl $Id {
            /// The letters before the underscore. Permanent: stored rows and clients hold it.
            pub const PREFIX: &'static str = $prefix;

            /// Wraps a UUID, which should be a version 7 one.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID inside.
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// When the id was made, to the millisecond, as its UUIDv7 says; the Unix epoch if it says nothing.
            ///
            /// A client may have made the id up, so this is a hint and never a proof.
            pub fn created_at(self) -> Timestamp {
                created_at(self.0)
            }
        }

        impl Id for $Id {
            const PREFIX: &'static str = $prefix;

            fn uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $Id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                TypeSafeId::<$tag>::from_uuid(self.0).fmt(f)
            }
        }

        impl fmt::Debug for $Id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $Id {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                match text.parse::<TypeSafeId<$tag>>() {
                    Ok(id) => Ok(Self(id.uuid())),
                    Err(_) => Err(Error { prefix: $prefix }),
                }
            }
        }

        serde_as_str!($Id, concat!("an id such as `", $prefix, "_01h455vb4pex5vsknk084sn02q`"));
    )+};
}

/// Serde through `Display` and `FromStr`, so that there is one parser.
macro_rules! serde_as_str {
    ($Type:ident, $expecting:expr) => {
        impl Serialize for $Type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $Type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;

                impl de::Visitor<'_> for Visitor {
                    type Value = $Type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                        text.parse().map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(Visitor)
            }
        }
    };
}

ids! {
    /// A user: a customer, an admin or a service.
    UserId "usr" UserTag;
    /// A session: one login, with its chain of refresh tokens.
    SessionId "ses" SessionTag;
    /// A product of the catalogue.
    ProductId "prd" ProductTag;
    /// An order.
    OrderId "ord" OrderTag;
    /// A reservation of stock. There is one per order, with the order's UUID.
    ReservationId "rsv" ReservationTag;
    /// A payment: one attempt to charge an order.
    PaymentId "pay" PaymentTag;
    /// A refund of a payment, whole or in part.
    RefundId "rfn" RefundTag;
    /// A message to a user.
    NotificationId "ntf" NotificationTag;
    /// An event in a journal.
    EventId "evt" EventTag;
    /// A webhook: a subscription of somebody's server.
    WebhookId "whk" WebhookTag;
    /// The delivery of one event to one webhook, over all its attempts.
    DeliveryId "dlv" DeliveryTag;
}

impl ReservationId {
    /// The reservation of an order: one per order, under the same UUID.
    pub const fn of(order: OrderId) -> Self {
        Self(order.0)
    }

    /// The order that the reservation is for.
    pub const fn order(self) -> OrderId {
        OrderId(self.0)
    }
}

/// A dead letter. The id names the service that keeps it, so that the gateway knows whom to ask:
/// `dlq_orders_01h455vb4pex5vsknk084sn02q`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeadLetterId {
    uuid: Uuid,
    service: Service,
}

impl DeadLetterId {
    /// The letters before the first underscore. Permanent.
    pub const PREFIX: &'static str = "dlq";

    /// The dead letter of this UUID, kept by this service.
    pub const fn new(service: Service, uuid: Uuid) -> Self {
        Self { uuid, service }
    }

    /// The service that keeps the dead letter.
    pub const fn service(self) -> Service {
        self.service
    }

    /// The UUID inside.
    pub const fn uuid(self) -> Uuid {
        self.uuid
    }

    /// When the event was parked, as the UUIDv7 says; the Unix epoch if it says nothing.
    pub fn created_at(self) -> Timestamp {
        created_at(self.uuid)
    }
}

impl Id for DeadLetterId {
    const PREFIX: &'static str = Self::PREFIX;

    fn uuid(&self) -> Uuid {
        self.uuid
    }
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = DynamicType::new(&format!("{}_{}", Self::PREFIX, self.service)).map_err(|_| fmt::Error)?;
        TypeSafeId::from_type_and_uuid(prefix, self.uuid).fmt(f)
    }
}

impl fmt::Debug for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DeadLetterId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        // The prefix is looked at before the library is, whose parser of dynamic prefixes slices without care.
        let parse = || {
            let (service, suffix) = text.strip_prefix("dlq_")?.split_once('_')?;
            let service = service.parse().ok()?;
            let id = format!("{}_{suffix}", Self::PREFIX)
                .parse::<TypeSafeId<DeadLetterTag>>()
                .ok()?;
            Some(Self::new(service, id.uuid()))
        };
        parse().ok_or(Error { prefix: "dlq_orders" })
    }
}

#[derive(Default)]
struct DeadLetterTag;

impl type_safe_id::StaticType for DeadLetterTag {
    const TYPE: &'static str = DeadLetterId::PREFIX;
}

serde_as_str!(DeadLetterId, "an id such as `dlq_orders_01h455vb4pex5vsknk084sn02q`");

/// The time in a UUIDv7. An id without a usable one counts as old.
fn created_at(uuid: Uuid) -> Timestamp {
    uuid.get_timestamp()
        .and_then(|time| {
            let (seconds, nanoseconds) = time.to_unix();
            let nanoseconds = i32::try_from(nanoseconds).ok()?;
            Timestamp::new(i64::try_from(seconds).ok()?, nanoseconds).ok()
        })
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: Uuid = uuid::uuid!("0190a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2b");

    #[test]
    fn ids_round_trip_as_text_and_as_json() {
        let id = OrderId::from_uuid(UUID);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string(), format!("{id:?}"));
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<OrderId>(&json).unwrap(), id);
        assert_eq!(
            "ord_01h455vb4pex5vsknk084sn02q"
                .parse::<OrderId>()
                .unwrap()
                .to_string()
                .len(),
            30
        );
    }

    #[test]
    fn what_is_not_such_an_id_is_refused() {
        let order = OrderId::from_uuid(UUID).to_string();
        let wrong = [
            order.replace("ord", "usr"),
            order.to_uppercase(),
            order.replace("ord_", "ORD_"),
            order.replace('_', "-"),
            order.replace("ord_", "ord__"),
            order.replace("ord", ""),
            format!("{order} "),
            format!("x_{order}"),
            order[..order.len() - 1].to_owned(),
            "ord_81h455vb4pex5vsknk084sn02q".to_owned(),
            "ord_01h455vb4pex5vsknk084sn02ü".to_owned(),
            "ord_01h455vb4pex5vsknk084sn02i".to_owned(),
            UUID.to_string(),
            String::new(),
        ];
        for text in wrong {
            assert_eq!(text.parse::<OrderId>(), Err(Error { prefix: "ord" }), "{text}");
        }
        assert!(serde_json::from_str::<OrderId>("7").is_err());
    }

    #[test]
    fn ids_tell_when_they_were_made() {
        assert_eq!(
            UserId::from_uuid(UUID).created_at().to_string(),
            "2024-07-11T12:09:25.716Z"
        );
        assert_eq!(UserId::from_uuid(Uuid::nil()).created_at(), Timestamp::UNIX_EPOCH);
        let beyond_the_calendar = uuid::uuid!("ffffffff-ffff-7fff-bfff-ffffffffffff");
        assert_eq!(
            UserId::from_uuid(beyond_the_calendar).created_at(),
            Timestamp::UNIX_EPOCH
        );
    }

    #[test]
    fn an_order_and_its_reservation_name_each_other() {
        let order = OrderId::from_uuid(UUID);
        assert_eq!(ReservationId::of(order).uuid(), order.uuid());
        assert_eq!(ReservationId::of(order).order(), order);
    }

    #[test]
    fn a_dead_letter_names_its_service() {
        for &service in Service::ALL {
            let id = DeadLetterId::new(service, UUID);
            assert!(id.to_string().starts_with(&format!("dlq_{service}_")));
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for wrong in [
            "dlq_01h455vb4pex5vsknk084sn02q",
            "dlq_shop_01h455vb4pex5vsknk084sn02q",
            "dlq__01h455vb4pex5vsknk084sn02q",
            "ord_orders_01h455vb4pex5vsknk084sn02q",
            "dlq_orders_x_01h455vb4pex5vsknk084sn02q",
            "dlq_orders_",
            "dlq_ü",
        ] {
            assert!(wrong.parse::<DeadLetterId>().is_err(), "{wrong}");
        }
    }
}
