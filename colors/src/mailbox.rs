//! The mailbox of one color.
//!
//! A post has two steps, because that is what a lock-free queue can offer: the poster first
//! *takes a place* at the tail (one atomic exchange), then *links* its event to the place before
//! it. Between the two the queue is whole only up to the gap. A consumer that meets the gap is
//! told so ([`Finished::Gap`]) and lets the color go; it never waits for the poster.
//!
//! ```text
//!            post (was idle)                 begin
//!   Idle ----------------------> Queued -------------------> Running
//!    ^                             ^                           |  |
//!    |                             |  yield_turn, Gap          |  |
//!    |                             +---------------------------+  |
//!    +------------------------------------------------------------+
//!                              finish, nothing behind
//! ```
//!
//! *Idle*: no event. *Queued*: the color is in exactly one run queue. *Running*: exactly one
//! worker holds it. The poster that turns *Idle* into *Queued* is the one that puts the color into
//! a run queue; so the color is in one run queue at most, and at one worker at most (C1).
//!
//! # Own posts
//!
//! An event that posts to its own color, while nobody else has a place behind it, needs no place:
//! the holder *keeps* what it posts in a list of its own, and runs that list before what stands
//! behind. The order is that of the posts (C2): what was posted before has its place in front, or
//! the holder would have seen it; what takes a place later stands behind. The event whose place is
//! at the front stays there, spent, until the list is empty, so that the color does not become
//! idle.
//!
//! What is left out on purpose: run queues, memory, time, and which worker is which.

use std::collections::VecDeque;

/// What a post found.
#[must_use = "the poster that finds the color idle has to put it into a run queue"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Posted {
    /// The color was idle. The poster puts it into a run queue, exactly once.
    BecameRunnable,
    /// The color is queued or running; its holder will reach the event.
    Behind,
}

/// A place at the tail that has been taken, and not been linked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reserved(u64);

/// What is behind the event that has just ended.
#[must_use = "the worker either runs the next event or lets the color go"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finished<E> {
    /// The next event; the worker still holds the color.
    Next(E),
    /// Nothing: the color is idle, and the worker must no longer touch it.
    Idle,
    /// A poster has taken the next place and not linked it. The worker puts the color back into
    /// a run queue; its next turn looks again.
    Gap,
}

