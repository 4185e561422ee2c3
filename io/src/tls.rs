//! TLS streams for async tasks, by rustls (N7).
//!
//! rustls does no I/O of its own: what the socket gives is fed to it, what it gives is written to
//! the socket.
//!
//! *Reading.* The socket is read into a buffer of the thread, as much at once as the caller has
//! room for, and fed to rustls in the pieces that it takes. What is left over when the caller's
//! room is full stays with the stream; that is at most what one reading got, and nothing while a
//! connection is idle.
//!
//! *Writing.* Plain bytes are sealed as soon as they are given, up to [`MOST_SEALED`] that the
//! socket has not taken; then the writer waits. So a peer that takes nothing holds that much, and
//! no more.
//!
//! Reading and writing may be two tasks (with a `split`): neither takes the waker that the other
//! one has left with the socket.

use std::io::{self, BufRead, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use dapple::sync::Arc;
use futures_io::{AsyncRead, AsyncWrite};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use crate::tcp::AsyncStream;
use crate::thread;

/// Bytes that are sealed and not yet written, at most, but for the overhead of their records.
pub const MOST_SEALED: usize = 256 * 1024;

/// Bytes that one reading takes from the socket, at most.
const READ: usize = 128 * 1024;

/// And at least, as far as there is room in the buffer: a record is not to be read in two.
const LEAST_READ: usize = 17 * 1024;

/// Times that rustls is fed in one call of a reader, at most.
const MOST_RECEIVED: usize = 32;

/// The thread's buffer, taken out for as long as a stream is polled. What is called meanwhile (a
/// waker, a verifier of certificates) may poll another one, which then has a buffer of its own.
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

/// A TLS connection over a TCP stream, for async tasks. It implements the traits of futures-io and,
/// with the feature `hyper`, hyper's.
///
/// Closing it tells the peer that nothing more will come; a peer that just goes away is an error of
/// kind `UnexpectedEof`, since somebody in between may have cut the stream off.
///
/// # Examples
///
/// A server with a certificate of its own making, and a client that trusts it.
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
/// let client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
///
/// let rt = dapple_io::runtime().build()?;
/// let io = dapple_io::Io::of(&rt.handle());
/// let server = Arc::new(server);
/// let listener = io.listen("127.0.0.1:0".parse().unwrap(), Accepting::PerWorker, move |stream, cx| {
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
    tls: Connection,
    /// What was read from the socket and not yet fed to rustls, from `fed` on.
    left: Vec<u8>,
    fed: usize,
    /// What went wrong after bytes that had to be delivered first.
    failed: Option<io::Error>,
    /// The peer has been told that nothing more will come.
    closed: bool,
}

impl TlsStream {
    /// Speaks TLS as a server, and returns when the handshake is done. There is no limit of time:
    /// see [`dapple::Handle::timeout`].
    ///
    /// # Errors
    ///
    /// `InvalidData` if the peer does not speak TLS, or shares no version or cipher with us,
    /// `UnexpectedEof` if it goes away; what the system says.
    pub async fn accept(stream: AsyncStream, config: Arc<ServerConfig>) -> io::Result<TlsStream> {
        let tls = ServerConnection::new(config).map_err(io::Error::other)?;
        TlsStream::begin(stream, tls.into()).await
    }

