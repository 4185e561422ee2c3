//! Two ways for a file server to send and receive over TLS: [`Buffered`] uses rustls and its
//! buffers, and [`Connection`] opens and seals records in place.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection};

use crate::filesload::records::CONTENT;
use crate::filesload::tls::{Connection, READ};

/// The maximum number of bytes that are read from or written to a file at once.
pub const PIECE: usize = READ;

/// The maximum number of bytes that [`Transport::receive`] adds.
pub const RECEIVED: usize = READ + 2 * CONTENT;

/// A way to send and receive bytes over a connection.
pub trait Transport {
    /// Waits for bytes, and writes them to the start of `into`, which has room for [`RECEIVED`]
    /// bytes. Returns the number of bytes.
    ///
    /// # Errors
    ///
    /// Returns the errors of the socket and of TLS, and `UnexpectedEof` if the peer has closed the
    /// connection.
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Sends `len` bytes, at most [`PIECE`]. `fill` is called once or more often and writes the
    /// bytes in order into the slices that it gets.
    ///
    /// # Errors
    ///
    /// Returns the errors of the socket, of TLS and of `fill`.
    fn send(&mut self, len: usize, fill: impl FnMut(&mut [u8]) -> io::Result<()>)
    -> io::Result<()>;
}

/// A connection that uses rustls and its buffers.
pub struct Buffered {
    socket: TcpStream,
    tls: ServerConnection,
    outgoing: Vec<u8>,
}

impl Buffered {
    /// Creates the server's side of `socket`. The handshake takes place when the first bytes are
    /// received.
    ///
    /// # Errors
    ///
    /// Returns the errors of the socket and of rustls.
    pub fn new(socket: TcpStream, config: &Arc<ServerConfig>) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let mut tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        // Each piece is encrypted at once and then sent, so the buffer needs no limit.
        tls.set_buffer_limit(None);
        Ok(Self { socket, tls, outgoing: vec![0; PIECE] })
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}

impl Transport for Buffered {
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(into) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            if self.tls.read_tls(&mut self.socket)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.tls.process_new_packets().map_err(io::Error::other)?;
            self.flush()?;
        }
    }

    fn send(
        &mut self,
        len: usize,
        mut fill: impl FnMut(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        fill(&mut self.outgoing[..len])?;
        self.tls.writer().write_all(&self.outgoing[..len])?;
        self.flush()
    }
}

impl Transport for Connection {
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        Connection::receive(self, &mut |bytes| {
            into[filled..filled + bytes.len()].copy_from_slice(bytes);
            filled += bytes.len();
            Ok(())
        })?;
        Ok(filled)
    }

    fn send(
        &mut self,
        len: usize,
        fill: impl FnMut(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.send_by(len, fill)
    }
}
