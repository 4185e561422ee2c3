//! The queue of one color, and the right to run its events (rules C1, C2).
//!
//! A post has two steps, because a lock-free queue with one atomic exchange per post offers no
//! more. The poster first *takes a place* at the tail (one atomic exchange), then *links* its event
//! to the place before it. Between the two steps the queue has a gap. A consumer that reaches the
//! gap gets [`Finished::Gap`] and lets the color go. It never waits for the poster.
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
//! *Idle*: no event. *Queued*: the color is in exactly one run queue. *Running*: exactly one worker
//! holds it. The poster that turns *Idle* into *Queued* puts the color into a run queue. So the
//! color is in at most one run queue, and at most one worker holds it (C1).
//!
//! # Own posts
//!
//! An event may post to its own color while nobody else has a place behind it. Such a post needs no
//! place: the holder *keeps* the new event in a list of its own, and runs that list before the
//! events behind. This is the order of the posts (C2). An event that was posted before has its
//! place in front, or the holder would have seen it; an event that takes a place later stands
//! behind. The event whose place is at the front stays there, spent, until the list is empty, so
//! that the color does not become idle.
//!
//! Left out on purpose: run queues, memory, time, and which worker is which.

use std::collections::VecDeque;

/// The outcome of a post: whether the poster has to queue the color.
#[must_use = "the poster that finds the color idle has to put it into a run queue"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Posted {
    /// The color was idle. The poster puts it into a run queue, exactly once.
    BecameRunnable,
    /// The color is queued or running. Its holder reaches the event once it is linked.
    Behind,
}

/// A place at the tail that is taken and not linked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reserved(u64);

/// The event behind the one that has just ended, if there is one.
#[must_use = "the worker either runs the next event or lets the color go"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finished<E> {
    /// The next event. The worker still holds the color.
    Next(E),
    /// There is no event: the color is idle, and the worker must no longer touch it.
    Idle,
    /// A poster has taken the next place and not linked it yet. The worker puts the color back into
    /// a run queue, and its next turn looks again.
    Gap,
}

impl<E> Finished<E> {
    /// Applies `f` to the next event, if there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple_colors::Finished;
    /// assert_eq!(Finished::Next("abc").map(str::len), Finished::Next(3));
    /// assert_eq!(Finished::<&str>::Gap.map(str::len), Finished::Gap);
    /// ```
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
enum MailboxState {
    Idle,
    Queued,
    Running,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Slot<E> {
    Taken(u64),
    Linked(E),
}

/// The queue of one color: its events in the order of their posts, and the right to run them.
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
    state: MailboxState,
    slots: VecDeque<Slot<E>>,
    places: u64,
    /// Whether the event at the front has run, and stays there because of a gap or of own posts.
    spent: bool,
    /// The events that the holder has posted itself. The first one is running if `in_own`.
    own: VecDeque<E>,
    in_own: bool,
}

impl<E: Copy> Default for Mailbox<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: Copy> Mailbox<E> {
    /// Returns an idle mailbox.
    pub fn new() -> Self {
        Mailbox {
            state: MailboxState::Idle,
            slots: VecDeque::new(),
            places: 0,
            spent: false,
            own: VecDeque::new(),
            in_own: false,
        }
    }

    /// Takes the place at the tail: the first step of a post, which orders the posts (C2).
    ///
    /// A post that finds the color idle is complete with this step. For any other post,
    /// [`link`](Self::link) has to follow.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple_colors::{Finished, Mailbox, Posted};
    /// let mut m = Mailbox::new();
    /// assert_eq!(m.take_place("a").1, Posted::BecameRunnable);
    /// let (place, posted) = m.take_place("b");
    /// assert_eq!(posted, Posted::Behind);
    /// assert_eq!(m.begin(), Finished::Next("a"));
    /// assert_eq!(m.finish(), Finished::Gap);                // "b" is not linked yet
    /// m.link(place, "b");
    /// assert_eq!(m.begin(), Finished::Next("b"));
    /// ```
    pub fn take_place(&mut self, event: E) -> (Reserved, Posted) {
        let place = Reserved(self.places);
        self.places += 1;
        if self.state == MailboxState::Idle {
            self.state = MailboxState::Queued;
            self.slots.push_back(Slot::Linked(event));
            (place, Posted::BecameRunnable)
        } else {
            self.slots.push_back(Slot::Taken(place.0));
            (place, Posted::Behind)
        }
    }

    /// Links an event to its place: the second step of a post that was [`Posted::Behind`]. See
    /// [`take_place`](Self::take_place) for an example.
    ///
    /// # Panics
    ///
    /// Panics if this mailbox has no open place `place`.
    pub fn link(&mut self, place: Reserved, event: E) {
        let slot = self
            .slots
            .iter_mut()
            .find(|s| matches!(s, Slot::Taken(p) if *p == place.0))
            .expect("only a place that is taken and open can be linked");
        *slot = Slot::Linked(event);
    }

