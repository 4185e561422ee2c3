//! Limits of time for streams of async tasks (N5).
//!
//! Each direction has a timer that is armed when it first has to wait. Progress does not touch it:
//! when it fires too early, it is armed again for the rest. So a stream that is busy reads the
//! clock when it waits, and arms a timer once per limit.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use dapple::clock;
use dapple::{Handle, Sleep};
use futures_io::{AsyncRead, AsyncWrite};

/// How long one direction may wait.
#[derive(Default)]
struct Limit {
    /// `None`: as long as it likes.
    time: Option<Duration>,
    /// Since when it waits; `None`: it does not, or something has gone in the other direction.
    since: Option<Instant>,
    armed: Option<Sleep>,
}

impl Limit {
    /// Passes on what an attempt came to; the limit's error if it has waited for too long.
    fn check<T>(
        &mut self,
        handle: &Handle,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Some(time) = self.time else { return outcome };
        if outcome.is_ready() {
            self.since = None;
            return outcome;
        }
        // A time that cannot be told is never over.
        let since = *self.since.get_or_insert_with(clock::now);
        let Some(until) = since.checked_add(time) else { return outcome };
        let sleep = self.armed.get_or_insert_with(|| handle.sleep_until(until));
        while Pin::new(&mut *sleep).poll(cx).is_ready() {
            if clock::now() >= until {
                self.armed = None;
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            // It was armed for an earlier wait.
            sleep.reset(until);
        }
        Poll::Pending
    }
}

/// A stream whose reads and writes fail with `TimedOut` when they have waited for too long for
/// anything to happen.
///
/// The time runs while a read, or a write, waits, and begins anew when some bytes have come, or
/// gone: it is a limit of silence, not of a whole message. That of a read begins anew also when
/// bytes have gone, as a peer that takes something is alive. Without a call of
/// [`read_limit`](Self::read_limit) or [`write_limit`](Self::write_limit), or with `Duration::MAX`,
/// that direction has no limit.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use dapple_io::{TimeoutStream, tcp::Accepting};
/// use futures_lite::io::AsyncReadExt;
/// let rt = dapple_io::runtime().build()?;
/// let io = dapple_io::Io::of(&rt.handle());
/// // A server that never says anything.
/// let listener = io.listen("127.0.0.1:0".parse().unwrap(), Accepting::PerWorker, |stream, _| {
///     std::mem::forget(stream);
/// })?;
/// let read = rt.block_on(async {
///     let stream = io.connect(listener.local_addr()).await?;
///     let mut stream = TimeoutStream::new(stream, &rt.handle())
///         .read_limit(Duration::from_millis(20))
///         .write_limit(Duration::from_secs(30));
///     stream.read(&mut [0; 10]).await
/// });
/// assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TimeoutStream<S> {
    stream: S,
    handle: Handle,
    read: Limit,
    write: Limit,
}

impl<S> TimeoutStream<S> {
    /// Without limits yet. They are kept by the timers of the handle's runtime.
    pub fn new(stream: S, handle: &Handle) -> Self {
        let (read, write) = (Limit::default(), Limit::default());
        TimeoutStream { stream, handle: handle.clone(), read, write }
    }

    /// With this limit of time for a read that waits.
    pub fn read_limit(mut self, time: Duration) -> Self {
        self.read.time = Some(time);
        self
    }

    /// With this limit of time for a write, a flush or a close that waits.
    pub fn write_limit(mut self, time: Duration) -> Self {
        self.write.time = Some(time);
        self
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: Unpin> TimeoutStream<S> {
    fn reading<T>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let outcome = attempt(Pin::new(&mut self.stream), cx);
        self.read.check(&self.handle, cx, outcome)
    }

    fn writing<T>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let outcome = attempt(Pin::new(&mut self.stream), cx);
        if outcome.is_ready() {
            self.read.since = None;
        }
        self.write.check(&self.handle, cx, outcome)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimeoutStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.reading(cx, |stream, cx| stream.poll_read(cx, buf))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimeoutStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writing(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writing(cx, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writing(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writing(cx, |stream, cx| stream.poll_close(cx))
    }
}

/// hyper's traits; see [`crate::hyper`].
#[cfg(feature = "hyper")]
mod bridge {
    use hyper::rt::{Read, ReadBufCursor, Write};

    use super::*;

    impl<S: Read + Unpin> Read for TimeoutStream<S> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: ReadBufCursor<'_>,
        ) -> Poll<io::Result<()>> {
            self.reading(cx, |stream, cx| stream.poll_read(cx, buf))
        }
    }

    impl<S: Write + Unpin> Write for TimeoutStream<S> {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.writing(cx, |stream, cx| stream.poll_write(cx, buf))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.writing(cx, |stream, cx| stream.poll_write_vectored(cx, bufs))
        }

        fn is_write_vectored(&self) -> bool {
            self.stream.is_write_vectored()
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.writing(cx, |stream, cx| stream.poll_flush(cx))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.writing(cx, |stream, cx| stream.poll_shutdown(cx))
        }
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for TimeoutStream<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (read, write) = (self.read.time, self.write.time);
        f.debug_struct("TimeoutStream")
            .field("stream", &self.stream)
            .field("read", &read)
            .field("write", &write)
            .finish_non_exhaustive()
    }
}
