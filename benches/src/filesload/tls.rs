//! Connections over TLS 1.3: the handshake by rustls, and what comes after by [`Direction`]s.
//!
//! Bytes arrive in one buffer, up to [`READ`] of them by a call of the system, and are opened there.
//! What is sent is put together and sealed in another one.
//!
//! A client that has a core to itself may ask for more all the time instead of sleeping: then it
//! costs the server nothing to wake it, which on a virtual machine can be a fourth of its work, and
//! the more the faster the client is.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::UnbufferedClientConnection;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{CipherSuite, ClientConfig, DigitallySignedStruct, Error, SignatureScheme, version};

use super::records::{CONTENT, Direction, HEADER, PAYLOAD, record_len, sealed_len};
use crate::measure::thread_cpu_nanos;

/// Bytes that one call of the system receives or sends, about.
pub const READ: usize = 128 << 10;

/// Who does not answer for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The ciphers by their names, first the one that is taken if none was told.
pub const CIPHERS: [(&str, CipherSuite); 3] = [
    ("aes128", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("aes256", CipherSuite::TLS13_AES_256_GCM_SHA384),
    ("chacha20", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
];

/// Believes every certificate: this is a client for load on servers of one's own, and sends nothing
/// that is worth a secret.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What all connections have in common. Only the one cipher is offered, so that all servers work
/// with the same.
///
/// # Errors
///
/// When rustls does not know the cipher.
pub fn config(cipher: CipherSuite) -> Result<Arc<ClientConfig>, Error> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|s| s.suite() == cipher);
    let provider = Arc::new(provider);
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A connection whose handshake is over.
pub struct Connection {
    socket: TcpStream,
    /// CPU time of waiting without sleeping, in nanoseconds.
    spun: u64,
    receives: Direction,
    sends: Direction,
    incoming: Vec<u8>,
    /// What has arrived and was not opened yet stands at `start..end` of `incoming`.
    start: usize,
    end: usize,
    outgoing: Vec<u8>,
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

/// Repeats `call` as long as it would block; `spun` gets the CPU time that this takes.
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
    /// Connects to `address`, a server that is called `host`.
    ///
    /// # Errors
    ///
    /// When nobody listens there, or does not agree on TLS 1.3 and the cipher.
    pub fn new(address: SocketAddr, host: &str, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let mut socket = TcpStream::connect_timeout(&address, PATIENCE)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(host.to_owned()).map_err(broken)?;
        let mut tls = UnbufferedClientConnection::new(Arc::clone(config), name).map_err(broken)?;
        let mut incoming = vec![0; READ + HEADER + PAYLOAD];
        let mut end = 0;
        let mut outgoing = vec![0; READ + 2 * sealed_len(CONTENT)];
        let mut encoded = 0;
        loop {
            let UnbufferedStatus { discard, state } = tls.process_tls_records(&mut incoming[..end]);
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
                ConnectionState::WriteTraffic(_) => finished = true,
                _ => return Err(io::Error::other("data before the first request")),
            }
            incoming.copy_within(discard..end, 0);
            end -= discard;
            if finished {
                break;
            }
        }
        // Tickets, which the rest is for, are ignored.
        let (secrets, _) = tls.dangerous_into_kernel_connection().map_err(broken)?;
        let (receives, sends) = (Direction::new(secrets.rx)?, Direction::new(secrets.tx)?);
        Ok(Self { socket, spun: 0, receives, sends, incoming, start: 0, end, outgoing })
    }

    /// From now on it waits without sleeping.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn never_sleep(&mut self) -> io::Result<()> {
        self.socket.set_nonblocking(true)
    }

    /// CPU time that it has waited without sleeping, in nanoseconds.
    pub fn spun_nanos(&self) -> u64 {
        self.spun
    }

    /// Sends `head` and `body`, at most [`READ`] bytes and a record, by one call of the system if it
    /// takes all.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    ///
    /// # Panics
    ///
    /// When they are longer.
    pub fn send<'a>(&mut self, mut head: &'a [u8], mut body: &'a [u8]) -> io::Result<()> {
        let mut at = 0;
        while !head.is_empty() || !body.is_empty() {
            let content = at + HEADER;
            let mut n = 0;
            for from in [&mut head, &mut body] {
                let (now, later) = from.split_at(from.len().min(CONTENT - n));
                self.outgoing[content + n..content + n + now.len()].copy_from_slice(now);
                *from = later;
                n += now.len();
            }
            let end = at + sealed_len(n);
            self.sends.seal(&mut self.outgoing[at..end])?;
            at = end;
        }
        let mut rest = &self.outgoing[..at];
        while !rest.is_empty() {
            let n = spin(&mut self.spun, || self.socket.write(rest))?;
            rest = &rest[n..];
        }
        Ok(())
    }

    /// Waits until something has arrived, and hands all that has arrived to `consume`, in pieces.
    ///
    /// # Errors
    ///
    /// Those of the socket and of `consume`; that the server has closed the connection.
    pub fn receive(&mut self, consume: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
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
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.end += n;
        }
    }
}
