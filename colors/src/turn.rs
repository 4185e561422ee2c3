//! The end of a turn (rule C9).
//!
//! A turn ends after a number of events, a number of posts, or a time, whichever is first. Posts
//! count because breadth is expensive: a color whose events post many others fills the run queues
//! faster than they drain, and soon nothing that these events touch is in the cache.
//!
//! Reading a clock costs more than a small event, so the clock is read rarely: after the 4th event,
//! after the 5th if the turn was not timed from its start, then after every 16th. For a color whose
//! events are known to be long it is read after each event, and for one whose events are known to
//! be short after the 8th, the 9th and the 36th. This module has no clock: it says *when* the
//! caller has to read one, and decides by the time that the caller passes in.

/// The bounds of one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnBudget {
    /// The maximum number of events in one turn.
    pub events: u32,
    /// The number of posts, to any colors, after which the turn ends.
    pub posts: u32,
    /// The time after which the turn ends, in nanoseconds.
    pub nanos: u64,
}

impl Default for TurnBudget {
    /// Returns a budget of 64 events, 64 posts and 200 us.
    fn default() -> Self {
        TurnBudget { events: 64, posts: 64, nanos: 200_000 }
    }
}

/// The average event length, in nanoseconds, from which on the clock is read after each event.
pub const LONG_EVENT_NANOS: u32 = 2_000;

/// The average event length, in nanoseconds, below which the clock is read less often.
pub const SHORT_EVENT_NANOS: u32 = 500;

/// What is known about the length of a color's events when a turn begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The average is not known, or is between the two others.
    Unknown,
    /// The average is below [`SHORT_EVENT_NANOS`].
    Short,
    /// The average is [`LONG_EVENT_NANOS`] or more.
    Long,
}

impl Pace {
    /// Returns the pace of events with this average length in nanoseconds; 0 means unknown.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple_colors::Pace;
    /// assert_eq!([100, 1_000, 5_000].map(Pace::of), [Pace::Short, Pace::Unknown, Pace::Long]);
    /// ```
    #[inline]
    pub fn of(event_nanos: u32) -> Pace {
        match event_nanos {
            LONG_EVENT_NANOS.. => Pace::Long,
            1..SHORT_EVENT_NANOS => Pace::Short,
            _ => Pace::Unknown,
        }
    }
}

/// What a worker does after an event.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnStep {
    /// Run the next event.
    Continue,
    /// Read the clock and ask [`Turn::at`].
    ReadClock,
    /// Let the color go.
    End,
}

/// The account of one turn.
///
/// # Examples
///
/// ```
/// use dapple_colors::{Pace, Turn, TurnBudget, TurnStep};
/// let budget = TurnBudget { events: 2, posts: 10, nanos: 1_000 };
/// let mut turn = Turn::new(budget, Pace::Unknown);
/// assert_eq!(turn.after_event(0), TurnStep::Continue);
/// assert_eq!(turn.after_event(0), TurnStep::End);
/// ```
#[derive(Clone, Debug)]
pub struct Turn {
    budget: TurnBudget,
    pace: Pace,
    events: u32,
    timed_from: u32,
    next_look: u32,
}

impl Turn {
    /// Returns the account of a turn that has just begun.
    #[inline]
    pub fn new(budget: TurnBudget, pace: Pace) -> Self {
        let next_look = match pace {
            Pace::Long => 1,
            Pace::Unknown => 4,
            Pace::Short => 8,
        };
        Turn { budget, pace, events: 0, timed_from: 0, next_look }
    }

    /// Counts an event that has ended. `posts` is the number of all posts of this turn so far. See
    /// the [type](Self) for an example.
    #[inline]
    pub fn after_event(&mut self, posts: u32) -> TurnStep {
        self.events += 1;
        if self.events >= self.budget.events || posts >= self.budget.posts {
            TurnStep::End
        } else if self.events >= self.next_look {
            TurnStep::ReadClock
        } else {
            TurnStep::Continue
        }
    }

    /// Starts the timing of the turn, when the clock was read for the first time.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple_colors::{Pace, Turn, TurnBudget, TurnStep};
    /// let budget = TurnBudget { events: 64, posts: 64, nanos: 200_000 };
    /// let mut turn = Turn::new(budget, Pace::Unknown);
    /// for _ in 0..3 {
    ///     assert_eq!(turn.after_event(0), TurnStep::Continue);
    /// }
    /// assert_eq!(turn.after_event(0), TurnStep::ReadClock);
    /// assert_eq!(turn.start_timing(), TurnStep::Continue);  // the clock is read
    /// assert_eq!(turn.after_event(0), TurnStep::ReadClock);
    /// assert_eq!(turn.at(250_000), TurnStep::End);          // it is read 250 us later
    /// ```
    pub fn start_timing(&mut self) -> TurnStep {
        self.timed_from = self.events;
        self.next_look = self.events + 1;
        TurnStep::Continue
    }

    /// Decides by the time: the turn has lasted `elapsed` nanoseconds since its timing started. See
    /// [`start_timing`](Self::start_timing) for an example.
    pub fn at(&mut self, elapsed: u64) -> TurnStep {
        let events = u64::from((self.events - self.timed_from).max(1));
        if elapsed / events >= u64::from(LONG_EVENT_NANOS) {
            self.pace = Pace::Long;
        }
        if elapsed >= self.budget.nanos {
            return TurnStep::End;
        }
        self.next_look = match self.pace {
            Pace::Long => self.events + 1,
            Pace::Unknown => (self.events / 16 + 1) * 16,
            Pace::Short => self.events.saturating_mul(4),
        };
        TurnStep::Continue
    }

    /// Returns `true` if the color's events are long, as far as is known by now.
    pub fn is_long(&self) -> bool {
        self.pace == Pace::Long
    }

    /// Returns the number of events that have ended in this turn.
    #[inline]
    pub fn events(&self) -> u32 {
        self.events
    }
}
