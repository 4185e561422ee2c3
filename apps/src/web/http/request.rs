//! Parses requests, which borrow from the input without a copy.

use super::coding::Accepted;
use super::head::{KeepAlive, Status};
use crate::common::conditions::{Conditions, tokens};
use crate::common::host;

/// The maximum length of a request line, in bytes; a longer line gets 414.
pub(in crate::web) const MOST_LINE: usize = 8 * 1024;

/// The maximum length of a head, in bytes; a longer head gets 431.
pub(in crate::web) const MOST_HEAD: usize = 16 * 1024;

/// The maximum number of fields in a head; more get 431.
const MOST_FIELDS: usize = 100;

/// The parts of a request that decide its answer.
#[derive(Debug)]
pub(in crate::web) struct Request<'a> {
    pub(in crate::web) method: Method,
    pub(in crate::web) target: &'a str,
    pub(in crate::web) keep_alive: KeepAlive,
    /// Whether the response's body may come in chunks, because the client speaks HTTP/1.1.
    pub(in crate::web) takes_chunks: bool,
    pub(in crate::web) conditions: Conditions<'a>,
    pub(in crate::web) host: Option<&'a [u8]>,
    pub(in crate::web) accept: Option<&'a [u8]>,
    pub(in crate::web) authorization: Option<&'a [u8]>,
    pub(in crate::web) referer: Option<&'a [u8]>,
    pub(in crate::web) agent: Option<&'a [u8]>,
    /// The content codings that the client accepts.
    pub(in crate::web) codings: Accepted,
    /// Whether a proxy says that it forwards the request of another client.
    pub(in crate::web) is_forwarded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) enum Method {
    Get,
    Head,
    Options,
    /// A method that HTTP defines, but files do not support.
    Other,
    Unknown,
}

impl Method {
    pub(in crate::web) fn of(name: &str) -> Method {
        match name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "OPTIONS" => Method::Options,
            "POST" | "PUT" | "DELETE" | "CONNECT" | "TRACE" | "PATCH" => Method::Other,
            _ => Method::Unknown,
        }
    }
}

/// The result of parsing the input.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all of them are requests, and none is kept")]
pub(in crate::web) enum Parsed<'a> {
    /// A request, and the length of its head in bytes.
    Request(Request<'a>, usize),
    /// The start of a request.
    Partial,
    /// An invalid request, which gets this status and ends the connection.
    Bad(Status),
}

/// Parses the request at the start of the input.
pub(in crate::web) fn parse(input: &[u8]) -> Parsed<'_> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut raw = httparse::Request::new(&mut fields);
    match raw.parse(input) {
        Ok(httparse::Status::Complete(len)) if len > MOST_HEAD => {
            Parsed::Bad(too_long(input).unwrap_or(Status::FieldsTooLarge))
        }
        Ok(httparse::Status::Complete(len)) => match too_long(input) {
            Some(status) => Parsed::Bad(status),
            None => {
                let line = Line {
                    method: raw.method.unwrap_or_default(),
                    target: raw.path.unwrap_or_default(),
                    one_one: raw.version == Some(1),
                };
                understand(line, raw.headers)
                    .map_or_else(Parsed::Bad, |request| Parsed::Request(request, len))
            }
        },
        Ok(httparse::Status::Partial) => match too_long(input) {
            Some(status) => Parsed::Bad(status),
            None if input.len() > MOST_HEAD => Parsed::Bad(Status::FieldsTooLarge),
            None => Parsed::Partial,
        },
        Err(httparse::Error::TooManyHeaders) => Parsed::Bad(Status::FieldsTooLarge),
        Err(httparse::Error::Version) => of_other_version(input),
        Err(_) => Parsed::Bad(Status::BadRequest),
    }
}

/// Returns the first line, or as much of it as has come.
pub(in crate::web) fn first_line(input: &[u8]) -> &[u8] {
    let input = input.trim_ascii_start();
    let end = input.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    &input[..end.unwrap_or(input.len())]
}

/// Returns `true` if the method is HEAD, as far as that can be seen. A response to HEAD has no
/// body, even if the request is otherwise invalid.
pub(in crate::web) fn is_head(input: &[u8]) -> bool {
    input.trim_ascii_start().starts_with(b"HEAD ")
}

