//! The upper limit for a file server over TLS 1.3 that is built in this way: a server without any
//! features, to measure others by. It uses a blocking thread per connection, pinned to one of the
//! workers' cores, and rustls. It has no users and no folders, and only as much of HTTP as a
//! well-behaved client needs.
//!
//! A file is sent by reads of 128 KiB through rustls. With `--in-place`, the file is read into the
//! place where it is encrypted, without rustls's buffers, so that only the cipher and the system
//! remain. An upload goes to another name first, which then replaces the old file. Nothing waits
//! for the disk unless `--fsync` is set.
//!
//! `cargo run --release -p dapple-benches --bin fileslimit -- --help`

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Arg, ArgAction, Command, value_parser};
use core_affinity::CoreId;
use dapple_benches::fileslimit::{Buffered, PIECE, RECEIVED, Transport};
use dapple_benches::filesload::tls::Connection;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, version};

/// The maximum length of a request's head, in bytes.
const HEAD: usize = 16 << 10;

fn command() -> Command {
    let one = |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
    Command::new("fileslimit")
        .about("A minimal file server over TLS 1.3, to measure others by")
        .arg(
            one("dir", "DIR").required(true).value_parser(value_parser!(PathBuf)).help("The files"),
        )
        .arg(one("listen", "ADDRESS").default_value("127.0.0.1:8443").help("Where it listens"))
        .arg(
            one("workers", "N")
                .value_parser(value_parser!(u16).range(1..=1_024))
                .default_value("1")
                .help("The number of cores that serve connections"),
        )
        .arg(
            one("cores", "LIST")
                .value_parser(value_parser!(usize))
                .value_delimiter(',')
                .help("Which cores the workers have [default: the first ones]"),
        )
        .arg(
            Arg::new("in-place")
                .long("in-place")
                .action(ArgAction::SetTrue)
                .help("Records are opened and sealed in place, without the buffers of rustls"),
        )
        .arg(
            Arg::new("fsync")
                .long("fsync")
                .action(ArgAction::SetTrue)
                .help("An answer to PUT waits until the content is on the disk"),
        )
}

/// Returns a configuration for TLS 1.3 only, with a new self-signed certificate.
fn config() -> Result<Arc<ServerConfig>, Box<dyn std::error::Error>> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names)?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())?;
    config.enable_secret_extraction = true;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A connection and its state.
struct Served<T> {
    transport: T,
    /// Received bytes. The first `filled` of them have not been used yet.
    incoming: Vec<u8>,
    filled: usize,
    /// The file that was sent last: its name, the open file, and its length in bytes.
    last: Option<(String, File, u64)>,
}

/// A request: the name of the file and, for an upload, the length of its body in bytes.
enum Request {
    Get(String),
    Put(String, u64),
}

fn read_head(head: &[u8]) -> Option<Request> {
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, name) = (words.next()?, words.next()?.trim_start_matches('/'));
    if name.is_empty() || name.split('/').any(|part| part == "..") {
        return None;
    }
    match method {
        "GET" => Some(Request::Get(name.to_owned())),
        "PUT" => {
            let mut fields = lines.filter_map(|l| l.split_once(':'));
            let length = fields.find(|f| f.0.eq_ignore_ascii_case("content-length"))?.1;
            Some(Request::Put(name.to_owned(), length.trim().parse().ok()?))
        }
        _ => None,
    }
}

/// Returns the head of a response.
fn head(status: &str, length: u64) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n")
}

impl<T: Transport> Served<T> {
    fn new(transport: T) -> Self {
        // A head or a piece must fit, and so must the bytes that arrive with the last part of it.
        Self { transport, incoming: vec![0; PIECE + RECEIVED], filled: 0, last: None }
    }

    fn receive(&mut self) -> io::Result<()> {
        self.filled += self.transport.receive(&mut self.incoming[self.filled..])?;
        Ok(())
    }

    /// Forgets the first `n` bytes of `incoming`.
    fn consume(&mut self, n: usize) {
        self.incoming.copy_within(n..self.filled, 0);
        self.filled -= n;
    }

