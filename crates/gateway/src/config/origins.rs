//! Origins of web pages (RFC 6454), for CORS.

use http::{HeaderValue, Uri};
use serde::{Deserialize, Serialize};

/// Whose web pages may call the API from a browser.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub enum Origins {
    /// Nobody's; answers have no CORS headers at all.
    #[default]
    None,
    /// Those of these origins.
    Listed(Vec<HeaderValue>),
    /// Anybody's: `["*"]`. Safe as far as the API goes, since browsers send no token by themselves.
    Any,
}

/// A text that is no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` must be an origin as browsers send it, such as `https://shop.example`, or `*` alone")]
pub struct InvalidOrigin(String);

impl TryFrom<Vec<String>> for Origins {
    type Error = InvalidOrigin;

    fn try_from(origins: Vec<String>) -> Result<Self, InvalidOrigin> {
        match origins.as_slice() {
            [] => Ok(Self::None),
            [any] if any == "*" => Ok(Self::Any),
            _ => origins
                .into_iter()
                .map(origin)
                .collect::<Result<_, _>>()
                .map(Self::Listed),
        }
    }
}

/// The scheme, the host and perhaps a port, in lower case; no path, no user.
fn origin(text: String) -> Result<HeaderValue, InvalidOrigin> {
    let is_origin = text.parse::<Uri>().is_ok_and(|uri| {
        let parts = uri.scheme_str().zip(uri.authority());
        parts.is_some_and(|(scheme, authority)| {
            format!("{scheme}://{authority}") == text && !authority.as_str().contains('@')
        })
    });
    let lower_case = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    match HeaderValue::from_str(&text) {
        Ok(value) if is_origin && lower_case => Ok(value),
        _ => Err(InvalidOrigin(text)),
    }
}

impl From<Origins> for Vec<String> {
    fn from(origins: Origins) -> Self {
        match origins {
            Origins::None => Self::new(),
            Origins::Listed(origins) => origins
                .iter()
                .filter_map(|origin| origin.to_str().ok())
                .map(str::to_owned)
                .collect(),
            Origins::Any => vec!["*".to_owned()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(origins: &[&str]) -> Result<Origins, InvalidOrigin> {
        origins
            .iter()
            .map(|&origin| origin.to_owned())
            .collect::<Vec<_>>()
            .try_into()
    }

    #[test]
    fn origins_are_written_as_browsers_send_them() {
        assert_eq!(read(&[]), Ok(Origins::None));
        assert_eq!(read(&["*"]), Ok(Origins::Any));
        let listed = ["https://shop.example", "http://localhost:5173", "http://[::1]:8080"];
        assert_eq!(Vec::from(read(&listed).unwrap()), listed);
        for wrong in [
            "",
            "shop.example",
            "https://shop.example/",
            "https://Shop.example",
            "https://a@shop.example",
            "null",
        ] {
            assert_eq!(read(&[wrong]), Err(InvalidOrigin(wrong.to_owned())));
        }
        assert!(read(&["*", "https://shop.example"]).is_err());
    }
}
