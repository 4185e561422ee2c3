//! Timers (E8): a wheel per worker, and events that wait in it.
//!
//! An armed timer is an event that stands in a wheel instead of a color's queue, together with a
//! handle of its color. Firing appends it to the color, so a timer that fires allocates nothing.
//! The wheel is locked until the whole batch is posted. So timers of one color that are armed on
//! one worker are posted by deadline, then by creation.
//!
//! *Cancelling* is decided by one word per timer: armed, cancelled, or begun. The closure begins by
//! changing the word from *armed* to *begun*, and a cancel changes it from *armed* to *cancelled*.
//! The first of the two wins. A cancel on the timer's own color is final, even if the event is
//! already queued: the closure would have to run on the same color to overtake it. The closure of a
//! cancelled timer is dropped as an event of its color.

pub(crate) mod timers;
mod wheel;

use std::time::{Duration, Instant};

use self::timers::{Timers, Waiting};
use self::wheel::Key;
use crate::clock::saturating_nanos;
use crate::event::large::{Boxed, is_large};
use crate::event::{Discarded, Kind, Owned};
use crate::metrics::{Measure, Sample};
use crate::runtime::core::{Core, CoreRef, Phase};
use crate::site::Site;
use crate::sync::{
    Arc, AtomicU8, Mutex, Ordering, Point, Reached, late, lock, point, posted, reached,
};
use crate::turn::local::Local;
use crate::{Color, Cx, Handle};

const ARMED: u8 = 0;
const CANCELLED: u8 = 1;
const BEGUN: u8 = 2;

/// Posts the due timers of a worker from this one: its own, or those of a stuck worker (E5).
pub(crate) fn fire(local: &Local, worker: usize, now: u64) {
    let mut timers = lock(&local.core.seats[worker].timers);
    if worker == local.index() {
        timers.wakes_up();
    }
    post_due(&mut timers, local, worker, now);
}

/// Posts the due timers of a worker. The lock is held until the whole batch is posted, which keeps
/// the order of one color's timers.
fn post_due(timers: &mut Timers, local: &Local, worker: usize, now: u64) {
    if timers.next_deadline().is_none_or(|next| next > now) {
        return;
    }
    if worker != local.index() {
        reached(Reached::TimerForAnother);
    }
    local.before_post();
    for due in timers.take_due(now) {
        let lateness = now.saturating_sub(due.deadline);
        local.sample(Sample::new(Measure::TimerLateness, 0, lateness));
        let Waiting { mut event, color } = due.value;
        event.restamp(|| now);
        local.enqueue(&color, event);
        posted();
    }
}

/// Drops all timers of the runtime unfired, each on its color, and returns their number. No further
/// timer is armed, because the phase has changed.
pub(crate) fn drop_all(core: &Core) -> u64 {
    let mut dropped = 0;
    for seat in &core.seats {
        let drained = lock(&seat.timers).take_all();
        for due in drained {
            dropped += 1;
            due.value.drop_on_color();
        }
    }
    dropped
}

impl Waiting {
    /// Drops the closure, as an event of its color.
    fn drop_on_color(self) {
        let Waiting { event, color } = self;
        let (memory, site) = (color.core().memory_here(), event.site());
        let event = Owned::housekeeping(memory, Discarded::of(event), site);
        color.core().enqueue(&color, event);
    }
}

/// A handle to a callback at a given time; see [`Handle::post_after`] and [`Handle::every`].
///
/// Dropping the handle does not cancel the timer, which fires all the same.
#[derive(Clone)]
pub struct Timer {
    state: Arc<TimerState>,
    core: CoreRef,
}

#[derive(Default)]
struct TimerState {
    word: AtomicU8,
    /// The place where the timer waits: the worker, and the key in its wheel.
    place: Mutex<Option<(usize, Key)>>,
}

