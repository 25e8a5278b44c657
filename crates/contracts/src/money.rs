//! Money: integer minor units and an ISO 4217 currency. No floating point anywhere.

use std::{cmp::Ordering, fmt};

use iso_currency::Currency;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

mod price;

pub use price::Price;

/// What is wrong with an amount, or with a calculation on amounts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Beyond what JavaScript and JSON readers hold exactly.
    #[error("amount must be between -{AMOUNT_MAX} and {AMOUNT_MAX} minor units; use a smaller one")]
    Overflow,
    /// Amounts of different currencies do not mix.
    #[error("amounts are in {left} and {right}; use one currency")]
    MixedCurrencies {
        /// The code of the first amount's currency.
        left: &'static str,
        /// The code of the second amount's currency.
        right: &'static str,
    },
    /// A price of zero or less.
    #[error("amount must be above zero")]
    NotAboveZero,
    /// A text that is not a decimal amount.
    #[error("amount must be a decimal such as 12.50")]
    NotDecimal,
    /// A decimal with more places than the currency has.
    #[error("amount has more decimal places than {currency} has; use at most {places}")]
    TooPrecise {
        /// The currency's code.
        currency: &'static str,
        /// How many places it has.
        places: u16,
    },
    /// A code that ISO 4217 does not know.
    #[error("currency must be an ISO 4217 code in capital letters, such as USD")]
    UnknownCurrency,
}

/// The largest amount, in minor units: 2^53 - 1, which every JSON reader holds exactly.
pub const AMOUNT_MAX: i64 = (1 << 53) - 1;

/// An amount of money, in minor units (cents) of a currency. It may be zero or negative; a [`Price`] may not.
///
/// On the wire: `{"amount": 129900, "currency": "USD"}`, the amount an integer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    amount: i64,
    currency: Currency,
}

impl Money {
    /// An amount in minor units.
    ///
    /// # Errors
    /// [`Error::Overflow`] beyond ±[`AMOUNT_MAX`].
    pub const fn new(amount: i64, currency: Currency) -> Result<Self, Error> {
        if amount > AMOUNT_MAX || amount < -AMOUNT_MAX {
            return Err(Error::Overflow);
        }
        Ok(Self { amount, currency })
    }

    /// Nothing, in a currency.
    pub const fn zero(currency: Currency) -> Self {
        Self { amount: 0, currency }
    }

    /// Reads major units exactly: `12.50` in USD is 1250. A point separates the decimals; nothing groups digits.
    ///
    /// # Errors
    /// [`Error::NotDecimal`], [`Error::TooPrecise`] unless the surplus places are zeros, [`Error::Overflow`].
    pub fn parse_major(text: &str, currency: Currency) -> Result<Self, Error> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return Err(Error::NotDecimal),
            Some(parts) => parts,
            None => (digits, ""),
        };
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return Err(Error::NotDecimal);
        }
        let places = usize::from(exponent(currency));
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > places {
            return Err(Error::TooPrecise {
                currency: currency.code(),
                places: exponent(currency),
            });
        }
        let amount = whole
            .bytes()
            .chain(fraction.bytes())
            .chain(std::iter::repeat_n(b'0', places - fraction.len()))
            .try_fold(0_i64, |amount, digit| {
                amount.checked_mul(10)?.checked_add(i64::from(digit - b'0'))
            })
            .ok_or(Error::Overflow)?;
        Self::new(if negative { -amount } else { amount }, currency)
    }

    /// The amount in minor units.
    pub const fn amount(self) -> i64 {
        self.amount
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// True for an amount of zero.
    pub const fn is_zero(self) -> bool {
        self.amount == 0
    }

    /// The sum.
    ///
    /// # Errors
    /// [`Error::MixedCurrencies`], [`Error::Overflow`].
    pub fn checked_add(self, other: Self) -> Result<Self, Error> {
        self.same_currency(other)?;
        // Two amounts of 53 bits cannot overflow 64.
        Self::new(self.amount + other.amount, self.currency)
    }

    /// The difference.
    ///
    /// # Errors
    /// [`Error::MixedCurrencies`], [`Error::Overflow`].
    pub fn checked_sub(self, other: Self) -> Result<Self, Error> {
        self.same_currency(other)?;
        Self::new(self.amount - other.amount, self.currency)
    }

    /// The amount, so many times.
    ///
    /// # Errors
    /// [`Error::Overflow`].
    pub fn checked_mul(self, times: impl Into<i64>) -> Result<Self, Error> {
        let amount = self.amount.checked_mul(times.into()).ok_or(Error::Overflow)?;
        Self::new(amount, self.currency)
    }

    /// The sum of amounts in one currency, and zero if there are none.
    ///
    /// # Errors
    /// [`Error::MixedCurrencies`], [`Error::Overflow`].
    pub fn checked_sum(currency: Currency, amounts: impl IntoIterator<Item = Self>) -> Result<Self, Error> {
        amounts.into_iter().try_fold(Self::zero(currency), Self::checked_add)
    }

    /// Which one is more.
    ///
    /// # Errors
    /// [`Error::MixedCurrencies`]: there is no order between currencies.
    pub fn checked_cmp(self, other: Self) -> Result<Ordering, Error> {
        self.same_currency(other)?;
        Ok(self.amount.cmp(&other.amount))
    }

    fn same_currency(self, other: Self) -> Result<(), Error> {
        if self.currency == other.currency {
            return Ok(());
        }
        Err(Error::MixedCurrencies {
            left: self.currency.code(),
            right: other.currency.code(),
        })
    }
}

/// How many decimal places the currency has. Those without minor units (gold, test codes) count whole units.
fn exponent(currency: Currency) -> u16 {
    currency.exponent().unwrap_or(0)
}

