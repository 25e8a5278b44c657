//! What the URLs of brokers have in common.

/// `host` or `host:port`, of which the name keeps an IPv6 address's brackets.
#[must_use]
pub fn host_and_port(host: &str, port_default: u16) -> Option<(&str, u16)> {
    let (name, port) = match host.rsplit_once(':') {
        // The colons of an IPv6 address are inside brackets.
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()?),
        _ => (host, port_default),
    };
    let is_bracketed = name.starts_with('[') && name.ends_with(']');
    let inner = name.trim_start_matches('[').trim_end_matches(']');
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte) || (is_bracketed && byte == b':');
    let is_name = !inner.is_empty() && inner.bytes().all(fits);
    is_name.then_some((name, port))
}

/// With `%3A` and the like read as what they stand for.
#[must_use]
pub fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        // A sign would be read as part of a number.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// With all that may mean something in a URL written as `%3A` and the like.
#[must_use]
pub fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
    let written = text.bytes().map(|byte| match is_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    written.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_with_percent_signs_is_read() {
        assert_eq!(decoded("a%3An%2f%F0%9F%A6%80").as_deref(), Some("a:n/🦀"));
        for wrong in ["%", "%4", "%+4", "%zz", "%ff", "%é"] {
            assert_eq!(decoded(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_written_with_percent_signs_is_read_as_it_was() {
        assert_eq!(encoded("/a b/%&?🦀"), "/a%20b/%25%26%3F%F0%9F%A6%80");
        for text in ["", "SHOP", "a:n/🦀 100 %", "x&y=z#"] {
            assert_eq!(decoded(&encoded(text)).as_deref(), Some(text));
        }
    }

    #[test]
    fn a_host_may_have_a_port() {
        for (host, expected) in [
            ("broker", Some(("broker", 1))),
            ("broker:4333", Some(("broker", 4333))),
            ("[::1]", Some(("[::1]", 1))),
            ("[::1]:4333", Some(("[::1]", 4333))),
            ("", None),
            ("a b", None),
            ("::1", None),
            ("broker:port", None),
            ("broker:99999", None),
        ] {
            assert_eq!(host_and_port(host, 1), expected, "{host}");
        }
    }
}
