//! Timers by other clocks than the executor's (N10): the time of day, and the time in which the
//! machine was suspended included.
//!
//! Timers of the executor go by a clock that does not notice when the machine is suspended, or the
//! time of day is set. Those here are timers of the system, each a descriptor in a reactor; so
//! there are fewer of them.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dapple::sync::{Arc, Mutex, lock};
use dapple::{Color, Cx};

use crate::fd::{Interest, Registration};
use crate::reactor::Io;
use crate::sys::{self, TimerAt, TimerClock, TimerTells};

/// A timer by a clock of the system; see [`Io::post_at_wall`] and [`Io::post_after_boot`]. Dropping
/// it does not cancel: a timer that nobody holds fires all the same.
pub struct ClockTimer {
    waits: Arc<Mutex<Option<Registration>>>,
}

impl ClockTimer {
    /// Cancels the timer. True: the callback does not run. False: it has run, runs at this moment,
    /// or was cancelled before.
    pub fn cancel(&self) -> bool {
        let registration = lock(&self.waits).take();
        registration.is_some()
    }

    /// Says whether it has neither fired nor been cancelled.
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
    /// Posts `f` to `color` at a time of day. If the time of day is set meanwhile, the timer goes
    /// by what it is then; a time that has passed is now.
    ///
    /// Each is a descriptor of the system. A shutdown drops it, uncalled.
    ///
    /// # Errors
    ///
    /// What the system says if it gives no descriptor; `Unsupported` on other systems than Linux;
    /// when the runtime has ended.
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

    /// Posts `f` to `color` after `delay`, in which the time counts in which the machine is
    /// suspended: a lease that runs out while a laptop sleeps has run out when it wakes.
    /// ([`post_after`](dapple::Handle::post_after) does not count it.)
    ///
    /// Each is a descriptor of the system. A shutdown drops it, uncalled.
    ///
    /// # Errors
    ///
    /// What the system says if it gives no descriptor; `Unsupported` on other systems than Linux;
    /// when the runtime has ended.
    #[track_caller]
    #[doc(alias = "CLOCK_BOOTTIME")]
    pub fn post_after_boot<F>(&self, delay: Duration, color: &Color, f: F) -> io::Result<ClockTimer>
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        self.clock_timer(TimerClock::Boot, TimerAt::After(delay), color, f)
    }

    /// Calls `f`, as an event of `color`, whenever somebody sets the time of day: for a program
    /// that has computed when something is due, and has to do so again. It ends when the
    /// registration is dropped.
    ///
    /// # Errors
    ///
    /// What the system says if it gives no descriptor; `Unsupported` on other systems than Linux;
    /// when the runtime has ended.
    #[track_caller]
    #[doc(alias = "TFD_TIMER_CANCEL_ON_SET")]
    pub fn on_clock_set<F>(&self, color: &Color, mut f: F) -> io::Result<Registration>
    where
        F: FnMut(&mut Cx) + Send + 'static,
    {
        let timer = Arc::new(sys::timer(TimerClock::Wall, TimerAt::ClockIsSet)?);
        let also = Arc::clone(&timer);
        self.on_ready(timer, Interest::READABLE, color, move |_, cx| {
            // After it has told, it waits for the next time.
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
        // Until it is in its place, the callback finds no registration to end.
        let mut place = lock(&waits);
        let registration = self.on_ready(timer, Interest::READABLE, color, move |_, cx| {
            if let Ok(TimerTells::Nothing) = sys::read_timer(also.as_fd()) {
                return;
            }
            // Who cancels takes it, too: one of the two gets it.
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