    /// Posts an event: both steps at once. See the [type](Self) for an example.
    pub fn post(&mut self, event: E) -> Posted {
        let (place, posted) = self.take_place(event);
        if posted == Posted::Behind {
            self.link(place, event);
        }
        posted
    }

    /// Keeps an event that the running event posts to its own color.
    ///
    /// Returns `false` if somebody has a place behind the running event. Then this post has to take
    /// a place too.
    ///
    /// # Panics
    ///
    /// Panics if the color is not running.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple_colors::{Finished, Mailbox, Posted};
    /// let mut m = Mailbox::new();
    /// assert_eq!(m.post("a"), Posted::BecameRunnable);
    /// assert_eq!(m.begin(), Finished::Next("a"));
    /// assert!(m.keep("b"));                                 // nobody is behind "a"
    /// assert_eq!(m.post("c"), Posted::Behind);
    /// assert!(!m.keep("d"));                                // "d" has to go behind "c"
    /// assert_eq!(m.finish(), Finished::Next("b"));
    /// assert_eq!(m.finish(), Finished::Next("c"));
    /// ```
    #[must_use = "an event that was not kept has to be posted"]
    pub fn keep(&mut self, event: E) -> bool {
        assert_eq!(self.state, MailboxState::Running, "only a running color posts to itself");
        let alone = self.slots.len() == 1;
        if alone {
            self.own.push_back(event);
        }
        alone
    }

    /// Begins the turn of a worker that took the color out of a run queue, and returns the event to
    /// run.
    ///
    /// If the last turn ended at a gap, returns what [`finish`](Self::finish) would return now. See
    /// the [type](Self) for an example.
    ///
    /// # Panics
    ///
    /// Panics if the color is not queued, because an idle or running color is in no run queue.
    pub fn begin(&mut self) -> Finished<E> {
        assert_eq!(self.state, MailboxState::Queued, "only a queued color can begin a turn");
        self.state = MailboxState::Running;
        if self.spent {
            return self.pass();
        }
        match self.slots.front() {
            Some(Slot::Linked(e)) => Finished::Next(*e),
            _ => unreachable!("the front of a queued color that is not spent is linked"),
        }
    }

    /// Ends the event that runs, and returns what is behind it. See the [type](Self) for an
    /// example.
    ///
    /// # Panics
    ///
    /// Panics if the color is not running.
    pub fn finish(&mut self) -> Finished<E> {
        assert_eq!(
            self.state,
            MailboxState::Running,
            "only a running color has an event that can end"
        );
        if self.in_own {
            self.own.pop_front();
        }
        self.spent = true;
        self.pass()
    }

    /// Returns what is behind the front, which is spent.
    fn pass(&mut self) -> Finished<E> {
        self.in_own = !self.own.is_empty();
        if let Some(own) = self.own.front() {
            return Finished::Next(*own);
        }
        match self.slots.get(1) {
            None => {
                self.slots.pop_front();
                self.spent = false;
                self.state = MailboxState::Idle;
                Finished::Idle
            }
            Some(Slot::Linked(e)) => {
                let next = *e;
                self.slots.pop_front();
                self.spent = false;
                Finished::Next(next)
            }
            Some(Slot::Taken(_)) => {
                self.state = MailboxState::Queued;
                Finished::Gap
            }
        }
    }

    /// Ends the turn before the next event has run. The worker puts the color back into a run
    /// queue.
    ///
    /// # Panics
    ///
    /// Panics if the color is not running.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple_colors::{Finished, Mailbox};
    /// let mut m = Mailbox::new();
    /// _ = (m.post("a"), m.post("b"));
    /// assert_eq!(m.begin(), Finished::Next("a"));
    /// assert_eq!(m.finish(), Finished::Next("b"));
    /// m.yield_turn();                                       // "b" has not run
    /// assert_eq!(m.begin(), Finished::Next("b"));           // perhaps on another worker
    /// ```
    pub fn yield_turn(&mut self) {
        assert_eq!(self.state, MailboxState::Running, "only a running color can yield");
        self.state = MailboxState::Queued;
        self.in_own = false;
    }

    /// Returns `true` if there are neither events nor taken places.
    pub fn is_idle(&self) -> bool {
        self.state == MailboxState::Idle
    }

    /// Returns the number of events and open places, including the running event.
    pub fn len(&self) -> usize {
        self.slots.len() + self.own.len() - usize::from(self.spent)
    }

    /// Returns `true` if [`len`](Self::len) is 0. A color that met a gap is neither idle nor empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