/// Parses a request of neither HTTP/1.0 nor HTTP/1.1. A request of a later 1.x is served like one
/// of HTTP/1.1 (RFC 9110, section 2.5).
fn of_other_version(input: &[u8]) -> Parsed<'_> {
    if let Some(status) = too_long(input) {
        return Parsed::Bad(status);
    }
    let start = input.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(input.len());
    let Some(end) = input[start..].iter().position(|b| *b == b'\n').map(|at| start + at) else {
        return Parsed::Partial;
    };
    let line = input[start..end].strip_suffix(b"\r").unwrap_or(&input[start..end]);
    let line = match line_of(line) {
        Ok(line) => line,
        Err(status) => return Parsed::Bad(status),
    };
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    match httparse::parse_headers(&input[end + 1..], &mut fields) {
        Ok(httparse::Status::Complete((len, fields))) if end + 1 + len <= MOST_HEAD => {
            let request = understand(line, fields);
            request.map_or_else(Parsed::Bad, |request| Parsed::Request(request, end + 1 + len))
        }
        Ok(httparse::Status::Partial) if input.len() <= MOST_HEAD => Parsed::Partial,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Parsed::Bad(Status::FieldsTooLarge),
        Err(_) => Parsed::Bad(Status::BadRequest),
    }
}

/// Parses a request line of another version.
fn line_of(line: &[u8]) -> Result<Line<'_>, Status> {
    let line = std::str::from_utf8(line).map_err(|_| Status::BadRequest)?;
    let mut parts = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Status::BadRequest);
    };
    let is_target = !target.is_empty() && !target.bytes().any(|b| b.is_ascii_control());
    let [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] = version.as_bytes() else {
        return Err(Status::BadRequest);
    };
    if !is_token(method) || !is_target || !major.is_ascii_digit() || !minor.is_ascii_digit() {
        return Err(Status::BadRequest);
    }
    if *major != b'1' {
        return Err(Status::VersionNotSupported);
    }
    Ok(Line { method, target, one_one: true })
}

fn is_token(name: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(is_part)
}

/// The first line of a request.
struct Line<'a> {
    method: &'a str,
    target: &'a str,
    /// Whether the version is HTTP/1.1 or a later 1.x, and not HTTP/1.0.
    one_one: bool,
}

/// Returns the status 414 if the first line is too long.
fn too_long(input: &[u8]) -> Option<Status> {
    let start = input.iter().position(|b| !matches!(b, b'\r' | b'\n'))?;
    let line = &input[start..];
    let end = line[..line.len().min(MOST_LINE + 1)].iter().position(|b| *b == b'\n');
    (end.is_none() && line.len() > MOST_LINE).then_some(Status::UriTooLong)
}

fn understand<'a>(line: Line<'a>, fields: &[httparse::Header<'a>]) -> Result<Request<'a>, Status> {
    let Line { method, target, one_one } = line;
    let mut request = Request {
        method: Method::of(method),
        target,
        keep_alive: if one_one { KeepAlive::Yes } else { KeepAlive::No },
        takes_chunks: one_one,
        conditions: Conditions::default(),
        host: None,
        accept: None,
        authorization: None,
        referer: None,
        agent: None,
        codings: Accepted::default(),
        is_forwarded: false,
    };
    let mut framing = Framing::default();
    for field in fields {
        if !framing.read(field)? {
            request.read(field);
        }
    }
    let has_body = framing.has_body(one_one)?;
    request.host = framing.host;
    let is_bad = |authority: &str| !host::is_valid(authority.as_bytes());
    if !target.starts_with('/') && host::of_target(target).is_some_and(is_bad) {
        return Err(Status::BadRequest);
    }
    if framing.keep && !one_one {
        request.keep_alive = KeepAlive::Told;
    }
    // A body is never expected here. It is not read; the connection ends after the answer.
    if framing.close || has_body {
        request.keep_alive = KeepAlive::No;
    }
    Ok(request)
}

impl<'a> Request<'a> {
    /// Notes a field that the answer depends on.
    fn read(&mut self, field: &httparse::Header<'a>) {
        let value = Some(field.value);
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        let conditions = &mut self.conditions;
        match field.name.len() {
            3 if is("via") => self.is_forwarded = true,
            5 if is("range") => conditions.range = value,
            6 if is("accept") => self.accept = value,
            7 if is("referer") => self.referer = value,
            10 if is("user-agent") => self.agent = value,
            8 if is("if-match") => conditions.if_match = value,
            8 if is("if-range") => conditions.if_range = value,
            9 if is("forwarded") || is("x-real-ip") => self.is_forwarded = true,
            13 if is("authorization") => self.authorization = value,
            13 if is("if-none-match") => conditions.if_none_match = value,
            15 if is("accept-encoding") => self.codings.add(field.value),
            17 if is("if-modified-since") => conditions.if_modified_since = value,
            19 if is("if-unmodified-since") => conditions.if_unmodified_since = value,
            // Fields of proxies, such as X-Forwarded-For, X-Forwarded-Host and X-Forwarded-Proto.
            _ if starts_with(field.name, "x-forwarded-") => self.is_forwarded = true,
            _ => {}
        }
    }
}

/// The fields that tell where the request ends, and whether another request may follow.
#[derive(Default)]
struct Framing<'a> {
    hosts: usize,
    host: Option<&'a [u8]>,
    length: Option<&'a [u8]>,
    encoding: Encoding,
    close: bool,
    keep: bool,
}