impl<E> Finished<E> {
    /// The next event as something else.
    #[inline]
    pub fn map<T>(self, f: impl FnOnce(E) -> T) -> Finished<T> {
        match self {
            Finished::Next(event) => Finished::Next(f(event)),
            Finished::Idle => Finished::Idle,
            Finished::Gap => Finished::Gap,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Idle,
    Queued,
    Running,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Slot<E> {
    Taken(u64),
    Linked(E),
}

/// The queue of one color: events in order of their posts, and the right to run them.
///
/// # Examples
///
/// ```
/// use dapple_colors::{Finished, Mailbox, Posted};
/// let mut m = Mailbox::new();
/// assert_eq!(m.post("a"), Posted::BecameRunnable);
/// assert_eq!(m.post("b"), Posted::Behind);
/// assert_eq!(m.begin(), Finished::Next("a"));
/// assert_eq!(m.finish(), Finished::Next("b"));
/// assert_eq!(m.finish(), Finished::Idle);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mailbox<E> {
    state: State,
    slots: VecDeque<Slot<E>>,
    places: u64,
    /// The event at the front has run, and a gap behind it or own posts kept it there.
    spent: bool,
    /// What the holder has posted itself; the first one is running if `in_own`.
    own: VecDeque<E>,
    in_own: bool,
}

impl<E: Copy> Default for Mailbox<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: Copy> Mailbox<E> {
    /// An idle mailbox.
    pub fn new() -> Self {
        Mailbox {
            state: State::Idle,
            slots: VecDeque::new(),
            places: 0,
            spent: false,
            own: VecDeque::new(),
            in_own: false,
        }
    }

    /// First step of a post: takes the place at the tail. This is the step that orders posts (C2).
    ///
    /// A post that finds the color idle is complete with this step; for any other one
    /// [`link`](Self::link) follows.
    pub fn take_place(&mut self, event: E) -> (Reserved, Posted) {
        let place = Reserved(self.places);
        self.places += 1;
        if self.state == State::Idle {
            self.state = State::Queued;
            self.slots.push_back(Slot::Linked(event));
            (place, Posted::BecameRunnable)
        } else {
            self.slots.push_back(Slot::Taken(place.0));
            (place, Posted::Behind)
        }
    }

    /// Second step of a post that was [`Posted::Behind`].
    ///
    /// # Panics
    ///
    /// When the place is not an open one of this mailbox.
    pub fn link(&mut self, place: Reserved, event: E) {
        let slot = self
            .slots
            .iter_mut()
            .find(|s| matches!(s, Slot::Taken(p) if *p == place.0))
            .expect("only a place that is taken and open can be linked");
        *slot = Slot::Linked(event);
    }

    /// Both steps of a post at once.
    pub fn post(&mut self, event: E) -> Posted {
        let (place, posted) = self.take_place(event);
        if posted == Posted::Behind {
            self.link(place, event);
        }
        posted
    }

    /// A post by the event that runs, to its own color. False: somebody has a place behind it, so
    /// the post takes one, too.
    ///
    /// # Panics
    ///
    /// When the color is not running.
    #[must_use = "an event that was not kept has to be posted"]
    pub fn keep(&mut self, event: E) -> bool {
        assert_eq!(self.state, State::Running, "only a running color posts to itself");
        let alone = self.slots.len() == 1;
        if alone {
            self.own.push_back(event);
        }
        alone
    }

    /// A worker that took the color out of a run queue begins its turn. The answer is the event
    /// to run; or, when the last turn ended at a gap, what [`finish`](Self::finish) would say now.
    ///
    /// # Panics
    ///
    /// When the color is not queued: a color that is idle or running is in no run queue.
    pub fn begin(&mut self) -> Finished<E> {
        assert_eq!(self.state, State::Queued, "only a queued color can begin a turn");
        self.state = State::Running;
        if self.spent {
            return self.pass();
        }
        match self.slots.front() {
            Some(Slot::Linked(e)) => Finished::Next(*e),
            _ => unreachable!("the front of a queued color that is not spent is linked"),
        }
    }

    /// The event that runs has ended.
    ///
    /// # Panics
    ///
    /// When the color is not running.
    pub fn finish(&mut self) -> Finished<E> {
        assert_eq!(self.state, State::Running, "only a running color has an event that can end");
        if self.in_own {
            self.own.pop_front();
        }
        self.spent = true;
        self.pass()
    }

    /// What is behind the front, which is spent.
    fn pass(&mut self) -> Finished<E> {
        self.in_own = !self.own.is_empty();
        if let Some(own) = self.own.front() {
            return Finished::Next(*own);
        }
        match self.slots.get(1) {
            None => {
                self.slots.pop_front();
                self.spent = false;
                self.state = State::Idle;
                Finished::Idle
            }
            Some(Slot::Linked(e)) => {
                let next = *e;
                self.slots.pop_front();
                self.spent = false;
                Finished::Next(next)
            }
            Some(Slot::Taken(_)) => {
                self.state = State::Queued;
                Finished::Gap
            }
        }
    }

    /// The worker ends its turn before the next event has run, and puts the color back
    /// into a run queue.
    ///
    /// # Panics
    ///
    /// When the color is not running.
    pub fn yield_turn(&mut self) {
        assert_eq!(self.state, State::Running, "only a running color can yield");
        self.state = State::Queued;
        self.in_own = false;
    }

    /// Says whether there is nothing, neither an event nor a place.
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Events and open places, the running one included.
    pub fn len(&self) -> usize {
        self.slots.len() + self.own.len() - usize::from(self.spent)
    }

    /// Says whether [`len`](Self::len) is zero. A color that met a gap is neither idle nor empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
