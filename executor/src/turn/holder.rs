//! The actions of a color's holder that run no event: it lets readers go, reserves the color for a
//! set, releases the color, and queues it.
//!
//! A thread may come to hold a color outside a turn: it posted to an idle color, was its last
//! reader, or returns the colors of a set. It advances the color at once, for as long as no event
//! of the color has to run for that, and queues only the rest. So a set whose colors are idle costs
//! one entry of the run queue, not one for each color.

use dapple_colors::{Access, Finished};

use super::entry::Entry;
use super::local::Local;
use crate::color::cell::ColorCell;
use crate::color::held::{Buried, Ended, Front, Held, Reader};
use crate::color::set::gathered::{Gathered, Given, SetRequest};
use crate::color::set::place::{NewSet, SetPlace};
use crate::event::Kind;
use crate::sync::{Reached, reached_if};

/// The maximum number of readers and requests that are let go in a row outside a turn.
const AT_ONCE: u32 = 32;

impl Local {
    /// Takes a reader off its color, and advances the color if it waited for this reader.
    pub(super) fn leave(&self, reader: Reader) {
        if let Some(held) = reader.leave() {
            self.go_on(held);
        }
    }

    /// Returns `true` if a color has to run on another worker than this one.
    #[inline]
    fn runs_elsewhere(&self, color: &ColorCell) -> bool {
        let home = color.home();
        self.scheduler.belongs_elsewhere(home)
            || color.is_affine() && home != self.index() && !self.is_disposer()
    }

    /// Advances a color that is held outside a turn, for as long as nothing has to run, and queues
    /// the rest.
    pub(crate) fn go_on(&self, mut held: Held) {
        if self.runs_elsewhere(&held) {
            // The readers and requests that the color lets go have to run there, too.
            return self.schedule_held(held);
        }
        let mut left = AT_ONCE;
        while !held.has_kept() && left > 0 {
            left -= 1;
            let ended = match held.head_kind() {
                Kind::Request => {
                    let Some(held) = held.exclude_readers() else { return };
                    held.debug_hold(self.index());
                    return self.reserve(held);
                }
                Kind::Shared => self.let_reader_go(held),
                Kind::SharedRequest => self.let_request_go(held),
                _ => return self.schedule_held(held),
            };
            held = match ended {
                Ended::Idle => return,
                Ended::Gap(held) => return self.schedule_gap(held),
                Ended::Next(held, _) => held,
            };
        }
        self.schedule_held(held);
    }

    /// Queues a color that has something to run, at this worker or at its home.
    fn schedule_held(&self, held: Held) {
        let worth = held.worth();
        self.schedule(held, worth);
    }

    /// Returns the colors of a set whose event has ended, and advances each of them.
    pub(super) fn release_set(&self, set: Gathered) {
        let memory = set.release_colors(|given| match given {
            Given::Reader(reader) => self.leave(reader),
            Given::Held(reserved) => {
                let ended = reserved.release();
                reached_if(
                    Reached::SetBehindSet,
                    || matches!(&ended, Ended::Next(next, _) if next.head_kind() == Kind::Request),
                );
                self.go_on_after(ended);
            }
        });
        if let Some(memory) = memory {
            // SAFETY: the set's colors are of this runtime, so the set's memory is, too.
            unsafe { self.free_memory(memory) };
        }
    }

    /// Makes a color current, as an exclusive event of it may begin.
    #[inline]
    pub(super) fn enter_color(&self, held: &Held, is_bounded: bool) {
        // SAFETY: this worker holds the color. Every function of this file that releases a current
        // color calls `leave` first, and a turn calls it at its end before anything else runs. The
        // poster of a set puts the current color aside before it holds others.
        unsafe { self.current.enter(held, is_bounded) };
    }

    /// Makes sure that an exclusive event may begin on a color that has, or had, readers. Returns
    /// `None` if the color still has readers. The last of them to leave becomes the holder.
    pub(super) fn exclude_readers(&self, held: Held) -> Option<Held> {
        // No post may be kept for a color that is released.
        self.current.leave();
        let held = held.exclude_readers()?;
        self.enter_color(&held, held.is_bounded());
        Some(held)
    }

    /// Lets the shared event at the head of a color go, as a reader that runs by itself.
    pub(super) fn let_reader_go(&self, held: Held) -> Ended {
        self.current.leave();
        let (class, is_affine) = (held.priority(), held.is_affine());
        let (event, ended) = held.let_reader_go(|| self.take_memory());
        match is_affine {
            // The color is bound to this worker.
            true => self.schedule_affine(event, class),
            false => self.schedule_event(event, class),
        }
        ended
    }

