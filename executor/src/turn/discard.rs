//! Disposing of entries that never run: closures are dropped unrun, each on its color.

use std::time::Duration;

use super::entry::Entry;
use super::local::Local;
use crate::color::held::{Claims, Ended, Front, Held};
use crate::event::{Kind, Owned};
use crate::runtime::core::{Core, Phase};
use crate::site::Site;
use crate::sync::{Ordering, yield_now};
use crate::worker::counters::add;

/// The number of links of one color that are passed before other entries have their turn, because
/// another thread may still post to the color.
const VISIT: u64 = 4_096;

impl Local {
    /// Drops the events of a color unrun, and returns the number of links that it passed, including
    /// those that do not count as events.
    ///
    /// It stops after `VISIT` links, or at the first event that has to wait for readers, or at a
    /// request that reserves the color for a set. The last reader, or the set, queues the color
    /// again.
    pub(super) fn discard_color(&self, mut held: Held) -> u64 {
        let (mut dropped, mut passed) = (0, 0);
        loop {
            self.enter_color(&held, held.is_bounded());
            passed += 1;
            let (front, kind) = held.next();
            if kind.is_exclusive() {
                let Some(back) = self.exclude_readers(held) else { break };
                held = back;
            }
            let ended = match kind {
                // SAFETY: a spent request is at the head only if it had to stay there, and nothing
                // was kept.
                Kind::SpentRequest => unsafe { self.finish(held) },
                Kind::Closure | Kind::Shared | Kind::Housekeeping | Kind::Spent => {
                    if kind != Kind::Spent {
                        dropped += u64::from(kind != Kind::Housekeeping);
                        self.discard_front(&held, front, kind);
                    }
                    match self.pass_kept(&held, front) {
                        Some(next) => Ended::Next(held, next),
                        // SAFETY: the event at the head is spent, and nothing was kept.
                        None => unsafe { self.finish(held) },
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
                    // The color is queued again, as at the end of a turn.
                    self.current.leave();
                    self.scheduler.queue_here(Entry::color(held));
                    break;
                }
                Ended::Next(held, _) => held,
                Ended::Idle => break,
                // The poster is between the two steps of its post.
                Ended::Gap(held) => {
                    yield_now();
                    held
                }
            };
        }
        self.current.leave();
        self.count_dropped(dropped);
        passed
    }

    /// Drops the next event of a color unrun.
    fn discard_front(&self, held: &Held, front: Front, kind: Kind) {
        // SAFETY: `front` is the front of a color that is held, it is an event, and it is taken
        // only here.
        let mut event = unsafe { held.event(front) };
        if kind == Kind::Shared {
            // Readers may run at the same time as the drop, which has shared access.
            self.current.leave();
            let claims = Claims::Reads(held.let_read());
            self.current.with_claims(&claims, || self.discard_event(&mut event));
            if let Claims::Reads(reader) = claims {
                self.leave(reader);
            }
            return self.enter_color(held, held.is_bounded());
        }
        self.discard_event(&mut event);
        if held.is_bounded() && kind == Kind::Closure {
            held.leave_bound();
        }
    }

    /// Drops the closure of an event.
    pub(super) fn discard_event(&self, event: &mut Owned) {
        self.publish_drop(event.site());
        self.guard(Some(event.site()), || event.discard());
    }

    /// Disposes of everything that is queued for any worker by now, and of what the drops of
    /// closures post. It is called when no worker runs the entries any longer.
    ///
    /// While another worker still serves, and so may post for ever, this gives up after
    /// `stuck_after`. The first thread to come here has passed every entry that was there when it
    /// came. The worker that still serves drops what it posts later when it exits. (If each thread
    /// went through everything, a worker that posts faster than others dispose would make each of
    /// them take longer than the one before.)
    pub(crate) fn discard_all(&self) {
        debug_assert!(self.core.phase() >= Phase::Stopping);
        let limit = Limit::new(&self.core);
        let is_first = !self.core.drain_begun.swap(true, Ordering::Relaxed);
        let rest = self.scheduler.drain(self, is_first, |passed| limit.is_over(passed));
        if !rest.is_empty() {
            tracing::warn!(
                entries = rest.len(),
                "gave up disposing; the remaining entries are left to a stuck worker"
            );
            rest.into_iter().for_each(|entry| self.core.fleet.hand_quietly(self.index(), entry));
        }
    }

    /// Publishes the site of an event that is dropped, for the thread that waits for this worker to
    /// exit.
    fn publish_drop(&self, site: Site) {
        if !self.is_disposer() {
            self.seat.event.set_site(site);
            add(&self.scheduler.shared().published.progress, 1);
        }
    }

    /// Publishes that this worker is in no event and no drop, and makes progress.
    pub(crate) fn publish_progress(&self) {
        self.seat.event.clear();
        add(&self.scheduler.shared().published.progress, 1);
    }
}

/// The limit after which disposing is given up.
struct Limit<'a> {
    core: &'a Core,
    since: u64,
}

/// The number of links, and the time, after which drops that keep posting count as an endless
/// circle.
const ENDLESS_LINKS: u64 = 10_000_000;
const ENDLESS: Duration = Duration::from_secs(10);

impl<'a> Limit<'a> {
    fn new(core: &'a Core) -> Self {
        Limit { core, since: core.clock().now() }
    }

    fn is_over(&self, passed: u64) -> bool {
        // Partner: the subtraction by a worker that exits its loop. If that comes later, that
        // worker disposes of the rest.
        let others_serve = self.core.serving.load(Ordering::SeqCst) > 0;
        let elapsed = Duration::from_nanos(self.core.clock().now() - self.since);
        (others_serve && elapsed >= self.core.settings.stuck_after)
            || (passed >= ENDLESS_LINKS && elapsed >= ENDLESS)
    }
}
