//! A web server of small files in memory.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use super::run::Peer;

/// Files of the site, and their size in bytes.
const FILES: usize = 100;
const SIZE: usize = 1_024;

/// What is served: paths and contents.
pub(super) struct Site {
    files: HashMap<String, Vec<u8>>,
}

impl Site {
    pub(super) fn new() -> Site {
        let contents = |n: usize| (0..SIZE).map(|at| (at * 7 + n) as u8).collect();
        let files = (0..FILES).map(|n| (format!("/file{n}.html"), contents(n)));
        Site { files: files.collect() }
    }
}

/// A connection: what comes, and what goes out.
pub(super) struct Connection {
    site: Arc<Site>,
    next: usize,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Connection {
    pub(super) fn new(site: &Arc<Site>) -> Connection {
        Connection { site: Arc::clone(site), next: 0, input: Vec::new(), output: Vec::new() }
    }

    /// The path that is asked for, of a request as a browser sends it.
    fn path(&self) -> Option<String> {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut headers);
        let parsed = request.parse(&self.input).ok()?;
        parsed.is_complete().then(|| request.path.map(str::to_owned)).flatten()
    }
}

impl Peer for Connection {
    fn receive(&mut self) {
        self.next = (self.next + 37) % FILES;
        self.input.clear();
        let _ = write!(
            self.input,
            "GET /file{}.html HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Mozilla/5.0\r\n\
             Accept: text/html\r\nAccept-Encoding: gzip\r\nConnection: keep-alive\r\n\r\n",
            self.next
        );
    }

    fn reply(&mut self) -> usize {
        self.output.clear();
        let file = self.path().and_then(|path| self.site.files.get(&path));
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
        self.output.len()
    }
}

/// Checks one answer.
///
/// # Errors
///
/// A message, if it is wrong.
pub(super) fn check(site: &Arc<Site>) -> Result<(), String> {
    let mut connection = Connection::new(site);
    connection.receive();
    connection.reply();
    let wanted = &site.files["/file37.html"];
    let is_right = connection.output.starts_with(b"HTTP/1.1 200 OK\r\n")
        && connection.output.ends_with(wanted);
    if is_right { Ok(()) } else { Err("the web server answers something else".to_owned()) }
}
