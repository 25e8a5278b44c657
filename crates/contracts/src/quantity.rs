//! How many: of an order line, of a stock.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

/// A number that is not a sound quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number from {min} to {max}, without a decimal point")]
pub struct Error {
    /// The smallest number allowed.
    pub min: i64,
    /// The largest number allowed.
    pub max: i64,
}

macro_rules! whole_numbers {
    ($(#[$doc:meta])* $Name:ident($Int:ty) $min:literal ..= $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub struct $Name($Int);

        impl $Name {
            /// The smallest one.
            pub const MIN: Self = Self($min);
            /// The largest one.
            pub const MAX: Self = Self($max);

            /// The number.
            pub const fn get(self) -> $Int {
                self.0
            }

            fn from_integer(number: impl TryInto<$Int>) -> Result<Self, Error> {
                match number.try_into() {
                    Ok(number) if ($min..=$max).contains(&number) => Ok(Self(number)),
                    _ => Err(Error { min: $min, max: $max }),
                }
            }
        }

        impl TryFrom<i64> for $Name {
            type Error = Error;

            fn try_from(number: i64) -> Result<Self, Error> {
                Self::from_integer(number)
            }
        }

        impl TryFrom<u64> for $Name {
            type Error = Error;

            fn try_from(number: u64) -> Result<Self, Error> {
                Self::from_integer(number)
            }
        }

        impl From<$Name> for $Int {
            fn from(number: $Name) -> Self {
                number.0
            }
        }

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        /// Any JSON number is looked at, so that the answer to a wrong one says what is right.
        impl<'de> Deserialize<'de> for $Name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;

                impl de::Visitor<'_> for Visitor {
                    type Value = $Name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "a whole number from {} to {}", $Name::MIN, $Name::MAX)
                    }

                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                        $Name::from_integer(number).map_err(E::custom)
                    }

                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                        $Name::from_integer(number).map_err(E::custom)
                    }

                    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
                        Err(E::custom(Error { min: $min, max: $max }))
                    }
                }

                deserializer.deserialize_any(Visitor)
            }
        }
    };
}

whole_numbers! {
    /// How many pieces an order line asks for: 1 to 1,000,000.
    Quantity(u32) 1 ..= 1_000_000
}

whole_numbers! {
    /// How many pieces lie in the warehouse: 0 to 10^12.
    OnHand(u64) 0 ..= 1_000_000_000_000
}

whole_numbers! {
    /// By how many pieces a stock changes: up to 10^12 either way.
    Delta(i64) -1_000_000_000_000 ..= 1_000_000_000_000
}

impl From<Quantity> for u64 {
    fn from(quantity: Quantity) -> Self {
        quantity.0.into()
    }
}

impl From<Quantity> for i64 {
    fn from(quantity: Quantity) -> Self {
        quantity.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_is_1_to_1_000_000() {
        for good in [1_i64, 2, 1_000_000] {
            let quantity = Quantity::try_from(good).unwrap();
            assert_eq!(i64::from(quantity), good);
            let json = serde_json::to_string(&quantity).unwrap();
            assert_eq!(serde_json::from_str::<Quantity>(&json).unwrap(), quantity);
        }
        for wrong in [0, -1, 1_000_001, i64::MIN, i64::MAX] {
            assert_eq!(Quantity::try_from(wrong), Err(Error { min: 1, max: 1_000_000 }));
        }
    }

    #[test]
    fn any_other_number_is_answered_with_the_range() {
        for wrong in [
            "0",
            "-1",
            "1000001",
            "4294967297",
            "18446744073709551615",
            "1e30",
            "-1e30",
            "1.5",
            "2.0",
        ] {
            let error = serde_json::from_str::<Quantity>(wrong).unwrap_err().to_string();
            assert!(
                error.starts_with("must be a whole number from 1 to 1000000, without"),
                "{wrong}: {error}"
            );
        }
        for wrong in ["\"2\"", "null", "true", "[]"] {
            let error = serde_json::from_str::<Quantity>(wrong).unwrap_err().to_string();
            assert!(
                error.contains("expected a whole number from 1 to 1000000"),
                "{wrong}: {error}"
            );
        }
    }

    #[test]
    fn a_stock_is_never_negative_and_a_change_may_be() {
        assert!(serde_json::from_str::<OnHand>("0").is_ok());
        assert!(serde_json::from_str::<OnHand>("-1").is_err());
        assert_eq!(serde_json::from_str::<Delta>("-5").unwrap().get(), -5);
        assert!(serde_json::from_str::<Delta>("-1000000000001").is_err());
    }
}
