//! What the holder of a color does without running anything: it lets readers go, reserves the color
//! for a set, gives it back, queues it.
//!
//! A thread that comes to hold a color outside of a turn, because it posted to an idle one, or was
//! its last reader, or gives a set's colors back, goes on with it at once as far as no event of the
//! color has to run for that; only what is left is queued. So a set whose colors are idle costs one
//! entry of the run queue, not one for each color.

use dapple_colors::{Access, Finished};

use super::entry::Entry;
use super::local::Local;
use crate::color::cell::ColorCell;
use crate::color::held::{Buried, Ended, Front, Held, Reader};
use crate::color::set::gathered::{Gathered, Given, SetRequest};
use crate::color::set::place::{NewSet, SetPlace};
use crate::event::Kind;
use crate::sync::{Reached, reached_if};

/// Readers that are let go one after the other outside of a turn.
const AT_ONCE: u32 = 32;

impl Local {
    /// A reader leaves. If the color waited for it, it goes on.
    pub(super) fn leave(&self, reader: Reader) {
        if let Some(held) = reader.leave() {
            self.go_on(held);
        }
    }

    /// Says whether a color is to run on another worker than this one.
    #[inline]
    fn leaves(&self, color: &ColorCell) -> bool {
        let home = color.home();
        self.scheduler.leaves_to(home)
            || color.is_affine() && home != self.index() && !self.is_undertaker()
    }

    /// Goes on with a color that is held outside of a turn, as far as that runs nothing, and queues
    /// what is left.
    pub(crate) fn go_on(&self, mut held: Held) {
        if self.leaves(&held) {
            // What it lets go is to run there, too.
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

    /// Queues a color that has something to run, wherever it comes from.
    fn schedule_held(&self, held: Held) {
        let worth = held.worth();
        self.schedule(held, worth);
    }

    /// A set's event has ended: all its colors go on.
    pub(super) fn give_back(&self, set: Gathered) {
        let memory = set.give_back(|given| match given {
            Given::Reader(reader) => self.leave(reader),
            Given::Held(reserved) => {
                let ended = reserved.give_back();
                reached_if(
                    Reached::SetBehindSet,
                    || matches!(&ended, Ended::Next(next, _) if next.head_kind() == Kind::Request),
                );
                self.go_on_after(ended);
            }
        });
        if let Some(memory) = memory {
            // SAFETY: the set is of this runtime, as its colors are.
            unsafe { self.free_memory(memory) };
        }
    }

    /// The color is current: an exclusive event of it may begin.
    #[inline]
    pub(super) fn enter_color(&self, held: &Held, is_bounded: bool) {
        // SAFETY: the color is held here. `leave` is called by everything in this file that lets it
        // go, and at the end of a turn, before anything else runs; who posts a set has put the
        // current color aside before it holds others.
        unsafe { self.current.enter(held, is_bounded) };
    }

    /// Makes sure that an exclusive event of a color that has, or had, readers may begin. `None`:
    /// it may not, and the last reader holds the color.
    pub(super) fn exclude_readers(&self, held: Held) -> Option<Held> {
        // No post is kept for a color that is let go.
        self.current.leave();
        let held = held.exclude_readers()?;
        self.enter_color(&held, held.is_bounded());
        Some(held)
    }

    /// The holder of a color has come to a shared event, which goes on by itself.
    pub(super) fn let_reader_go(&self, held: Held) -> Ended {
        self.current.leave();
        let (class, is_affine) = (held.priority(), held.is_affine());
        let (event, ended) = held.let_reader_go(|| self.take_memory());
        match is_affine {
            // It is at home here.
            true => self.schedule_affine(event, class),
            false => self.schedule_event(event, class),
        }
        ended
    }

    /// The holder of a color has come to a shared request of a set, which goes on by itself.
    pub(super) fn let_request_go(&self, held: Held) -> Ended {
        self.current.leave();
        let (request, ended) = held.let_request_go();
        self.arrive(request);
        ended
    }

    /// The holder of a color without readers has come to an exclusive request: the set has the
    /// color now.
    pub(super) fn reserve(&self, held: Held) {
        self.current.leave();
        self.arrive(held.reserve());
    }

    /// Goes on with those colors of a set that is being posted which were idle.
    #[inline(always)]
    pub(crate) fn go_on_with_set(&self, mut set: NewSet, places: &mut [SetPlace<'_>]) {
        // The compiler does not unroll the loop over two of them, which takes 4 ns of 74.
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
            set.has_come_to(request);
        }
    }

    /// Goes on with a color that was idle when the request of a set was posted to it. `None`: the
    /// request arrives later.
    #[inline(always)]
    fn reach(&self, held: Held, access: Access) -> Option<SetRequest> {
        if self.leaves(&held) {
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

    /// Queues a color at whose front a poster is between its two steps.
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

    /// The event of `ended` has run. If it was kept, it leaves that list; in any case the first one
    /// that is left there is next.
    #[inline(always)]
    pub(super) fn pass_kept(&self, held: &Held, ended: Front) -> Option<Front> {
        // SAFETY: it is of this runtime.
        held.pass_kept(ended, |memory| unsafe { self.free_memory(memory) })
    }

    /// The event at the head leaves the queue.
    ///
    /// # Safety
    ///
    /// It is spent, and nothing was kept; if it is a request, it had to stay in the queue before.
    #[inline]
    pub(super) unsafe fn finish(&self, held: Held) -> Ended {
        let head = held.head();
        // SAFETY: it is the head of this color, and that is of this runtime; the caller says the
        // rest.
        unsafe { held.finish(head, |memory| self.free_memory(memory)) }
    }

    /// The event at the head of the color in `slot` leaves the queue. The color stays where it is,
    /// unless it becomes idle; then `slot` is empty.
    ///
    /// # Safety
    ///
    /// It is the head of this color, spent, and nothing was kept.
    #[inline(always)]
    pub(super) unsafe fn finish_in(&self, slot: &mut Option<Held>, head: Front) -> Finished<Front> {
        // SAFETY: the caller says that it is the head, spent, and that nothing was kept; it is of
        // this runtime.
        unsafe { Held::finish_in(slot, head, |memory| self.free_memory(memory)) }
    }

    /// The holder has come to the color's grave. None: the color is gone.
    pub(super) fn visit_grave(&self, held: Held) -> Option<Ended> {
        // A palette may drop keys now, whose drops are user code: no event runs, so that what they
        // post is not kept (see `Queue::keep`).
        self.current.leave();
        self.scheduler.time_passes();
        match held.bury() {
            Buried::Dead(dead) => {
                self.free_cell(dead);
                None
            }
            Buried::Passed(ended, count) => {
                // It may post the grave again, behind what came meanwhile.
                drop(count);
                if let Ended::Next(held, _) = &ended {
                    self.enter_color(held, held.is_bounded());
                }
                Some(ended)
            }
        }
    }
}