/// Major units with groups of three: `1,299.00 USD`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = usize::from(exponent(self.currency));
        let digits = format!("{:0>width$}", self.amount.unsigned_abs(), width = places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        let mut text = String::with_capacity(digits.len() + 12);
        if self.amount < 0 {
            text.push('-');
        }
        for (index, digit) in whole.chars().enumerate() {
            if index > 0 && (whole.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        if places > 0 {
            text.push('.');
            text.push_str(fraction);
        }
        text.push(' ');
        text.push_str(self.currency.code());
        f.pad(&text)
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(
    rename = "Money",
    deny_unknown_fields,
    expecting = "an object with `amount` and `currency`"
)]
struct Wire {
    amount: i64,
    #[serde(serialize_with = "write_currency", deserialize_with = "read_currency")]
    currency: Currency,
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire {
            amount: self.amount,
            currency: self.currency,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Wire { amount, currency } = Wire::deserialize(deserializer)?;
        Self::new(amount, currency).map_err(de::Error::custom)
    }
}

fn write_currency<S: Serializer>(currency: &Currency, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(currency.code())
}

/// Not the derived one of `iso_currency`, whose error lists 180 codes.
fn read_currency<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Currency, D::Error> {
    struct Visitor;

    impl de::Visitor<'_> for Visitor {
        type Value = Currency;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an ISO 4217 code such as USD")
        }

        fn visit_str<E: de::Error>(self, code: &str) -> Result<Currency, E> {
            Currency::from_code(code).ok_or_else(|| E::custom(Error::UnknownCurrency))
        }
    }

    deserializer.deserialize_str(Visitor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(amount: i64) -> Money {
        Money::new(amount, Currency::USD).unwrap()
    }

    #[test]
    fn the_wire_form_is_strict() {
        let json = r#"{"amount":129900,"currency":"USD"}"#;
        assert_eq!(serde_json::from_str::<Money>(json).unwrap(), usd(129_900));
        assert_eq!(serde_json::to_string(&usd(129_900)).unwrap(), json);
        for wrong in [
            r#"{"amount":1.0,"currency":"USD"}"#,
            r#"{"amount":"1","currency":"USD"}"#,
            r#"{"amount":1,"currency":"usd"}"#,
            r#"{"amount":1,"currency":"XYZ"}"#,
            r#"{"amount":1}"#,
            r#"{"amount":1,"currency":"USD","x":1}"#,
            r#"{"amount":9007199254740992,"currency":"USD"}"#,
            "12.5",
        ] {
            assert!(serde_json::from_str::<Money>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn arithmetic_stops_at_the_largest_exact_integer() {
        assert_eq!(usd(AMOUNT_MAX).checked_add(usd(1)), Err(Error::Overflow));
        assert_eq!(usd(-AMOUNT_MAX).checked_sub(usd(1)), Err(Error::Overflow));
        assert_eq!(usd(AMOUNT_MAX).checked_mul(2), Err(Error::Overflow));
        assert_eq!(usd(AMOUNT_MAX).checked_mul(i64::MAX), Err(Error::Overflow));
        assert_eq!(Money::new(i64::MIN, Currency::USD), Err(Error::Overflow));
        assert_eq!(usd(2).checked_mul(3), Ok(usd(6)));
        assert_eq!(Money::checked_sum(Currency::USD, [usd(1), usd(2)]), Ok(usd(3)));
    }

    #[test]
    fn currencies_do_not_mix() {
        let euro = Money::new(1, Currency::EUR).unwrap();
        let mixed = Error::MixedCurrencies {
            left: "USD",
            right: "EUR",
        };
        assert_eq!(usd(1).checked_add(euro), Err(mixed.clone()));
        assert_eq!(usd(1).checked_sub(euro), Err(mixed.clone()));
        assert_eq!(usd(1).checked_cmp(euro), Err(mixed));
        assert_eq!(usd(1).checked_cmp(usd(2)), Ok(Ordering::Less));
    }

    #[test]
    fn amounts_print_in_major_units() {
        assert_eq!(usd(129_900).to_string(), "1,299.00 USD");
        assert_eq!(usd(5).to_string(), "0.05 USD");
        assert_eq!(usd(-123_456_789).to_string(), "-1,234,567.89 USD");
        assert_eq!(Money::new(1500, Currency::JPY).unwrap().to_string(), "1,500 JPY");
        assert_eq!(Money::new(1500, Currency::KWD).unwrap().to_string(), "1.500 KWD");
        assert_eq!(format!("{:>10}", usd(5)), "  0.05 USD");
    }

    #[test]
    fn decimals_are_read_exactly() {
        let parse = |text| Money::parse_major(text, Currency::USD);
        assert_eq!(parse("12.50"), Ok(usd(1250)));
        assert_eq!(parse("12.5"), Ok(usd(1250)));
        assert_eq!(parse("12"), Ok(usd(1200)));
        assert_eq!(parse("-0.01"), Ok(usd(-1)));
        assert_eq!(parse("2.5500"), Ok(usd(255)));
        assert_eq!(
            parse("2.555"),
            Err(Error::TooPrecise {
                currency: "USD",
                places: 2
            })
        );
        for wrong in ["", "-", ".5", "5.", "1,5", "1e3", " 1", "+1", "1.-5", "--1", "१"] {
            assert_eq!(parse(wrong), Err(Error::NotDecimal), "{wrong}");
        }
        assert_eq!(parse("99999999999999999999"), Err(Error::Overflow));
        assert_eq!(
            Money::parse_major("1500", Currency::JPY),
            Money::new(1500, Currency::JPY)
        );
    }
}
