//! `dapple web` against HTTP/2 clients (RFC 9113) that make mistakes or attack. The test sends the
//! h2spec cases that concern a file server, frame by frame.
mod common;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use common::{Web, command};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

// Frame types and flags.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

// Error codes (RFC 9113, section 7).
const PROTOCOL_ERROR: u32 = 1;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Encodes fields as literals without indexing (RFC 7541, section 6.2.2).
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "one byte tells the length");
            block.push(text.len() as u8);
            block.extend(text.as_bytes());
        }
    }
    block
}

fn asks(stream: u32, method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let head =
        [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)];
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields(&[&head[..], more].concat()))
}

fn gets(stream: u32, path: &str) -> Vec<u8> {
    asks(stream, "GET", path, &[])
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    let mut payload = id.to_be_bytes().to_vec();
    payload.extend(value.to_be_bytes());
    frame(SETTINGS, 0, 0, &payload)
}

/// An event on the connection. Frames that every connection has, such as settings, are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Came {
    /// A response with this status begins on this stream.
    Status(u32, u16),
    /// A stream's DATA frame, with its length.
    Data(u32, usize),
    Reset(u32, u32),
    Pong(Vec<u8>),
    /// The server ends the connection with this error.
    GoAway(u32),
    Closed,
}

struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    bytes: Vec<u8>,
}

