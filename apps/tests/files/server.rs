//! A `dapple files` process for one test, and a client that gives access to every byte.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::tool::missing;

pub const USER: &str = "ann";
pub const PASSWORD: &str = "an open secret";
pub const READER: &str = "ron";

pub fn dapple(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dapple"));
    command.arg("files").args(args);
    command
}

/// Adds a user by the command that a person would use.
pub fn add_user(state: &Path, name: &str, more: &[&str]) {
    let mut child = dapple(&["user", "add", name, "--password-stdin", "--state"])
        .arg(state)
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

pub fn is_root() -> bool {
    // SAFETY: `geteuid` takes no arguments, changes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// A folder to serve, and the directory where the server keeps its state.
pub struct Place {
    pub folder: PathBuf,
    pub state: PathBuf,
    _temporary: tempfile::TempDir,
}

impl Place {
    pub fn without_users() -> Place {
        Place::within(tempfile::tempdir().unwrap())
    }

    fn within(temporary: tempfile::TempDir) -> Place {
        let (folder, state) = (temporary.path().join("share"), temporary.path().join("state"));
        std::fs::create_dir(&folder).unwrap();
        Place { folder, state, _temporary: temporary }
    }

    /// Creates a folder in memory and the two usual users. Returns `None` if the system has no
    /// /dev/shm.
    pub fn in_memory() -> Option<Place> {
        let temporary = tempfile::tempdir_in("/dev/shm");
        match temporary {
            Ok(temporary) => Some(Place::within(temporary).with_users()),
            Err(_) => {
                missing("/dev/shm");
                None
            }
        }
    }

    /// Creates a folder and two users: one with all rights, and one who may only read.
    pub fn new() -> Place {
        Place::without_users().with_users()
    }

    fn with_users(self) -> Place {
        add_user(&self.state, USER, &[]);
        add_user(&self.state, READER, &["--read-only"]);
        self
    }

    pub fn serve(&self) -> Server {
        self.serve_with(&[])
    }

    pub fn serve_with(&self, args: &[&str]) -> Server {
        let mut command = dapple(&["--listen", "127.0.0.1:0", "--state"]);
        command.arg(&self.state).args(args).arg(&self.folder);
        Server::spawn(command, &self.state)
    }

    /// Serves with an 8 MiB file system mounted at `at` in the folder. Only this server sees the
    /// mount.
    pub fn serve_with_disk(&self, at: &str) -> Option<Server> {
        let works = Command::new("unshare").args(["-m", "true"]).status();
        if !is_root() || !works.is_ok_and(|status| status.success()) {
            missing("the right to mount");
            return None;
        }
        let mut command = Command::new("unshare");
        let script = "mount -t tmpfs -o size=8m tmpfs \"$1/$3\" && \
                      exec \"$0\" files --listen 127.0.0.1:0 --state \"$2\" \"$1\"";
        command.args(["-m", "sh", "-c", script, env!("CARGO_BIN_EXE_dapple")]);
        command.arg(&self.folder).arg(&self.state).arg(at);
        Some(Server::spawn(command, &self.state))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

pub struct Server {
    pub child: Child,
    pub address: SocketAddr,
    pub pin: String,
    pub certificate: PathBuf,
    /// Everything that the server printed until it was ready.
    pub said: String,
    pub out: BufReader<ChildStdout>,
}

impl Server {
    pub fn spawn(mut command: Command, state: &Path) -> Server {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("Ctrl-C") {
            assert!(out.read_line(&mut said).unwrap() > 0, "it did not start: {said}");
        }
        let after = |mark: &str| {
            let at = said.find(mark).unwrap_or_else(|| panic!("no {mark} in {said}"));
            said[at + mark.len()..].split([' ', '/', '\n']).find(|word| !word.is_empty()).unwrap()
        };
        // The URL may name a host instead of an address. Then the server listens on 127.0.0.1.
        let shown = after("https://");
        let port = shown.rsplit(':').next().and_then(|port| port.parse().ok());
        let local = || SocketAddr::from(([127, 0, 0, 1], port.expect("a port")));
        let address = shown.parse().unwrap_or_else(|_| local());
        let at = said.find("sha256//").unwrap();
        let pin = said[at..].lines().next().unwrap().to_owned();
        Server { child, address, pin, certificate: state.join("cert.pem"), said, out }
    }

    pub fn url(&self) -> String {
        format!("https://{}/", self.address)
    }

    pub fn client(&self) -> Client {
        self.client_of(USER, PASSWORD)
    }

    pub fn client_of(&self, user: &str, password: &str) -> Client {
        self.connect(user, password, &[])
    }

    /// Returns a client that offers these protocols and has finished the handshake.
    pub fn client_that_speaks(&self, protocols: &[&[u8]]) -> Client {
        let mut client = self.connect(USER, PASSWORD, protocols);
        let stream = client.stream.get_mut();
        stream.conn.complete_io(&mut stream.sock).unwrap();
        assert_eq!(stream.conn.alpn_protocol(), protocols.first().copied());
        client
    }

    fn connect(&self, user: &str, password: &str, protocols: &[&[u8]]) -> Client {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&self.certificate).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let tls = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let tcp = TcpStream::connect(self.address).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        tcp.set_nodelay(true).unwrap();
        let stream = BufReader::new(StreamOwned::new(tls, tcp));
        let login = STANDARD.encode(format!("{user}:{password}"));
        Client { stream, authorization: format!("Authorization: Basic {login}\r\n") }
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: `kill` takes no pointers. The process id is that of our child, which has not been
        // waited for, so the kernel cannot have reused it.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Returns the server's resident memory in bytes.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Client {
    pub stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    pub authorization: String,
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

    /// Returns each text between `<D:name>` and `</D:name>`.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let (open, close) = (format!("<D:{name}>"), format!("</D:{name}>"));
        let parts = self.text().split(open.as_str()).skip(1);
        parts.map(|part| part.split(close.as_str()).next().unwrap()).collect()
    }
}

impl Client {
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes)?;
        stream.flush()
    }

    /// Returns the head of a request with the given extra fields.
    pub fn head(&self, method: &str, target: &str, fields: &str) -> String {
        let authorization = &self.authorization;
        format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{authorization}{fields}\r\n")
    }

    pub fn try_request(
        &mut self,
        method: &str,
        target: &str,
        fields: &str,
        body: &[u8],
    ) -> std::io::Result<Response> {
        let length = match body.is_empty() && method != "PUT" {
            true => String::new(),
            false => format!("Content-Length: {}\r\n", body.len()),
        };
        let head = self.head(method, target, &format!("{length}{fields}"));
        self.send(&[head.as_bytes(), body].concat())?;
        self.response(method != "HEAD")
    }

    pub fn request(&mut self, method: &str, target: &str, fields: &str, body: &[u8]) -> Response {
        self.try_request(method, target, fields, body).unwrap()
    }

    pub fn get(&mut self, target: &str) -> Response {
        self.request("GET", target, "", b"")
    }

    pub fn put(&mut self, target: &str, body: &[u8]) -> u16 {
        self.request("PUT", target, "", body).status
    }

    pub fn propfind(&mut self, target: &str, depth: &str, body: &str) -> Response {
        self.request("PROPFIND", target, &format!("Depth: {depth}\r\n"), body.as_bytes())
    }

    pub fn response(&mut self, with_body: bool) -> std::io::Result<Response> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut response = Response { status, head, body: Vec::new() };
        if !with_body || matches!(status, 204 | 304) {
            return Ok(response);
        }
        if response.field("transfer-encoding") == Some("chunked") {
            loop {
                let mut line = String::new();
                self.stream.read_line(&mut line)?;
                let length = usize::from_str_radix(line.trim(), 16)
                    .map_err(|_| std::io::ErrorKind::UnexpectedEof)?;
                let from = response.body.len();
                response.body.resize(from + length, 0);
                self.stream.read_exact(&mut response.body[from..])?;
                self.stream.read_line(&mut line)?;
                if length == 0 {
                    return Ok(response);
                }
            }
        }
        let length = response.field("content-length").map_or(0, |l| l.parse().unwrap());
        response.body.resize(length, 0);
        self.stream.read_exact(&mut response.body)?;
        Ok(response)
    }
}

/// Returns `len` pseudorandom bytes that depend on `seed`.
pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}
