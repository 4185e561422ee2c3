//! From a request's target to a path below the folder that is served.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

/// The path that a target names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WebPath {
    /// The decoded path without slashes at its ends. It is empty for the folder itself.
    pub(crate) relative: Vec<u8>,
    /// Whether the path ended with a slash.
    pub(crate) is_folder: bool,
}

/// The reason why a target is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadPath {
    /// The target is not an HTTP path.
    Malformed,
    /// The path leads out of the folder, or hides a slash in a component.
    Outside,
}

/// The characters that are not escaped in a path that the server writes.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// Splits a target into its path and its query.
pub(crate) fn split(target: &str) -> Option<(&str, Option<&str>)> {
    // The absolute form, as a proxy sends it: the path begins after the authority.
    let path = match target.split_once("://") {
        Some((scheme, rest))
            if ["http", "https"].iter().any(|s| scheme.eq_ignore_ascii_case(s)) =>
        {
            match rest.find(['/', '?']) {
                Some(at) if rest[at..].starts_with('/') => &rest[at..],
                _ => return Some(("/", None)),
            }
        }
        _ => target,
    };
    let path = path.split('#').next().unwrap_or_default();
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    path.starts_with('/').then_some((path, query))
}

/// Parses the command line's prefix of all URLs: an empty text, or a path without a slash at its
/// end and without characters that would have to be escaped.
pub(crate) fn prefix(text: &str) -> Result<String, String> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let is_good = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
    };
    match text.strip_prefix('/') {
        Some(rest) if rest.split('/').all(is_good) => Ok(text.to_owned()),
        None if text.is_empty() => Ok(String::new()),
        _ => Err("a path such as /files, of letters, digits, dots and hyphens".to_owned()),
    }
}

/// Decodes a path.
///
/// Empty and `.` components are dropped.
///
/// # Errors
///
/// Returns an error for a `..` component, for one that decodes to a NUL, and for one that hides a
/// slash.
pub(crate) fn decode(path: &str) -> Result<WebPath, BadPath> {
    let mut relative = Vec::with_capacity(path.len());
    for raw in path.split('/') {
        if !is_well_escaped(raw) {
            return Err(BadPath::Malformed);
        }
        let start = relative.len();
        if start > 0 {
            relative.push(b'/');
        }
        let from = relative.len();
        relative.extend(percent_decode(raw.as_bytes()));
        match &relative[from..] {
            b"" | b"." => relative.truncate(start),
            b".." => return Err(BadPath::Outside),
            part if part.contains(&0) => return Err(BadPath::Malformed),
            part if part.contains(&b'/') => return Err(BadPath::Outside),
            _ => {}
        }
    }
    let last = path.rsplit('/').next().unwrap_or_default();
    Ok(WebPath { relative, is_folder: matches!(last, "" | ".") })
}

fn is_well_escaped(raw: &str) -> bool {
    let hex = |b: Option<&u8>| b.is_some_and(u8::is_ascii_hexdigit);
    let bytes = raw.as_bytes();
    bytes
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'%')
        .all(|(at, _)| hex(bytes.get(at + 1)) && hex(bytes.get(at + 2)))
}

/// Returns a path, of any bytes, as it is written in a URL.
pub(crate) fn encode(relative: &[u8]) -> impl std::fmt::Display {
    percent_encode(relative, PLAIN)
}

/// Returns a name as it is written in a header field (RFC 8187): everything except letters and
/// digits is escaped.
pub(crate) fn encode_component(name: &[u8]) -> impl std::fmt::Display {
    percent_encode(name, NON_ALPHANUMERIC)
}

/// Returns the path of a folder as a redirect names it. It begins with exactly one slash, so it
/// never names another host.
pub(crate) fn folder_location(relative: &[u8], query: Option<&str>) -> String {
    let path = encode(relative);
    let end = if relative.is_empty() { "" } else { "/" };
    match query {
        Some(query) => format!("/{path}{end}?{query}"),
        None => format!("/{path}{end}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(path: &str) -> (String, bool) {
        let p = decode(path).unwrap();
        (String::from_utf8(p.relative).unwrap(), p.is_folder)
    }

    #[test]
    fn paths_are_decoded_and_cleaned() {
        assert_eq!(ok("/"), (String::new(), true));
        assert_eq!(ok("/a/b.html"), ("a/b.html".into(), false));
        assert_eq!(ok("/a/b/"), ("a/b".into(), true));
        assert_eq!(ok("//a///b"), ("a/b".into(), false));
        assert_eq!(ok("/./a/./b/."), ("a/b".into(), true));
        assert_eq!(ok("/with%20space%3F"), ("with space?".into(), false));
        assert_eq!(ok("/%C3%A4"), ("ä".into(), false));
        assert_eq!(ok("/..."), ("...".into(), false));
    }

    #[test]
    fn paths_that_lead_out_or_lie_are_refused() {
        for path in ["/..", "/a/../b", "/%2e%2e/x", "/.%2E", "/a/%2e./", "/a%2Fb", "/%2f", "/..%2f"]
        {
            assert_eq!(decode(path), Err(BadPath::Outside), "{path}");
        }
        for path in ["/%00", "/a%00.html", "/%", "/%2", "/%zz", "/a%g0"] {
            assert_eq!(decode(path), Err(BadPath::Malformed), "{path}");
        }
    }

    #[test]
    fn targets_are_split() {
        assert_eq!(split("/a?b=c?d"), Some(("/a", Some("b=c?d"))));
        assert_eq!(split("/a"), Some(("/a", None)));
        assert_eq!(split("http://host:80/a?b"), Some(("/a", Some("b"))));
        assert_eq!(split("HTTP://host"), Some(("/", None)));
        assert_eq!(split("/a#b?c"), Some(("/a", None)));
        assert_eq!(split("*"), None);
        assert_eq!(split("a/b"), None);
        assert_eq!(split(""), None);
    }

    #[test]
    fn a_redirect_stays_on_its_host() {
        assert_eq!(folder_location(b"a b/c", None), "/a%20b/c/");
        assert_eq!(folder_location(b"a", Some("x=1")), "/a/?x=1");
        assert_eq!(folder_location(b"", None), "/");
        let evil = decode("//evil.example/..;").unwrap();
        assert_eq!(folder_location(&evil.relative, None), "/evil.example/..%3B/");
        assert_eq!(folder_location(b"\xff", None), "/%FF/");
        assert_eq!(folder_location(b"a\r\nb", None), "/a%0D%0Ab/");
    }
}
