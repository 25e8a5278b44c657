//! Stripe's test methods, and what they do.

/// What happens to a charge with a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// The money is held.
    Holds,
    /// The payer has to confirm first.
    Asks,
    /// It is declined for this reason.
    Declines(&'static str),
}

/// What the method of this name does; `None` if there is none.
///
/// From <https://docs.stripe.com/testing>. Where Stripe has a method for each brand, the name without one is known too.
pub(crate) fn behaviour(method: &str) -> Option<Behaviour> {
    let name = method.strip_prefix("pm_card_")?;
    let behaviour = match name.strip_prefix("visa_").unwrap_or(name) {
        "visa" | "debit" | "mastercard" | "mastercard_debit" | "mastercard_prepaid" | "amex" | "discover"
        | "diners" | "jcb" | "unionpay" | "bypassPending" => Behaviour::Holds,
        "authenticationRequired" | "threeDSecureRequired" | "threeDSecure2Required" => Behaviour::Asks,
        "chargeDeclined" | "chargeCustomerFail" => Behaviour::Declines("generic_decline"),
        "chargeDeclinedInsufficientFunds" => Behaviour::Declines("insufficient_funds"),
        "chargeDeclinedLostCard" => Behaviour::Declines("lost_card"),
        "chargeDeclinedStolenCard" => Behaviour::Declines("stolen_card"),
        "chargeDeclinedExpiredCard" => Behaviour::Declines("expired_card"),
        "chargeDeclinedIncorrectCvc" => Behaviour::Declines("incorrect_cvc"),
        "chargeDeclinedProcessingError" => Behaviour::Declines("processing_error"),
        "chargeDeclinedVelocityLimitExceeded" => Behaviour::Declines("card_velocity_exceeded"),
        "chargeDeclinedFraudulent" => Behaviour::Declines("fraudulent"),
        _ => return None,
    };
    Some(behaviour)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_methods_of_stripe_are_known_with_and_without_a_brand() {
        assert_eq!(behaviour("pm_card_visa"), Some(Behaviour::Holds));
        assert_eq!(behaviour("pm_card_authenticationRequired"), Some(Behaviour::Asks));
        for name in [
            "pm_card_chargeDeclinedInsufficientFunds",
            "pm_card_visa_chargeDeclinedInsufficientFunds",
        ] {
            assert_eq!(behaviour(name), Some(Behaviour::Declines("insufficient_funds")));
        }
    }

    #[test]
    fn other_methods_are_unknown() {
        for name in [
            "pm_card_",
            "pm_card_visa_",
            "visa",
            "pm_1NxyzAbc",
            "pm_card_chargedeclined",
        ] {
            assert_eq!(behaviour(name), None, "{name}");
        }
    }
}
