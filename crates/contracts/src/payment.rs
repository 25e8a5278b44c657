//! Payments: charging an order through a provider, and giving money back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Cursor, Limit, Money, OrderId, PaymentId, Price, Reason, RefundId, Secret, Slug, UserId, word::words};

pub mod event;

pub use event::{Authorized, Captured, Failed, Initiated, Refunded, Stage, Voided};

words! {
    /// Where a payment is on its way.
    pub enum PaymentStatus {
        /// Under way; the provider has not answered.
        Initiated = "initiated",
        /// The payer has to do something, such as to confirm with the bank.
        RequiresAction = "requires_action",
        /// The provider holds the money ready.
        Authorized = "authorized",
        /// The money was taken.
        Captured = "captured",
        /// The money could not be had.
        Failed = "failed",
        /// The money that was held ready was let go.
        Voided = "voided",
        /// All of it was given back.
        Refunded = "refunded",
        /// A part of it was given back.
        PartiallyRefunded = "partially_refunded",
    }
}

impl PaymentStatus {
    /// True while the payment may still take money, so that no other one may begin.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Initiated | Self::RequiresAction | Self::Authorized)
    }
}

words! {
    /// Where a refund is on its way.
    pub enum RefundStatus {
        /// Under way; the provider has not answered.
        Pending = "pending",
        /// The money was given back.
        Succeeded = "succeeded",
        /// The provider refused.
        Failed = "failed",
    }
}

/// A payment, as the order's owner and admins see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// Its id.
    pub id: PaymentId,
    /// For which order.
    pub order_id: OrderId,
    /// Whose.
    pub user_id: UserId,
    /// How much.
    pub amount: Money,
    /// How much of it was given back.
    pub refunded: Money,
    /// Where it is on its way.
    pub status: PaymentStatus,
    /// Who takes the money: `simulated` or `stripe`.
    pub provider: String,
    /// With what, as the provider calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<Slug>,
    /// What the payer's browser needs to go on with the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// Why it failed, as the provider calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decline_code: Option<String>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The number of its changes, for `If-Match`.
    pub version: u64,
}

/// `POST /api/payments`. The amount is the order's; no client chooses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreatePayment {
    /// Which order is paid.
    pub order_id: OrderId,
    /// With what, as the provider calls it: `pm_card_visa`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<Slug>,
}

/// The query of `GET /api/payments`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListPayments {
    /// Those of this order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    /// How many at most.
    #[serde(default)]
    pub limit: Limit,
    /// Where to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

/// `POST /api/payments/{id}/refunds`. The body may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefundPayment {
    /// How much, above zero; all that is left unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Price>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// A refund.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// Its id.
    pub id: RefundId,
    /// Of which payment.
    pub payment_id: PaymentId,
    /// How much.
    pub amount: Money,
    /// Where it is on its way.
    pub status: RefundStatus,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_chooses_no_amount() {
        let request = r#"{"order_id":"ord_01h455vb4pex5vsknk084sn02q","payment_method":"pm_card_visa"}"#;
        assert!(serde_json::from_str::<CreatePayment>(request).is_ok());
        assert!(serde_json::from_str::<CreatePayment>(&request.replace("payment_method", "amount")).is_err());
        assert!(serde_json::from_str::<CreatePayment>(&request.replace("pm_card_visa", "ada@example.com")).is_err());
    }

    #[test]
    fn a_refund_is_above_zero_or_of_all_that_is_left() {
        assert_eq!(
            serde_json::from_str::<RefundPayment>("{}").unwrap(),
            RefundPayment::default()
        );
        let nothing = r#"{"amount":{"amount":0,"currency":"USD"}}"#;
        assert!(serde_json::from_str::<RefundPayment>(nothing).is_err());
    }

    #[test]
    fn a_payment_is_open_until_it_is_settled() {
        let open = PaymentStatus::ALL
            .iter()
            .filter(|status| status.is_open())
            .map(|status| status.as_str());
        assert_eq!(open.collect::<Vec<_>>(), ["initiated", "requires_action", "authorized"]);
    }
}
