//! Fields of responses that do not follow from the file: for caches, for the safety of browsers,
//! and the operator's own.
//!
//! They depend only on the path, so a cached page has them ready.

use std::fmt::Write;
use std::path::Path;

use http::{HeaderName, HeaderValue, header};

/// The default fields, which the operator may override.
///
/// A browser revalidates what it has on each use, which costs no body. It takes the media type as
/// given, and tells other sites only the origin of a visitor.
const DEFAULTS: [(HeaderName, HeaderValue); 3] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin")),
];

/// The field that makes browsers use only TLS for this host, for a year (RFC 6797).
const STRICT: (HeaderName, HeaderValue) =
    (header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));

/// The fields that follow from the file and the request. The operator cannot set them.
const OURS: [HeaderName; 12] = [
    header::ACCEPT_RANGES,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::DATE,
    header::ETAG,
    header::LAST_MODIFIED,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::VARY,
];

/// The rules for fields of responses; see the module.
#[derive(Debug, Default)]
pub(super) struct Policy {
    rules: Vec<Rule>,
    /// The sites whose scripts may read what is served: `*`, or an origin.
    shared_with: Option<HeaderValue>,
    /// Whether browsers are told to use only TLS.
    is_strict: bool,
}

/// The fields of a file; see [`Policy::of_file`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileFields {
    /// The media type, if the operator has set it.
    pub(super) kind: Option<String>,
    /// The other fields, as lines of a head.
    pub(super) lines: String,
}

#[derive(Debug)]
struct Rule {
    pattern: Pattern,
    /// The fields and their values; a field with no value is removed.
    fields: Vec<(HeaderName, Option<HeaderValue>)>,
}

/// A pattern of paths, in which `*` stands for any text. A pattern that begins with a slash is
/// compared with the whole path, and any other pattern with the path's last part.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern(String);

impl Policy {
    /// Returns the fields of the file at this path, which does not begin with a slash.
    pub(super) fn of_file(&self, path: &[u8]) -> FileFields {
        let mut all = self.defaults();
        for rule in self.rules.iter().filter(|rule| rule.pattern.matches_file(path)) {
            // The rule replaces fields of earlier rules. If it has a name several times, all of
            // these lines are kept.
            all.retain(|(name, _)| rule.fields.iter().all(|(other, _)| other != name));
            for (name, value) in &rule.fields {
                all.extend(value.clone().map(|value| (name.clone(), value)));
            }
        }
        let kind = all.extract_if(.., |(name, _)| *name == header::CONTENT_TYPE).last();
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        FileFields { kind: kind.map(|(_, value)| text(&value)), lines: lines(&all) }
    }

