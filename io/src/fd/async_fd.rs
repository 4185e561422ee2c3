//! Descriptors of any kind that tasks await (N10).

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use dapple::sync::{Arc, OnceLock};
use futures_io::{AsyncRead, AsyncWrite};
use mio::Token;
use mio::unix::SourceFd;

use super::edges::Edges;
use crate::reactor::{Io, ReactorShared, Registered};
use crate::readiness::{Trust, both_directions};
use crate::sys::{self, To};

/// A descriptor for async tasks, for example a terminal, a pipe, an eventfd, an inotify instance, a
/// device or a socket of a library.
///
/// [`read_with`](Self::read_with) and [`write_with`](Self::write_with) call a function until it
/// returns something other than `WouldBlock`. [`readable`](Self::readable) and
/// [`writable`](Self::writable) only wait. Where `&T` is [`Read`] or [`Write`], this type
/// implements the traits of futures-io; closing then flushes, and leaves the descriptor open. Each
/// direction remembers only the waker of the task that polled it last.
///
/// The descriptor should be non-blocking. By the traits, a blocking descriptor is read only after
/// the system has said that there is something to read, and written only after it has said that
/// there is room. A write of more bytes than that room blocks.
///
/// # Examples
///
/// An eventfd:
///
/// ```
/// # #[cfg(target_os = "linux")] {
/// use std::{fs::File, io::{Read, Write}, os::fd::FromRawFd};
/// use dapple_io::{AsyncFd, Io};
/// let rt = dapple_io::runtime().build()?;
/// // SAFETY: the call takes numbers only.
/// let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
/// // SAFETY: `fd` was opened just now, and nothing else owns it.
/// let event = unsafe { File::from_raw_fd(fd) };
/// let mut sender = event.try_clone()?;
/// let event = AsyncFd::new(&Io::of(&rt.handle()), event)?;
/// std::thread::spawn(move || sender.write_all(&7u64.to_ne_bytes()));
/// let count = rt.block_on(event.read_with(|mut event| {
///     let mut count = [0; 8];
///     event.read_exact(&mut count)?;
///     Ok(u64::from_ne_bytes(count))
/// }))?;
/// assert_eq!(count, 7);
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// A pipe, by the traits of futures-io:
///
/// ```
/// use std::io::Write;
/// use dapple_io::{AsyncFd, Io};
/// use futures_lite::AsyncReadExt;
/// let rt = dapple_io::runtime().build()?;
/// let (reader, mut writer) = std::io::pipe()?;
/// let mut reader = AsyncFd::new(&Io::of(&rt.handle()), reader)?;
/// std::thread::spawn(move || writer.write_all(b"hello"));
/// let mut all = Vec::new();
/// rt.block_on(reader.read_to_end(&mut all))?;
/// assert_eq!(all, b"hello");
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "Async")]
pub struct AsyncFd<T: AsFd> {
    fd: T,
    edges: Arc<Edges>,
    reactor: Arc<ReactorShared>,
    token: Token,
}

impl<T: AsFd> AsyncFd<T> {
    /// Registers a descriptor with the poller of the current worker. Outside the runtime's workers,
    /// the workers take turns. Dropping the value deregisters the descriptor, and closes it if `fd`
    /// owns it.
    ///
    /// # Errors
    ///
    /// Returns the system's error if the descriptor cannot be polled, for example
    /// `PermissionDenied` for a regular file. Returns `AlreadyExists` if it is registered with the
    /// same worker already, and an error if the runtime has ended.
    pub fn new(io: &Io, fd: T) -> io::Result<AsyncFd<T>> {
        let reactor = Arc::clone(io.reactor(io.watcher()));
        let edges = Arc::new(Edges::new(Trust::Doubt));
        let entry = Arc::clone(&edges) as Arc<dyn Registered>;
        let raw = fd.as_fd().as_raw_fd();
        let (known, both) = (OnceLock::new(), both_directions());
        let token = reactor.register(entry, &known, &mut SourceFd(&raw), Some(raw), both)?;
        Ok(AsyncFd { fd, edges, reactor, token })
    }

    /// Returns the descriptor.
    pub fn get_ref(&self) -> &T {
        &self.fd
    }