    /// Serves requests until the client disconnects, which is reported as an error.
    fn serve(&mut self, dir: &Path, fsync: bool) -> io::Result<()> {
        loop {
            let end = self.incoming[..self.filled].windows(4).position(|w| w == b"\r\n\r\n");
            let Some(end) = end else {
                if self.filled > HEAD {
                    return Err(io::Error::other("a request's head that does not end"));
                }
                self.receive()?;
                continue;
            };
            let request = read_head(&self.incoming[..end]);
            self.consume(end + 4);
            let status = match request {
                Some(Request::Get(name)) => match self.get(dir, name) {
                    Err(e) if e.kind() == ErrorKind::NotFound => "404 Not Found",
                    other => {
                        other?;
                        continue;
                    }
                },
                Some(Request::Put(name, length)) => {
                    self.put(&dir.join(name), length, fsync)?;
                    "201 Created"
                }
                None => "400 Bad Request",
            };
            let head = head(status, 0);
            self.transport.send(head.len(), |room| {
                room.copy_from_slice(head.as_bytes());
                Ok(())
            })?;
        }
    }

    fn get(&mut self, dir: &Path, name: String) -> io::Result<()> {
        let last = self.last.take().filter(|(last, ..)| *last == name);
        let (name, file, length) = match last {
            Some(last) => last,
            None => {
                let file = File::open(dir.join(&name))?;
                let length = file.metadata()?.len();
                (name, file, length)
            }
        };
        let head = head("200 OK", length);
        let (mut head, mut at) = (head.as_bytes(), 0);
        while !head.is_empty() || at < length {
            let n = (head.len() as u64 + length - at).min(PIECE as u64) as usize;
            self.transport.send(n, |room| {
                let (first, content) = room.split_at_mut(head.len().min(room.len()));
                first.copy_from_slice(head.split_off(..first.len()).expect("it is as long"));
                file.read_exact_at(content, at)?;
                at += content.len() as u64;
                Ok(())
            })?;
        }
        self.last = Some((name, file, length));
        Ok(())
    }

    fn put(&mut self, path: &Path, length: u64, fsync: bool) -> io::Result<()> {
        // The name is unique as long as no two clients put the same file.
        let part = PathBuf::from(format!("{}.part", path.display()));
        let mut file = File::create(&part)?;
        let mut left = length;
        while left > 0 {
            let n = left.min(PIECE as u64) as usize;
            while self.filled < n {
                self.receive()?;
            }
            file.write_all(&self.incoming[..n])?;
            self.consume(n);
            left -= n as u64;
        }
        if fsync {
            file.sync_all()?;
        }
        fs::rename(part, path)
    }
}

fn main() -> ExitCode {
    let args = command().get_matches();
    let number = usize::from(*args.get_one::<u16>("workers").expect("it has a default"));
    let mut cores: Vec<usize> =
        args.get_many("cores").map_or((0..number).collect(), |told| told.copied().collect());
    cores.truncate(number);
    match run(
        args.get_one::<PathBuf>("dir").expect("it is required"),
        args.get_one::<String>("listen").expect("it has a default"),
        &cores,
        args.get_flag("in-place"),
        args.get_flag("fsync"),
    ) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fileslimit: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Accepts connections forever.
fn run(
    dir: &Path,
    listen: &str,
    cores: &[usize],
    in_place: bool,
    fsync: bool,
) -> Result<(), Box<dyn std::error::Error>> {
    let config = config()?;
    let listener = TcpListener::bind(listen)?;
    println!("https://{}/", listener.local_addr()?);
    for number in 0.. {
        let (socket, _) = listener.accept()?;
        let (config, dir) = (Arc::clone(&config), dir.to_owned());
        let core = cores.get(number % cores.len().max(1)).copied();
        std::thread::spawn(move || {
            if let Some(id) = core
                && !core_affinity::set_for_current(CoreId { id })
            {
                eprintln!("fileslimit: cannot pin a thread to core {id}");
            }
            let served = match in_place {
                true => Connection::accept(socket, &config)
                    .and_then(|c| Served::new(c).serve(&dir, fsync)),
                false => {
                    Buffered::new(socket, &config).and_then(|c| Served::new(c).serve(&dir, fsync))
                }
            };
            match served {
                Err(e) if e.kind() != ErrorKind::UnexpectedEof => eprintln!("fileslimit: {e}"),
                _ => {}
            }
        });
    }
    Ok(())
}
