//! Lists of a bounded length in a request.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// A list that is too short or too long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must have {min} to {max} entries")]
pub struct Error {
    /// The fewest entries.
    pub min: usize,
    /// The most entries.
    pub max: usize,
}

/// A list of `MIN` to `MAX` entries. It reads like a slice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    try_from = "Vec<T>",
    into = "Vec<T>",
    bound(serialize = "T: Serialize + Clone", deserialize = "T: Deserialize<'de>")
)]
pub struct List<T, const MIN: usize, const MAX: usize>(Vec<T>);

impl<T, const MIN: usize, const MAX: usize> List<T, MIN, MAX> {
    /// The entries, without a copy.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

/// The empty list, where it is allowed.
impl<T, const MAX: usize> Default for List<T, 0, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MIN: usize, const MAX: usize> TryFrom<Vec<T>> for List<T, MIN, MAX> {
    type Error = Error;

    fn try_from(entries: Vec<T>) -> Result<Self, Error> {
        if (MIN..=MAX).contains(&entries.len()) {
            Ok(Self(entries))
        } else {
            Err(Error { min: MIN, max: MAX })
        }
    }
}

impl<T, const MIN: usize, const MAX: usize> From<List<T, MIN, MAX>> for Vec<T> {
    fn from(list: List<T, MIN, MAX>) -> Self {
        list.0
    }
}

impl<T, const MIN: usize, const MAX: usize> Deref for List<T, MIN, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const MIN: usize, const MAX: usize> IntoIterator for List<T, MIN, MAX> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T, const MIN: usize, const MAX: usize> IntoIterator for &'a List<T, MIN, MAX> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_to_its_length() {
        type Lines = List<u8, 1, 2>;
        assert_eq!(serde_json::from_str::<Lines>("[1,2]").unwrap().iter().sum::<u8>(), 3);
        for wrong in ["[]", "[1,2,3]"] {
            let error = serde_json::from_str::<Lines>(wrong).unwrap_err().to_string();
            assert_eq!(error, "must have 1 to 2 entries");
        }
    }
}
