//! TLS streams for async tasks, by rustls (N7).
//!
//! `session.rs` has the session without a socket, and does no I/O. This file connects it to a
//! socket.
//!
//! *Reading.* The socket is read into a buffer that the thread keeps, as many bytes at a time as
//! the caller has room for, but at least 17 KiB and at most 128 KiB.
//!
//! *Writing.* Plain bytes are sealed when they are given, until the sealed bytes that the socket
//! has not taken reach [`MOST_SEALED`]. Then the writer waits. So a peer that takes nothing
//! occupies that much memory, and no more.
//!
//! Reading and writing may be done by two tasks (with a `split`). Neither task replaces the waker
//! that the other one has left with the socket.

#[cfg(any(test, dapple_fuzzing))]
pub(crate) mod fuzzing;
mod session;

use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use dapple::sync::Arc;
use futures_io::{AsyncRead, AsyncWrite};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use self::session::{Answer, Handshake, Next, READ, Reading, Session};
use crate::stream::AsyncStream;
use crate::thread;

/// The most sealed bytes that a stream keeps until the socket has taken them, apart from the
/// overhead of their records.
pub const MOST_SEALED: usize = 256 * 1024;

/// The thread's buffer, which is taken out while a stream is polled. A waker or a certificate
/// verifier that runs meanwhile may poll another stream, which then gets a buffer of its own.
struct Incoming(Vec<u8>);

impl Incoming {
    fn take() -> Self {
        let mut buffer = thread::state(|state| state.incoming.take());
        buffer.resize(READ, 0);
        Incoming(buffer)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        thread::state(|state| state.incoming.set(buffer));
    }
}

/// A TLS connection over a TCP stream, for async tasks.
///
/// The type implements the traits of futures-io and, with the feature `hyper`, those of hyper.
/// Closing a stream tells the peer that no more bytes will come. If the peer goes away without
/// saying so, a read returns an error of kind `UnexpectedEof`, because somebody in between may have
/// cut the stream off.
///
/// # Examples
///
/// A server with a self-signed certificate, and a client that trusts it:
///
/// ```
/// use std::sync::Arc;
/// use dapple_io::{tcp::Accepting, tls::TlsStream};
/// use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
///
/// let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
/// let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
/// let server = rustls::ServerConfig::builder()
///     .with_no_client_auth()
///     .with_single_cert(vec![made.cert.der().clone()], key.into())
///     .unwrap();
/// let mut roots = rustls::RootCertStore::empty();
/// roots.add(made.cert.der().clone()).unwrap();
/// let client =
///     rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
///
/// let rt = dapple_io::runtime().build()?;
/// let io = dapple_io::Io::of(&rt.handle());
/// let server = Arc::new(server);
/// let address = "127.0.0.1:0".parse().unwrap();
/// let listener = io.listen(address, Accepting::PerWorker, move |stream, cx| {
///     let (color, server) = (cx.new_color(), Arc::clone(&server));
///     cx.spawn(&color, async move {
///         let mut stream = TlsStream::accept(stream.into_async()?, server).await?;
///         stream.write_all(b"hello").await?;
///         stream.close().await
///     })
///     .detach();
/// })?;
/// let answer = rt.block_on(async {
///     let stream = io.connect(listener.local_addr()).await?;
///     let name = "localhost".try_into().unwrap();
///     let mut stream = TlsStream::connect(stream, Arc::new(client), name).await?;
///     let mut answer = Vec::new();
///     stream.read_to_end(&mut answer).await?;
///     Ok::<_, std::io::Error>(answer)
/// })?;
/// assert_eq!(answer, b"hello");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TlsStream {
    stream: AsyncStream,
    session: Session,
}

impl TlsStream {
    /// Performs a TLS handshake as the server, and returns the stream when it is done.
    ///
    /// There is no time limit; see [`dapple::Handle::timeout`]. The [type](Self) has an example.
    ///
    /// # Errors
    ///
    /// Returns `InvalidData` if the peer does not speak TLS, or shares no version or cipher with
    /// this side. Returns `UnexpectedEof` if the peer goes away, an error of kind `Other` if rustls
    /// refuses `config`, and the system's error if the socket fails.
    pub async fn accept(stream: AsyncStream, config: Arc<ServerConfig>) -> io::Result<TlsStream> {
        let tls = ServerConnection::new(config).map_err(io::Error::other)?;
        TlsStream::begin(stream, tls.into()).await
    }

