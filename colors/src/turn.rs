//! When a turn ends (rule C9).
//!
//! A turn ends after a number of events, a number of posts, or a time, whichever is first. Posts
//! count because breadth is what costs: a color whose events post many others fills the run
//! queues faster than they drain, and soon nothing that they touch is in the cache.
//!
//! Reading a clock costs more than a small event, so the time is looked at rarely: after the 4th
//! event, after the 5th if the turn was not timed from its start, then after every 16th. A color
//! whose events are known to be long is looked at after each one, one whose events are known to be
//! short after the 8th, the 9th and the 36th. This module has no clock: it says *when* the caller
//! has to read one, and decides on what it is told.

/// The bounds of one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnBudget {
    /// Most events in one turn.
    pub events: u32,
    /// Posts, to whatever color, after which the turn ends.
    pub posts: u32,
    /// Time after which the turn ends, in nanoseconds.
    pub nanos: u64,
}

impl Default for TurnBudget {
    /// 64 events, 64 posts, 200 microseconds.
    fn default() -> Self {
        TurnBudget { events: 64, posts: 64, nanos: 200_000 }
    }
}

/// Events longer than this, in nanoseconds on average, have the clock read after each one.
pub const LONG_EVENT_NANOS: u32 = 2_000;

/// Events shorter than this, in nanoseconds on average, have it read more rarely than others.
pub const SHORT_EVENT_NANOS: u32 = 500;

/// What is known about the events of a color when a turn begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Nothing, or neither of the others.
    Unknown,
    /// Below [`SHORT_EVENT_NANOS`].
    Short,
    /// [`LONG_EVENT_NANOS`] or more.
    Long,
}

impl Pace {
    /// The pace of events that take so many nanoseconds on average; 0: not known.
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
    /// A turn at its start.
    #[inline]
    pub fn new(budget: TurnBudget, pace: Pace) -> Self {
        let next_look = match pace {
            Pace::Long => 1,
            Pace::Unknown => 4,
            Pace::Short => 8,
        };
        Turn { budget, pace, events: 0, timed_from: 0, next_look }
    }

    /// One more event has ended; `posts` counts all posts of this turn.
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

    /// The clock was read for the first time: the turn's time counts from here.
    pub fn start_timing(&mut self) -> TurnStep {
        self.timed_from = self.events;
        self.next_look = self.events + 1;
        TurnStep::Continue
    }

    /// The clock was read: the turn has lasted `elapsed` nanoseconds since it is timed.
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

    /// Says whether the color's events are long, as far as is known by now.
    pub fn is_long(&self) -> bool {
        self.pace == Pace::Long
    }

    /// Events that have ended in this turn.
    #[inline]
    pub fn events(&self) -> u32 {
        self.events
    }
}
