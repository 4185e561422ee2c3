//! The host and the port of a request (RFC 9110, section 7.2; RFC 3986, section 3.2).

use std::net::Ipv6Addr;

/// Returns `true` if the value is one host, with or without a port, and nothing else. An empty
/// value is invalid, because every resource that is served here has a host.
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

/// Returns the host of a target in absolute form, or `None` if the target is a path.
pub(crate) fn of_target(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    let is_scheme = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    is_scheme.then(|| rest.split(['/', '?', '#']).next().unwrap_or_default())
}

/// Returns `true` if the text is an address of IPv6, or of a later version (RFC 3986's
/// `IPvFuture`).
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

/// Returns `true` for a registered name or an IPv4 address. A comma is refused, although the
/// grammar allows it, because it shows that two fields were joined.
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
    // The digits after the colon may be missing.
    is_number && std::str::from_utf8(digits).is_ok_and(|d| d.is_empty() || d.parse::<u16>().is_ok())
}

fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

fn is_delimiter(b: u8) -> bool {
    matches!(b, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

/// Returns a valid host without its port, if it has one.
pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // The colons of an IPv6 address are inside brackets.
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
