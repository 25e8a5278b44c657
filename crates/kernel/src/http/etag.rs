//! `ETag` and `If-Match` (RFC 9110, sections 8.8.3 and 13.1.1): a resource's version, and a change on condition of it.

use axum::extract::FromRequestParts;
use contracts::{Code, Problem};
use http::header::{HeaderValue, IF_MATCH};
use http::request::Parts;

use super::failure::{Failure, invalid};

/// The entity tag of a version: `"7"`.
#[must_use]
pub fn etag(version: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).expect("digits and quotes are visible ASCII")
}

/// Extractor of `If-Match`. Pass it into the decision and [`check`](IfMatch::check) it there, where the version is
/// known for certain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IfMatch {
    /// No condition.
    #[default]
    Absent,
    /// `*`: the resource must exist, whatever its version.
    Any,
    /// It must have one of these versions. Weak and foreign tags are left out, since they match none.
    Versions(Vec<u64>),
}

impl IfMatch {
    /// 412 `stale-version` unless the resource's version is one that the client named.
    pub fn check(&self, version: u64) -> Result<(), Problem> {
        match self {
            Self::Absent | Self::Any => Ok(()),
            Self::Versions(versions) if versions.contains(&version) => Ok(()),
            Self::Versions(_) => Err(Code::StaleVersion.into()),
        }
    }

    /// The condition of a header's value; `None` if it is neither `*` nor a list of entity tags.
    fn parse(value: &str) -> Option<Self> {
        if value.trim() == "*" {
            return Some(Self::Any);
        }
        let mut versions = Vec::new();
        let mut rest = value.trim_matches([' ', '\t', ',']);
        loop {
            let weak = rest.starts_with("W/");
            let opaque = if weak { &rest[2..] } else { rest }.strip_prefix('"')?;
            let (tag, after) = opaque.split_once('"')?;
            // Tags compare byte for byte: `"007"` is a foreign one.
            let version = tag.parse().ok().filter(|version: &u64| version.to_string() == tag);
            versions.extend(version.filter(|_| !weak));
            let next = after.trim_start_matches([' ', '\t']);
            if next.is_empty() {
                return Some(Self::Versions(versions));
            }
            rest = next.strip_prefix(',')?.trim_start_matches([' ', '\t', ',']);
        }
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let mut condition = Self::Absent;
        for value in parts.headers.get_all(IF_MATCH) {
            let parsed = value.to_str().ok().and_then(Self::parse);
            let parsed = parsed.ok_or_else(|| invalid("If-Match", "must be an ETag in its quotes, such as \"7\""))?;
            condition = match (condition, parsed) {
                (Self::Versions(mut all), Self::Versions(more)) => {
                    all.extend(more);
                    Self::Versions(all)
                }
                (Self::Any, _) | (_, Self::Any) => Self::Any,
                (_, parsed) => parsed,
            };
        }
        Ok(condition)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn extract(values: &[&str]) -> Result<IfMatch, Failure> {
        let mut request = http::Request::new(());
        for value in values {
            request.headers_mut().append(IF_MATCH, value.parse().unwrap());
        }
        IfMatch::from_request_parts(&mut request.into_parts().0, &()).await
    }

    #[tokio::test]
    async fn a_condition_holds_for_the_versions_it_names() {
        for (values, holds) in [
            (&[][..], true),
            (&["*"], true),
            (&["\"7\""], true),
            (&["\"6\", \"7\""], true),
            (&["\"6\"", "\"7\""], true),
            (&["\"a,b\",\t\"7\" "], true),
            (&["\"6\""], false),
            (&["\"77\""], false),
            (&["W/\"7\""], false),
            (&["\"007\""], false),
            (&["\"+7\""], false),
            (&["\"\""], false),
            (&["\"abc\""], false),
        ] {
            let condition = extract(values).await.unwrap();
            assert_eq!(condition.check(7).is_ok(), holds, "{values:?}");
        }
        assert_eq!(
            extract(&["\"6\""]).await.unwrap().check(7).unwrap_err().code,
            Code::StaleVersion
        );
    }

    #[tokio::test]
    async fn what_is_no_entity_tag_is_refused() {
        for wrong in ["7", "\"7", "7\"", "\"6\" \"7\"", "w/\"7\"", "\"7\", 8", ""] {
            let refused = extract(&[wrong]).await.unwrap_err();
            assert_eq!(refused.problem().code, Code::Invalid, "{wrong}");
        }
    }

    #[test]
    fn an_etag_is_the_version_in_quotes() {
        assert_eq!(etag(u64::MAX), "\"18446744073709551615\"");
    }

    /// An entity tag, well-formed or not, perhaps with what parts it from the next.
    fn tag() -> impl Strategy<Value = String> {
        prop_oneof![
            6 => (0..9_u64).prop_map(|version| format!("\"{version}\"")),
            3 => "\"[+0]{0,2}[0-9]?[a, ]?\"",
            1 => "W/\"[0-9]{1,2}\"",
            1 => "[\"W/*0-9 ,]{0,4}",
        ]
    }

    proptest! {
        /// Entity tags compare byte for byte, whatever number may be in them.
        #[test]
        fn a_condition_names_a_version_only_by_its_own_etag(
            tags in prop::collection::vec(tag(), 0..4),
            separator in prop::sample::select(vec![",", ", ", " ,\t", ",,", ";"]),
        ) {
            let header = tags.join(separator);
            let Some(condition) = IfMatch::parse(&header) else { return Ok(()) };
            for version in 0..100_u64 {
                let named = header.split([',', ' ', '\t']).any(|member| etag(version) == member);
                let holds = condition.check(version).is_ok() && condition != IfMatch::Any;
                prop_assert!(!holds || named, "{header} named {version}");
            }
        }

        #[test]
        fn a_list_of_etags_names_just_these(
            versions in prop::collection::vec(any::<u64>(), 1..5),
            other in any::<u64>(),
        ) {
            let tags: Vec<_> = versions.iter().map(|version| etag(*version)).collect();
            let header: Vec<_> = tags.iter().map(|tag| tag.to_str().unwrap()).collect();
            prop_assert_eq!(IfMatch::parse(&header.join(", ")), Some(IfMatch::Versions(versions.clone())));
            let condition = IfMatch::Versions(versions.clone());
            prop_assert_eq!(condition.check(other).is_ok(), versions.contains(&other));
        }
    }
}
