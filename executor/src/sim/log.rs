//! What is remembered of a run: always a digest, and records of all that happened if somebody
//! wants a story or a history of it.

use std::cell::{Cell, Ref, RefCell};

use super::choice::Mark;
use super::mix;
use super::names::Who;
use crate::sync::{DomainStep, Sort};
use dapple_colors::Access;

/// What is remembered for a story, at most.
const MOST_TOLD: usize = 200_000;

/// What is remembered of a run, and for whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Keeps {
    /// A digest only.
    #[default]
    Digest,
    /// The start of a long run, for a story.
    Story,
    /// Everything, for a history.
    All,
}

/// Something that happened, when, and in which fiber.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) at: u64,
    pub(super) fiber: u32,
    pub(super) what: What,
}

/// Whether a value was read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    /// It was read.
    Read,
    /// It was written.
    Written,
}

/// What happened. Events, colors and domains stand here by their numbers.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// An event was made; it will be posted at once, or when its timer fires.
    Makes {
        event: u32,
        sort: Sort,
    },
    /// It is about to be appended to a color.
    Posts {
        event: u32,
        color: u32,
        access: Access,
        is_bound: bool,
    },
    /// The call that posted it is over.
    Posted {
        event: u32,
    },
    Begins {
        who: Who,
    },
    /// A step of a domain's event, or an action, begins in the event that runs.
    Part {
        part: Option<u32>,
    },
    Ends {
        name: u64,
        event: Option<u32>,
    },
    /// It is dropped unrun.
    Drops {
        event: u32,
    },
    /// A pause is over.
    Pauses {
        mark: Mark,
        who: Who,
        from: u64,
    },
    /// The order of a domain has decided this of an event. `event`: that has the ticket from now
    /// on, or the action that it defers.
    Decides {
        domain: u32,
        ticket: u64,
        step: DomainStep,
        event: Option<u32>,
    },
    /// A value was read or written; by which ticket of which domain, if by one.
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
    /// Something goes wrong: by so many nanoseconds too late, or too early.
    Fails {
        mark: Mark,
        who: Who,
        nanos: u64,
    },
    /// A worker of this runtime begins. What waits behind another one for so long is taken by it.
    Works {
        runtime: u32,
        steal_delay: Option<u64>,
    },
    /// A worker is about to sleep.
    Parks,
    /// It goes on.
    Wakes,
}

/// See the module.
#[derive(Default)]
pub(super) struct Log {
    digest: Cell<u64>,
    events: Cell<u64>,
    keeps: Cell<Keeps>,
    records: RefCell<Vec<Record>>,
    /// Pauses that are not over: of which fiber, where, and since when.
    paused: RefCell<Vec<(u32, Mark, u64)>>,
    /// The names of the fibers.
    fibers: RefCell<Vec<String>>,
    /// The first panic of an event.
    panic: RefCell<Option<String>>,
    is_broken: Cell<bool>,
}

impl Log {
    /// From now on this is remembered, or more.
    pub(super) fn keep(&self, what: Keeps) {
        self.keeps.set(self.keeps.get().max(what));
    }

    /// A fiber has been started: the how-manieth one it is.
    pub(super) fn fiber_starts(&self, name: &str) {
        self.fibers.borrow_mut().push(name.to_owned());
    }

    /// Says whether all is remembered.
    pub(super) fn keeps_all(&self) -> bool {
        self.keeps.get() == Keeps::All
    }

    pub(super) fn fiber_name(&self, fiber: u32) -> String {
        self.fibers.borrow().get(fiber as usize).cloned().unwrap_or_default()
    }

    /// A number for the events that have begun, their fibers, and their order.
    pub(super) fn digest(&self) -> u64 {
        self.digest.get()
    }

    /// How many events have begun.
    pub(super) fn events(&self) -> u64 {
        self.events.get()
    }

    /// An event begins.
    pub(super) fn begins(&self, at: u64, fiber: u32, name: u64, who: impl FnOnce() -> Who) {
        self.events.set(self.events.get() + 1);
        self.digest.set(mix(&[self.digest.get(), name, fiber.into()]));
        self.record(at, fiber, || What::Begins { who: who() });
    }

    /// Something happens.
    #[inline]
    pub(super) fn record(&self, at: u64, fiber: u32, what: impl FnOnce() -> What) {
        let is_kept = match self.keeps.get() {
            Keeps::Digest => false,
            Keeps::Story => self.records.borrow().len() < MOST_TOLD,
            Keeps::All => true,
        };
        if is_kept {
            // What is said may be the program's code, so nothing is borrowed meanwhile.
            let what = what();
            self.records.borrow_mut().push(Record { at, fiber, what });
        }
    }

    /// A pause of a fiber begins.
    pub(super) fn pauses(&self, fiber: u32, mark: Mark, from: u64) {
        self.paused.borrow_mut().push((fiber, mark, from));
    }

    /// The pause of a fiber is over.
    pub(super) fn goes_on(&self, fiber: u32) {
        self.paused.borrow_mut().retain(|(other, ..)| *other != fiber);
    }

    /// The pauses that are not over: where, and since when.
    pub(super) fn paused(&self) -> Vec<(Mark, u64)> {
        self.paused.borrow().iter().map(|(_, mark, from)| (*mark, *from)).collect()
    }

    pub(super) fn records(&self) -> Ref<'_, [Record]> {
        Ref::map(self.records.borrow(), Vec::as_slice)
    }

    pub(super) fn panicked(&self, message: String) {
        self.panic.borrow_mut().get_or_insert(message);
    }

    /// The runtime itself is broken.
    pub(super) fn broken(&self, message: String) {
        self.panic.borrow_mut().get_or_insert(message);
        self.is_broken.set(true);
    }

    /// Says whether a thread of the runtime has panicked.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.get()
    }

    /// What the first event panicked with that has.
    pub(super) fn panic(&self) -> Option<String> {
        self.panic.borrow().clone()
    }
}
