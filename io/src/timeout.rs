//! Time limits for streams of async tasks (N5).
//!
//! Each direction has a timer, which is armed when the direction first has to wait. Progress does
//! not touch the timer: if it fires too early, it is armed again for the rest. So a busy stream
//! reads the clock when it waits, and arms a timer once per limit.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use dapple::clock;
use dapple::{Handle, Sleep};
use futures_io::{AsyncRead, AsyncWrite};

/// The time limit of one direction.
#[derive(Default)]
struct Limit {
    /// The limit; `None` if there is none.
    time: Option<Duration>,
    /// The start of the wait. `None` if the direction does not wait; for reads, also after progress
    /// of a write.
    since: Option<Instant>,
    armed: Option<Sleep>,
}

impl Limit {
    /// Returns the outcome of an attempt, or `TimedOut` if the direction has waited for longer than
    /// its limit.
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
        // A limit that is too large for the clock is never over.
        let since = *self.since.get_or_insert_with(clock::now);
        let Some(until) = since.checked_add(time) else { return outcome };
        let sleep = self.armed.get_or_insert_with(|| handle.sleep_until(until));
        while Pin::new(&mut *sleep).poll(cx).is_ready() {
            if clock::now() >= until {
                self.armed = None;
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            // The timer was armed for an earlier wait.
            sleep.reset(until);
        }
        Poll::Pending
    }
}

/// A stream whose reads and writes fail with `TimedOut` if they wait for too long.
///
/// The time runs while a read or a write waits, and starts anew when bytes have moved. So it limits
/// silence, and not the time of a whole message. The time of a read also starts anew when bytes
/// have been written, as a peer that takes bytes is alive. A direction has no limit unless
/// [`read_limit`](Self::read_limit) or [`write_limit`](Self::write_limit) sets one. `Duration::MAX`
/// means no limit, too.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use dapple_io::{TimeoutStream, tcp::Accepting};
/// use futures_lite::io::AsyncReadExt;
/// let rt = dapple_io::runtime().build()?;
/// let io = dapple_io::Io::of(&rt.handle());
/// // A server that never sends anything.
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
    /// Creates a stream without limits. Limits that are set later use the timers of the handle's
    /// runtime.
    pub fn new(stream: S, handle: &Handle) -> Self {
        let (read, write) = (Limit::default(), Limit::default());
        TimeoutStream { stream, handle: handle.clone(), read, write }
    }

    /// Sets the time limit for a read that waits.
    pub fn read_limit(mut self, time: Duration) -> Self {
        self.read.time = Some(time);
        self
    }

    /// Sets the time limit for a write, a flush or a close that waits.
    pub fn write_limit(mut self, time: Duration) -> Self {
        self.write.time = Some(time);
        self
    }

    /// Returns a reference to the stream inside.
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

/// Implementations of hyper's traits; see [`crate::hyper`].
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