impl<'a> Framing<'a> {
    /// Notes a framing field; returns `false` for any other field.
    fn read(&mut self, field: &httparse::Header<'a>) -> Result<bool, Status> {
        let value = field.value;
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        match field.name.len() {
            4 if is("host") => {
                self.hosts += 1;
                self.host = Some(value);
                if !host::is_valid(value) {
                    return Err(Status::BadRequest);
                }
            }
            10 if is("connection") => {
                for token in tokens(value) {
                    self.close |= token.eq_ignore_ascii_case(b"close");
                    self.keep |= token.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if is("content-length") => {
                // A second length would be an attack on proxies that read only one of them.
                if self.length.is_some() || !is_number(value) {
                    return Err(Status::BadRequest);
                }
                self.length = Some(value);
            }
            17 if is("transfer-encoding") => self.encoding.add(value),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn has_body(&self, one_one: bool) -> Result<bool, Status> {
        let encoded = self.encoding.is_chunked()?;
        if self.hosts > 1 || (one_one && self.hosts == 0) {
            return Err(Status::BadRequest);
        }
        // Request smuggling relies on two parsers that disagree about which of the two fields
        // counts.
        if encoded && (self.length.is_some() || !one_one) {
            return Err(Status::BadRequest);
        }
        Ok(encoded || self.length.is_some_and(|length| length.iter().any(|digit| *digit != b'0')))
    }
}

/// The transfer codings of a request (RFC 9112, sections 6.1 and 6.3).
#[derive(Default)]
struct Encoding {
    is_there: bool,
    /// The number of times that `chunked` is named.
    chunked: usize,
    /// Whether an unknown coding is named.
    is_unknown: bool,
}

impl Encoding {
    fn add(&mut self, value: &[u8]) {
        self.is_there = true;
        for coding in tokens(value) {
            let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.chunked += usize::from(is_chunked);
            self.is_unknown |= !is_chunked;
        }
    }

    /// Returns whether there is a body in chunks. The error is 501 for an unknown coding, and 400
    /// for malformed fields.
    fn is_chunked(&self) -> Result<bool, Status> {
        match self {
            Encoding { is_there: false, .. } => Ok(false),
            Encoding { chunked: 1, is_unknown: false, .. } => Ok(true),
            Encoding { chunked: 0 | 1, is_unknown: true, .. } => Err(Status::NotImplemented),
            _ => Err(Status::BadRequest),
        }
    }
}

fn starts_with(name: &str, start: &str) -> bool {
    name.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
}

fn is_number(value: &[u8]) -> bool {
    !value.is_empty() && value.len() < 20 && value.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(input: &[u8]) -> Status {
        match parse(input) {
            Parsed::Bad(status) => status,
            other => panic!("{other:?}"),
        }
    }

    fn request(input: &str) -> Request<'_> {
        match parse(input.as_bytes()) {
            Parsed::Request(request, len) => {
                assert_eq!(len, input.len());
                request
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_are_understood() {
        let r = request("GET /a?b HTTP/1.1\r\nHost: x\r\nRANGE: bytes=1-\r\n\r\n");
        assert_eq!((r.method, r.target, r.keep_alive), (Method::Get, "/a?b", KeepAlive::Yes));
        assert_eq!(r.conditions.range, Some(&b"bytes=1-"[..]));
        let kept = |input| request(input).keep_alive;
        assert_eq!(kept("GET / HTTP/1.0\r\n\r\n"), KeepAlive::No);
        assert_eq!(kept("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), KeepAlive::Told);
        assert_eq!(
            kept("GET / HTTP/1.1\r\nHost: x\r\nConnection: x, Close\r\n\r\n"),
            KeepAlive::No
        );
        let both =
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n";
        assert_eq!(kept(both), KeepAlive::No);
        assert_eq!(request("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").method, Method::Head);
        assert_eq!(request("PUT / HTTP/1.1\r\nHost: x\r\n\r\n").method, Method::Other);
    }

    #[test]
    fn a_body_ends_the_connection() {
        let with =
            |f: &str| request(&format!("GET / HTTP/1.1\r\nHost: x\r\n{f}\r\n\r\n")).keep_alive;
        assert_eq!(with("Content-Length: 0"), KeepAlive::Yes);
        assert_eq!(with("Content-Length: 3"), KeepAlive::No);
        assert_eq!(with("Transfer-Encoding: chunked"), KeepAlive::No);
    }

    #[test]
    fn pieces_are_partial_at_every_length() {
        let whole = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
        for n in 0..whole.len() {
            assert!(matches!(parse(&whole[..n]), Parsed::Partial), "{n}");
        }
    }

    #[test]
    fn bad_requests_are_told_apart() {
        for bad in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "\x16\x03\x01 not http\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET / FOO\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.x\r\nHost: x\r\n\r\n",
            "GET / http/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/11.1\r\nHost: x\r\n\r\n",
            "GET / x HTTP/1.2\r\nHost: x\r\n\r\n",
            "GET /\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.2\r\n\r\n",
            "GET / HTTP/1.2\r\nHost : x\r\n\r\n",
            "GET http://a,b/ HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET http:/// HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(status(bad.as_bytes()), Status::BadRequest, "{bad:?}");
        }
        for other in ["HTTP/3.1", "HTTP/2.0", "HTTP/0.9"] {
            let request = format!("GET / {other}\r\nHost: x\r\n\r\n");
            assert_eq!(status(request.as_bytes()), Status::VersionNotSupported, "{other}");
        }
        for host in ["", "a b", "a/b", "u@a", "a,b", "a:b"] {
            let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(status(request.as_bytes()), Status::BadRequest, "{host}");
        }
    }

    #[test]
    fn transfer_encodings_are_known_or_refused() {
        let with = |field: &str| format!("GET / HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n");
        for unknown in ["xchunked", "identity", "gzip, chunked", "chunked;a=b", "chunked, gzip"] {
            let request = with(&format!("Transfer-Encoding: {unknown}"));
            assert_eq!(status(request.as_bytes()), Status::NotImplemented, "{unknown}");
        }
        for bad in ["", "chunked, chunked", ","] {
            let request = with(&format!("Transfer-Encoding: {bad}"));
            assert_eq!(status(request.as_bytes()), Status::BadRequest, "{bad}");
        }
        let twice = with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked");
        assert_eq!(status(twice.as_bytes()), Status::BadRequest);
        let chunked = with("Transfer-Encoding: Chunked");
        assert_eq!(request(&chunked).keep_alive, KeepAlive::No);
    }

    #[test]
    fn a_later_version_is_served() {
        let later = "GET /a HTTP/1.2\r\nHost: x\r\nRange: bytes=1-\r\n\r\n";
        let r = request(later);
        assert_eq!((r.method, r.target, r.keep_alive), (Method::Get, "/a", KeepAlive::Yes));
        assert!(r.conditions.range.is_some());
        for n in 0..later.len() {
            assert!(matches!(parse(&later.as_bytes()[..n]), Parsed::Partial), "{n}");
        }
        assert_eq!(request("FOO / HTTP/1.1\r\nHost: x\r\n\r\n").method, Method::Unknown);
        assert_eq!(request("get / HTTP/1.1\r\nHost: x\r\n\r\n").method, Method::Unknown);
    }

    #[test]
    fn limits_hold_whether_or_not_the_head_is_whole() {
        let long = "x".repeat(MOST_LINE);
        assert_eq!(status(format!("GET /{long}").as_bytes()), Status::UriTooLong);
        let whole = format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(status(whole.as_bytes()), Status::UriTooLong);
        let later = format!("GET /{long} HTTP/1.2\r\nHost: x\r\n\r\n");
        assert_eq!(status(later.as_bytes()), Status::UriTooLong);
        let field = "y".repeat(MOST_HEAD);
        let whole = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {field}");
        assert_eq!(status(whole.as_bytes()), Status::FieldsTooLarge);
        assert_eq!(status(format!("{whole}\r\n\r\n").as_bytes()), Status::FieldsTooLarge);
        let many = "A: b\r\n".repeat(MOST_FIELDS + 1);
        let many = format!("GET / HTTP/1.1\r\n{many}\r\n");
        assert_eq!(status(many.as_bytes()), Status::FieldsTooLarge);
    }
}
