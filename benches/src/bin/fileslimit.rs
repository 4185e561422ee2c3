//! What a server of files over TLS 1.3 could reach at most in this way: one without any feature, to
//! measure others by. A blocking thread per connection, pinned to one of the workers' cores, and
//! rustls; no users, no folders, nothing of HTTP but what a well-meaning client needs.
//!
//! A file is sent by reads of 128 KiB through rustls; with `--in-place` it is read to where it is
//! encrypted, without rustls's buffers, so that what is left is the cipher and the system. What is
//! put goes to another name first, which then takes the place of the old one; nothing waits for the
//! disk, if `--fsync` is not told.
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

/// Bytes of a request's head, at most.
const HEAD: usize = 16 << 10;

fn command() -> Command {
    let one = |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
    Command::new("fileslimit")
        .about("A server of files over TLS 1.3 without features, to measure others by")
        .arg(
            one("dir", "DIR").required(true).value_parser(value_parser!(PathBuf)).help("The files"),
        )
        .arg(one("listen", "ADDRESS").default_value("127.0.0.1:8443").help("Where it listens"))
        .arg(
            one("workers", "N")
                .value_parser(value_parser!(u16).range(1..=1_024))
                .default_value("1")
                .help("On how many cores connections are served"),
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

/// TLS 1.3 alone, with a certificate that was just made.
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

/// A connection, and what it remembers.
struct Served<T> {
    transport: T,
    /// What was received and not used yet is at the start, so many bytes.
    incoming: Vec<u8>,
    filled: usize,
    /// The file that was sent last: its name, and its length.
    last: Option<(String, File, u64)>,
}

/// Which file, and how many bytes follow.
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

/// An answer's head.
fn head(status: &str, length: u64) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n")
}

impl<T: Transport> Served<T> {
    fn new(transport: T) -> Self {
        // A head or a piece is waited for, and more may come with the last part of it.
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

    /// Serves until the client leaves, which is an error.
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
        // Its name is nobody else's, as long as two clients do not put the same file.
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

/// Accepts connections, for ever.
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
                eprintln!("fileslimit: core {id} cannot be had");
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
