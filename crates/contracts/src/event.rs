//! Typed events: one enum per aggregate, each variant a payload of its own with a permanent type name and a schema.
//!
//! The journal holds `type`, `schema` and the payload's JSON; [`events!`](crate::events) writes the match between
//! those and the enum. A payload is append-only: a field may be added with a default; anything else is a new schema,
//! with the old payload kept and converted.

use serde_json::value::RawValue;

/// A type of event: what the journal and AsyncAPI know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventKind {
    /// The permanent name: `order.placed`.
    pub name: &'static str,
    /// The schema that is written today, from 1. Earlier ones are still read.
    pub schema: u16,
    /// True if others than its own service see it: in the public log, on streams, in webhooks.
    pub public: bool,
}

/// An enum of events that can be stored and read back. [`events!`](crate::events) implements it.
pub trait EventData: Sized {
    /// Every type that the enum has, in order of declaration.
    const TYPES: &'static [EventKind];

    /// What kind of event this is.
    fn kind(&self) -> EventKind;

    /// The permanent name of the type: `order.placed`.
    fn event_type(&self) -> &'static str {
        self.kind().name
    }

    /// The schema in which [`encode`](Self::encode) writes it.
    fn schema(&self) -> u16 {
        self.kind().schema
    }

    /// True if others than its own service see events of this type; false for a type that is not in the enum.
    fn is_public(event_type: &str) -> bool {
        Self::TYPES.iter().any(|kind| kind.public && kind.name == event_type)
    }

    /// The payload's JSON, without the type.
    ///
    /// # Errors
    /// Only if a payload's own `Serialize` fails, which none of ours does.
    fn encode(&self) -> Result<Box<RawValue>, serde_json::Error>;

    /// Reads a payload, and converts one of an earlier schema.
    ///
    /// # Errors
    /// [`DecodeError::UnknownType`] is for the caller to skip or to refuse; the others are poison.
    fn decode(event_type: &str, schema: u16, data: &str) -> Result<Self, DecodeError>;
}

/// Why an event could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The enum has no such type.
    #[error("unknown event type `{event_type}`")]
    UnknownType {
        /// The type that was found.
        event_type: String,
    },
    /// The type is known, and this schema of it is not: it was written by a newer release.
    #[error("unknown schema {schema} of event type `{event_type}`; read it with a newer release")]
    UnknownSchema {
        /// The type that was found.
        event_type: &'static str,
        /// The schema that was found.
        schema: u16,
    },
    /// The data is not what the schema says.
    #[error("malformed data of event type `{event_type}`, schema {schema}")]
    Malformed {
        /// The type that was found.
        event_type: &'static str,
        /// The schema that was found.
        schema: u16,
        /// What serde says.
        #[source]
        source: serde_json::Error,
    },
}

/// Generates an enum of events, its [`EventData`] and a `From` of each payload (payload types are distinct).
///
/// `public` or `internal` says who sees the type; the number is the schema written today; braces hold earlier schemas
/// whose payloads convert with `From`.
///
/// ```
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// pub struct OpenedV1 { by: String }
/// #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// pub struct Opened { by: String, times: u32 }
/// #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// pub struct Closed {}
///
/// impl From<OpenedV1> for Opened {
///     fn from(old: OpenedV1) -> Self { Self { by: old.by, times: 1 } }
/// }
///
/// contracts::events! {
///     /// What happens to a door.
///     pub enum Event {
///         /// Somebody opened it.
///         public "door.opened" 2 => Opened(Opened) { 1 => OpenedV1 },
///         /// It fell shut.
///         internal "door.closed" 1 => Closed(Closed),
///     }
/// }
///
/// use contracts::EventData;
/// let event = Event::decode("door.opened", 1, r#"{"by":"ada"}"#)?;
/// assert_eq!(event, Opened { by: "ada".into(), times: 1 }.into());
/// assert_eq!((event.event_type(), event.schema()), ("door.opened", 2));
/// assert!(Event::is_public("door.opened") && !Event::is_public("door.closed"));
/// # Ok::<(), contracts::DecodeError>(())
/// ```
#[macro_export]
macro_rules! events {
    (
        $(#[$meta:meta])*
        $vis:vis enum $Event:ident {
            $(
                $(#[$variant_meta:meta])*
                $visibility:ident $name:literal $schema:literal => $Variant:ident($Payload:ty)
                $({ $($old_schema:literal => $Old:ty),+ $(,)? })?
            ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        $vis enum $Event {
            $($(#[$variant_meta])* $Variant($Payload),)+
        }

        impl $crate::EventData for $Event {
            const TYPES: &'static [$crate::EventKind] = &[
                $($crate::EventKind { name: $name, schema: $schema, public: $crate::events!(@ $visibility) },)+
            ];

            fn kind(&self) -> $crate::EventKind {
                match self {
                    $(Self::$Variant(_) => {
                        $crate::EventKind { name: $name, schema: $schema, public: $crate::events!(@ $visibility) }
                    })+
                }
            }

            fn encode(
                &self,
            ) -> ::std::result::Result<
                ::std::boxed::Box<$crate::__private::serde_json::value::RawValue>,
                $crate::__private::serde_json::Error,
            > {
                match self {
                    $(Self::$Variant(payload) => $crate::__private::serde_json::value::to_raw_value(payload),)+
                }
            }

            fn decode(
                event_type: &str,
                schema: u16,
                data: &str,
            ) -> ::std::result::Result<Self, $crate::DecodeError> {
                match event_type {
                    $($name => match schema {
                        $schema => $crate::__private::read::<$Payload>($name, schema, data).map(Self::$Variant),
                        $($($old_schema => {
                            $crate::__private::read::<$Old>($name, schema, data).map(|old| Self::$Variant(old.into()))
                        })+)?
                        _ => ::std::result::Result::Err($crate::DecodeError::UnknownSchema { event_type: $name, schema }),
                    },)+
                    _ => ::std::result::Result::Err($crate::DecodeError::UnknownType {
                        event_type: ::std::borrow::ToOwned::to_owned(event_type),
                    }),
                }
            }
        }

        $(
            impl ::std::convert::From<$Payload> for $Event {
                fn from(payload: $Payload) -> Self {
                    Self::$Variant(payload)
                }
            }
        )+
    };
    (@ public) => { true };
    (@ internal) => { false };
}

/// Reads one payload, for the code that [`events!`](crate::events) generates.
#[doc(hidden)]
pub fn read<P: serde::de::DeserializeOwned>(
    event_type: &'static str,
    schema: u16,
    data: &str,
) -> Result<P, DecodeError> {
    serde_json::from_str(data).map_err(|source| DecodeError::Malformed {
        event_type,
        schema,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PublicEvent;

    #[test]
    fn what_cannot_be_read_says_why() {
        assert!(matches!(
            PublicEvent::decode("order.eaten", 1, "{}"),
            Err(DecodeError::UnknownType { event_type }) if event_type == "order.eaten"
        ));
        assert!(matches!(
            PublicEvent::decode("order.placed", 99, "{}"),
            Err(DecodeError::UnknownSchema {
                event_type: "order.placed",
                schema: 99
            })
        ));
        assert!(matches!(
            PublicEvent::decode("order.placed", 1, "{}"),
            Err(DecodeError::Malformed {
                event_type: "order.placed",
                schema: 1,
                ..
            })
        ));
        assert!(!PublicEvent::is_public("order.eaten"));
    }
}
