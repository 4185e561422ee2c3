//! Connections over TLS 1.3. rustls makes the handshake, and [`Direction`]s do the rest.
//!
//! Bytes arrive in one buffer, up to [`READ`] of them per system call, and are opened there.
//! Outgoing bytes are assembled and sealed in another buffer.
//!
//! A client that has a core to itself may poll its socket instead of sleeping. Then the server need
//! not wake it. On a virtual machine, such wakeups can be a fourth of a server's work, and the
//! faster the client, the larger this share is.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{ClientConfig, Error, ExtractedSecrets, ServerConfig};

use super::records::{CONTENT, Direction, HEADER, PAYLOAD, record_len, sealed_len};
use crate::measure::thread_cpu_nanos;

/// The approximate number of bytes that one system call receives or sends.
pub const READ: usize = 128 << 10;

/// The time after which a peer that does not respond is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The handshake of either side.
trait Handshake {
    type Data;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// Returns the secrets at the end of the handshake. Later TLS messages, such as tickets, are
    /// ignored.
    fn secrets(self) -> Result<ExtractedSecrets, Error>;
}

impl Handshake for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn secrets(self) -> Result<ExtractedSecrets, Error> {
        self.dangerous_into_kernel_connection().map(|(secrets, _)| secrets)
    }
}

impl Handshake for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn secrets(self) -> Result<ExtractedSecrets, Error> {
        self.dangerous_into_kernel_connection().map(|(secrets, _)| secrets)
    }
}

/// A connection whose handshake is over.
pub struct Connection {
    socket: TcpStream,
    /// The CPU time of waiting without sleeping, in nanoseconds.
    spun: u64,
    receives: Direction,
    sends: Direction,
    /// Content that arrived together with the handshake.
    early: Vec<u8>,
    incoming: Vec<u8>,
    /// The received bytes that have not been opened stand at `start..end` of `incoming`.
    start: usize,
    end: usize,
    outgoing: Vec<u8>,
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

/// Repeats `call` for as long as it would block, at most 60 s. Adds the CPU time that this takes to
/// `spun`, in nanoseconds.
fn spin(spun: &mut u64, mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    let mut found = call();
    let would_block =
        |found: &io::Result<usize>| matches!(found, Err(e) if e.kind() == ErrorKind::WouldBlock);
    if would_block(&found) {
        let (start, since) = (thread_cpu_nanos(), Instant::now());
        while would_block(&found) && since.elapsed() < PATIENCE {
            std::thread::yield_now();
            found = call();
        }
        *spun += thread_cpu_nanos() - start;
    }
    found
}

impl Connection {
    /// Connects to the server `host` at `address`, and makes the handshake.
    ///
    /// # Errors
    ///
    /// Returns an error if `host` is not a valid name, if the connection fails or times out after
    /// 60 s, or if the server does not agree on TLS 1.3 and the cipher.
    pub fn new(address: SocketAddr, host: &str, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&address, PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(host.to_owned()).map_err(broken)?;
        let tls = UnbufferedClientConnection::new(Arc::clone(config), name).map_err(broken)?;
        Self::shake_hands(socket, tls)
    }

    /// Makes the server's side of the handshake on `socket`.
    ///
    /// # Errors
    ///
    /// Returns an error if the client does not agree on TLS 1.3 and a cipher, or if the socket
    /// fails.
    pub fn accept(socket: TcpStream, config: &Arc<ServerConfig>) -> io::Result<Self> {
        let tls = UnbufferedServerConnection::new(Arc::clone(config)).map_err(broken)?;
        Self::shake_hands(socket, tls)
    }

