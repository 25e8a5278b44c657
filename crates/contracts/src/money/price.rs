//! Prices: money above zero.

use std::fmt;

use iso_currency::Currency;
use serde::{Deserialize, Serialize};

use super::{Error, Money};

/// An amount above zero: what a product costs, what is refunded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Money", into = "Money")]
pub struct Price(Money);

impl Price {
    /// A price in minor units.
    ///
    /// # Errors
    /// [`Error::NotAboveZero`], [`Error::Overflow`].
    pub fn new(amount: i64, currency: Currency) -> Result<Self, Error> {
        Money::new(amount, currency)?.try_into()
    }

    /// The amount of money that it is.
    pub const fn money(self) -> Money {
        self.0
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.0.currency()
    }
}

impl TryFrom<Money> for Price {
    type Error = Error;

    fn try_from(money: Money) -> Result<Self, Error> {
        if money.amount() > 0 {
            Ok(Self(money))
        } else {
            Err(Error::NotAboveZero)
        }
    }
}

impl From<Price> for Money {
    fn from(price: Price) -> Self {
        price.0
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_above_zero() {
        assert_eq!(Price::new(0, Currency::USD), Err(Error::NotAboveZero));
        assert_eq!(Price::new(-1, Currency::USD), Err(Error::NotAboveZero));
        assert_eq!(Price::new(1, Currency::USD).unwrap().money().amount(), 1);
        assert!(serde_json::from_str::<Price>(r#"{"amount":0,"currency":"USD"}"#).is_err());
    }
}
