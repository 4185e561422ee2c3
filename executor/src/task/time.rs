//! Sleeping, and time limits, for async tasks.
//!
//! A sleep is a timer whose event keeps a promise. The event runs on the color of the task that
//! sleeps, or on a color of its own if no event of a color polls the sleep. So a busy color delays
//! only its own sleeps.

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

/// A future that ends at a given time, never before; see [`Handle::sleep`].
#[must_use = "a future does nothing unless it is awaited"]
pub struct Sleep {
    handle: Handle,
    until: Instant,
    armed: Armed,
}

/// The mechanism that ends a sleep.
enum Armed {
    /// The sleep has not been polled since it was made or reset, or it has ended.
    No,
    /// A timer of the runtime.
    Timer(Timer, Arc<Packet<()>>),
    /// The thread of `late`: the runtime no longer keeps time, and the sleep is not polled on one
    /// of its workers, whose tasks are dropped.
    Late(Late),
    /// Nothing: the sleep is about to be dropped.
    Never,
}

impl Sleep {
    pub(crate) fn new(handle: Handle, until: Instant) -> Self {
        Sleep { handle, until, armed: Armed::No }
    }

    /// Returns the time at which the sleep ends.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Changes the time at which the sleep ends.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let rt = dapple::Runtime::new()?;
    /// let h = rt.handle();
    /// let mut sleep = h.sleep(Duration::from_secs(3_600));
    /// let sooner = h.now() + Duration::from_millis(1);
    /// sleep.reset(sooner);
    /// rt.block_on(sleep);
    /// assert!(h.now() >= sooner);
    /// # Ok::<(), std::io::Error>(())
    /// ```
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

    /// Arms the sleep in another way: the runtime shuts down, and has dropped or refused its timer.
    fn arm_without_runtime(&mut self, cx: &Context<'_>) {
        self.armed = match Local::is_on(self.handle.core()) {
            // The runtime drops its tasks, too.
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
                Poll::Ready(Err(_)) => this.arm_without_runtime(cx),
                Poll::Pending => {}
            },
            Armed::Late(late) => {
                // The time may have passed since the first check. Then `set_waker` fails, and the
                // previous waker has been woken.
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
    /// A future with a time limit; see [`Handle::timeout`].
    #[derive(Debug)]
    #[must_use = "a future does nothing unless it is awaited"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        sleep: Sleep,
    }
}

/// The error of a future that has not ended within its time limit.
///
/// # Examples
///
/// ```
/// use std::{io, time::Duration};
/// let rt = dapple::Runtime::new()?;
/// let h = rt.handle();
/// let read = async {
///     // Becomes an error of kind `TimedOut`.
///     h.timeout(Duration::from_millis(1), std::future::pending::<()>()).await?;
///     io::Result::Ok(())
/// };
/// assert_eq!(rt.block_on(read).unwrap_err().kind(), io::ErrorKind::TimedOut);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(());

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time limit has passed")
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
    /// Returns a future that ends after `delay`, never before.
    ///
    /// It ends up to 1 ms after that, or later if its color is busy.
    ///
    /// A runtime that shuts down keeps no time for its tasks, which wait until they are dropped. A
    /// sleep that is polled elsewhere, through a handle whose runtime has ended, still ends in
    /// time.
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
        // A time that an `Instant` cannot represent is replaced by one in 30 years.
        let far = || now + Duration::from_secs(30 * 365 * 24 * 3_600);
        self.sleep_until(now.checked_add(delay).unwrap_or_else(far))
    }

    /// Returns a future that ends at a given time, never before; see [`sleep`](Self::sleep).
    pub fn sleep_until(&self, until: Instant) -> Sleep {
        Sleep::new(self.clone(), until)
    }

    /// Returns a future that runs `future` with a time limit.
    ///
    /// When the limit is over, the returned future ends with an error. `future` is dropped only
    /// together with the `Timeout`.
    ///
    /// # Errors
    ///
    /// The returned future returns [`Elapsed`] if `limit` is over before `future` has ended.
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