impl TimerState {
    /// Notes that the closure of a one-shot timer is about to run. Returns `false` if it must not,
    /// because the timer was cancelled.
    fn begin(&self) -> bool {
        let word = &self.word;
        word.compare_exchange(ARMED, BEGUN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn is_cancelled(&self) -> bool {
        self.word.load(Ordering::Acquire) == CANCELLED
    }

    /// Takes a cancelled timer out of its wheel, so that its closure is dropped now. If it has
    /// fired, its event is queued, and drops the closure when it runs.
    fn leave_wheel(&self, core: &Core) {
        let place = *lock(&self.place);
        if let Some((worker, key)) = place {
            let waiting = lock(&core.seats[worker].timers).disarm(key);
            if let Some(waiting) = waiting {
                waiting.drop_on_color();
            }
        }
    }
}

/// Puts a closure into a wheel: that of the current worker, or that of the color's home. Returns
/// `false` if a shutdown has begun: then the closure is dropped as an event of its color.
fn arm<F: FnOnce(&mut Cx) + Send + 'static>(
    color: Color,
    deadline: u64,
    state: &TimerState,
    site: Site,
    f: F,
) -> bool {
    // `color` may be the last handle, and keeps the core only until it is dropped.
    let core = CoreRef::of(color.core());
    let home = color.as_cell().home();
    let (worker, event) = Local::with(&core, |local| {
        let outside = || core.fleet.stand_in_of(home).unwrap_or(home);
        let worker = local.map_or_else(outside, Local::index);
        (worker, core.make_event(local, f, Kind::Closure, site))
    });
    let waiting = Waiting { event, color: color.into_ref() };
    let mut timers = lock(&core.seats[worker].timers);
    // The phase is read under the lock: the thread that drops the timers changes the phase before
    // it takes the lock.
    if core.phase() != Phase::Running {
        drop(timers);
        waiting.drop_on_color();
        return false;
    }
    let deadline = late(waiting.color.address(), deadline);
    let (key, wakes) = timers.arm(deadline, waiting);
    *lock(&state.place) = Some((worker, key));
    drop(timers);
    point(Point::Timer);
    if wakes {
        core.fleet.notify(worker);
    }
    // A periodic timer may have been cancelled while it was in no wheel.
    if state.is_cancelled() {
        state.leave_wheel(&core);
    }
    true
}

/// A closure that arms itself again after it has run.
struct Periodic<F> {
    f: F,
    period: u64,
    next: u64,
    state: Arc<TimerState>,
    color: Color,
    site: Site,
}

impl<F: FnMut(&mut Cx) + Send + 'static> Periodic<F> {
    /// Returns `false` if the runtime no longer arms timers.
    fn arm(self: Box<Self>) -> bool {
        let (color, next, site) = (self.color.clone(), self.next, self.site);
        let state = Arc::clone(&self.state);
        arm(color, next, &state, site, move |cx| self.run(cx))
    }

    fn run(self: Box<Self>, cx: &mut Cx) {
        /// Arms the timer again, even if the closure panics (C11): a panic ends its event only.
        struct Again<F: FnMut(&mut Cx) + Send + 'static>(Option<Box<Periodic<F>>>);
        impl<F: FnMut(&mut Cx) + Send + 'static> Drop for Again<F> {
            fn drop(&mut self) {
                if let Some(mut me) = self.0.take_if(|me| !me.state.is_cancelled()) {
                    let now = me.color.core().clock().now();
                    let missed = now.saturating_sub(me.next) / me.period;
                    me.next = me.next.saturating_add((missed + 1).saturating_mul(me.period));
                    // At a shutdown the timer ends with the call that it has just made.
                    let _ = me.arm();
                }
            }
        }
        let mut again = Again(Some(self));
        if let Some(me) = again.0.as_mut().filter(|me| !me.state.is_cancelled()) {
            (me.f)(cx);
        }
    }
}

