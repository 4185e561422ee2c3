//! Parsing a request. It borrows from the input; nothing is copied.

use super::head::{KeepAlive, Status};
use crate::common::conditions::{Conditions, tokens};

/// Bytes of a request line, at most; more is 414.
pub(in crate::web) const MOST_LINE: usize = 8 * 1024;

/// Bytes of a head, at most; more is 431.
pub(in crate::web) const MOST_HEAD: usize = 16 * 1024;

/// Fields of a head, at most; more is 431.
const MOST_FIELDS: usize = 100;

/// The part of a request that decides its answer.
#[derive(Debug)]
pub(in crate::web) struct Request<'a> {
    pub(in crate::web) method: Method,
    pub(in crate::web) target: &'a str,
    pub(in crate::web) keep_alive: KeepAlive,
    pub(in crate::web) conditions: Conditions<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) enum Method {
    Get,
    Head,
    Other,
}

/// What the input holds.
#[derive(Debug)]
pub(in crate::web) enum Parsed<'a> {
    /// A request, and how many bytes its head has.
    Request(Request<'a>, usize),
    /// The begin of one.
    Partial,
    /// Something that gets an answer and the end of the connection.
    Bad(Status),
}

/// Looks at the begin of the input.
pub(in crate::web) fn parse(input: &[u8]) -> Parsed<'_> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut raw = httparse::Request::new(&mut fields);
    match raw.parse(input) {
        Ok(httparse::Status::Complete(len)) if len > MOST_HEAD => {
            Parsed::Bad(too_long(input).unwrap_or(Status::FieldsTooLarge))
        }
        Ok(httparse::Status::Complete(len)) => match too_long(input) {
            Some(status) => Parsed::Bad(status),
            None => understand(&raw).map_or_else(Parsed::Bad, |r| Parsed::Request(r, len)),
        },
        Ok(httparse::Status::Partial) => match too_long(input) {
            Some(status) => Parsed::Bad(status),
            None if input.len() > MOST_HEAD => Parsed::Bad(Status::FieldsTooLarge),
            None => Parsed::Partial,
        },
        Err(httparse::Error::TooManyHeaders) => Parsed::Bad(Status::FieldsTooLarge),
        Err(httparse::Error::Version) => Parsed::Bad(Status::VersionNotSupported),
        Err(_) => Parsed::Bad(Status::BadRequest),
    }
}

/// Is the first line too long?
fn too_long(input: &[u8]) -> Option<Status> {
    let start = input.iter().position(|b| !matches!(b, b'\r' | b'\n'))?;
    let line = &input[start..];
    let end = line[..line.len().min(MOST_LINE + 1)].iter().position(|b| *b == b'\n');
    (end.is_none() && line.len() > MOST_LINE).then_some(Status::UriTooLong)
}

fn understand<'a>(raw: &httparse::Request<'_, 'a>) -> Result<Request<'a>, Status> {
    let one_one = raw.version == Some(1);
    let mut request = Request {
        method: match raw.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            _ => Method::Other,
        },
        target: raw.path.ok_or(Status::BadRequest)?,
        keep_alive: if one_one { KeepAlive::Yes } else { KeepAlive::No },
        conditions: Conditions::default(),
    };
    let (mut hosts, mut lengths, mut encoded) = (0, None::<&[u8]>, false);
    let (mut close, mut keep) = (false, false);
    for field in raw.headers.iter() {
        let value = field.value;
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        match field.name.len() {
            4 if is("host") => hosts += 1,
            5 if is("range") => request.conditions.range = Some(value),
            8 if is("if-match") => request.conditions.if_match = Some(value),
            8 if is("if-range") => request.conditions.if_range = Some(value),
            10 if is("connection") => {
                for token in tokens(value) {
                    close |= token.eq_ignore_ascii_case(b"close");
                    keep |= token.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            13 if is("if-none-match") => request.conditions.if_none_match = Some(value),
            14 if is("content-length") => {
                // Two that differ are an attack on whoever reads only one of them.
                if lengths.is_some_and(|other| other != value) || !is_number(value) {
                    return Err(Status::BadRequest);
                }
                lengths = Some(value);
            }
            17 if is("if-modified-since") => request.conditions.if_modified_since = Some(value),
            19 if is("if-unmodified-since") => request.conditions.if_unmodified_since = Some(value),
            17 if is("transfer-encoding") => encoded = true,
            _ => {}
        }
    }
    if hosts > 1 || (one_one && hosts == 0) || (encoded && lengths.is_some()) {
        return Err(Status::BadRequest);
    }
    if keep && !one_one {
        request.keep_alive = KeepAlive::Told;
    }
    // A body is never wanted here. It is not read: the connection ends after the answer.
    if close || encoded || lengths.is_some_and(|l| l.iter().any(|b| *b != b'0')) {
        request.keep_alive = KeepAlive::No;
    }
    Ok(request)
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
        ] {
            assert_eq!(status(bad.as_bytes()), Status::BadRequest, "{bad:?}");
        }
        assert_eq!(status(b"GET / HTTP/3.1\r\n\r\n"), Status::VersionNotSupported);
    }

    #[test]
    fn limits_hold_whether_or_not_the_head_is_whole() {
        let long = "x".repeat(MOST_LINE);
        assert_eq!(status(format!("GET /{long}").as_bytes()), Status::UriTooLong);
        let whole = format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(status(whole.as_bytes()), Status::UriTooLong);
        let field = "y".repeat(MOST_HEAD);
        let whole = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {field}");
        assert_eq!(status(whole.as_bytes()), Status::FieldsTooLarge);
        assert_eq!(status(format!("{whole}\r\n\r\n").as_bytes()), Status::FieldsTooLarge);
        let many = "A: b\r\n".repeat(MOST_FIELDS + 1);
        let many = format!("GET / HTTP/1.1\r\n{many}\r\n");
        assert_eq!(status(many.as_bytes()), Status::FieldsTooLarge);
    }
}
