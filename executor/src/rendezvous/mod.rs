//! Rendezvous: waiting for several things that end elsewhere, in callback style (E15).
//!
//! After Tame ("Events can make sense", USENIX '07): a rendezvous hands out triggers; each is fired
//! once, from anywhere; and what waits at the rendezvous goes on when the next one has arrived, or
//! all of them, or all but so many. Here a trigger that is dropped says so, and one can have a
//! limit of time.
//!
//! Everything that waits is a callback on the color of the rendezvous, and so is every arrival: its
//! state is touched on that color only. What is outstanding is counted where triggers are made,
//! which may be anywhere: before the trigger exists, so an arrival that finds nothing outstanding
//! is the last one of all that had been made.

mod windowed;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use dapple_colors::Access;

use crate::post::Posting;
use crate::site::Site;
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering, PoisonError};
use crate::{Color, Colored, Cx, Timer};

/// Room for waiters and arrivals that is kept, whatever was there.
const KEPT: usize = 16;

/// Why a trigger has not been fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unfired {
    /// The trigger was dropped.
    Dropped,
    /// Its time was over.
    TimedOut,
}

impl fmt::Display for Unfired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unfired::Dropped => "the trigger was dropped unfired",
            Unfired::TimedOut => "the time was over",
        })
    }
}

impl std::error::Error for Unfired {}

/// What has arrived: which trigger it was, and what it was fired with, if it was.
pub type Arrival<I, T> = (I, Result<T, Unfired>);

/// A place where callbacks wait for triggers that are fired elsewhere.
///
/// Clones are the same place. Callbacks run on its color, and in the order in which they were made
/// to wait; each arrival is given to one of them.
///
/// A callback that waits, and holds a clone of its own place, keeps itself: it goes when it has
/// been called, and not if nothing ever arrives.
///
/// # Examples
///
/// Two look-ups at once; the answer when both are there:
///
/// ```
/// use dapple::{Cx, Rendezvous, Trigger};
/// fn look_up(name: &'static str, found: Trigger<usize>, cx: &mut Cx) {
///     cx.post_uncolored(move |_| drop(found.fire(name.len())));
/// }
/// let rt = dapple::Runtime::new()?;
/// let color = rt.handle().new_color();
/// color.post(|cx| {
///     let both = Rendezvous::new(&cx.color().unwrap());
///     look_up("one.example", both.trigger("one"), cx);
///     look_up("another.example", both.trigger("another"), cx);
///     both.all(|answers, _| {
///         let lengths: usize = answers.iter().map(|(_, answer)| answer.unwrap()).sum();
///         assert_eq!(lengths, 26);
///     });
/// });
/// rt.wait_idle();
/// # assert_eq!(rt.metrics().panics(), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// A limit of time around anything:
///
/// ```
/// use dapple::{Rendezvous, Unfired};
/// use std::time::Duration;
/// let rt = dapple::Runtime::new()?;
/// let (tell, told) = std::sync::mpsc::channel();
/// let answer = Rendezvous::<_, ()>::new(&rt.handle().new_color());
/// let never_fired = answer.trigger_within("the server", Duration::from_millis(5));
/// answer.any(move |arrival, _| tell.send(arrival).unwrap());
/// assert_eq!(told.recv().unwrap(), ("the server", Err(Unfired::TimedOut)));
/// drop(never_fired);
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "twait")]
#[doc(alias = "join")]
#[doc(alias = "select")]
pub struct Rendezvous<I: Send + 'static, T: Send + 'static> {
    /// What waits, and what has arrived. Touched on the color.
    meeting: Colored<Meeting<I, T>>,
    outstanding: Arc<AtomicUsize>,
}

impl<I: Send + 'static, T: Send + 'static> Clone for Rendezvous<I, T> {
    fn clone(&self) -> Self {
        let (meeting, outstanding) = (self.meeting.clone(), Arc::clone(&self.outstanding));
        Rendezvous { meeting, outstanding }
    }
}

type Any<I, T> = Box<dyn FnOnce(Arrival<I, T>, &mut Cx) + Send>;
type Many<I, T> = Box<dyn FnOnce(Vec<Arrival<I, T>>, &mut Cx) + Send>;

