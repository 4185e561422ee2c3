//! A web server of small files in memory.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::sync::Arc;

use dapple_io::codec::{Codec, Decoded, EncodeError};

use super::run::{Asking, Peer};

/// The number of files of the site; `SIZE` is the size of each, in bytes.
const FILES: usize = 100;
const SIZE: usize = 1_024;

/// The site: paths and contents.
pub(super) struct Files {
    files: HashMap<String, Vec<u8>>,
}

impl Files {
    pub(super) fn new() -> Files {
        let contents = |n: usize| (0..SIZE).map(|at| (at * 7 + n) as u8).collect();
        let files = (0..FILES).map(|n| (format!("/file{n}.html"), contents(n)));
        Files { files: files.collect() }
    }
}

/// The server's end of a connection.
pub(super) struct Connection {
    site: Arc<Files>,
    next: usize,
    input: Vec<u8>,
    /// The requested paths that are not answered yet; `None` for a malformed request.
    paths: VecDeque<Option<String>>,
    output: Vec<u8>,
}

impl Connection {
    pub(super) fn new(site: &Arc<Files>) -> Connection {
        let (site, input, output) = (Arc::clone(site), Vec::new(), Vec::new());
        Connection { site, next: 0, input, paths: VecDeque::new(), output }
    }

    /// Parses the input, a request like that of a browser, and returns its path.
    fn path(&self) -> Option<String> {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut headers);
        let parsed = request.parse(&self.input).ok()?;
        parsed.is_complete().then(|| request.path.map(str::to_owned)).flatten()
    }
}

/// Makes a client's next request, for another file than the last one.
fn ask(last: &mut usize, request: &mut Vec<u8>) {
    *last = (*last + 37) % FILES;
    request.clear();
    let _ = write!(
        request,
        "GET /file{last}.html HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Mozilla/5.0\r\n\
         Accept: text/html\r\nAccept-Encoding: gzip\r\nConnection: keep-alive\r\n\r\n",
    );
}

impl Peer for Connection {
    const LEAST: usize = SIZE;

    fn receive(&mut self) {
        ask(&mut self.next, &mut self.input);
        self.paths.push_back(self.path());
    }

    fn take(&mut self, request: &[u8]) {
        self.input.clear();
        self.input.extend_from_slice(request);
        self.paths.push_back(self.path());
    }

    fn reply(&mut self) -> &[u8] {
        self.output.clear();
        let path = self.paths.pop_front().flatten();
        let file = path.and_then(|path| self.site.files.get(&path));
        let (status, body) = match file {
            Some(file) => ("200 OK", &file[..]),
            None => ("404 Not Found", &b"not found"[..]),
        };
        let _ = write!(
            self.output,
            "HTTP/1.1 {status}\r\nServer: dapple\r\nContent-Type: text/html\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.output.extend_from_slice(body);
        &self.output
    }
}

/// The client's end of a connection.
pub(super) struct Client {
    site: Arc<Files>,
    asked: usize,
    answered: usize,
    request: Vec<u8>,
}

impl Client {
    pub(super) fn new(site: &Arc<Files>) -> Client {
        Client { site: Arc::clone(site), asked: 0, answered: 0, request: Vec::new() }
    }
}

impl Asking for Client {
    fn request(&mut self) -> &[u8] {
        ask(&mut self.asked, &mut self.request);
        &self.request
    }

    fn is_right(&mut self, reply: &[u8]) -> bool {
        self.answered = (self.answered + 37) % FILES;
        let file = &self.site.files[&format!("/file{}.html", self.answered)];
        reply.starts_with(b"HTTP/1.1 200 OK\r\n") && reply.ends_with(file)
    }
}

/// The framing of HTTP messages: a head, and the body whose length it gives.
pub(super) struct Http;

impl Codec for Http {
    fn decode(&self, input: &[u8], _: usize) -> Decoded {
        const LIMIT: usize = 16 * 1024;
        let Some(end) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            return match input.len() > LIMIT {
                true => Decoded::Invalid("a head is too long"),
                false => Decoded::Incomplete,
            };
        };
        let (head, length) = (&input[..end], b"Content-Length: ");
        let value = head.windows(length.len()).position(|name| name == length);
        let value = value.map_or(&b"0"[..], |at| &head[at + length.len()..]);
        let digits = value.iter().take_while(|byte| byte.is_ascii_digit());
        let body = digits.fold(0, |sum: usize, digit| {
            sum.saturating_mul(10).saturating_add((digit - b'0').into())
        });
        let all = body.saturating_add(end + 4);
        match all {
            _ if body > LIMIT => Decoded::Invalid("a body is too long"),
            _ if all > input.len() => Decoded::Incomplete,
            _ => Decoded::Message { message: 0..all, taken: all },
        }
    }

    fn encode(&self, message: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(message);
        Ok(())
    }
}

/// Checks one reply.
///
/// # Errors
///
/// Returns a message if the reply is wrong.
pub(super) fn check(site: &Arc<Files>) -> Result<(), String> {
    let mut connection = Connection::new(site);
    connection.receive();
    let is_right = Client::new(site).is_right(connection.reply());
    if is_right { Ok(()) } else { Err("the web server gave a wrong reply".to_owned()) }
}