    fn shake_hands(mut socket: TcpStream, mut tls: impl Handshake) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let mut early = Vec::new();
        let mut incoming = vec![0; READ + HEADER + PAYLOAD];
        let mut end = 0;
        let mut outgoing = vec![0; READ + 2 * sealed_len(CONTENT)];
        let mut encoded = 0;
        loop {
            let UnbufferedStatus { discard, state } = tls.process(&mut incoming[..end]);
            let mut finished = false;
            match state.map_err(broken)? {
                ConnectionState::EncodeTlsData(mut data) => {
                    encoded += data.encode(&mut outgoing[encoded..]).map_err(broken)?;
                }
                ConnectionState::TransmitTlsData(data) => {
                    socket.write_all(&outgoing[..encoded])?;
                    encoded = 0;
                    data.done();
                }
                ConnectionState::BlockedHandshake => {
                    end += match socket.read(&mut incoming[end..])? {
                        0 => return Err(ErrorKind::UnexpectedEof.into()),
                        n => n,
                    };
                }
                // A client may send content together with its part of the handshake.
                ConnectionState::ReadTraffic(mut data) => {
                    while let Some(record) = data.next_record() {
                        early.extend_from_slice(record.map_err(broken)?.payload);
                    }
                }
                ConnectionState::WriteTraffic(_) => finished = true,
                _ => return Err(ErrorKind::UnexpectedEof.into()),
            }
            incoming.copy_within(discard..end, 0);
            end -= discard;
            if finished {
                break;
            }
        }
        let secrets = tls.secrets().map_err(broken)?;
        let (receives, sends) = (Direction::new(secrets.rx)?, Direction::new(secrets.tx)?);
        Ok(Self { socket, spun: 0, receives, sends, early, incoming, start: 0, end, outgoing })
    }

    /// Makes the connection wait without sleeping from now on.
    ///
    /// # Errors
    ///
    /// Returns the errors of the socket.
    pub fn never_sleep(&mut self) -> io::Result<()> {
        self.socket.set_nonblocking(true)
    }

    /// Returns the CPU time of waiting without sleeping, in nanoseconds.
    pub fn spun_nanos(&self) -> u64 {
        self.spun
    }

    /// Sends `head` and `body`, together at most [`READ`] bytes plus the content of one record. One
    /// system call is enough if the socket takes everything.
    ///
    /// # Errors
    ///
    /// Returns the errors of the socket.
    ///
    /// # Panics
    ///
    /// Panics if `head` and `body` are longer than that.
    pub fn send(&mut self, mut head: &[u8], mut body: &[u8]) -> io::Result<()> {
        self.send_by(head.len() + body.len(), |room| {
            let (first, second) = room.split_at_mut(head.len().min(room.len()));
            first.copy_from_slice(head.split_off(..first.len()).expect("it is as long"));
            second.copy_from_slice(body.split_off(..second.len()).expect("it is as long"));
            Ok(())
        })
    }

    /// Sends `len` bytes, at most [`READ`] bytes and one record. `fill` is called for each record
    /// in turn, and writes the bytes into the slice that it gets.
    ///
    /// # Errors
    ///
    /// Returns the errors of the socket and of `fill`.
    ///
    /// # Panics
    ///
    /// Panics if `len` is larger than that.
    pub fn send_by(
        &mut self,
        len: usize,
        mut fill: impl FnMut(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let (mut at, mut left) = (0, len);
        while left > 0 {
            let n = left.min(CONTENT);
            let record = &mut self.outgoing[at..at + sealed_len(n)];
            fill(&mut record[HEADER..HEADER + n])?;
            self.sends.seal(record)?;
            at += record.len();
            left -= n;
        }
        let mut rest = &self.outgoing[..at];
        while !rest.is_empty() {
            let n = spin(&mut self.spun, || self.socket.write(rest))?;
            rest = &rest[n..];
        }
        Ok(())
    }

    /// Waits until some content has arrived, and passes everything that has arrived to `consume`,
    /// in pieces.
    ///
    /// # Errors
    ///
    /// Returns the errors of the socket and of `consume`, and `UnexpectedEof` if the peer has
    /// closed the connection.
    pub fn receive(&mut self, consume: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let early = std::mem::take(&mut self.early);
        if !early.is_empty() {
            return consume(&early);
        }
        let mut received = false;
        loop {
            while let Some(len) = record_len(&self.incoming[self.start..self.end])? {
                if self.end - self.start < len {
                    break;
                }
                let record = &mut self.incoming[self.start..self.start + len];
                self.start += len;
                let content = self.receives.open(record)?;
                if !content.is_empty() {
                    received = true;
                    consume(content)?;
                }
            }
            if received {
                return Ok(());
            }
            self.incoming.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            let n = spin(&mut self.spun, || self.socket.read(&mut self.incoming[self.end..]))?;
            if n == 0 {
                let closed = "the other side has closed the connection";
                return Err(io::Error::new(ErrorKind::UnexpectedEof, closed));
            }
            self.end += n;
        }
    }
}
