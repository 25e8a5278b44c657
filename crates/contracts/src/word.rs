//! Enums whose variants are stable words, in text, in JSON and in query strings alike.

/// A word that is not one of those allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be one of: {}", self.allowed.join(", "))]
pub struct Error {
    /// The words that are allowed.
    pub allowed: &'static [&'static str],
}

/// Generates such an enum: `ALL`, `as_str`, `Display`, and one parser shared by `FromStr` and serde.
macro_rules! words {
    ($(#[$doc:meta])* pub enum $Name:ident { $($(#[$variant_doc:meta])* $Variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $Name { $($(#[$variant_doc])* $Variant,)+ }

        impl $Name {
            /// All of them, in order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$Variant,)+];

            /// The word on the wire and in the store. Permanent.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$Variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $Name {
            type Err = $crate::word::Error;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$Variant),)+
                    _ => Err($crate::word::Error { allowed: &[$($word,)+] }),
                }
            }
        }

        impl serde::Serialize for $Name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $Name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;

                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $Name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("one of", $(" `", $word, "`",)+))
                    }

                    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Self::Value, E> {
                        word.parse().map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(Visitor)
            }
        }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use crate::order::OrderStatus;

    #[test]
    fn words_read_back_in_text_and_json() {
        for &status in OrderStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
            let json = serde_json::to_string(&status).unwrap();
            assert_eq!(json, format!("\"{status}\""));
            assert_eq!(serde_json::from_str::<OrderStatus>(&json).unwrap(), status);
        }
    }

    #[test]
    fn another_word_is_answered_with_the_ones_allowed() {
        let error = "Paid".parse::<OrderStatus>().unwrap_err().to_string();
        assert_eq!(
            error,
            "must be one of: pending, confirmed, rejected, paid, fulfilled, cancelled, expired, refunded"
        );
    }
}