    fn defaults(&self) -> Vec<(HeaderName, HeaderValue)> {
        let shared = |origin: &HeaderValue| (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let strict = self.is_strict.then_some(STRICT);
        DEFAULTS.into_iter().chain(self.shared_with.iter().map(shared)).chain(strict).collect()
    }

    /// Returns the fields of responses that are not files, such as errors and redirects.
    pub(super) fn of_others(&self) -> String {
        lines(&self.defaults()[1..])
    }

    /// Returns the additional fields of an answer to a preflight request, with which a browser asks
    /// what a script of another site may do.
    pub(super) fn of_preflights(&self) -> String {
        let mut fields = String::new();
        if self.shared_with.is_some() {
            fields.push_str(
                "Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n\
                 Access-Control-Allow-Headers: Range, If-Range, If-Match, If-None-Match, \
                 If-Modified-Since, If-Unmodified-Since, Authorization\r\n\
                 Access-Control-Max-Age: 86400\r\n",
            );
        }
        fields
    }

    /// Makes browsers use only TLS for this host.
    pub(super) fn be_strict(&mut self) {
        self.is_strict = true;
    }

    /// Lets scripts of other sites read what is served: those of one origin, or of all sites (`*`).
    pub(super) fn share_with(&mut self, origin: &str) -> Result<(), String> {
        let is_origin = origin.split_once("://").is_some_and(|(scheme, host)| {
            matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains('/')
        });
        let value = HeaderValue::from_str(origin).ok().filter(|_| is_origin || origin == "*");
        let wrong =
            || format!("{origin:?} is neither * nor an origin, such as https://example.org");
        self.shared_with = Some(value.ok_or_else(wrong)?);
        Ok(())
    }

    /// Adds a rule for Cache-Control: `PATTERN=VALUE`.
    pub(super) fn add_cache_control(&mut self, rule: &str) -> Result<(), String> {
        let (pattern, value) = rule
            .split_once('=')
            .ok_or_else(|| format!("{rule:?} is not PATTERN=VALUE, such as '*.js=max-age=3600'"))?;
        let (_, value) = field("Cache-Control", value)?;
        let fields = vec![(header::CACHE_CONTROL, Some(value))];
        self.rules.push(Rule { pattern: Pattern::new(pattern)?, fields });
        Ok(())
    }

    /// Adds the rules of a file, in the format of Netlify's and Cloudflare's `_headers`.
    pub(super) fn add_file(&mut self, file: &Path) -> Result<(), String> {
        let text = std::fs::read_to_string(file)
            .map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        self.add_text(&text).map_err(|(line, why)| format!("{}:{line}: {why}", file.display()))
    }

    pub(super) fn add_text(&mut self, text: &str) -> Result<(), (usize, String)> {
        let mut rules: Vec<Rule> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let content = line.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let at_line = |why: String| (number, why);
            if !line.starts_with([' ', '\t']) {
                let pattern = Pattern::new(content).map_err(at_line)?;
                rules.push(Rule { pattern, fields: Vec::new() });
                continue;
            }
            let Some(rule) = rules.last_mut() else {
                return Err(at_line("a field comes before the first path".to_owned()));
            };
            rule.fields.push(match content.strip_prefix('!') {
                Some(name) => (name_of(name.trim()).map_err(at_line)?, None),
                None => {
                    let (name, value) = content.split_once(':').ok_or_else(|| {
                        at_line(format!("{content:?} is neither a path nor NAME: VALUE"))
                    })?;
                    let (name, value) = field(name.trim(), value).map_err(at_line)?;
                    (name, Some(value))
                }
            });
        }
        self.rules.append(&mut rules);
        Ok(())
    }
}

fn name_of(name: &str) -> Result<HeaderName, String> {
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("{name:?} is not a valid field name"))?;
    match OURS.contains(&parsed) {
        true => Err(format!("{parsed} follows from the file and the request; it cannot be set")),
        false => Ok(parsed),
    }
}

fn field(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let name = name_of(name)?;
    let value = value.trim();
    match HeaderValue::from_str(value) {
        Ok(parsed) if !value.is_empty() => Ok((name, parsed)),
        _ => Err(format!("{value:?} is not a valid field value")),
    }
}

fn lines(fields: &[(HeaderName, HeaderValue)]) -> String {
    let mut lines = String::new();
    for (name, value) in fields {
        let value = String::from_utf8_lossy(value.as_bytes());
        let _ = write!(lines, "{}: {value}\r\n", Title(name.as_str()));
    }
    lines
}

/// A field name as people write it: `cache-control` as `Cache-Control`.
struct Title<'a>(&'a str);

impl std::fmt::Display for Title<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut begins = true;
        for c in self.0.chars() {
            f.write_char(if begins { c.to_ascii_uppercase() } else { c })?;
            begins = c == '-';
        }
        Ok(())
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Pattern, String> {
        let text = text.trim();
        // A colon would make it a placeholder, or name another host.
        match text.is_empty() || text.contains(|c: char| c.is_whitespace() || c == ':') {
            true => {
                Err(format!("{text:?} is not a pattern: use /folder/*, or *.js for any folder"))
            }
            false => Ok(Pattern(text.to_owned())),
        }
    }

    /// Returns `true` if the pattern matches a file's path, or the path of the folder whose index
    /// it is.
    fn matches_file(&self, path: &[u8]) -> bool {
        let folder = path.strip_suffix(b"index.html");
        let folder = folder.filter(|folder| folder.is_empty() || folder.ends_with(b"/"));
        self.matches(path) || folder.is_some_and(|folder| self.matches(folder))
    }

    fn matches(&self, path: &[u8]) -> bool {
        match self.0.strip_prefix('/') {
            Some(whole) => wild(whole.as_bytes(), path),
            None => {
                let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                wild(self.0.as_bytes(), name)
            }
        }
    }
}