/// A waiter inside of this module gets the place instead of keeping it.
type Inside<I, T> = Box<dyn FnOnce(Arrival<I, T>, &Rendezvous<I, T>, &mut Cx) + Send>;

enum Waiter<I: Send + 'static, T: Send + 'static> {
    Any(Any<I, T>),
    Inside(Inside<I, T>),
    /// Until so many are outstanding, at most.
    Until(usize, Many<I, T>),
}

struct Meeting<I: Send + 'static, T: Send + 'static> {
    waiters: VecDeque<Waiter<I, T>>,
    arrived: VecDeque<Arrival<I, T>>,
}

/// A callback with what it has waited for.
enum Due<I: Send + 'static, T: Send + 'static> {
    Any(Any<I, T>, Arrival<I, T>),
    Inside(Inside<I, T>, Arrival<I, T>),
    Many(Many<I, T>, Vec<Arrival<I, T>>),
}

impl<I: Send + 'static, T: Send + 'static> Meeting<I, T> {
    /// The next one that has not to wait any more.
    fn due(&mut self, outstanding: usize) -> Option<Due<I, T>> {
        let ready = match self.waiters.front()? {
            Waiter::Any(_) | Waiter::Inside(_) => !self.arrived.is_empty(),
            Waiter::Until(left, _) => outstanding <= *left,
        };
        if !ready {
            return None;
        }
        let due = Some(match self.waiters.pop_front()? {
            Waiter::Any(f) => Due::Any(f, self.arrived.pop_front()?),
            Waiter::Inside(f) => Due::Inside(f, self.arrived.pop_front()?),
            Waiter::Until(_, f) => Due::Many(f, std::mem::take(&mut self.arrived).into()),
        });
        // What has waited, or arrived, at once in a great number is not kept room for.
        if self.waiters.is_empty() {
            self.waiters.shrink_to(KEPT);
        }
        if self.arrived.is_empty() {
            self.arrived.shrink_to(KEPT);
        }
        due
    }
}

impl<I: Send + 'static, T: Send + 'static> Rendezvous<I, T> {
    /// A place whose callbacks run on `color`.
    #[track_caller]
    pub fn new(color: &Color) -> Self {
        let meeting = Meeting { waiters: VecDeque::new(), arrived: VecDeque::new() };
        let meeting = Colored::new(color, meeting);
        Rendezvous { meeting, outstanding: Arc::new(AtomicUsize::new(0)) }
    }

    /// One more trigger. `id` comes back with its arrival, and tells which one it was.
    #[track_caller]
    pub fn trigger(&self, id: I) -> Trigger<T> {
        self.outstanding.fetch_add(1, Ordering::AcqRel);
        let (to, site) = (self.clone(), Site::caller());
        let arrive = Box::new(move |outcome| {
            to.arrive(id, outcome, site);
            None
        });
        Trigger { arrive: Some(arrive), timer: None }
    }

    /// One more trigger, which arrives as [`TimedOut`](Unfired::TimedOut) if it has not been fired
    /// or dropped within `limit`.
    #[track_caller]
    pub fn trigger_within(&self, id: I, limit: Duration) -> Trigger<T> {
        self.outstanding.fetch_add(1, Ordering::AcqRel);
        let (to, site) = (self.clone(), Site::caller());
        // Who takes it out first tells the outcome.
        let id = Arc::new(Mutex::new(Some(id)));
        let take = |id: &Mutex<Option<I>>| id.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (late, also) = (self.clone(), Arc::clone(&id));
        let color = self.meeting.color();
        let timer = color.runtime().post_after(limit, color, move |_| {
            if let Some(id) = take(&also) {
                late.arrive(id, Err(Unfired::TimedOut), site);
            }
        });
        let arrive = Box::new(move |outcome| match take(&id) {
            Some(id) => {
                to.arrive(id, outcome, site);
                None
            }
            None => Some(outcome),
        });
        Trigger { arrive: Some(arrive), timer: Some(timer) }
    }

