//! A bridge to hyper: its traits for streams, executors and timers (N2).
//!
//! With it, hyper and what is built on hyper run on dapple without another runtime.
//!
//! ```no_run
//! use dapple_io::hyper::{OnColors, Timers};
//! use dapple_io::tcp::Accepting;
//! use hyper::{Request, Response, body::Incoming, service::service_fn};
//!
//! let rt = dapple_io::runtime().build()?;
//! let io = dapple_io::Io::of(&rt.handle());
//! let handle = rt.handle();
//! let address = "127.0.0.1:8080".parse().unwrap();
//! let listener = io.listen(address, Accepting::PerWorker, move |stream, cx| {
//!     let timers = Timers::of(&handle);
//!     // Each connection has a color. With `OnColors`, each stream of HTTP/2 has one, too.
//!     let color = cx.new_color();
//!     cx.spawn(&color, async move {
//!         let hello = |_: Request<Incoming>| async {
//!             Ok::<_, std::convert::Infallible>(Response::new("hello\n".to_owned()))
//!         };
//!         let mut http = hyper::server::conn::http1::Builder::new();
//!         http.timer(timers);
//!         let stream = stream.into_async()?;
//!         http.serve_connection(stream, service_fn(hello)).await.map_err(std::io::Error::other)
//!     })
//!     .detach();
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use dapple::Handle;
use hyper::rt::{Executor, Read, ReadBufCursor, Sleep, Timer, Write};

use crate::stream::AsyncStream;

impl Read for AsyncStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // SAFETY: `poll_read_uninit` only writes to the buffer, so no initialised byte of it
        // becomes uninitialised.
        let n = ready!(self.poll_read_uninit(cx, unsafe { buf.as_mut() }))?;
        // SAFETY: `poll_read_uninit` has just written `n` bytes to the start of the buffer.
        unsafe { buf.advance(n) };
        Poll::Ready(Ok(()))
    }
}

impl Write for AsyncStream {
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

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shut_down())
    }
}

/// An executor for hyper that gives each task a color of its own.
///
/// The tasks run in parallel, and no task is polled on two workers at once.
///
/// # Examples
///
/// ```
/// use dapple_io::hyper::OnColors;
/// use hyper::rt::Executor;
/// use std::sync::{Arc, atomic::{AtomicUsize, Ordering::Relaxed}};
/// let rt = dapple_io::runtime().build()?;
/// let tasks = OnColors::of(&rt.handle());
/// let sum = Arc::new(AtomicUsize::new(0));
/// for n in 1..=10 {
///     let sum = Arc::clone(&sum);
///     tasks.execute(async move { sum.fetch_add(n, Relaxed) });
/// }
/// rt.wait_idle();
/// assert_eq!(sum.load(Relaxed), 55);
/// // hyper takes the executor, and makes a task of each HTTP/2 stream.
/// let http = hyper::server::conn::http2::Builder::new(tasks);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OnColors(Handle);

impl OnColors {
    /// Returns an executor that runs its tasks on the handle's runtime.
    pub fn of(handle: &Handle) -> Self {
        OnColors(handle.clone())
    }
}

impl<F> Executor<F> for OnColors
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(&self.0.new_color(), future).detach();
    }
}

/// An executor for hyper that polls a task at once, and gives it a color only if it waits then.
///
/// The first poll is made by the caller. A task that waits after it gets a color of its own, as
/// with [`OnColors`].
///
/// A server whose answers are ready at once, such as answers from memory, makes them in the task of
/// the HTTP/2 connection. Answers to requests that have arrived together are then sent together. On
/// the other hand, the work that a request does before it first waits is serial with that of the
/// other requests of its connection. Where that work is long, [`OnColors`] runs it on other cores.
/// A panic in that work ends the connection. A [`Sleep`](dapple::Sleep) that is first polled there
/// fires behind the work of the connection's color.
///
/// # Examples
///
/// ```
/// use dapple_io::hyper::AtOnce;
/// use hyper::rt::Executor;
/// let rt = dapple_io::runtime().build()?;
/// let handle = rt.handle();
/// let tasks = AtOnce::of(&handle);
/// let (tx, rx) = std::sync::mpsc::channel();
/// let later = tx.clone();
/// tasks.execute(async move { tx.send("from memory").unwrap() });
/// assert_eq!(rx.try_recv(), Ok("from memory"));      // when `execute` returns
/// tasks.execute(async move {
///     handle.sleep(std::time::Duration::from_millis(1)).await;
///     later.send("from elsewhere").unwrap();
/// });
/// assert_eq!(rx.recv(), Ok("from elsewhere"));       // by a color of its own
/// // hyper takes the executor, and makes a task of each HTTP/2 stream.
/// let http = hyper::server::conn::http2::Builder::new(tasks);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct AtOnce(OnColors);

impl AtOnce {
    /// Returns an executor that runs its tasks on the handle's runtime.
    pub fn of(handle: &Handle) -> Self {
        AtOnce(OnColors::of(handle))
    }
}

impl<F> Executor<F> for AtOnce
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let mut future = Box::pin(future);
        // This poll needs no waker: if the future waits, the task that it becomes polls it again,
        // which sets the task's waker.
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.0.execute(future);
        }
    }
}

/// The runtime's timers, for hyper's time limits.
///
/// The [module](self) has an example.
#[derive(Clone, Debug)]
pub struct Timers(Handle);

impl Timers {
    /// Returns the timers of the handle's runtime.
    pub fn of(handle: &Handle) -> Self {
        Timers(handle.clone())
    }
}

struct HyperSleep(dapple::Sleep);

impl Future for HyperSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl Sleep for HyperSleep {}

impl Timer for Timers {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(HyperSleep(self.0.sleep(duration)))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(HyperSleep(self.0.sleep_until(deadline)))
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, new_deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<HyperSleep>() {
            Some(sleep) => sleep.get_mut().0.reset(new_deadline),
            None => *sleep = self.sleep_until(new_deadline),
        }
    }
}
