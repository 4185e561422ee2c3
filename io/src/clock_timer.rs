//! Timers by the time of day, and by the clock that counts suspended time (N10).
//!
//! The executor's timers go by a clock that stops while the machine is suspended, and that does not
//! change when the time of day is set. The timers in this file are timers of the system. Each of
//! them is a descriptor in a reactor, so a process can have fewer of them.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dapple::sync::{Arc, Mutex, lock};
use dapple::{Color, Cx};

use crate::fd::{Interest, Registration};
use crate::reactor::Io;
use crate::sys::{self, TimerAt, TimerClock, TimerTells};

/// A timer of the system; see [`Io::post_at_wall`] and [`Io::post_after_boot`].
///
/// Dropping this does not cancel the timer: it fires all the same.
///
/// # Examples
///
/// ```
/// # #[cfg(target_os = "linux")] {
/// use std::time::Duration;
/// let rt = dapple_io::runtime().build()?;
/// let (io, color) = (dapple_io::Io::of(&rt.handle()), rt.handle().new_color());
/// let hour = Duration::from_secs(3_600);
/// let timer = io.post_after_boot(hour, &color, |_| println!("an hour is over"))?;
/// assert!(timer.is_armed());
/// assert!(timer.cancel());
/// assert!(!timer.is_armed());
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct ClockTimer {
    waits: Arc<Mutex<Option<Registration>>>,
}

impl ClockTimer {
    /// Cancels the timer, and returns `true` if the callback does not run.
    ///
    /// Returns `false` if the callback has run, runs at this moment, or was cancelled before.
    pub fn cancel(&self) -> bool {
        let registration = lock(&self.waits).take();
        registration.is_some()
    }

    /// Returns `true` if the timer has neither fired nor been cancelled.
    pub fn is_armed(&self) -> bool {
        lock(&self.waits).is_some()
    }
}

impl fmt::Debug for ClockTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClockTimer").field("armed", &self.is_armed()).finish_non_exhaustive()
    }
}

impl Io {
    /// Posts `f` to `color` at a time of day.
    ///
    /// If the time of day is set meanwhile, the timer goes by the new time. A timer for a time that
    /// has passed fires at once.
    ///
    /// Each timer uses a descriptor of the system. A shutdown of the runtime drops `f` uncalled.
    ///
    /// # Errors
    ///
    /// Returns the system's error, for example if there are too many open descriptors;
    /// `Unsupported` on systems other than Linux; and an error if the runtime has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use std::{sync::mpsc, time::{Duration, SystemTime}};
    /// let rt = dapple_io::runtime().build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let (tx, rx) = mpsc::channel();
    /// let at = SystemTime::now() + Duration::from_millis(5);
    /// io.post_at_wall(at, &rt.handle().new_color(), move |_| tx.send(()).unwrap())?;
    /// rx.recv().unwrap();
    /// assert!(SystemTime::now() >= at);
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    #[doc(alias = "cron")]
    pub fn post_at_wall<F>(&self, at: SystemTime, color: &Color, f: F) -> io::Result<ClockTimer>
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.clock_timer(TimerClock::Wall, TimerAt::At(since), color, f)
    }

    /// Posts `f` to `color` after `delay`, counting the time in which the machine is suspended.
    ///
    /// For example, a lease that runs out while a laptop sleeps has run out when the laptop wakes.
    /// [`post_after`](dapple::Handle::post_after) does not count suspended time.
    ///
    /// Each timer uses a descriptor of the system. A shutdown of the runtime drops `f` uncalled.
    ///
    /// # Errors
    ///
    /// Returns the system's error, for example if there are too many open descriptors;
    /// `Unsupported` on systems other than Linux; and an error if the runtime has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use std::{sync::mpsc, time::Duration};
    /// let rt = dapple_io::runtime().build()?;
    /// let (io, color) = (dapple_io::Io::of(&rt.handle()), rt.handle().new_color());
    /// let (tx, rx) = mpsc::channel();
    /// io.post_after_boot(Duration::from_millis(5), &color, move |_| {
    ///     tx.send("the lease has run out").unwrap();
    /// })?;
    /// assert_eq!(rx.recv().unwrap(), "the lease has run out");
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    #[doc(alias = "CLOCK_BOOTTIME")]
    pub fn post_after_boot<F>(&self, delay: Duration, color: &Color, f: F) -> io::Result<ClockTimer>
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        self.clock_timer(TimerClock::Boot, TimerAt::After(delay), color, f)
    }

    /// Calls `f`, as an event of `color`, whenever the time of day is set.
    ///
    /// This is for a program that has computed when something is due, and has to compute it again.
    /// The callback ends when the registration is dropped.
    ///
    /// # Errors
    ///
    /// Returns the system's error, for example if there are too many open descriptors;
    /// `Unsupported` on systems other than Linux; and an error if the runtime has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use std::time::SystemTime;
    /// let rt = dapple_io::runtime().build()?;
    /// let (io, color) = (dapple_io::Io::of(&rt.handle()), rt.handle().new_color());
    /// let registration = io.on_clock_set(&color, |_| {
    ///     println!("the time of day is now {:?}", SystemTime::now());
    /// })?;
    /// // The callback ends with its registration.
    /// registration.end().join().unwrap();
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    #[doc(alias = "TFD_TIMER_CANCEL_ON_SET")]
    pub fn on_clock_set<F>(&self, color: &Color, mut f: F) -> io::Result<Registration>
    where
        F: FnMut(&mut Cx) + Send + 'static,
    {
        let timer = Arc::new(sys::timer(TimerClock::Wall, TimerAt::ClockIsSet)?);
        let also = Arc::clone(&timer);
        self.on_ready(timer, Interest::READABLE, color, move |_, cx| {
            // After it has reported a change, the timer waits for the next one.
            if let Ok(TimerTells::ClockWasSet) = sys::read_timer(also.as_fd()) {
                f(cx);
            }
        })
    }

    #[track_caller]
    fn clock_timer<F>(
        &self,
        clock: TimerClock,
        at: TimerAt,
        color: &Color,
        f: F,
    ) -> io::Result<ClockTimer>
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        let timer = Arc::new(sys::timer(clock, at)?);
        let (also, mut once) = (Arc::clone(&timer), Some(f));
        let waits: Arc<Mutex<Option<Registration>>> = Arc::default();
        let end = Arc::clone(&waits);
        // The lock is held until the registration is stored, as the callback looks for it there.
        let mut place = lock(&waits);
        let registration = self.on_ready(timer, Interest::READABLE, color, move |_, cx| {
            if let Ok(TimerTells::Nothing) = sys::read_timer(also.as_fd()) {
                return;
            }
            // `cancel` takes the registration too, and only one of the two gets it.
            let Some(registration) = lock(&end).take() else { return };
            drop(registration);
            if let Some(once) = once.take() {
                once(cx);
            }
        })?;
        *place = Some(registration);
        drop(place);
        Ok(ClockTimer { waits })
    }
}
