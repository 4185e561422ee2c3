//! The record of a run: always a digest, and all that happened if a story or a history is wanted.

use std::cell::{Cell, Ref, RefCell};

use super::choice::Mark;
use super::mix;
use super::names::Who;
use crate::sync::{DomainStep, Sort};
use dapple_colors::Access;

/// The greatest number of records that are kept for a story.
const MOST_TOLD: usize = 200_000;

/// The part of a run that is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Keeps {
    /// A digest only.
    #[default]
    Digest,
    /// The first 200,000 records, for a story.
    Story,
    /// All records, for a history.
    All,
}

/// Something that happened, with the virtual time in nanoseconds and the fiber.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) at: u64,
    pub(super) fiber: u32,
    pub(super) what: What,
}

/// The way in which a value was used: read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    /// The value was read.
    Read,
    /// The value was written.
    Written,
}

/// The content of a record. Events, colors and domains have their numbers here.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// An event was made. It is posted at once, or when its timer fires.
    Makes {
        event: u32,
        sort: Sort,
    },
    /// An event is about to be appended to a color.
    Posts {
        event: u32,
        color: u32,
        access: Access,
        is_bound: bool,
    },
    /// The call that posted the event is over.
    Posted {
        event: u32,
    },
    Begins {
        who: Who,
    },
    /// A part of the running event begins: a step in a domain, or an action.
    Part {
        part: Option<u32>,
    },
    Ends {
        name: u64,
        event: Option<u32>,
    },
    /// An event is dropped without having run.
    Drops {
        event: u32,
    },
    /// A pause is over. It began at the time `from`.
    Pauses {
        mark: Mark,
        who: Who,
        from: u64,
    },
    /// The order of a domain has decided a step of an event. `event` is the event that takes its
    /// ticket, or the action that is deferred.
    Decides {
        domain: u32,
        ticket: u64,
        step: DomainStep,
        event: Option<u32>,
    },
    /// The program has read or written a value. `ticket` has the domain and the ticket of the
    /// event, if it has one.
    Uses {
        label: String,
        value: String,
        how: Use,
        event: Option<u32>,
        ticket: Option<(u32, u64)>,
    },
    Notes {
        who: Who,
        text: String,
    },
    /// A fault: a timer that is late by `nanos`, or a wait that ends early, after `nanos`.
    Fails {
        mark: Mark,
        who: Who,
        nanos: u64,
    },
    /// A worker of this runtime begins. It takes what has waited behind another one for
    /// `steal_delay` nanoseconds.
    Works {
        runtime: u32,
        steal_delay: Option<u64>,
    },
    /// A worker is about to sleep.
    Parks,
    /// A worker that slept goes on.
    Wakes,
}

/// The record of one run: see the [module](self).
#[derive(Default)]
pub(super) struct Log {
    digest: Cell<u64>,
    events: Cell<u64>,
    keeps: Cell<Keeps>,
    records: RefCell<Vec<Record>>,
    /// The pauses that are not over, each with its fiber, its mark, and the time at which it began.
    paused: RefCell<Vec<(u32, Mark, u64)>>,
    /// The names of the fibers, by their indices.
    fibers: RefCell<Vec<String>>,
    /// The message of the first panic of an event.
    panic: RefCell<Option<String>>,
    is_broken: Cell<bool>,
}

impl Log {
    /// Records at least this much from now on.
    pub(super) fn keep(&self, what: Keeps) {
        self.keeps.set(self.keeps.get().max(what));
    }

    /// Records the name of a fiber, whose index is the number of those before it.
    pub(super) fn fiber_starts(&self, name: &str) {
        self.fibers.borrow_mut().push(name.to_owned());
    }

    /// Returns `true` if everything is recorded.
    pub(super) fn keeps_all(&self) -> bool {
        self.keeps.get() == Keeps::All
    }

    pub(super) fn fiber_name(&self, fiber: u32) -> String {
        self.fibers.borrow().get(fiber as usize).cloned().unwrap_or_default()
    }

    /// Returns a digest of the events that have begun, their fibers, and their order.
    pub(super) fn digest(&self) -> u64 {
        self.digest.get()
    }

    /// Returns the number of events that have begun.
    pub(super) fn events(&self) -> u64 {
        self.events.get()
    }

    /// Records that an event begins.
    pub(super) fn begins(&self, at: u64, fiber: u32, name: u64, who: impl FnOnce() -> Who) {
        self.events.set(self.events.get() + 1);
        self.digest.set(mix(&[self.digest.get(), name, fiber.into()]));
        self.record(at, fiber, || What::Begins { who: who() });
    }

    /// Records that something happens, if that is wanted.
    #[inline]
    pub(super) fn record(&self, at: u64, fiber: u32, what: impl FnOnce() -> What) {
        let is_kept = match self.keeps.get() {
            Keeps::Digest => false,
            Keeps::Story => self.records.borrow().len() < MOST_TOLD,
            Keeps::All => true,
        };
        if is_kept {
            // `what` may run code of the program, so nothing is borrowed while it runs.
            let what = what();
            self.records.borrow_mut().push(Record { at, fiber, what });
        }
    }

    /// Records that a pause of a fiber begins.
    pub(super) fn pause_begins(&self, fiber: u32, mark: Mark, from: u64) {
        self.paused.borrow_mut().push((fiber, mark, from));
    }

    /// Records that the pause of a fiber is over.
    pub(super) fn pause_ends(&self, fiber: u32) {
        self.paused.borrow_mut().retain(|(other, ..)| *other != fiber);
    }

    /// Returns the pauses that are not over, each with its mark and the time at which it began.
    pub(super) fn paused(&self) -> Vec<(Mark, u64)> {
        self.paused.borrow().iter().map(|(_, mark, from)| (*mark, *from)).collect()
    }

    pub(super) fn records(&self) -> Ref<'_, [Record]> {
        Ref::map(self.records.borrow(), Vec::as_slice)
    }

    pub(super) fn panicked(&self, message: String) {
        self.panic.borrow_mut().get_or_insert(message);
    }

    /// Records that the runtime itself is broken.
    pub(super) fn broken(&self, message: String) {
        self.panic.borrow_mut().get_or_insert(message);
        self.is_broken.set(true);
    }

    /// Returns `true` if a thread of the runtime has panicked.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.get()
    }

    /// Returns the message of the first panic, if there was one.
    pub(super) fn panic(&self) -> Option<String> {
        self.panic.borrow().clone()
    }
}
