//! Streams for async tasks, with the traits of futures-io (N2).

use std::io::{self, IoSlice, IoSliceMut};
#[cfg(feature = "hyper")]
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use dapple::sync::{Arc, OnceLock};
use futures_io::{AsyncRead, AsyncWrite};
use mio::Token;

use super::Stream;
use super::socket::Socket;
use crate::Addr;
use crate::fd::edges::Edges;
use crate::reactor::{ReactorShared, Registered, runtime_has_ended};
use crate::readiness::Trust;
use crate::sys::MOST_SLICES;

/// A stream for async tasks: a TCP or Unix socket, or the pipes of a child. It implements the
/// traits of futures-io and, with the feature `hyper`, hyper's.
///
/// Reading and writing are independent. Each direction remembers the waker of the task that polled
/// it last. Dropping the stream closes the connection.
///
/// # Examples
///
/// ```
/// use dapple_io::tcp::Accepting;
/// use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
/// let rt = dapple_io::runtime().build()?;
/// let io = dapple_io::Io::of(&rt.handle());
/// let listener = io.listen("127.0.0.1:0".parse().unwrap(), Accepting::PerWorker, |stream, cx| {
///     let color = cx.new_color();
///     cx.spawn(&color, async move {
///         let mut stream = stream.into_async()?;
///         let mut request = [0; 5];
///         stream.read_exact(&mut request).await?;
///         stream.write_all(&request).await?;
///         stream.close().await
///     })
///     .detach();
/// })?;
/// let address = listener.local_addr();
/// let answer = rt.block_on(async {
///     let mut client = io.connect(address).await?;
///     client.write_all(b"hello").await?;
///     let mut answer = Vec::new();
///     client.read_to_end(&mut answer).await?;
///     Ok::<_, std::io::Error>(answer)
/// })?;
/// assert_eq!(answer, b"hello");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct AsyncStream {
    pub(crate) socket: Arc<Socket>,
    peer: Addr,
    pub(crate) edges: Arc<Edges>,
    reactor: Arc<ReactorShared>,
    token: Token,
}

impl Stream {
    /// Converts the stream into one for async tasks.
    ///
    /// See [`AsyncStream`] for an example.
    ///
    /// # Errors
    ///
    /// Returns the system's error if it refuses to watch the stream, or an error if the runtime has
    /// ended.
    pub fn into_async(self) -> io::Result<AsyncStream> {
        let Stream { socket, peer, reactor } = self;
        let edges = Arc::new(Edges::new(Trust::of(&peer)));
        let entry = Arc::clone(&edges) as Arc<dyn Registered>;
        let token = socket.register(&reactor, entry, &OnceLock::new())?;
        Ok(AsyncStream { socket, peer, edges, reactor, token })
    }
}

impl AsyncStream {
    /// Waits until a connection attempt has succeeded or failed.
    pub(crate) async fn connected(self) -> io::Result<AsyncStream> {
        std::future::poll_fn(|cx| {
            self.edges.write.poll(cx, || match self.socket.take_error()? {
                Some(error) => Err(error),
                None => match self.socket.peer_addr() {
                    // The attempt is still under way, which some systems report by this error.
                    Err(e) if e.kind() == io::ErrorKind::NotConnected => {
                        Err(io::ErrorKind::WouldBlock.into())
                    }
                    connected => connected.map(drop),
                },
            })
        })
        .await?;
        Ok(self)
    }

    /// Returns the address of the peer.
    pub fn peer_addr(&self) -> Addr {
        self.peer.clone()
    }

    /// Returns the local address.
    ///
    /// # Errors
    ///
    /// Returns the system's error.
    pub fn local_addr(&self) -> io::Result<Addr> {
        self.socket.local_addr()
    }

