//! TCP streams for async tasks: the traits of futures-io (N2).
//!
//! A direction is what [`attempts`](super::attempts) knows of it, under a lock, and the waker of
//! who waits for an edge.
//!
//! No foreign code runs under the lock of a direction: wakers are cloned before it, and dropped and
//! woken after it. Nor does it run in the poller: the waker of a task of dapple is woken there, as
//! that posts an event and does nothing else; any other one in an event of its own.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};

use dapple::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
#[cfg(feature = "hyper")]
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use dapple::Cx;
use dapple::park::wakes_a_task;
use futures_io::{AsyncRead, AsyncWrite};
use mio::Token;

use super::attempts::{Attempt, Attempts};
use super::direction::Trust;
use super::listener::TcpStream;
use crate::reactor::{Io, News, Readiness, Ready, Site, both_directions};
use crate::sys::{MOST_SLICES, send_slices};

/// One direction of a stream.
#[derive(Default)]
struct Direction(Mutex<State>);

struct State {
    attempts: Attempts,
    waker: Option<Wakes>,
}

/// Who waits for an edge.
enum Wakes {
    /// A task of dapple's.
    Task(Waker),
    Foreign(Waker),
}

impl Wakes {
    fn of(cx: &Context<'_>) -> Wakes {
        match wakes_a_task(cx) {
            true => Wakes::Task(cx.waker().clone()),
            false => Wakes::Foreign(cx.waker().clone()),
        }
    }

    fn wake(self) {
        match self {
            Wakes::Task(waker) | Wakes::Foreign(waker) => waker.wake(),
        }
    }

    /// Wakes from within the poller.
    fn wake_by(self, cx: &mut Cx) {
        /// Wakes also if the event is dropped unrun.
        struct Late(Option<Waker>);
        impl Drop for Late {
            fn drop(&mut self) {
                self.0.take().into_iter().for_each(Waker::wake);
            }
        }
        match self {
            Wakes::Task(waker) => waker.wake(),
            Wakes::Foreign(waker) => {
                let late = Late(Some(waker));
                cx.post_uncolored(move |_| drop(late));
            }
        }
    }
}

impl Default for State {
    fn default() -> Self {
        State { attempts: Attempts::new(), waker: None }
    }
}

impl Direction {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn edge(&self, readiness: Readiness, cx: &mut Cx) {
        let waker = self.change(|attempts| attempts.edge(Trust::after(readiness)));
        waker.into_iter().for_each(|waker| waker.wake_by(cx));
    }

    fn end(&self) {
        self.change(Attempts::end).into_iter().for_each(Wakes::wake);
    }

    /// Something has changed, so who waits is to be woken.
    #[must_use]
    fn change(&self, change: impl FnOnce(&mut Attempts)) -> Option<Wakes> {
        let mut state = self.state();
        change(&mut state.attempts);
        state.waker.take()
    }

    /// Moves bytes, of which `most` are wanted.
    fn poll_bytes(
        &self,
        cx: &mut Context<'_>,
        most: usize,
        attempt: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let (begun, n) = ready!(self.poll_attempt(cx, attempt))?;
        if (1..most).contains(&n) {
            self.state().attempts.fell_short(begun);
        }
        Poll::Ready(Ok(n))
    }

