//! Disposing of what is queued when nobody runs it any more: closures are dropped unrun, each on its color.

use std::panic::Location;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use dapple_colors::{Finished, Priority};

use super::entry::{Entry, Job};
use super::local::Local;
use super::shared::add;
use crate::color::cell::ColorCell;
use crate::event::{Event, Header, Kind};
use crate::runtime::core::{Core, Phase};
use crate::sync::Ordering;

/// Entries that are taken out of a run queue at once.
const CHUNK: usize = 256;

/// Links of one color that are passed before others have their turn: somebody may still post to it.
const VISIT: u64 = 4_096;

impl Local {
    /// Drops what was taken out of a run queue, unrun, and says how much that was. A color that has
    /// many events goes to the own run queue with the rest.
    fn dispose(&self, entry: Entry) -> u64 {
        let (dropped, passed) = match entry.open() {
            Job::Event(event) => (self.discard_free(event), 1),
            // SAFETY: the color was in a run queue, so now it is held by us.
            Job::Color(cell) | Job::Guest(cell) => unsafe { self.dispose_color(cell) },
        };
        self.count_dropped(dropped);
        passed
    }

    /// Drops the events of a color unrun, up to a number, and says how many there were, and how
    /// many links it has passed, what does not count as an event included; up to the first one that
    /// has to wait for readers, or that reserves the color for a set: who ends those queues the
    /// color again.
    ///
    /// # Safety
    ///
    /// The caller took the color out of a run queue.
    unsafe fn dispose_color(&self, cell: NonNull<ColorCell>) -> (u64, u64) {
        // SAFETY: it was in a run queue, so it has an event and is there.
        let color = unsafe { cell.as_ref() };
        self.current.enter(color);
        let (mut dropped, mut passed) = (0, 0);
        let mut link = color.queue.own().unwrap_or_else(|| color.queue.head());
        loop {
            passed += 1;
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
                            self.publish_drop(Event::site(event));
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
                    if passed >= VISIT {
                        // As at the end of a turn.
                        self.current.leave();
                        self.queue_here(color.entry());
                        break;
                    }
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
        (dropped, passed)
    }

    /// Disposes of everything that is queued for any worker by now, and of what that leads to: the
    /// drop of a closure may post. Called when nobody runs it any more.
    ///
    /// Beside a worker that still serves, and so may post for ever, it gives up after a while, once
    /// it has been at every entry that was there: that worker drops the rest when it leaves.
    pub(crate) fn dispose_all(&self) {
        let core = &*self.core;
        debug_assert!(core.phase() >= Phase::Stopping);
        let mut limit = Limit::new(core);
        let mut left: Vec<Entry> = Vec::new();
        for worker in core.workers.iter() {
            let mut rest = worker.queued() + worker.private.len();
            while rest > 0 {
                let some = rest.min(CHUNK);
                left.extend(worker.private.take(some));
                left.extend((left.len()..some).map_while(|_| super::steal::take_one(worker)));
                // Fewer: somebody else has taken them.
                rest = if left.len() < some { 0 } else { rest - some };
                self.dispose_some(&mut left, &mut limit);
            }
        }
        // What others could not take out, and what was posted by the drops; a worker's color may be
        // here again.
        loop {
            left.extend(self.take_own());
            if left.is_empty() {
                return;
            }
            self.dispose_some(&mut left, &mut limit);
            if limit.is_over() {
                break;
            }
        }
        let rest: Vec<Entry> = self.take_own().collect();
        if !rest.is_empty() {
            tracing::warn!(
                entries = rest.len(),
                "what is queued is left to a worker that is stuck"
            );
            rest.into_iter().for_each(|entry| core.workers[self.index].hand(entry));
        }
    }

    /// Says what is dropped now, for whoever waits for this worker to leave.
    pub(super) fn publish_drop(&self, site: &'static Location<'static>) {
        if !self.undertaker {
            self.publish_site(site);
            add(&self.shared().published.progress, 1);
        }
    }

    /// Says that it is in no event, nor in a drop, and gets on.
    pub(crate) fn gets_on(&self) {
        let published = &self.shared().published;
        published.site.store(std::ptr::null_mut(), Ordering::Relaxed);
        add(&published.progress, 1);
    }

    fn dispose_some(&self, some: &mut Vec<Entry>, limit: &mut Limit<'_>) {
        for entry in some.drain(..) {
            limit.disposed += self.dispose(entry);
        }
    }

    /// What is in the own run queue now.
    fn take_own(&self) -> impl Iterator<Item = Entry> {
        let public = Priority::ALL.into_iter().flat_map(move |class| {
            let queued = self.lane(class).len();
            (0..queued).map_while(move |_| self.lane(class).pop())
        });
        let private = self.shared().private.len();
        public.chain((0..private).map_while(|_| self.pop_private()))
    }
}

/// When to give up disposing.
struct Limit<'a> {
    core: &'a Core,
    since: Instant,
    disposed: u64,
}

/// Events after which, and the time after which, drops that keep posting are taken for a circle
/// without end.
const ENDLESS_EVENTS: u64 = 10_000_000;
const ENDLESS: Duration = Duration::from_secs(10);

impl<'a> Limit<'a> {
    fn new(core: &'a Core) -> Self {
        Limit { core, since: Instant::now(), disposed: 0 }
    }

    fn is_over(&self) -> bool {
        // Partner: the subtraction of a worker that leaves its loop. If it comes later, that worker
        // disposes of the rest.
        let others_serve = self.core.serving.load(Ordering::SeqCst) > 0;
        let elapsed = self.since.elapsed();
        (others_serve && elapsed >= self.core.settings.stuck_after)
            || (self.disposed >= ENDLESS_EVENTS && elapsed >= ENDLESS)
    }
}
