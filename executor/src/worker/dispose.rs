//! Disposing of what is queued when nobody runs it any more: closures are dropped unrun, each on its color.

use std::panic::Location;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use dapple_colors::Priority;

use super::entry::{Entry, Job};
use super::local::Local;
use super::shared::add;
use crate::color::held::{Ended, Held};
use crate::color::queue::Link;
use crate::event::{Kind, Owned};
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
            Job::Color(held) | Job::Guest(held) => self.dispose_color(held),
        };
        self.count_dropped(dropped);
        passed
    }

    /// Drops the events of a color unrun, up to a number, and says how many there were, and how
    /// many links it has passed, what does not count as an event included; up to the first one that
    /// has to wait for readers, or that reserves the color for a set: who ends those queues the
    /// color again.
    fn dispose_color(&self, mut held: Held) -> (u64, u64) {
        let (mut dropped, mut passed) = (0, 0);
        loop {
            self.current.enter(&held);
            passed += 1;
            let (link, kind) = held.next();
            if kind.is_exclusive() {
                let Some(back) = self.exclude_readers(held) else { break };
                held = back;
            }
            let ended = match kind {
                Kind::Closure | Kind::Shared | Kind::Housekeeping | Kind::Spent => {
                    if kind != Kind::Spent {
                        dropped += u64::from(kind != Kind::Housekeeping);
                        self.dispose_event(&held, link, kind);
                    }
                    match self.pass_own(&held, link) {
                        Some(own) => Ended::Next(held, own),
                        None => self.finish(held),
                    }
                }
                Kind::SharedRequest => self.let_request_go(held),
                Kind::Request => {
                    self.reserve(held);
                    break;
                }
                Kind::Set => unreachable!("a set's event stands in no color's queue"),
                Kind::Grave => match self.visit_grave(held) {
                    Some(ended) => ended,
                    None => break,
                },
            };
            held = match ended {
                Ended::Next(held, _) if passed >= VISIT => {
                    // As at the end of a turn.
                    self.current.leave();
                    self.queue_here(held.entry());
                    break;
                }
                Ended::Next(held, _) => held,
                Ended::Idle => break,
                // The poster is between two instructions.
                Ended::Gap(held) => {
                    std::thread::yield_now();
                    held
                }
            };
        }
        self.current.leave();
        (dropped, passed)
    }

    /// Drops an event that is next, unrun.
    fn dispose_event(&self, held: &Held, link: NonNull<Link>, kind: Kind) {
        // SAFETY: it is next, of a color that is held.
        let mut event = unsafe { Owned::of_link(link) };
        // Readers may run beside what is dropped with shared access.
        let is_shared = kind == Kind::Shared;
        if is_shared {
            self.current.leave();
            self.current.set_reads(held.cell().as_ptr());
        }
        self.publish_drop(event.site());
        self.guard(Some(event.site()), || event.discard());
        if is_shared {
            self.current.set_reads(std::ptr::null());
            self.current.enter(held);
        }
        if held.is_bounded() && matches!(kind, Kind::Closure | Kind::Shared) {
            held.leave_bound();
        }
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