struct Server {
    web: Web,
    tls: Arc<ClientConfig>,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Server {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("site")).unwrap();
        fs::write(at("site/a.txt"), "0123456789").unwrap();
        fs::write(at("site/big.bin"), vec![7; 3_000_000]).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        fs::write(at("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(at("key.pem"), key.serialize_pem()).unwrap();
        let mut command = command(&["--listen", "127.0.0.1:0", "--list", "--tls"]);
        command.args([at("cert.pem"), at("key.pem"), at("site")]);
        let web = Web::spawn_at(command, "https://");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(at("cert.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Server { web, tls: Arc::new(tls), _folder: folder }
    }

    /// Opens a connection on which nothing has been sent.
    fn connect(&self) -> Client {
        let tls = ClientConnection::new(Arc::clone(&self.tls), "localhost".try_into().unwrap());
        let tcp = TcpStream::connect(self.web.address).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Client { stream: StreamOwned::new(tls.unwrap(), tcp), bytes: Vec::new() }
    }

    /// Opens a connection, and sends the preface and a SETTINGS frame.
    fn client(&self) -> Client {
        let mut client = self.connect();
        client.send(PREFACE);
        client.send(&frame(SETTINGS, 0, 0, &[]));
        client
    }

    /// Returns the first event on a new connection on which `sent` was sent.
    fn answer(&self, sent: &[u8]) -> Came {
        let mut client = self.client();
        client.send(sent);
        client.next()
    }

    fn still_serves(&self) {
        assert_eq!(self.answer(&gets(1, "/a.txt")), Came::Status(1, 200));
    }
}

impl Client {
    fn send(&mut self, bytes: &[u8]) {
        // The server may close the connection before it has read everything.
        let _ = self.stream.write_all(bytes);
    }

    fn fill(&mut self, len: usize) -> bool {
        let mut piece = [0; 16 * 1024];
        while self.bytes.len() < len {
            match self.stream.read(&mut piece) {
                Ok(0) => return false,
                Ok(n) => self.bytes.extend(&piece[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => panic!("nothing comes"),
                Err(_) => return false,
            }
        }
        true
    }

    /// Returns the next event, without the frames that every connection has.
    fn next(&mut self) -> Came {
        loop {
            if !self.fill(9) {
                return Came::Closed;
            }
            let len = u32::from_be_bytes([0, self.bytes[0], self.bytes[1], self.bytes[2]]) as usize;
            let (kind, flags) = (self.bytes[3], self.bytes[4]);
            let number = |at: usize, bytes: &[u8]| {
                u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) & 0x7fff_ffff
            };
            let stream = number(5, &self.bytes);
            if !self.fill(9 + len) {
                return Came::Closed;
            }
            let payload: Vec<u8> = self.bytes.drain(..9 + len).skip(9).collect();
            match kind {
                HEADERS => return Came::Status(stream, status(&payload)),
                DATA if len == 0 => {}
                DATA => return Came::Data(stream, len),
                RST_STREAM => return Came::Reset(stream, number(0, &payload)),
                PING if flags & ACK != 0 => return Came::Pong(payload),
                GOAWAY => return Came::GoAway(number(4, &payload)),
                _ => {}
            }
        }
    }
}

/// Reads the status, which is the first field: an index into the static table (RFC 7541, appendix
/// A) or a literal.
fn status(block: &[u8]) -> u16 {
    match block[0] {
        0x88 => 200,
        0x89 => 204,
        0x8a => 206,
        0x8b => 304,
        0x8c => 400,
        0x8d => 404,
        0x8e => 500,
        _ => {
            let digits = String::from_utf8_lossy(block);
            let at = digits.find(|c: char| c.is_ascii_digit());
            at.and_then(|at| digits[at..at + 3].parse().ok()).unwrap_or(0)
        }
    }
}

#[test]
fn n8_frames_as_the_specification_has_them() {
    let server = Server::start();
    let mut client = server.client();
    client.send(&frame(PING, 0, 0, b"12345678"));
    assert_eq!(client.next(), Came::Pong(b"12345678".to_vec()), "6.7");
    client.send(&frame(0x16, 0, 0, b"a frame that is not known"));
    client.send(&frame(PING, ACK, 0, b"unasked!"));
    client.send(&gets(1, "/a.txt"));
    assert_eq!([client.next(), client.next()], [Came::Status(1, 200), Came::Data(1, 10)], "5.5");
    // A field block that is spread over several frames, with no other frame in between.
    let block = fields(&[
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/nothing"),
    ]);
    client.send(&frame(HEADERS, END_STREAM, 3, &block[..9]));
    client.send(&frame(CONTINUATION, 0, 3, &block[9..20]));
    client.send(&frame(CONTINUATION, END_HEADERS, 3, &block[20..]));
    assert_eq!(client.next(), Came::Status(3, 404), "6.10");
}

#[test]
fn n8_mistakes_end_what_they_concern() {
    let server = Server::start();
    let huge = vec![0; 20_000];
    // For some of these, the HTTP/2 library sends a more general error than the specification asks
    // for.
    let whole: &[(&str, Vec<u8>, u32)] = &[
        ("6.5.2: push that is neither on nor off", setting(2, 2), PROTOCOL_ERROR),
        ("6.5.2: a window that is too large", setting(4, 1 << 31), PROTOCOL_ERROR),
        ("6.5.2: frames that are too small", setting(5, 100), PROTOCOL_ERROR),
        ("6.5: settings of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5]), PROTOCOL_ERROR),
        ("6.5: an answer with a payload", frame(SETTINGS, ACK, 0, &[0; 6]), PROTOCOL_ERROR),
        ("6.5: settings of a stream", frame(SETTINGS, 0, 1, &[]), PROTOCOL_ERROR),
        ("6.7: a ping of 7 bytes", frame(PING, 0, 0, &[0; 7]), PROTOCOL_ERROR),
        ("6.9: a window of no more bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), PROTOCOL_ERROR),
        ("6.1: data of a stream that is idle", frame(DATA, 0, 1, b"x"), PROTOCOL_ERROR),
        ("6.4: an end of one that is idle", frame(RST_STREAM, 0, 1, &[0; 4]), PROTOCOL_ERROR),
        ("5.1.1: a stream of the server's", gets(2, "/a.txt"), PROTOCOL_ERROR),
        ("6.10: more of no fields", frame(CONTINUATION, END_HEADERS, 1, &[]), PROTOCOL_ERROR),
        (
            "6.6: a client that promises",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[0; 4]),
            PROTOCOL_ERROR,
        ),
        ("4.2: a frame that is too large", frame(DATA, 0, 1, &huge), FRAME_SIZE_ERROR),
        (
            "RFC 7541, 6.1: an index of nothing",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80]),
            PROTOCOL_ERROR,
        ),
        (
            "6.2: something between fields and their rest",
            [frame(HEADERS, 0, 1, &fields(&[(":method", "GET")])), frame(PING, 0, 0, &[0; 8])]
                .concat(),
            PROTOCOL_ERROR,
        ),
    ];
    let mut wrong = Vec::new();
    for (what, sent, error) in whole {
        let came = server.answer(sent);
        if came != Came::GoAway(*error) {
            wrong.push(format!("{what}: {came:?}"));
        }
    }
    let head = |fields_of: &[(&str, &str)]| {
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(fields_of))
    };
    let get = [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/a.txt")];
    let with = |more: &[(&str, &str)]| head(&[&get[..], more].concat());
    let of_a_stream = [
        ("8.2.1: a name in upper case", with(&[("Accept", "x")])),
        ("8.2.1: a value with a line's end", with(&[("a", "b\nc")])),
        ("8.2.2: a field of the connection", with(&[("connection", "close")])),
        ("8.2.2: a coding of transfer", with(&[("transfer-encoding", "chunked")])),
        ("8.3: a pseudo field that is not known", with(&[(":x", "y")])),
        ("8.3: a pseudo field behind others", head(&[("a", "b"), get[0], get[1], get[2], get[3]])),
        ("8.3.1: no path", head(&get[..3])),
        ("8.3.1: no method", head(&get[1..])),
        ("8.3.1: two methods", head(&[get[0], get[0], get[1], get[2], get[3]])),
        ("8.1.1: a length that is not that of the body", with(&[("content-length", "5")])),
    ];
    for (what, sent) in of_a_stream {
        let mut client = server.client();
        client.send(&sent);
        let came = client.next();
        let is_misspelt = ["8.2.1: a name", "8.2.1: a value", "8.3: a pseudo field that"];
        if is_misspelt.iter().any(|start| what.starts_with(start)) {
            // A malformed field may end the connection instead of the stream (5.4.2).
            assert_eq!(came, Came::GoAway(PROTOCOL_ERROR), "{what}");
            continue;
        }
        assert_eq!(came, Came::Reset(1, PROTOCOL_ERROR), "{what}");
        // Other streams go on.
        client.send(&gets(3, "/a.txt"));
        assert_eq!(client.next(), Came::Status(3, 200), "{what}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let mut client = server.connect();
    client.send(b"GET /a.txt HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(
        matches!(client.next(), Came::GoAway(PROTOCOL_ERROR) | Came::Closed),
        "3.4: no preface"
    );
    server.still_serves();
}

#[test]
fn n5_attacks_are_bounded() {
    let server = Server::start();
    // A client that takes no data may open 32 streams, and no more.
    let mut client = server.client();
    client.send(&setting(4, 0));
    let streams = (0..40).map(|n| 2 * n + 1);
    client.send(&streams.flat_map(|stream| gets(stream, "/big.bin")).collect::<Vec<_>>());
    let mut refused = 0;
    let mut begun = 0;
    while begun + refused < 40 {
        match client.next() {
            Came::Status(_, 200) => begun += 1,
            Came::Reset(_, REFUSED_STREAM) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((begun, refused), (32, 8));
    server.still_serves();
    // The client can still take one of the responses, as far as its window allows.
    client.send(&frame(WINDOW_UPDATE, 0, 1, &1000u32.to_be_bytes()));
    assert_eq!(client.next(), Came::Data(1, 1000));

    // Streams that are reset as soon as they are opened (CVE-2023-44487).
    let mut client = server.client();
    let mut all = Vec::new();
    for stream in (0..5_000).map(|n| 2 * n + 1) {
        all.extend(gets(stream, "/big.bin"));
        all.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
    }
    client.send(&all);
    let last = loop {
        match client.next() {
            Came::Status(..) | Came::Data(..) => {}
            other => break other,
        }
    };
    assert!(matches!(last, Came::GoAway(ENHANCE_YOUR_CALM) | Came::Closed), "{last:?}");
    server.still_serves();

    // A field block that never ends (CVE-2024-27316).
    let mut client = server.client();
    client.send(&frame(HEADERS, END_STREAM, 1, &fields(&[(":method", "GET")])));
    let rest = fields(&[("a", "0123456789012345678901234567890123456789")]).repeat(300);
    for _ in 0..300 {
        client.send(&frame(CONTINUATION, 0, 1, &rest));
    }
    let last = client.next();
    assert!(matches!(last, Came::GoAway(_) | Came::Reset(..) | Came::Closed), "{last:?}");
    server.still_serves();

    // Data that arrives after the response is complete.
    let mut client = server.client();
    client.send(&gets(1, "/a.txt"));
    assert_eq!([client.next(), client.next()], [Came::Status(1, 200), Came::Data(1, 10)]);
    client.send(&frame(DATA, 0, 1, b"more"));
    let last = client.next();
    assert!(
        matches!(last, Came::GoAway(STREAM_CLOSED) | Came::Reset(1, STREAM_CLOSED)),
        "{last:?}"
    );
}
