//! A `dapple web` process for one test, and a client that gives access to every byte.
#![allow(dead_code)]
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

pub struct Web {
    pub child: Child,
    pub address: SocketAddr,
    pub out: BufReader<ChildStdout>,
}

pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dapple"));
    command.arg("web").args(args);
    command
}

impl Web {
    pub fn start(folder: Option<&Path>, args: &[&str]) -> Web {
        let mut command = command(&["--listen", "127.0.0.1:0"]);
        command.args(args).args(folder);
        Web::spawn(command)
    }

    pub fn spawn(command: Command) -> Web {
        Web::spawn_at(command, "http://")
    }

    /// Starts `command` and reads the server's address from the URL that it prints, which starts
    /// with `scheme`.
    pub fn spawn_at(mut command: Command, scheme: &str) -> Web {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let at = line.find(scheme).unwrap_or_else(|| panic!("no URL in {line:?}"));
        let address = line[at + scheme.len()..].split('/').next().unwrap().parse().unwrap();
        Web { child, address, out }
    }

    pub fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    pub fn get(&self, target: &str) -> Response {
        self.connect().get(target, "")
    }

    /// Sends raw bytes, and returns everything that arrives until the server closes the connection.
    pub fn raw(&self, request: &[u8]) -> String {
        let mut client = self.connect();
        // The server may close the connection before it has read the whole request.
        let _ = client.stream.get_mut().write_all(request);
        let _ = client.stream.get_mut().shutdown(std::net::Shutdown::Write);
        let mut all = Vec::new();
        client.stream.read_to_end(&mut all).unwrap();
        String::from_utf8_lossy(&all).into_owned()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: `kill` takes no pointers. The process id is that of our child, which has not been
        // waited for, so the kernel cannot have reused it.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// Waits for the process to end. Returns its exit status and the output that followed the URL.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Client {
    pub stream: BufReader<TcpStream>,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    pub fn get(&mut self, target: &str, fields: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n").as_bytes());
        self.response(true)
    }

    pub fn response(&mut self, with_body: bool) -> Response {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let n = self.stream.read_line(&mut head).unwrap();
            assert!(n > 0, "closed within a head: {head:?}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut response = Response { status, head, body: Vec::new() };
        let length = response.field("content-length").map_or(0, |l| l.parse().unwrap());
        if with_body && response.field("transfer-encoding") == Some("chunked") {
            response.body = self.chunks();
        } else if with_body && status != 304 {
            response.body.resize(length, 0);
            self.stream.read_exact(&mut response.body).unwrap();
        }
        response
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let (from, length) = (body.len(), usize::from_str_radix(line.trim_end(), 16).unwrap());
            body.resize(from + length, 0);
            self.stream.read_exact(&mut body[from..]).unwrap();
            let mut end = [0; 2];
            self.stream.read_exact(&mut end).unwrap();
            assert_eq!(&end, b"\r\n");
            if length == 0 {
                return body;
            }
        }
    }

    /// Returns `true` if the server closes the connection without sending anything else.
    pub fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        matches!(self.stream.read_to_end(&mut rest), Ok(0)) && rest.is_empty()
    }
}