    /// Speaks TLS as a client of the server `name`, and returns when the handshake is done. There
    /// is no limit of time.
    ///
    /// # Errors
    ///
    /// `InvalidData` also if the server's certificate is not good.
    pub async fn connect(
        stream: AsyncStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<TlsStream> {
        let tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        TlsStream::begin(stream, tls.into()).await
    }

    async fn begin(stream: AsyncStream, mut tls: Connection) -> io::Result<TlsStream> {
        tls.set_buffer_limit(Some(MOST_SEALED));
        let mut this =
            TlsStream { stream, tls, left: Vec::new(), fed: 0, failed: None, closed: false };
        std::future::poll_fn(|cx| -> Poll<io::Result<()>> {
            loop {
                ready!(this.poll_send(cx))?;
                if !this.tls.is_handshaking() {
                    return Poll::Ready(Ok(()));
                }
                if ready!(this.poll_receive(cx, LEAST_READ))? == 0 {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
            }
        })
        .await?;
        Ok(this)
    }

    /// What was agreed upon: version, cipher, the protocol (ALPN), the peer's certificates.
    pub fn connection(&self) -> &Connection {
        &self.tls
    }

    /// The stream below.
    pub fn tcp(&self) -> &AsyncStream {
        &self.stream
    }

    /// Feeds rustls with what is there, or with what the socket gives, of which no more than `room`
    /// is wanted; 0: the peer has closed.
    fn poll_receive(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        let had_to_write = self.tls.wants_write();
        if self.fed < self.left.len() {
            let mut left = &self.left[self.fed..];
            let before = left.len();
            let fed = feed(&mut self.tls, &mut left);
            self.fed += before - left.len();
            if self.fed == self.left.len() {
                // An idle connection holds nothing.
                (self.left, self.fed) = (Vec::new(), 0);
            }
            return Poll::Ready(self.told(cx, fed, had_to_write));
        }
        let stream = &self.stream;
        let (tls, left) = (&mut self.tls, &mut self.left);
        let mut incoming = Incoming::take();
        let room = room.clamp(LEAST_READ, READ);
        let n = ready!(stream.poll_read_slice(cx, &mut incoming.0[..room]))?;
        let mut got = &incoming.0[..n];
        let fed = feed(tls, &mut got);
        left.extend_from_slice(got);
        drop(incoming);
        Poll::Ready(self.told(cx, fed, had_to_write))
    }

    /// After rustls has been fed: it may have to answer, by an alert for example. If there was
    /// something to write before, whoever writes is at it, perhaps in another task, which has left
    /// its waker: then the answer is theirs to write, too.
    fn told(
        &mut self,
        cx: &mut Context<'_>,
        fed: io::Result<usize>,
        had_to_write: bool,
    ) -> io::Result<usize> {
        if !had_to_write && self.tls.wants_write() {
            // If it cannot be written now, the next flush will.
            if let Poll::Ready(Err(error)) = self.poll_send(cx) {
                return fed.and(Err(error));
            }
        }
        fed
    }

    /// Writes what is sealed.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            let mut to = Outgoing { stream: &self.stream, cx };
            match self.tls.write_tls(&mut to) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads into what `take` fills: it gets plain bytes and says how many it has taken; `room` is
    /// what it takes at most.
    fn poll_plain(
        &mut self,
        cx: &mut Context<'_>,
        mut room: usize,
        mut take: impl FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        let (mut taken, mut received) = (0, 0);
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        while room > 0 {
            match self.tls.reader().fill_buf() {
                Ok([]) => break,
                Ok(plain) => {
                    let n = plain.len().min(room);
                    take(&plain[..n]);
                    self.tls.reader().consume(n);
                    (taken, room) = (taken + n, room - n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    // What is there is fed for a full buffer; the socket is asked again only for an
                    // empty one.
                    if taken > 0 && self.left.is_empty() {
                        break;
                    }
                    // Records without contents are not to hold the worker.
                    received += 1;
                    if received > MOST_RECEIVED {
                        cx.waker().wake_by_ref();
                        return if taken > 0 { Poll::Ready(Ok(taken)) } else { Poll::Pending };
                    }
                    match self.poll_receive(cx, room) {
                        Poll::Ready(Ok(_)) => {}
                        // What was got is delivered first.
                        Poll::Ready(Err(e)) if taken > 0 => {
                            self.failed = Some(e);
                            break;
                        }
                        Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                        Poll::Pending if taken > 0 => break,
                        Poll::Pending => return Poll::Pending,
                    }
                }
                Err(_) if taken > 0 => break,
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_seal(
        &mut self,
        cx: &mut Context<'_>,
        mut seal: impl FnMut(&mut dyn Write) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let n = seal(&mut self.tls.writer())?;
            // As far as it goes: what does not is written by the next flush, or write.
            let sent = self.poll_send(cx)?;
            if n > 0 {
                return Poll::Ready(Ok(n));
            }
            // Nothing more can be sealed before some of it is written, and nothing is written but
            // all of it.
            ready!(sent);
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closed {
            self.tls.send_close_notify();
            self.closed = true;
        }
        ready!(self.poll_send(cx))?;
        Poll::Ready(self.stream.shut_down())
    }
}

/// Feeds rustls until all is taken, or there is plain text, which has to be taken first. Says how
/// much was taken; 0 is the end.
fn feed(tls: &mut Connection, from: &mut &[u8]) -> io::Result<usize> {
    let before = from.len();
    loop {
        tls.read_tls(from)?;
        let state = tls
            .process_new_packets()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        // What comes after the peer's end is nobody's.
        if state.peer_has_closed() {
            *from = &[];
        }
        if from.is_empty() || state.plaintext_bytes_to_read() > 0 {
            return Ok(before - from.len());
        }
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

/// hyper's traits; see [`crate::hyper`].
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