    /// How many triggers have neither been fired nor dropped, nor timed out.
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Acquire)
    }

    /// Waits for the next arrival.
    #[track_caller]
    pub fn any(&self, f: impl FnOnce(Arrival<I, T>, &mut Cx) + Send + 'static) {
        self.wait(Waiter::Any(Box::new(f)), Site::caller());
    }

    /// Waits until no trigger is outstanding. The callback gets what has arrived, in the order of
    /// arrival, but for what [`any`](Self::any) took.
    #[track_caller]
    pub fn all(&self, f: impl FnOnce(Vec<Arrival<I, T>>, &mut Cx) + Send + 'static) {
        self.wait(Waiter::Until(0, Box::new(f)), Site::caller());
    }

    /// Waits until `most` triggers are outstanding at most. The callback gets what has arrived, as
    /// with [`all`](Self::all).
    #[track_caller]
    pub fn at_most(
        &self,
        most: usize,
        f: impl FnOnce(Vec<Arrival<I, T>>, &mut Cx) + Send + 'static,
    ) {
        self.wait(Waiter::Until(most, Box::new(f)), Site::caller());
    }

    #[track_caller]
    fn wait(&self, waiter: Waiter<I, T>, site: Site) {
        self.change(move |meeting| meeting.waiters.push_back(waiter), site);
    }

    fn arrive(&self, id: I, outcome: Result<T, Unfired>, site: Site) {
        let outstanding = Arc::clone(&self.outstanding);
        let arrive = move |meeting: &mut Meeting<I, T>| {
            meeting.arrived.push_back((id, outcome));
            outstanding.fetch_sub(1, Ordering::AcqRel);
        };
        self.change(arrive, site);
    }

    /// Changes what waits and what has arrived, on the color, and runs what is due then. Never
    /// refused: somebody waits.
    fn change(&self, change: impl FnOnce(&mut Meeting<I, T>) + Send + 'static, site: Site) {
        let this = self.clone();
        self.meeting.color().post_as(
            Access::Exclusive,
            move |cx| {
                this.meeting.with(change);
                // No callback runs while the meeting is reached, so they may use the rendezvous,
                // and their panics are their own.
                while let Some(due) = this.meeting.with(|meeting| meeting.due(this.outstanding())) {
                    cx.guard(site, |cx| match due {
                        Due::Any(f, arrival) => f(arrival, cx),
                        Due::Inside(f, arrival) => f(arrival, &this, cx),
                        Due::Many(f, arrivals) => f(arrivals, cx),
                    });
                }
            },
            Posting::promised(site),
        );
    }
}

type Arrive<T> = Box<dyn FnOnce(Result<T, Unfired>) -> Option<Result<T, Unfired>> + Send>;

/// What somebody fires, once, for the waiters at a [`Rendezvous`]. It can be fired from any thread;
/// dropped, it says so.
#[must_use = "a trigger that is dropped arrives as Unfired::Dropped"]
pub struct Trigger<T> {
    arrive: Option<Arrive<T>>,
    timer: Option<Timer>,
}

impl<T> Trigger<T> {
    /// Fires it.
    ///
    /// # Errors
    ///
    /// Hands the value back if its time was over.
    pub fn fire(mut self, value: T) -> Result<(), T> {
        match self.settle(Ok(value)) {
            Some(Ok(value)) => Err(value),
            _ => Ok(()),
        }
    }

    fn settle(&mut self, outcome: Result<T, Unfired>) -> Option<Result<T, Unfired>> {
        if let Some(timer) = self.timer.take() {
            timer.cancel();
        }
        self.arrive.take().and_then(|arrive| arrive(outcome))
    }
}

impl<T> Drop for Trigger<T> {
    fn drop(&mut self) {
        self.settle(Err(Unfired::Dropped));
    }
}

impl<T> fmt::Debug for Trigger<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trigger").field("is_timed", &self.timer.is_some()).finish()
    }
}

impl<I: Send + 'static, T: Send + 'static> fmt::Debug for Rendezvous<I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rendezvous")
            .field("outstanding", &self.outstanding())
            .finish_non_exhaustive()
    }
}