    /// Waits until the peer has closed its side, without reading the bytes that it sent before. For
    /// pipes, waits until the other end of one of the two is closed.
    ///
    /// A task that computes something for its peer, and neither reads nor writes meanwhile, learns
    /// in this way that the peer no longer waits for the result. A peer that has closed only its
    /// sending side may still wait for it. TCP cannot tell the two apart.
    ///
    /// # Errors
    ///
    /// Returns `ConnectionReset` if the peer has reset the connection (on Linux `BrokenPipe`, if
    /// the peer had closed its side before), any other error that the system reports for the
    /// socket, or an error if the runtime has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// # use dapple_io::tcp::Accepting;
    /// # let rt = dapple_io::runtime().build()?;
    /// # let io = dapple_io::Io::of(&rt.handle());
    /// let (tx, rx) = std::sync::mpsc::channel();
    /// let local = "127.0.0.1:0".parse().unwrap();
    /// let listener = io.listen(local, Accepting::PerWorker, move |stream, cx| {
    ///     let (color, tx) = (cx.new_color(), tx.clone());
    ///     cx.spawn(&color, async move {
    ///         let stream = stream.into_async()?;
    ///         stream.closed().await?;
    ///         tx.send("it has gone").unwrap();
    ///         Ok::<_, std::io::Error>(())
    ///     })
    ///     .detach();
    /// })?;
    /// drop(std::net::TcpStream::connect(listener.local_addr())?);
    /// assert_eq!(rx.recv().unwrap(), "it has gone");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn closed(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.edges.end.poll(cx)).await;
        if self.edges.has_ended() {
            return Err(runtime_has_ended());
        }
        self.socket.take_error()?.map_or(Ok(()), Err)
    }

    /// Converts the stream back into a [`Stream`], to be served by a protocol or a transport. Bytes
    /// that have arrived and were not read are still there.
    ///
    /// # Examples
    ///
    /// A task reads the version of the protocol, and a transport takes over:
    ///
    /// ```
    /// use std::{io::{Read, Write}, os::unix::net::UnixStream};
    /// use dapple_io::{Io, codec::Lines, transport::TransportOptions};
    /// use futures_lite::io::AsyncReadExt;
    /// let rt = dapple_io::runtime().build()?;
    /// let (ours, mut client) = UnixStream::pair()?;
    /// client.write_all(b"1hello\n")?;
    /// let mut stream = Io::of(&rt.handle()).adopt(ours)?.into_async()?;
    /// let mut version = [0];
    /// rt.block_on(stream.read_exact(&mut version))?;
    /// assert_eq!(&version, b"1");
    /// let (color, options) = (rt.handle().new_color(), TransportOptions::default());
    /// stream.into_stream().deliver_by(Lines::new(1_000), &color, options, |line, _| {
    ///     line.reply(line.bytes()).expect("it has no line feed");
    /// });
    /// let mut answer = [0; 6];
    /// client.read_exact(&mut answer)?;
    /// assert_eq!(&answer, b"hello\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn into_stream(self) -> Stream {
        let (socket, peer) = (Arc::clone(&self.socket), self.peer.clone());
        Stream { socket, peer, reactor: Arc::clone(&self.reactor) }
    }

    /// Waits until bytes have arrived, and copies them into `buf` without removing them from the
    /// stream.
    ///
    /// Returns the number of bytes copied. Zero means that the peer has closed its side.
    ///
    /// # Errors
    ///
    /// Returns `Unsupported` for pipes, the system's error, or an error if the runtime has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
    /// # use dapple_io::tcp::Accepting;
    /// # let rt = dapple_io::runtime().build()?;
    /// # let io = dapple_io::Io::of(&rt.handle());
    /// # let local = "127.0.0.1:0".parse().unwrap();
    /// # let listener = io.listen(local, Accepting::PerWorker, |stream, cx| {
    /// #     let hello = async move { stream.into_async()?.write_all(b"hello").await };
    /// #     let color = cx.new_color();
    /// #     cx.spawn(&color, hello).detach();
    /// # })?;
    /// # let address = listener.local_addr();
    /// rt.block_on(async {
    ///     let mut stream = io.connect(address).await?;
    ///     let mut first = [0];
    ///     assert_eq!((stream.peek(&mut first).await?, &first), (1, b"h"));
    ///     let mut all = [0; 5];
    ///     stream.read_exact(&mut all).await?;
    ///     assert_eq!(&all, b"hello");
    ///     Ok::<_, std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.edges.read.poll(cx, || self.socket.peek(buf))).await
    }

    /// Reads into memory that need not be initialised, and returns how many bytes at its start are
    /// initialised afterwards.
    #[cfg(feature = "hyper")]
    pub(crate) fn poll_read_uninit(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [MaybeUninit<u8>],
    ) -> Poll<io::Result<usize>> {
        let most = buf.len();
        self.edges.read.poll_bytes(cx, most, || self.socket.read_uninit(buf))
    }

    pub(crate) fn poll_read_slice(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let most = buf.len();
        self.edges.read.poll_bytes(cx, most, || self.socket.read(buf))
    }

    pub(crate) fn poll_write_slices(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let most = bufs.iter().take(MOST_SLICES).map(|buf| buf.len()).sum();
        self.edges.write.poll_bytes(cx, most, || self.socket.write_slices(bufs))
    }

    pub(crate) fn poll_write_slice(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.edges.write.poll_bytes(cx, buf.len(), || self.socket.write(buf))
    }

    /// Closes the sending side, so that the peer reads the end of the stream.
    pub(crate) fn shut_down(&self) -> io::Result<()> {
        let outcome = self.socket.shut_down_write();
        if self.socket.reads_nothing() {
            // No edge announces the end of such a stream.
            self.edges.peer_is_gone();
        }
        match outcome {
            // The peer has already gone.
            Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(()),
            outcome => outcome,
        }
    }
}

impl AsyncRead for AsyncStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_read_slice(cx, buf)
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let most = bufs.iter().take(MOST_SLICES).map(|buf| buf.len()).sum();
        self.edges.read.poll_bytes(cx, most, || self.socket.read_vectored(bufs))
    }
}

impl AsyncWrite for AsyncStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_slice(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_slices(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Poll::Ready(self.shut_down())
    }
}

impl AsFd for AsyncStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for AsyncStream {
    fn drop(&mut self) {
        self.reactor.forget(self.token);
        self.socket.deregister(&self.reactor);
    }
}

impl std::fmt::Debug for AsyncStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AsyncStream").field("peer", &self.peer).finish_non_exhaustive()
    }
}