/// Returns `true` if a text matches a pattern, in which `*` stands for any text. After a mismatch
/// only the last star matches more, so the time is at most proportional to the product of the
/// lengths.
fn wild(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                (p, t) = (at + 1, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, is_match) in [
            ("*", "", true),
            ("", "", true),
            ("a", "", false),
            ("a*", "a", true),
            ("*.js", "x.js", true),
            ("*.js", "x.jsx", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("static/*", "static/a/b", true),
            ("static/*", "statics", false),
        ] {
            assert_eq!(wild(pattern.as_bytes(), text.as_bytes()), is_match, "{pattern} {text}");
        }
        let hostile = "a*".repeat(40) + "b";
        assert!(!wild(hostile.as_bytes(), "a".repeat(2_000).as_bytes()));
    }

    #[test]
    fn what_has_no_slash_in_front_is_compared_with_the_name() {
        let matches =
            |pattern: &str, path: &str| Pattern::new(pattern).unwrap().matches(path.as_bytes());
        assert!(matches("*.js", "deep/down/x.js") && matches("index.html", "sub/index.html"));
        assert!(matches("/index.html", "index.html") && !matches("/index.html", "sub/index.html"));
        assert!(matches("/*", "anything/at/all") && !matches("sub", "sub/x"));
    }

    #[test]
    fn the_last_rule_that_matches_says_what_is_told() {
        let mut policy = Policy::default();
        assert_eq!(
            policy.of_file(b"a.js").lines,
            "Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n\
             Referrer-Policy: strict-origin-when-cross-origin\r\n"
        );
        policy.add_text("*.js\n Content-Type: text/x\n").unwrap();
        assert_eq!(policy.of_file(b"a.js").kind.as_deref(), Some("text/x"));
        let of = |policy: &Policy, path: &[u8]| policy.of_file(path).lines;
        let mut folders = Policy::default();
        folders.add_text("/\n A: root\n/about/\n A: about\n Link: 1\n Link: 2\n").unwrap();
        assert!(of(&folders, b"index.html").contains("A: root\r\n"));
        assert!(of(&folders, b"about/index.html").ends_with("A: about\r\nLink: 1\r\nLink: 2\r\n"));
        assert!(!of(&folders, b"about/xindex.html").contains("A: "));
        let text = "# ours\n/*\n  X-Frame-Options: DENY\n  ! referrer-policy\n\n*.js\n\tcache-control: max-age=60\n";
        policy.add_text(text).unwrap();
        policy.add_cache_control("/lib/*=public, max-age=31536000, immutable").unwrap();
        assert_eq!(
            policy.of_file(b"a.js").lines,
            "X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\nCache-Control: max-age=60\r\n"
        );
        assert!(
            policy
                .of_file(b"lib/a.js")
                .lines
                .ends_with("Cache-Control: public, max-age=31536000, immutable\r\n")
        );
        assert_eq!(
            policy.of_others(),
            "X-Content-Type-Options: nosniff\r\nReferrer-Policy: strict-origin-when-cross-origin\r\n"
        );
    }

    #[test]
    fn what_is_no_rule_is_told_with_its_line() {
        let problem = |text: &str| Policy::default().add_text(text).unwrap_err();
        assert_eq!(problem("/*\n  nonsense\n").0, 2);
        assert!(problem("\n  A: b\n").1.contains("before the first path"));
        assert!(problem("/*\n  Content-Length: 3\n").1.contains("cannot be set"));
        assert!(problem("/*\n  A b: 3\n").1.contains("valid field name"));
        assert!(problem("/*\n  A: \u{7f}\n").1.contains("valid field value"));
        assert!(problem("/a b\n").1.contains("not a pattern"));
        assert!(problem("/a/:b\n").1.contains("not a pattern"));
        let mut policy = Policy::default();
        assert!(policy.add_cache_control("*.js").unwrap_err().contains("PATTERN=VALUE"));
    }
}