    /// Performs a TLS handshake as a client of the server `name`, and returns the stream when it is
    /// done.
    ///
    /// There is no time limit; see [`dapple::Handle::timeout`]. The [type](Self) has an example.
    ///
    /// # Errors
    ///
    /// Returns `InvalidData` if the server's certificate is not trusted, has expired or is not
    /// valid for `name`, if the peer does not speak TLS, or if it shares no version or cipher with
    /// this side. Returns `UnexpectedEof` if the peer goes away, an error of kind `Other` if rustls
    /// refuses `config`, and the system's error if the socket fails.
    pub async fn connect(
        stream: AsyncStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<TlsStream> {
        let tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        TlsStream::begin(stream, tls.into()).await
    }

    async fn begin(stream: AsyncStream, tls: Connection) -> io::Result<TlsStream> {
        let mut this = TlsStream { stream, session: Session::new(tls) };
        std::future::poll_fn(|cx| -> Poll<io::Result<()>> {
            loop {
                match this.session.handshake()? {
                    Handshake::Read(most) => ready!(this.poll_receive(cx, most))?,
                    Handshake::Send => ready!(this.poll_send(cx))?,
                    Handshake::Done => return Poll::Ready(Ok(())),
                }
            }
        })
        .await?;
        Ok(this)
    }

    /// Returns the rustls connection, which has the TLS version, the cipher, the protocol (ALPN)
    /// and the peer's certificates.
    pub fn connection(&self) -> &Connection {
        self.session.connection()
    }

    /// Returns the TCP stream below the TLS connection.
    pub fn tcp(&self) -> &AsyncStream {
        &self.stream
    }

    /// Reads at most `most` bytes from the socket, and gives them to the session.
    fn poll_receive(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<()>> {
        let mut incoming = Incoming::take();
        let n = ready!(self.stream.poll_read_slice(cx, &mut incoming.0[..most]))?;
        let answer = self.session.receive(&incoming.0[..n]);
        drop(incoming);
        if answer == Answer::Made {
            self.send_answer(cx);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the session's answer to what it has received, for example an alert. If the socket has
    /// no room for it now, the next flush or write sends it.
    fn send_answer(&mut self, cx: &mut Context<'_>) {
        if let Poll::Ready(Err(error)) = self.poll_send(cx) {
            self.session.fail(error);
        }
    }

    /// Writes the sealed bytes to the socket.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.session.send(&mut Outgoing { stream: &self.stream, cx }) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            outcome => Poll::Ready(outcome),
        }
    }

    /// Reads up to `room` plain bytes, and gives them to `take`.
    fn poll_plain(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
        mut take: impl FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        let mut reading = Reading::of(room);
        loop {
            match self.session.read(&mut reading, &mut take)? {
                Next::Done(n) => return Poll::Ready(Ok(n)),
                Next::Later(0) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Next::Later(n) => return Poll::Ready(Ok(n)),
                Next::Send => self.send_answer(cx),
                Next::Read(most) => match self.poll_receive(cx, most) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => self.session.fail(error),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    fn poll_seal(
        &mut self,
        cx: &mut Context<'_>,
        mut seal: impl FnMut(&mut dyn Write) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let n = self.session.seal(&mut seal)?;
            // Sends as much as the socket takes. The next flush or write sends the rest.
            let sent = self.poll_send(cx)?;
            if n > 0 {
                return Poll::Ready(Ok(n));
            }
            // Nothing more can be sealed before sealed bytes are sent, and `poll_send` is ready
            // only when all are.
            ready!(sent);
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.end();
        ready!(self.poll_send(cx))?;
        Poll::Ready(self.stream.shut_down())
    }
}

/// The socket, as rustls writes to it.
struct Outgoing<'a, 'b> {
    stream: &'a AsyncStream,
    cx: &'a mut Context<'b>,
}

fn now_or_would_block(outcome: Poll<io::Result<usize>>) -> io::Result<usize> {
    match outcome {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Write for Outgoing<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        now_or_would_block(self.stream.poll_write_slice(self.cx, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        now_or_would_block(self.stream.poll_write_slices(self.cx, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut filled = 0;
        self.poll_plain(cx, buf.len(), |plain| {
            buf[filled..filled + plain.len()].copy_from_slice(plain);
            filled += plain.len();
        })
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_seal(cx, |writer| writer.write(buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        self.poll_seal(cx, |writer| writer.write_vectored(bufs))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        TlsStream::poll_close(&mut self, cx)
    }
}

/// The traits of hyper; see [`crate::hyper`].
#[cfg(feature = "hyper")]
mod bridge {
    use hyper::rt::{Read, ReadBufCursor, Write};

    use super::*;

    impl Read for TlsStream {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            mut buf: ReadBufCursor<'_>,
        ) -> Poll<io::Result<()>> {
            let room = buf.remaining();
            ready!(self.poll_plain(cx, room, |plain| buf.put_slice(plain)))?;
            Poll::Ready(Ok(()))
        }
    }

    impl Write for TlsStream {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            AsyncWrite::poll_write(self, cx, buf)
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            AsyncWrite::poll_write_vectored(self, cx, bufs)
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            AsyncWrite::poll_flush(self, cx)
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            AsyncWrite::poll_close(self, cx)
        }
    }
}

impl std::fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream").field("stream", &self.stream).finish_non_exhaustive()
    }
}
