//! Sleeping, and limits of time, for async tasks.
//!
//! A sleep is a timer whose event keeps a promise. The event runs on the color of the task that
//! sleeps, or, if no event polls it, on one of its own; so a color that is busy delays its own
//! sleepers only.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::late::Late;
use super::packet::{Packet, promise};
use crate::clock;
use crate::sync::Arc;
use crate::turn::local::Local;
use crate::{Color, Handle, Timer};

/// A future that ends at a time, never before; see [`Handle::sleep`].
#[must_use = "a future does nothing unless it is awaited"]
pub struct Sleep {
    handle: Handle,
    until: Instant,
    armed: Armed,
}

/// What ends a sleep.
enum Armed {
    /// The sleep has not been polled yet.
    No,
    /// A timer of the runtime's.
    Timer(Timer, Arc<Packet<()>>),
    /// The runtime keeps no time any more, and who polls is not one of its workers, whose tasks are
    /// dropped.
    Late(Late),
    /// Nothing: it will be dropped.
    Never,
}

impl Sleep {
    pub(crate) fn new(handle: Handle, until: Instant) -> Self {
        Sleep { handle, until, armed: Armed::No }
    }

    /// When it ends.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Changes when it ends.
    pub fn reset(&mut self, until: Instant) {
        self.disarm();
        self.until = until;
    }

    fn disarm(&mut self) {
        if let Armed::Timer(timer, _) = std::mem::replace(&mut self.armed, Armed::No) {
            timer.cancel();
        }
    }

    fn arm(&mut self) {
        let here = Local::with(self.handle.core(), |local| {
            local?.current.with_first(|color| color.map(Color::of))
        });
        let color = here.unwrap_or_else(|| self.handle.new_color());
        let (promise, packet) = promise();
        let timer = self.handle.post_at(self.until, &color, move |_| promise.keep(Ok(())));
        self.armed = Armed::Timer(timer, packet);
    }

    /// The runtime shuts down, and has dropped its timers, or takes none.
    fn is_left_alone(&mut self, cx: &Context<'_>) {
        self.armed = match Local::is_on(self.handle.core()) {
            // It will drop its tasks, too.
            true => Armed::Never,
            false => {
                Late::wake_at(self.until, cx.waker().clone()).map_or(Armed::Never, Armed::Late)
            }
        };
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if matches!(this.armed, Armed::No) {
            if clock::now() >= this.until {
                return Poll::Ready(());
            }
            this.arm();
        }
        match &this.armed {
            Armed::Timer(_, packet) => match packet.poll(cx) {
                Poll::Ready(Ok(())) => {
                    this.armed = Armed::No;
                    this.until = clock::now().min(this.until);
                    return Poll::Ready(());
                }
                Poll::Ready(Err(_)) => this.is_left_alone(cx),
                Poll::Pending => {}
            },
            Armed::Late(late) => {
                // The time may be over only when the waker is to be set: then the one before was
                // woken.
                if clock::now() >= this.until || !late.set_waker(cx.waker()) {
                    this.armed = Armed::No;
                    this.until = clock::now().min(this.until);
                    return Poll::Ready(());
                }
            }
            Armed::No | Armed::Never => {}
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.disarm();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("until", &self.until).finish_non_exhaustive()
    }
}

pin_project_lite::pin_project! {
    /// A future with a limit of time; see [`Handle::timeout`].
    #[derive(Debug)]
    #[must_use = "a future does nothing unless it is awaited"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        sleep: Sleep,
    }
}

/// The time was over before the future had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(());

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time was over")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(elapsed: Elapsed) -> Self {
        std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed)
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(this.sleep).poll(cx).map(|()| Err(Elapsed(())))
    }
}

impl Handle {
    /// A future that ends after `delay`, never before, and up to a millisecond later or as late as
    /// its color is busy.
    ///
    /// A runtime that shuts down keeps no time for its tasks: they wait until they are dropped. Who
    /// polls it elsewhere, by a handle whose runtime has ended, is told in time all the same.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let rt = dapple::Runtime::new()?;
    /// let h = rt.handle();
    /// rt.block_on(h.sleep(Duration::from_millis(1)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn sleep(&self, delay: Duration) -> Sleep {
        let now = clock::now();
        // A time that cannot be told is far enough away.
        let far = || now + Duration::from_secs(30 * 365 * 24 * 3_600);
        self.sleep_until(now.checked_add(delay).unwrap_or_else(far))
    }

    /// A future that ends at a time; see [`sleep`](Self::sleep).
    pub fn sleep_until(&self, until: Instant) -> Sleep {
        Sleep::new(self.clone(), until)
    }

    /// Gives `future` so much time. When that is over, what is awaited is told so; the future is
    /// dropped with the `Timeout`.
    ///
    /// # Errors
    ///
    /// The future that is returned gives [`Elapsed`] when `limit` is over before `future` has
    /// ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let rt = dapple::Runtime::new()?;
    /// let h = rt.handle();
    /// let never = std::future::pending::<()>();
    /// assert!(rt.block_on(h.timeout(Duration::from_millis(1), never)).is_err());
    /// assert_eq!(rt.block_on(h.timeout(Duration::from_secs(9), async { 5 })), Ok(5));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn timeout<F: Future>(&self, limit: Duration, future: F) -> Timeout<F> {
        Timeout { future, sleep: self.sleep(limit) }
    }
}