    /// Waits until a read would not block.
    ///
    /// # Errors
    ///
    /// Returns the system's error if the descriptor cannot be asked, and an error if the runtime
    /// has ended and a read would block.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{io::{Read, Write}, os::unix::net::UnixStream};
    /// use dapple_io::{AsyncFd, Io};
    /// let rt = dapple_io::runtime().build()?;
    /// let (ours, mut peer) = UnixStream::pair()?;
    /// ours.set_nonblocking(true)?;
    /// let ours = AsyncFd::new(&Io::of(&rt.handle()), ours)?;
    /// std::thread::spawn(move || peer.write_all(b"hello"));
    /// rt.block_on(ours.readable())?;
    /// let mut bytes = [0; 10];
    /// assert_eq!(ours.get_ref().read(&mut bytes)?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn readable(&self) -> io::Result<()> {
        self.read_with(|fd| would_block_unless(fd, To::Read)).await
    }

    /// Waits until a write would not block. [`readable`](Self::readable) has an example.
    ///
    /// # Errors
    ///
    /// Returns the system's error if the descriptor cannot be asked, and an error if the runtime
    /// has ended and a write would block.
    pub async fn writable(&self) -> io::Result<()> {
        self.write_with(|fd| would_block_unless(fd, To::Write)).await
    }

    /// Calls `f`, which reads, until it returns something other than `WouldBlock`. After a
    /// `WouldBlock`, `f` is called again when the descriptor becomes readable. See the [type](Self)
    /// for an example.
    ///
    /// # Errors
    ///
    /// Returns each error of `f` except for `WouldBlock` and `Interrupted`, and an error if `f`
    /// would block after the runtime has ended.
    #[doc(alias = "try_io")]
    pub async fn read_with<R>(&self, mut f: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        std::future::poll_fn(|cx| self.edges.read.poll(cx, || f(&self.fd))).await
    }

    /// Calls `f`, which writes, until it returns something other than `WouldBlock`. After a
    /// `WouldBlock`, `f` is called again when the descriptor becomes writable.
    ///
    /// # Errors
    ///
    /// Returns each error of `f` except for `WouldBlock` and `Interrupted`, and an error if `f`
    /// would block after the runtime has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{io::{Read, Write}, os::unix::net::UnixStream};
    /// use dapple_io::{AsyncFd, Io};
    /// let rt = dapple_io::runtime().build()?;
    /// let (ours, mut peer) = UnixStream::pair()?;
    /// ours.set_nonblocking(true)?;
    /// let ours = AsyncFd::new(&Io::of(&rt.handle()), ours)?;
    /// assert_eq!(rt.block_on(ours.write_with(|mut fd| fd.write(b"hello")))?, 5);
    /// let mut bytes = [0; 5];
    /// peer.read_exact(&mut bytes)?;
    /// assert_eq!(&bytes, b"hello");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn write_with<R>(&self, mut f: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        std::future::poll_fn(|cx| self.edges.write.poll(cx, || f(&self.fd))).await
    }
}

fn would_block_unless(fd: &impl AsFd, to: To) -> io::Result<()> {
    match sys::is_ready(fd.as_fd(), to)? {
        true => Ok(()),
        false => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl<T: AsFd + Unpin> AsyncRead for AsyncFd<T>
where
    for<'a> &'a T: Read,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut fd = &self.fd;
        self.edges.read.poll(cx, || {
            // The descriptor may be a blocking one.
            would_block_unless(fd, To::Read)?;
            fd.read(buf)
        })
    }
}

impl<T: AsFd + Unpin> AsyncWrite for AsyncFd<T>
where
    for<'a> &'a T: Write,
{
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut fd = &self.fd;
        sys::block_sigpipe();
        self.edges.write.poll(cx, || {
            // The descriptor may be a blocking one.
            would_block_unless(fd, To::Write)?;
            fd.write(buf)
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut fd = &self.fd;
        self.edges.write.poll(cx, || fd.flush())
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl<T: AsFd> AsFd for AsyncFd<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<T: AsFd> Drop for AsyncFd<T> {
    fn drop(&mut self) {
        self.reactor.forget(self.token);
        self.reactor.unwatch(self.fd.as_fd().as_raw_fd());
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for AsyncFd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncFd").field("fd", &self.fd).finish_non_exhaustive()
    }
}
