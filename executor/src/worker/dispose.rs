//! Disposing of what is queued when nobody runs it any more: closures are dropped unrun, each on its color.

use std::ptr::NonNull;

use dapple_colors::{Finished, Priority};

use super::entry::{Entry, Job};
use super::local::Local;
use crate::color::cell::ColorCell;
use crate::event::{Event, Header, Kind};
use crate::runtime::core::{Core, Phase};

impl Local {
    /// Drops what was taken out of a run queue, unrun.
    pub(super) fn dispose(&self, entry: Entry) {
        let dropped = match entry.open() {
            Job::Event(event) => self.discard_free(event),
            // SAFETY: the color was in a run queue, so now it is held by us.
            Job::Color(cell) | Job::Guest(cell) => unsafe { self.dispose_color(cell) },
        };
        self.count_dropped(dropped);
    }

    /// Drops the events of a color unrun, and says how many there were; up to the first one that has to wait for readers, or
    /// that reserves the color for a set: who ends those queues the color again.
    ///
    /// # Safety
    ///
    /// The caller took the color out of a run queue.
    unsafe fn dispose_color(&self, cell: NonNull<ColorCell>) -> u64 {
        // SAFETY: it was in a run queue, so it has an event and is there.
        let color = unsafe { cell.as_ref() };
        self.current.enter(color);
        let mut dropped = 0;
        let mut link = color.queue.own().unwrap_or_else(|| color.queue.head());
        loop {
            let header = Header::of(link);
            // SAFETY: the head of a held color, and what is in its own list, is there.
            let kind = unsafe { header.as_ref() }.kind();
            // SAFETY: we hold the color and `link` is next; what is passed is given back once.
            let finished = unsafe {
                if kind.is_exclusive() && !self.exclude_readers(cell) {
                    break;
                }
                match kind {
                    Kind::Closure | Kind::Shared | Kind::Housekeeping | Kind::Spent => {
                        if kind != Kind::Spent {
                            dropped += u64::from(kind != Kind::Housekeeping);
                            let event = Event::of(header);
                            // Readers may run beside what is dropped with shared access.
                            let is_shared = kind == Kind::Shared;
                            if is_shared {
                                self.current.leave();
                                self.current.set_reads(cell.as_ptr());
                            }
                            self.guard(Some(Event::site(event)), || Event::discard(event));
                            if is_shared {
                                self.current.set_reads(std::ptr::null());
                                self.current.enter(color);
                            }
                        }
                        if color.is_bounded() && matches!(kind, Kind::Closure | Kind::Shared) {
                            color.leave_bound();
                        }
                        match self.pass_own(cell, link) {
                            Some(own) => Finished::Next(own),
                            None => self.finish(cell, color.queue.head()),
                        }
                    }
                    Kind::SharedRequest => self.let_request_go(cell, link),
                    Kind::Request => {
                        self.reserve(cell, link);
                        break;
                    }
                    Kind::Set => unreachable!("a set's event stands in no color's queue"),
                    Kind::Grave => match self.visit_grave(cell, link) {
                        Some(finished) => finished,
                        None => break,
                    },
                }
            };
            match finished {
                Finished::Next(next) => {
                    self.current.enter(color);
                    if color.queue.own().is_none() {
                        color.queue.set_head(next);
                    }
                    link = next;
                }
                Finished::Idle => break,
                // The poster is between two instructions.
                Finished::Gap => {
                    self.current.enter(color);
                    link = color.queue.head();
                    std::thread::yield_now();
                }
            }
        }
        self.current.leave();
        dropped
    }

    /// Disposes of everything that is queued for any worker. Called when nobody runs it any more.
    pub(crate) fn dispose_all(&self, core: &Core) {
        debug_assert!(core.phase() >= Phase::Stopping);
        loop {
            let mut found = false;
            for class in Priority::ALL {
                while let Some(entry) = self.lane(class).pop() {
                    found = true;
                    self.dispose(entry);
                }
            }
            while let Some(entry) = self.pop_private() {
                found = true;
                self.dispose(entry);
            }
            for worker in core.workers.iter() {
                for entry in worker.private.take(usize::MAX) {
                    found = true;
                    self.dispose(entry);
                }
                while let Some(entry) = super::steal::take_one(worker) {
                    found = true;
                    self.dispose(entry);
                }
            }
            // A taker may keep the owner out for a moment.
            let left = !self.undertaker && self.shared().private.len() > 0;
            if !found && !left {
                return;
            }
        }
    }
}
