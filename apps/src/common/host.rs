//! Host and port of a request (RFC 9110, section 7.2; RFC 3986, section 3.2).

use std::net::Ipv6Addr;

/// Says whether it is one host, perhaps with a port, and nothing else. An empty one is not: all
/// that is served here has one.
pub(crate) fn is_valid(value: &[u8]) -> bool {
    let port = match value.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = rest.iter().position(|b| *b == b']') else { return false };
            if !is_address(&rest[..end]) {
                return false;
            }
            &rest[end + 1..]
        }
        None => {
            let end = value.iter().position(|b| *b == b':').unwrap_or(value.len());
            if !is_name(&value[..end]) {
                return false;
            }
            &value[end..]
        }
    };
    port.is_empty() || port.strip_prefix(b":").is_some_and(is_port)
}

/// That of a target in the absolute form; `None`: it has none, as it is a path.
pub(crate) fn of_target(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    let is_scheme = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    is_scheme.then(|| rest.split(['/', '?', '#']).next().unwrap_or_default())
}

/// An address of version 6; of a version to come.
fn is_address(text: &[u8]) -> bool {
    let text = std::str::from_utf8(text).unwrap_or_default();
    match text.strip_prefix(['v', 'V']).map(|text| text.split_once('.')) {
        None => text.parse::<Ipv6Addr>().is_ok(),
        Some(None) => false,
        Some(Some((version, address))) => {
            let is_plain = |b: u8| is_unreserved(b) || is_delimiter(b) || b == b':';
            !version.is_empty()
                && version.bytes().all(|b| b.is_ascii_hexdigit())
                && !address.is_empty()
                && address.bytes().all(is_plain)
        }
    }
}

/// A registered name, or an address of version 4. A comma is none of one name, whatever the grammar
/// says: it is there when two fields were joined.
fn is_name(name: &[u8]) -> bool {
    let hex = |at: usize| name.get(at).is_some_and(u8::is_ascii_hexdigit);
    let is_part = |(at, b): (usize, &u8)| match b {
        b',' => false,
        b'%' => hex(at + 1) && hex(at + 2),
        b => is_unreserved(*b) || is_delimiter(*b),
    };
    !name.is_empty() && name.iter().enumerate().all(is_part)
}

fn is_port(digits: &[u8]) -> bool {
    let is_number = digits.iter().all(u8::is_ascii_digit);
    // There may be none behind the colon.
    is_number && std::str::from_utf8(digits).is_ok_and(|d| d.is_empty() || d.parse::<u16>().is_ok())
}

fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

fn is_delimiter(b: u8) -> bool {
    matches!(b, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

/// A host without the port that may stand behind it. It is one that is valid.
pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // The colons of an address of IPv6 stand in brackets.
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in [
            "a",
            "a:80",
            "a:",
            "example.org",
            "under_score",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:8443",
            "[v1.x:y]",
            "b%C3%BCro",
            "xn--bcher-kva.example",
        ] {
            assert!(is_valid(good.as_bytes()), "{good}");
        }
        for bad in [
            "", " ", "a b", "a/b", "u@a", "a,b", "a:b", "a:1:2", ":80", "[::1", "::1", "[]", "[a]",
            "a?b", "a#b", "a%", "a%2", "a\\b", "<a>", "\"a\"", "[::1]x", "a:65536", "a:-1", "ä",
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn hosts_of_targets() {
        assert_eq!(of_target("/a://b"), None);
        assert_eq!(of_target("http://a:1/b"), Some("a:1"));
        assert_eq!(of_target("http://a?b"), Some("a"));
        assert_eq!(of_target("http:///b"), Some(""));
        assert_eq!(of_target("*"), None);
    }
}