    /// Tries until it works, or the system says "not now".
    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        attempt: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.poll_attempt(cx, attempt).map_ok(|(_, outcome)| outcome)
    }

    fn poll_attempt<T>(
        &self,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<(Attempt, T)>> {
        loop {
            let Some(begun) = self.begin() else {
                let mut waker = Some(Wakes::of(cx));
                let mut state = self.state();
                if state.attempts.begin().is_some() {
                    // An edge has come meanwhile.
                    continue;
                }
                std::mem::swap(&mut state.waker, &mut waker);
                drop(state);
                // The old one goes outside of the lock.
                drop(waker);
                return Poll::Pending;
            };
            match attempt() {
                Ok(outcome) => return Poll::Ready(Ok((begun, outcome))),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if self.state().attempts.found_nothing(begun).is_err() {
                        return Poll::Ready(Err(io::Error::other("the runtime has ended")));
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn begin(&self) -> Option<Attempt> {
        self.state().attempts.begin()
    }
}

/// Both directions, as the reactor knows them.
#[derive(Default)]
struct Edges {
    read: Direction,
    write: Direction,
}

impl Ready for Edges {
    fn ready(&self, readiness: Readiness, cx: &mut Cx) {
        if readiness.readable || readiness.closed {
            self.read.edge(readiness, cx);
        }
        if readiness.writable || readiness.closed {
            self.write.edge(readiness, cx);
        }
    }

    fn tell(&self, news: News) {
        let News::Closed = news else { return };
        // What waits finds out by trying.
        let read = catch_unwind(AssertUnwindSafe(|| self.read.end()));
        self.write.end();
        if let Err(payload) = read {
            resume_unwind(payload);
        }
    }
}

/// A TCP stream for async tasks. It implements the traits of futures-io and, with the feature
/// `hyper`, hyper's.
///
/// Reading and writing are independent; each remembers the waker of whoever polled it last.
/// Dropping it closes the connection.
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
    stream: mio::net::TcpStream,
    peer: SocketAddr,
    edges: Arc<Edges>,
    site: Arc<Site>,
    token: Token,
}

impl TcpStream {
    /// Makes the stream one for async tasks.
    ///
    /// # Errors
    ///
    /// What the system says when it refuses to watch it.
    pub fn into_async(self) -> io::Result<AsyncStream> {
        let TcpStream { mut stream, peer, site } = self;
        let edges = Arc::new(Edges::default());
        let entry = Arc::clone(&edges) as Arc<dyn Ready>;
        let (fd, both) = (stream.as_raw_fd(), both_directions());
        let token = site.register(entry, &OnceLock::new(), &mut stream, Some(fd), both)?;
        Ok(AsyncStream { stream, peer, edges, site, token })
    }
}

impl Io {
    /// Connects, for async tasks; TCP_NODELAY is set. There is no limit of time but the system's:
    /// see [`dapple::Handle::timeout`].
    ///
    /// # Errors
    ///
    /// What the system says: `ConnectionRefused`, `HostUnreachable`, `TimedOut`.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<AsyncStream> {
        let stream = mio::net::TcpStream::connect(address)?;
        let site = Arc::clone(self.site(self.place()));
        let stream = TcpStream { stream, peer: address, site }.into_async()?;
        std::future::poll_fn(|cx| {
            stream.edges.write.poll(cx, || match stream.stream.take_error()? {
                Some(error) => Err(error),
                None => match stream.stream.peer_addr() {
                    // Not yet, whatever the system calls it.
                    Err(e) if e.kind() == io::ErrorKind::NotConnected => {
                        Err(io::ErrorKind::WouldBlock.into())
                    }
                    connected => connected.map(drop),
                },
            })
        })
        .await?;
        stream.stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl AsyncStream {
    /// The address of the peer.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// The address on this side.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Looks at what has arrived, and leaves it there to be read: waits until there is something,
    /// and says how many bytes of it have been copied. Zero: the peer has closed its side.
    ///
    /// # Errors
    ///
    /// What the system says.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
    /// # use dapple_io::tcp::Accepting;
    /// # let rt = dapple_io::runtime().build()?;
    /// # let io = dapple_io::Io::of(&rt.handle());
    /// # let listener = io.listen("127.0.0.1:0".parse().unwrap(), Accepting::PerWorker, |stream, cx| {
    /// #     let color = cx.new_color();
    /// #     cx.spawn(&color, async move { stream.into_async()?.write_all(b"hello").await }).detach();
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
        std::future::poll_fn(|cx| self.edges.read.poll(cx, || self.stream.peek(buf))).await
    }

    /// Reads into memory that need not be initialised, and says how much is then.
    #[cfg(feature = "hyper")]
    pub(crate) fn poll_read_uninit(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [MaybeUninit<u8>],
    ) -> Poll<io::Result<usize>> {
        let socket = socket2::SockRef::from(&self.stream);
        let most = buf.len();
        self.edges.read.poll_bytes(cx, most, || socket.recv(buf))
    }

    pub(crate) fn poll_read_slice(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let most = buf.len();
        self.edges.read.poll_bytes(cx, most, || (&self.stream).read(buf))
    }

    pub(crate) fn poll_write_slices(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let most = bufs.iter().take(MOST_SLICES).map(|buf| buf.len()).sum();
        self.edges.write.poll_bytes(cx, most, || send_slices(&self.stream, bufs))
    }

    pub(crate) fn poll_write_slice(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.edges.write.poll_bytes(cx, buf.len(), || (&self.stream).write(buf))
    }

    /// Tells the peer that nothing more will come.
    pub(crate) fn shut_down(&self) -> io::Result<()> {
        match self.stream.shutdown(Shutdown::Write) {
            // The peer is gone already.
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
        self.edges.read.poll_bytes(cx, most, || (&self.stream).read_vectored(bufs))
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
        self.stream.as_fd()
    }
}

impl Drop for AsyncStream {
    fn drop(&mut self) {
        self.site.forget(self.token);
        if let Err(error) = self.site.registry().deregister(&mut self.stream) {
            tracing::debug!(%error, "a stream was not registered any more");
        }
    }
}

impl std::fmt::Debug for AsyncStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AsyncStream").field("peer", &self.peer).finish_non_exhaustive()
    }
}