impl Handle {
    /// Posts `f` to `color` after `delay`, never earlier.
    ///
    /// It is posted at most about 1 ms later, unless the worker is busy. The timer keeps the color
    /// alive.
    ///
    /// Timers of one color that are armed on one worker are posted by deadline, then by creation.
    /// When a shutdown begins, timers that have not fired are dropped and counted. So is a timer
    /// that is made after that.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{sync::mpsc, time::{Duration, Instant}};
    /// let rt = dapple::Runtime::new()?;
    /// let (tx, rx) = mpsc::channel();
    /// let start = Instant::now();
    /// let timer = rt.handle().post_after(Duration::from_millis(5), &rt.handle().default_color(),
    ///     move |_| tx.send(start.elapsed()).unwrap());
    /// assert!(rx.recv().unwrap() >= Duration::from_millis(5));
    /// assert!(!timer.cancel(), "too late");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    #[doc(alias = "delaycb")]
    #[doc(alias = "evtimer_add")]
    pub fn post_after<F>(&self, delay: Duration, color: &Color, f: F) -> Timer
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        if is_large::<F>() {
            return self.post_after(delay, color, Box::new(f) as Boxed);
        }
        let deadline = color.core().clock().now().saturating_add(saturating_nanos(delay));
        arm_once(color, deadline, Site::caller(), f)
    }

    /// Posts `f` to `color` at a given time, or at once if that has passed; see
    /// [`post_after`](Self::post_after).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{sync::mpsc, time::Duration};
    /// let rt = dapple::Runtime::new()?;
    /// let (h, (tx, rx)) = (rt.handle(), mpsc::channel());
    /// let start = h.now();
    /// for millis in [2, 1] {
    ///     let tx = tx.clone();
    ///     h.post_at(start + Duration::from_millis(millis), &h.default_color(), move |_| {
    ///         tx.send(millis).unwrap();
    ///     });
    /// }
    /// assert_eq!((rx.recv(), rx.recv()), (Ok(1), Ok(2)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    #[doc(alias = "timecb")]
    pub fn post_at<F>(&self, at: Instant, color: &Color, f: F) -> Timer
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        self.post_at_from(Site::caller(), at, color, f)
    }

    /// Posts `f` to `color` at a given time, and names `site` in reports.
    ///
    /// In reports, `site` is the place that posted `f`. See [`post_at`](Self::post_at), which names
    /// its caller.
    pub fn post_at_from<F>(&self, site: Site, at: Instant, color: &Color, f: F) -> Timer
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        if is_large::<F>() {
            return self.post_at_from(site, at, color, Box::new(f) as Boxed);
        }
        arm_once(color, color.core().clock().nanos_at(at), site, f)
    }

    /// Posts `f` to `color` every `period`, until the timer is cancelled.
    ///
    /// The first call comes after one period. Times that were missed are skipped, and a call that
    /// panics does not end the timer.
    ///
    /// # Panics
    ///
    /// Panics if `period` is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{sync::mpsc, time::Duration};
    /// let rt = dapple::Runtime::new()?;
    /// let (tx, rx) = mpsc::channel();
    /// let h = rt.handle();
    /// let timer = h.every(Duration::from_millis(1), &h.default_color(), move |_| {
    ///     let _ = tx.send("tick");
    /// });
    /// assert_eq!(rx.iter().take(3).count(), 3);
    /// assert!(timer.cancel());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn every<F>(&self, period: Duration, color: &Color, f: F) -> Timer
    where
        F: FnMut(&mut Cx) + Send + 'static,
    {
        self.every_from(Site::caller(), period, color, f)
    }

    /// Posts `f` to `color` every `period`, and names `site` in reports.
    ///
    /// In reports, `site` is the place that posted `f`. See [`every`](Self::every), which names its
    /// caller.
    ///
    /// # Panics
    ///
    /// Panics if `period` is zero.
    #[track_caller]
    pub fn every_from<F>(&self, site: Site, period: Duration, color: &Color, f: F) -> Timer
    where
        F: FnMut(&mut Cx) + Send + 'static,
    {
        assert!(!period.is_zero(), "the period of a timer must not be zero");
        let (core, period) = (CoreRef::of(color.core()), saturating_nanos(period));
        let state = Arc::new(TimerState::default());
        let next = core.clock().now().saturating_add(period);
        let color = color.clone();
        let periodic = Periodic { f, period, next, state: Arc::clone(&state), color, site };
        if !Box::new(periodic).arm() {
            core.count_dropped(1);
        }
        Timer { state, core }
    }
}

fn arm_once<F: FnOnce(&mut Cx) + Send + 'static>(
    color: &Color,
    deadline: u64,
    site: Site,
    f: F,
) -> Timer {
    let state = Arc::new(TimerState::default());
    let core = CoreRef::of(color.core());
    let also_state = Arc::clone(&state);
    let armed = arm(color.clone(), deadline, &state, site, move |cx| {
        if also_state.begin() {
            f(cx);
        }
    });
    if !armed {
        core.count_dropped(1);
    }
    Timer { state, core }
}

impl Timer {
    /// Cancels the timer, and returns `true` if the callback does not run again.
    ///
    /// Returns `false` if the callback of a one-shot timer has already begun. From an event of the
    /// timer's own color the answer is final. From elsewhere, a callback that runs at this moment
    /// goes on, and a periodic timer ends with it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let rt = dapple::Runtime::new()?;
    /// let h = rt.handle();
    /// let hour = Duration::from_secs(3_600);
    /// let timer = h.post_after(hour, &h.default_color(), |_| println!("an hour is over"));
    /// assert!(timer.is_armed());
    /// assert!(timer.cancel(), "it does not run");
    /// assert!(!timer.is_armed());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn cancel(&self) -> bool {
        let armed = self
            .state
            .word
            .compare_exchange(ARMED, CANCELLED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if !armed {
            return self.state.word.load(Ordering::Acquire) == CANCELLED;
        }
        point(Point::Timer);
        self.state.leave_wheel(&self.core);
        true
    }

    /// Returns `true` if the callback has not begun, and the timer has not been cancelled.
    ///
    /// A periodic timer is armed until it is cancelled.
    pub fn is_armed(&self) -> bool {
        self.state.word.load(Ordering::Acquire) == ARMED
    }
}

impl std::fmt::Debug for Timer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timer").field("armed", &self.is_armed()).finish_non_exhaustive()
    }
}