    /// Lets the shared request of a set at the head of a color go, as a reader.
    pub(super) fn let_request_go(&self, held: Held) -> Ended {
        self.current.leave();
        let (request, ended) = held.let_request_go();
        self.arrive(request);
        ended
    }

    /// Gives a color without readers to the set whose exclusive request is at the head.
    pub(super) fn reserve(&self, held: Held) {
        self.current.leave();
        self.arrive(held.reserve());
    }

    /// Advances those colors of a set that were idle when the set was posted.
    #[inline(always)]
    pub(crate) fn go_on_with_set(&self, mut set: NewSet, places: &mut [SetPlace<'_>]) {
        // The compiler does not unroll the loop over two places, which takes 4 ns of 74.
        if let [low, high] = places {
            self.reach_place(&mut set, low);
            self.reach_place(&mut set, high);
        } else {
            places.iter_mut().for_each(|place| self.reach_place(&mut set, place));
        }
        if let Some((event, class)) = set.arrive() {
            self.schedule_set(event, class);
        }
    }

    #[inline(always)]
    fn reach_place(&self, set: &mut NewSet, place: &mut SetPlace<'_>) {
        if let Some((held, access)) = place.take_held()
            && let Some(request) = self.reach(held, access)
        {
            set.count_arrival(request);
        }
    }

    /// Advances a color that was idle when the request of a set was posted to it. Returns `None` if
    /// the request arrives later.
    #[inline(always)]
    fn reach(&self, held: Held, access: Access) -> Option<SetRequest> {
        if self.runs_elsewhere(&held) {
            self.schedule_held(held);
            return None;
        }
        match access {
            Access::Exclusive => {
                let held = held.exclude_readers()?;
                held.debug_hold(self.index());
                Some(held.reserve())
            }
            Access::Shared => {
                let (request, ended) = held.let_request_go();
                self.go_on_after(ended);
                Some(request)
            }
        }
    }

    fn go_on_after(&self, ended: Ended) {
        match ended {
            Ended::Idle => {}
            Ended::Gap(held) => self.schedule_gap(held),
            Ended::Next(held, _) => self.go_on(held),
        }
    }

    /// Queues a color that has a gap: behind its head, a poster is between the two steps of its
    /// post.
    fn schedule_gap(&self, held: Held) {
        let worth = held.worth();
        self.scheduler.schedule(self, Entry::color_with_gap(held), worth);
    }

    #[inline]
    fn arrive(&self, request: SetRequest) {
        if let Some((event, class)) = request.arrive() {
            self.schedule_set(event, class);
        }
    }

    /// Takes the event at `ended`, which has run, off the own list if it is there, and returns the
    /// next event of that list.
    #[inline(always)]
    pub(super) fn pass_kept(&self, held: &Held, ended: Front) -> Option<Front> {
        // SAFETY: the color and its events are of this runtime.
        held.pass_kept(ended, |memory| unsafe { self.free_memory(memory) })
    }

    /// Takes the event at the head out of the queue.
    ///
    /// # Safety
    ///
    /// The event is spent, and nothing was kept. If it is a request, it had to stay in the queue
    /// before.
    #[inline]
    pub(super) unsafe fn finish(&self, held: Held) -> Ended {
        let head = held.head();
        // SAFETY: `head` is the head of this color, and the color is of this runtime. The caller
        // guarantees the rest.
        unsafe { held.finish(head, |memory| self.free_memory(memory)) }
    }

    /// Takes the event at the head of the color in `slot` out of the queue. The color stays in
    /// `slot`, unless it becomes idle. Then `slot` is empty.
    ///
    /// # Safety
    ///
    /// `head` is the head of this color, it is a spent event, and nothing was kept.
    #[inline(always)]
    pub(super) unsafe fn finish_in(&self, slot: &mut Option<Held>, head: Front) -> Finished<Front> {
        // SAFETY: the caller guarantees that `head` is the head and spent, and that nothing was
        // kept. The color is of this runtime.
        unsafe { Held::finish_in(slot, head, |memory| self.free_memory(memory)) }
    }

    /// Visits the grave at the head of a color. Returns `None` if the color has died.
    pub(super) fn visit_grave(&self, held: Held) -> Option<Ended> {
        // A palette may drop keys now, and their drops are user code. No event runs during these
        // drops, so what they post must not be kept (see `Queue::keep`).
        self.current.leave();
        self.scheduler.time_passes();
        match held.bury() {
            Buried::Dead(dead) => {
                self.free_cell(dead);
                None
            }
            Buried::Passed(ended, count) => {
                // This may post the grave again, behind what was posted meanwhile.
                drop(count);
                if let Ended::Next(held, _) = &ended {
                    self.enter_color(held, held.is_bounded());
                }
                Some(ended)
            }
        }
    }
}
