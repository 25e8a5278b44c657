//! PATCH: an absent field stays, `null` clears it, a value sets it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a PATCH says about a field that may be empty.
///
/// Declare it with `#[serde(default, skip_serializing_if = "Patch::is_keep")]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// The field is absent: it stays as it is.
    #[default]
    Keep,
    /// The field is `null`: it becomes empty.
    Clear,
    /// The field has a value: it becomes that.
    Set(T),
}

impl<T> Patch<T> {
    /// True if the field stays as it is.
    pub const fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// What the field becomes: `None` if it stays, `Some(None)` if it is cleared.
    pub fn into_option(self) -> Option<Option<T>> {
        match self {
            Self::Keep => None,
            Self::Clear => Some(None),
            Self::Set(value) => Some(Some(value)),
        }
    }

    /// Does to the field what the PATCH says, and tells whether that changed it.
    pub fn apply(self, field: &mut Option<T>) -> bool
    where
        T: PartialEq,
    {
        let Some(new) = self.into_option() else {
            return false;
        };
        if *field == new {
            return false;
        }
        *field = new;
        true
    }
}

impl<T: Serialize> Serialize for Patch<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Keep | Self::Clear => serializer.serialize_none(),
            Self::Set(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Option::deserialize(deserializer)? {
            None => Self::Clear,
            Some(value) => Self::Set(value),
        })
    }
}

/// Reads a field of a PATCH that must not be empty: absent stays (`None`), and `null` is refused.
///
/// Declare it with `#[serde(default, deserialize_with = "patch::required")]` on an `Option<T>`.
///
/// # Errors
/// Those of `T`.
pub fn required<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Update {
        #[serde(default, skip_serializing_if = "Patch::is_keep")]
        phone: Patch<String>,
        #[serde(default, deserialize_with = "required", skip_serializing_if = "Option::is_none")]
        email: Option<String>,
    }

    #[test]
    fn absent_null_and_a_value_are_told_apart() {
        for (json, phone) in [
            ("{}", Patch::Keep),
            (r#"{"phone":null}"#, Patch::Clear),
            (r#"{"phone":"1"}"#, Patch::Set("1".to_owned())),
        ] {
            let update: Update = serde_json::from_str(json).unwrap();
            assert_eq!(update.phone, phone);
            assert_eq!(serde_json::to_string(&update).unwrap(), json);
        }
    }

    #[test]
    fn null_is_refused_where_a_value_is_required() {
        assert!(serde_json::from_str::<Update>(r#"{"email":null}"#).is_err());
        assert_eq!(serde_json::from_str::<Update>("{}").unwrap().email, None);
    }

    #[test]
    fn applying_tells_whether_something_changed() {
        let mut field = Some(1);
        assert!(!Patch::Keep.apply(&mut field));
        assert!(!Patch::Set(1).apply(&mut field));
        assert!(Patch::Set(2).apply(&mut field));
        assert!(Patch::Clear.apply(&mut field));
        assert!(!Patch::Clear.apply(&mut field));
        assert_eq!(field, None);
    }
}
