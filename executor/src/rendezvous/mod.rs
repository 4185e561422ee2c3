//! Rendezvous: waiting in callback style for several things that end elsewhere (E15).
//!
//! After Tame ("Events can make sense", USENIX '07). A rendezvous hands out triggers, and each
//! trigger is fired once, on any thread. A callback that waits at the rendezvous runs when the next
//! trigger has arrived, or all of them, or all except a given number. Two things are added here: a
//! trigger that is dropped arrives as dropped, and a trigger can have a time limit.
//!
//! All waiting callbacks run on the color of the rendezvous, and every arrival is an event of it,
//! so the state is touched on that color only. Outstanding triggers are counted where they are
//! made, which may be any thread. The count grows before the trigger exists. So an arrival that
//! finds no trigger outstanding is the last one of all that were made.

mod windowed;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use dapple_colors::Access;

use crate::post::Posting;
use crate::site::Site;
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering, PoisonError};
use crate::{Color, Colored, Cx, Timer};

/// The number of waiters and of arrivals for which an empty rendezvous keeps room.
const KEPT: usize = 16;

/// The reason why a trigger arrived without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unfired {
    /// The trigger was dropped.
    Dropped,
    /// The time limit of the trigger had passed.
    TimedOut,
}

impl fmt::Display for Unfired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unfired::Dropped => "the trigger was dropped without being fired",
            Unfired::TimedOut => "the time limit has passed",
        })
    }
}

impl std::error::Error for Unfired {}

/// An arrival: the `id` of the trigger, and the value with which it was fired, or why it was not.
pub type Arrival<I, T> = (I, Result<T, Unfired>);

/// A meeting point where callbacks wait for triggers that are fired elsewhere.
///
/// Clones are handles to the same rendezvous. Callbacks run on its color, in the order in which
/// they began to wait. Each arrival is given to one of them.
///
/// A callback that waits and owns a clone of its own rendezvous keeps itself alive. It is freed
/// when it has been called. If nothing ever arrives, it is never freed.
///
/// # Examples
///
/// Two look-ups in parallel, and one callback when both have answered:
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
/// A time limit around any operation:
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
    /// The waiters and the arrivals, which are touched on the color only.
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

/// A waiter of this module. It gets the rendezvous as an argument, so it need not own a clone.
type Inside<I, T> = Box<dyn FnOnce(Arrival<I, T>, &Rendezvous<I, T>, &mut Cx) + Send>;

enum Waiter<I: Send + 'static, T: Send + 'static> {
    Any(Any<I, T>),
    Inside(Inside<I, T>),
    /// Waits until at most this number of triggers is outstanding.
    Until(usize, Many<I, T>),
}

struct Meeting<I: Send + 'static, T: Send + 'static> {
    waiters: VecDeque<Waiter<I, T>>,
    arrived: VecDeque<Arrival<I, T>>,
}

/// A callback that is due, with the arrivals that it waited for.
enum Due<I: Send + 'static, T: Send + 'static> {
    Any(Any<I, T>, Arrival<I, T>),
    Inside(Inside<I, T>, Arrival<I, T>),
    Many(Many<I, T>, Vec<Arrival<I, T>>),
}

impl<I: Send + 'static, T: Send + 'static> Meeting<I, T> {
    /// Removes and returns the first waiter, if it has what it waits for.
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
        // Room for a great number of waiters or arrivals is not kept once they are gone.
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
    /// Makes a rendezvous whose callbacks run on `color`.
    #[track_caller]
    pub fn new(color: &Color) -> Self {
        let meeting = Meeting { waiters: VecDeque::new(), arrived: VecDeque::new() };
        let meeting = Colored::new(color, meeting);
        Rendezvous { meeting, outstanding: Arc::new(AtomicUsize::new(0)) }
    }

    /// Makes a trigger. Its arrival carries `id`, which says which trigger it was.
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

    /// Makes a trigger with a time limit.
    ///
    /// If the trigger is neither fired nor dropped within `limit`, it arrives as
    /// [`TimedOut`](Unfired::TimedOut). Its arrival carries `id`.
    #[track_caller]
    pub fn trigger_within(&self, id: I, limit: Duration) -> Trigger<T> {
        self.outstanding.fetch_add(1, Ordering::AcqRel);
        let (to, site) = (self.clone(), Site::caller());
        // The first to take the id out decides the outcome: the timer or the trigger.
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

    /// Returns the number of triggers that have not arrived: neither fired, nor dropped, nor timed
    /// out.
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Acquire)
    }

    /// Calls `f` with the next arrival.
    #[track_caller]
    pub fn any(&self, f: impl FnOnce(Arrival<I, T>, &mut Cx) + Send + 'static) {
        self.wait(Waiter::Any(Box::new(f)), Site::caller());
    }

    /// Calls `f` when no trigger is outstanding, with all arrivals that no other callback has
    /// taken, in their order.
    #[track_caller]
    pub fn all(&self, f: impl FnOnce(Vec<Arrival<I, T>>, &mut Cx) + Send + 'static) {
        self.wait(Waiter::Until(0, Box::new(f)), Site::caller());
    }

    /// Calls `f` when at most `most` triggers are outstanding, with the arrivals so far.
    ///
    /// These are all arrivals that no other callback has taken, in their order.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple::Rendezvous;
    /// let rt = dapple::Runtime::new()?;
    /// let (tell, told) = std::sync::mpsc::channel();
    /// let copies = Rendezvous::new(&rt.handle().new_color());
    /// let mut disks: Vec<_> = (0..3).map(|disk| copies.trigger(disk)).collect();
    /// // Two copies of three are enough.
    /// copies.at_most(1, move |written, _| tell.send(written.len()).unwrap());
    /// for disk in disks.drain(1..) {
    ///     disk.fire("written").expect("there is no time limit");
    /// }
    /// assert_eq!(told.recv().unwrap(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
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

    /// Changes the waiters and arrivals on the color, and runs the callbacks that are then due. The
    /// post is never refused, because a callback may be waiting for it.
    fn change(&self, change: impl FnOnce(&mut Meeting<I, T>) + Send + 'static, site: Site) {
        let this = self.clone();
        self.meeting.color().post_as(
            Access::Exclusive,
            move |cx| {
                this.meeting.with(change);
                // No callback runs while the state is borrowed. So callbacks may use the
                // rendezvous, and a panic of one does not poison the state.
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

/// One thing to wait for at a [`Rendezvous`], which is fired once.
///
/// A trigger can be fired on any thread. If it is dropped, it arrives as [`Unfired::Dropped`].
///
/// # Examples
///
/// ```
/// use dapple::{Rendezvous, Runtime, Unfired};
/// let rt = Runtime::new()?;
/// let (tell, told) = std::sync::mpsc::channel();
/// let answer = Rendezvous::<_, u32>::new(&rt.handle().new_color());
/// drop(answer.trigger("the server"));
/// answer.any(move |arrival, _| tell.send(arrival).unwrap());
/// assert_eq!(told.recv().unwrap(), ("the server", Err(Unfired::Dropped)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "a trigger that is dropped arrives as Unfired::Dropped"]
pub struct Trigger<T> {
    arrive: Option<Arrive<T>>,
    timer: Option<Timer>,
}

impl<T> Trigger<T> {
    /// Fires the trigger: it arrives with `value`.
    ///
    /// # Errors
    ///
    /// Returns the value if the time limit of the trigger had passed.
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
