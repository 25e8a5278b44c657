//! What Tradewind's services and their clients agree on: ids, money, problems, public events and the bodies of the
//! REST API. Values here are valid by construction, and nothing here does I/O, reads a clock or draws randomness.
//!
//! - Values: [`id`], [`money`], [`text`], [`email`], [`quantity`], [`json`].
//! - The frame of the API: [`Problem`], [`Page`], [`Patch`], [`List`].
//! - Events: [`EventData`] and [`events!`], [`PublicEvent`], [`CloudEvent`].
//! - Bodies and public event payloads, by subject: [`user`], [`product`], [`stock`], [`order`], [`payment`],
//!   [`notification`], [`log`]. A payload is named as its module reads: `order::Placed`.
#![warn(missing_docs)]

pub mod cloud_event;
pub mod email;
pub mod event;
pub mod id;
pub mod json;
pub mod list;
pub mod log;
pub mod money;
pub mod notification;
pub mod order;
pub mod page;
pub mod patch;
pub mod payment;
pub mod problem;
pub mod product;
pub mod public_event;
pub mod quantity;
pub mod service;
pub mod stock;
pub mod text;
pub mod user;
pub mod word;

pub use cloud_event::CloudEvent;
pub use email::{Email, Password, PasswordAttempt};
pub use event::{DecodeError, EventData, EventKind};
pub use id::{
    DeadLetterId, DeliveryId, EventId, Id, NotificationId, OrderId, PaymentId, ProductId, RefundId, ReservationId,
    SessionId, UserId, WebhookId,
};
pub use iso_currency::Currency;
pub use json::{Attributes, JsonObject, Metadata};
pub use list::List;
pub use money::{Money, Price};
pub use page::{Cursor, Limit, Page};
pub use patch::Patch;
pub use problem::{Code, FieldError, Problem};
pub use public_event::PublicEvent;
pub use quantity::{Delta, OnHand, Quantity};
pub use service::Service;
pub use text::{
    Country, Description, HttpUrl, PersonName, Phone, Private, ProductName, Reason, Secret, Sku, Slug, Text, Username,
};
pub use user::Role;

/// What the code that [`events!`] generates needs. Not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::event::read;
    pub use serde_json;
}
