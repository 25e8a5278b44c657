//! The port to whoever takes the money.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use contracts::{Money, OrderId, PaymentId, RefundId, Secret, Slug};

/// A payment provider that holds money ready first and takes it on demand, as Stripe's PaymentIntents with manual capture do.
///
/// What every adapter owes:
///
/// - **Once per key.** The same call under the same key has its effect once and is answered the same, however often it
///   is made, at the same time too, and over restarts on both sides.
/// - **A timeout is [`Error::Unknown`]**, never a refusal: the caller asks again with the same key. So is an answer that
///   says "still under way".
/// - **A refusal is final.** After `Declined` the provider holds nothing for this payment and never will; after a refused
///   capture it has let the money go. Where the provider itself is not like that, the adapter cancels before it answers.
/// - **Codes are the provider's own words** for programs (`insufficient_funds`); they end up in public events, so nothing
///   that a person wrote or that is about one.
#[async_trait]
pub trait Provider: Send + Sync + fmt::Debug {
    /// `simulated` or `stripe`; permanent, since payments keep it.
    fn name(&self) -> &'static str;

    /// The method to use for the one asked for. Called before anything is stored, so it only looks at the text.
    fn method(&self, asked: Option<Slug>) -> Result<Option<Slug>, UnknownMethod>;

    /// Holds the amount ready.
    async fn authorise(&self, charge: &Charge, key: &str) -> Result<Authorisation, Error>;

    /// Takes the whole amount that is held ready.
    async fn capture(&self, held: &Held, key: &str) -> Result<Capture, Error>;

    /// Lets the money go, or ends what waits for the payer.
    async fn void(&self, held: &Held, key: &str) -> Result<Void, Error>;

    /// Gives a part of what was taken back, or all of it.
    async fn refund(&self, held: &Held, refund: &Return, key: &str) -> Result<Refund, Error>;
}

/// The provider knows no such method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the provider knows no such payment method")]
pub struct UnknownMethod;

/// What is to be paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Our name for it.
    pub payment_id: PaymentId,
    /// What it is for.
    pub order_id: OrderId,
    /// How much.
    pub amount: Money,
    /// With what, as [`Provider::method`] said.
    pub method: Option<Slug>,
}

/// A payment that the provider knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Our name for it.
    pub payment_id: PaymentId,
    /// The provider's name for it.
    pub reference: Slug,
    /// How much it is about.
    pub amount: Money,
}

/// What is to be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Return {
    /// Our name for it.
    pub refund_id: RefundId,
    /// How much.
    pub amount: Money,
}

/// How an authorisation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorisation {
    /// The money is held ready.
    Authorised {
        /// The provider's name for the payment.
        reference: Slug,
    },
    /// The payer must do something; the provider tells later how it went.
    RequiresAction {
        /// The provider's name for the payment.
        reference: Slug,
        /// What the payer's browser needs for it.
        client_secret: Secret,
    },
    /// No, for good.
    Declined {
        /// Why.
        code: Slug,
    },
}

/// How a capture ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capture {
    /// The money was taken.
    Captured,
    /// It is not to be had any more; nothing is held.
    Refused {
        /// Why.
        code: Slug,
    },
}

/// How a void ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Void {
    /// Nothing is held any more.
    Voided,
    /// Too late: somebody took the money at the provider. It has to be refunded.
    Captured,
}

/// How a refund ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refund {
    /// The money is on its way back.
    Given,
    /// It is not, for good.
    Refused {
        /// Why.
        code: Slug,
    },
}

/// Why there is no outcome yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The call may have had its effect: ask again with the same key.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// The call had no effect: make it again, with the same key.
    #[error("the provider is not available: {reason}")]
    Unavailable {
        /// For the log.
        reason: String,
        /// How long the provider wants to be left alone.
        after: Option<Duration>,
    },
    /// The call contradicts what the provider knows. A person has to look at it; it is made again, rarely.
    #[error("the provider contradicts: {0}")]
    Contradiction(String),
}
