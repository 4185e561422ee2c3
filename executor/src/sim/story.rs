//! What happened in a run, told in a few lines.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::ops::RangeInclusive;

use super::choice::Mark;
use super::fibers::Fiber;
use super::mix;
use super::names::text;
use crate::site::Site;
use crate::sync::Arc;

/// What is remembered of a run that is told, at most.
const MOST_HAPPENED: usize = 200_000;

/// Lines about what others did during one pause, at most.
const MOST_MEANWHILE: usize = 6;

/// Where a fiber is.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    fiber: String,
    label: Option<Arc<str>>,
    site: Option<Site>,
}

impl Seen {
    pub(super) fn of(fiber: &Fiber) -> Seen {
        let (label, site) = (fiber.place.label(), fiber.place.site());
        Seen { fiber: fiber.name.clone(), label, site }
    }
}

/// What it runs, or its name.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { fiber, label, site } = self;
        let Some(site) = site else { return f.write_str(fiber) };
        let label = label.as_ref().map_or_else(String::new, |label| format!(" ({label})"));
        write!(f, "the event posted at {site}{label}, on {fiber},")
    }
}

/// One thing that happened, and when.
#[derive(Clone, Debug)]
enum Happened {
    /// A pause, which is over.
    Paused {
        mark: Mark,
        who: Seen,
        from: u64,
        until: u64,
    },
    Began {
        who: Seen,
        at: u64,
    },
    Ended {
        name: u64,
        at: u64,
    },
    Noted {
        who: Seen,
        text: String,
        at: u64,
    },
}

/// What is remembered of a run: always a digest, and all of it if somebody wants the story.
#[derive(Default)]
pub(super) struct Log {
    digest: Cell<u64>,
    events: Cell<u64>,
    tells: Cell<bool>,
    happened: RefCell<Vec<Happened>>,
    /// The first panic of an event.
    panic: RefCell<Option<String>>,
    is_broken: Cell<bool>,
}

impl Log {
    /// From now on all is remembered.
    pub(super) fn tell(&self) {
        self.tells.set(true);
    }

    /// A number for the events that have begun, their fibers, and their order.
    pub(super) fn digest(&self) -> u64 {
        self.digest.get()
    }

    /// How many events have begun.
    pub(super) fn events(&self) -> u64 {
        self.events.get()
    }

    pub(super) fn began(&self, fiber: &Fiber, at: u64) {
        let name = fiber.place.name();
        self.events.set(self.events.get() + 1);
        self.digest.set(mix(&[self.digest.get(), name, text(&fiber.name)]));
        self.push(|| Happened::Began { who: Seen::of(fiber), at });
    }

    pub(super) fn ended(&self, name: u64, at: u64) {
        self.push(|| Happened::Ended { name, at });
    }

    /// A pause is over.
    pub(super) fn paused(&self, mark: Mark, who: Seen, from: u64, until: u64) {
        self.push(|| Happened::Paused { mark, who, from, until });
    }

    pub(super) fn noted(&self, fiber: &Fiber, text: String, at: u64) {
        self.push(|| Happened::Noted { who: Seen::of(fiber), text, at });
    }

    /// For each pause the last event that has ended in its time.
    pub(super) fn ended_meanwhile(&self) -> BTreeMap<Mark, u64> {
        let happened = self.happened.borrow();
        let pauses = happened.iter().filter_map(|what| match what {
            Happened::Paused { mark, from, until, .. } => Some((*mark, *from..=*until)),
            _ => None,
        });
        let last = |time: RangeInclusive<u64>| {
            happened.iter().rev().find_map(|what| match what {
                Happened::Ended { name, at } if time.contains(at) => Some(*name),
                _ => None,
            })
        };
        pauses.filter_map(|(mark, time)| Some((mark, last(time)?))).collect()
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

    fn push(&self, what: impl FnOnce() -> Happened) {
        let mut happened = self.happened.borrow_mut();
        if self.tells.get() && happened.len() < MOST_HAPPENED {
            happened.push(what());
        }
    }

    /// Each pause, and what others did meanwhile; and what the program has noted.
    pub(super) fn story(&self) -> String {
        let happened = self.happened.borrow();
        let (mut lines, mut number) = (Vec::new(), 0);
        for what in happened.iter() {
            match what {
                Happened::Paused { mark, who, from, until } => {
                    let (at, nanos) = (time(*from), time(until - from));
                    let point = mark.point.name();
                    let mut line = format!("at {at} {who} pauses for {nanos} ({point})\n");
                    meanwhile(&mut line, &happened, who, *from..=*until);
                    lines.push((*from, line, true));
                }
                Happened::Noted { who, text, at } => {
                    lines.push((*at, format!("at {} {who} notes: {text}\n", time(*at)), false));
                }
                Happened::Began { .. } | Happened::Ended { .. } => {}
            }
        }
        lines.sort_by_key(|(at, ..)| *at);
        let mut story = String::new();
        for (_, line, is_pause) in lines {
            number += u32::from(is_pause);
            let head = if is_pause { format!("{number:3}. ") } else { " ".repeat(5) };
            story += &(head + &line);
        }
        story
    }
}

/// What others began while one was paused.
fn meanwhile(line: &mut String, happened: &[Happened], who: &Seen, time: RangeInclusive<u64>) {
    let began = happened.iter().filter_map(|what| match what {
        Happened::Began { who: other, at, .. } if time.contains(at) && other.fiber != who.fiber => {
            Some(other)
        }
        _ => None,
    });
    let began: Vec<&Seen> = began.collect();
    for other in began.iter().take(MOST_MEANWHILE) {
        let _ = writeln!(line, "     meanwhile {other} begins");
    }
    if began.len() > MOST_MEANWHILE {
        let _ = writeln!(line, "     and {} more", began.len() - MOST_MEANWHILE);
    }
}

/// A time, as people say it.
fn time(nanos: u64) -> String {
    format!("{:.3?}", std::time::Duration::from_nanos(nanos))
}
