//! HTTP/1.1 requests, and the parts of a response that are needed here: its status and its length.

use std::io;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// The maximum length of a response's head, in bytes.
const HEAD: usize = 64 << 10;

/// The operation that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Downloads a file.
    Get,
    /// Uploads a file.
    Put,
}

impl Op {
    /// All operations.
    pub const ALL: [Self; 2] = [Self::Get, Self::Put];

    /// Returns the name of the operation on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
        }
    }

    fn is_good(self, status: u16) -> bool {
        match self {
            Self::Get => matches!(status, 200 | 206),
            Self::Put => matches!(status, 200 | 201 | 204),
        }
    }
}

/// A folder at `https://HOST:PORT/BASE/`, and the user who asks.
#[derive(Clone, Debug)]
pub struct Site {
    /// `HOST:PORT`.
    pub authority: String,
    /// The path of the folder, with a slash at its end.
    pub base: String,
    authorization: String,
}

impl Site {
    /// Parses a URL. `user` is a name, a colon and a password.
    ///
    /// # Errors
    ///
    /// Returns a message that says what is wrong with the URL.
    pub fn new(url: &str, user: Option<&str>) -> Result<Self, String> {
        let rest = url.strip_prefix("https://").ok_or("the URL does not begin with https://")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
            return Err("the URL has no port".to_owned());
        }
        let base = match path.trim_end_matches('/') {
            "" => "/".to_owned(),
            path => format!("/{path}/"),
        };
        let authorization = match user {
            Some(user) => format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(user)),
            None => String::new(),
        };
        Ok(Self { authority: authority.to_owned(), base, authorization })
    }

    /// Returns the host's name without its port, and without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        let host = self.authority.rsplit_once(':').map_or("", |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Writes the head of a request for `name` into `head`. `size` is the length of the body in
    /// bytes.
    pub fn request(&self, op: Op, name: &str, size: u64, head: &mut String) {
        use std::fmt::Write;
        let Self { authority, base, authorization } = self;
        head.clear();
        let method = match op {
            Op::Get => "GET",
            Op::Put => "PUT",
        };
        let written = match op {
            Op::Get => write!(
                head,
                "{method} {base}{name} HTTP/1.1\r\nHost: {authority}\r\n{authorization}\r\n"
            ),
            Op::Put => write!(
                head,
                "{method} {base}{name} HTTP/1.1\r\nHost: {authority}\r\n{authorization}\
                 Content-Length: {size}\r\n\r\n"
            ),
        };
        written.expect("a string takes all");
    }
}

/// A response, as far as it has arrived.
#[derive(Default)]
pub struct Answer {
    head: Vec<u8>,
    /// The bytes of the body that have not arrived, once the head is complete.
    missing: Option<u64>,
    /// The length of the body, in bytes.
    pub length: u64,
}

impl Answer {
    /// Clears the response for the next request. Its memory is kept.
    pub fn reset(&mut self) {
        self.head.clear();
        (self.missing, self.length) = (None, 0);
    }

    /// Returns `true` as soon as the whole response has arrived.
    pub fn is_complete(&self) -> bool {
        self.missing == Some(0)
    }

    /// Takes the next bytes of the response to a request of `op`.
    ///
    /// # Errors
    ///
    /// Returns an error if the head is malformed or too long, the status is not one of success, the
    /// length is missing, more bytes arrive than the length says, or the server wants to close the
    /// connection.
    pub fn take(&mut self, op: Op, bytes: &[u8]) -> io::Result<()> {
        let body = match self.missing {
            Some(_) => bytes.len(),
            None => {
                let before = self.head.len();
                self.head.extend_from_slice(bytes);
                let from = before.saturating_sub(3);
                let found = self.head[from..].windows(4).position(|w| w == b"\r\n\r\n");
                let Some(at) = found else {
                    return match self.head.len() <= HEAD {
                        true => Ok(()),
                        false => Err(io::Error::other("an answer's head that does not end")),
                    };
                };
                let body = self.head.len() - (from + at + 4);
                self.head.truncate(from + at + 2);
                self.length = read_head(op, &self.head).map_err(io::Error::other)?;
                self.missing = Some(self.length);
                body
            }
        };
        let missing = self.missing.unwrap_or_default().checked_sub(body as u64);
        self.missing =
            Some(missing.ok_or_else(|| io::Error::other("more than the answer's length"))?);
        Ok(())
    }
}

/// Returns the length of the body that follows, in bytes.
fn read_head(op: Op, head: &[u8]) -> Result<u64, String> {
    let head = std::str::from_utf8(head).map_err(|_| "the response head is not UTF-8")?;
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let status = line.strip_prefix("HTTP/1.1 ").and_then(|l| l.get(..3)?.parse::<u16>().ok());
    let Some(status) = status else { return Err(format!("no answer of HTTP/1.1: {line:?}")) };
    if !op.is_good(status) {
        return Err(format!("the server answers {line:?}"));
    }
    let mut length = (status == 204).then_some(0);
    for (name, value) in lines.filter_map(|l| l.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().ok();
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("the response is chunked".to_owned());
        } else if name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close") {
            return Err("the server wants to close the connection: raise its limit".to_owned());
        }
    }
    length.ok_or_else(|| "the response has no Content-Length".to_owned())
}
