//! What the holder of a color does without running anything: it lets readers go, reserves the color
//! for a set, gives it back, queues it.
//!
//! Whoever comes to hold a color outside of a turn, because it posted to an idle one, or was its
//! last reader, or gives a set's colors back, goes on with it at once as far as no event of the
//! color has to run for that; only what is left is queued. So a set whose colors are idle costs one
//! entry of the run queue, not one for each color.

use std::ptr::NonNull;

use dapple_colors::{Access, Excluded, Finished, Left, Posted};

use super::local::Local;
use crate::color::cell::{Buried, ColorCell, GRAVE_WORTH, UNKNOWN};
use crate::color::held::{Ended, Front, Held};
use crate::color::queue::Link;
use crate::color::set::Set;
use crate::event::{Kind, Memory};

/// Readers that are let go one after the other outside of a turn.
const AT_ONCE: u32 = 32;

impl Local {
    /// A reader leaves. If the color waited for it, it goes on.
    ///
    /// # Safety
    ///
    /// The caller is a reader, and ceases to be one.
    pub(super) unsafe fn leave(&self, cell: NonNull<ColorCell>) {
        // SAFETY: a color with a reader does not die.
        let color = unsafe { cell.as_ref() };
        if color.is_bounded() {
            color.leave_bound();
        }
        if color.readers.leave() == Left::Holds {
            // SAFETY: the last reader comes to hold it.
            self.go_on(unsafe { Held::of(cell) });
        }
    }

    /// Goes on with a color that is held outside of a turn, as far as that runs nothing, and queues
    /// what is left.
    pub(crate) fn go_on(&self, mut held: Held) {
        if self.keeps_home && held.home() != self.index {
            // What it lets go is to run there, too.
            return self.queue_held(held);
        }
        let mut left = AT_ONCE;
        while held.queue.own().is_none() && left > 0 {
            left -= 1;
            let ended = match held.kind() {
                Kind::Request if held.readers.exclude() == Excluded::Waits => return,
                Kind::Request => {
                    held.debug_hold(self.index);
                    return self.reserve(held);
                }
                Kind::Shared => self.let_reader_go(held),
                Kind::SharedRequest => self.let_request_go(held),
                _ => return self.queue_held(held),
            };
            held = match ended {
                Ended::Idle => return,
                Ended::Gap(held) => return self.queue_held(held),
                Ended::Next(held, _) => held,
            };
        }
        self.queue_held(held);
    }

    /// Queues a color that has something to run, wherever it comes from.
    fn queue_held(&self, held: Held) {
        self.make_runnable(held.entry(), held.home(), held.worth());
    }

    /// A set's event has ended: all its colors go on.
    ///
    /// # Safety
    ///
    /// The set, and all its colors, are the caller's.
    pub(super) unsafe fn give_back(&self, set: NonNull<Set>) {
        // SAFETY: by contract; each color is given back once, and the set's memory after that.
        unsafe {
            for want in set.as_ref().wants() {
                match want.access() {
                    Access::Shared => self.leave(want.cell()),
                    Access::Exclusive => self.give_back_one(Held::of(want.cell())),
                }
            }
            std::ptr::drop_in_place(set.as_ptr());
            self.give_memory(Memory::of(set.cast()));
        }
    }

    fn give_back_one(&self, held: Held) {
        if held.is_bounded() {
            held.leave_bound();
        }
        held.debug_let_go();
        match self.finish(held) {
            Ended::Idle => {}
            Ended::Gap(held) => self.queue_held(held),
            Ended::Next(held, _) => self.go_on(held),
        }
    }

    /// May an exclusive event of a color that has, or had, readers begin? If not, its last reader
    /// holds it.
    pub(super) fn exclude_readers(&self, held: Held) -> Option<Held> {
        // No post is kept for a color that is let go.
        self.current.leave();
        if held.readers.exclude() == Excluded::Waits {
            return None;
        }
        self.current.enter(&held);
        Some(held)
    }

    /// The holder of a color has come to a shared event, which goes on by itself.
    pub(super) fn let_reader_go(&self, held: Held) -> Ended {
        self.current.leave();
        let (cell, class, mut event) = (held.cell(), held.priority(), held.front());
        held.readers.enter();
        held.debug_let_go();
        // SAFETY: it is the head of a color that is held, and the own list is empty.
        let finished = unsafe { held.queue.finish(event.as_raw().cast()) };
        if finished == Finished::Gap {
            // The link stays in the queue, so the event moves on without it.
            event = event.relocate(self.take_memory());
        }
        event.set_word(cell.as_ptr().cast());
        let ended = held.after(finished);
        self.queue_event_as(event, class);
        ended
    }

    /// The holder of a color has come to a shared request of a set, which goes on by itself.
    pub(super) fn let_request_go(&self, held: Held) -> Ended {
        self.current.leave();
        let front = held.head();
        // SAFETY: what a request of a set holds is a set, and is taken once.
        let set = unsafe { held.front().take_request::<Set>() };
        // SAFETY: the set is there until its last request has arrived.
        unsafe { set.as_ref() }.has_come_to(&held);
        held.readers.enter();
        held.debug_let_go();
        let ended = self.finish_at(held, front);
        // SAFETY: the request is spent, and arrives once.
        unsafe { self.arrive(set) };
        ended
    }

    /// The holder of a color without readers has come to an exclusive request: the set has the
    /// color now.
    pub(super) fn reserve(&self, held: Held) {
        self.current.leave();
        // SAFETY: what a request holds is taken once, and arrives once. The request stays at the
        // head, spent.
        unsafe {
            let set = held.front().take_request::<Set>();
            set.as_ref().has_come_to(&held);
            self.arrive(set);
        }
    }

    /// # Safety
    ///
    /// As [`Set::arrive`].
    unsafe fn arrive(&self, set: NonNull<Set>) {
        // SAFETY: by contract.
        if let Some(entry) = unsafe { Set::arrive(set) } {
            self.make_runnable(entry, self.index, UNKNOWN);
        }
    }

    /// The event of `ended` has run. If it is of the own list, it leaves it; in any case the first
    /// one that is left there is next.
    #[inline]
    pub(super) fn pass_own(&self, held: &Held, ended: NonNull<Link>) -> Option<NonNull<Link>> {
        // SAFETY: it is of this runtime.
        held.pass_own(ended, |memory| unsafe { self.give_memory(memory) })
    }

    /// The event at the head, whose closure is spent, leaves the queue.
    #[inline]
    pub(super) fn finish(&self, held: Held) -> Ended {
        let front = held.head();
        self.finish_at(held, front)
    }

    /// [`finish`](Self::finish), of a head that is known already.
    #[inline]
    pub(super) fn finish_at(&self, held: Held, front: Front) -> Ended {
        // SAFETY: it is of this runtime.
        held.finish(front, |memory| unsafe { self.give_memory(memory) })
    }

    /// The holder has come to the color's grave. None: the color is gone.
    pub(super) fn visit_grave(&self, held: Held) -> Option<Ended> {
        // A palette may drop keys now, whose drops are user code: no event runs, so that what they
        // post is not kept (see `Queue::keep`).
        self.current.leave();
        self.time_passes();
        let cell = held.cell();
        // SAFETY: the head is the grave.
        match unsafe { held.bury(held.queue.head()) } {
            Buried::Dead => {
                // SAFETY: it is dead; its memory is given back once.
                unsafe {
                    std::ptr::drop_in_place(cell.as_ptr());
                    self.give_cell(cell);
                }
                self.give_credit();
                None
            }
            Buried::Passed(finished) => {
                let ended = held.after(finished);
                if !matches!(ended, Ended::Gap(_)) {
                    // SAFETY: the grave's count is ours, and its link is out of the queue.
                    unsafe { self.drop_handle(cell) };
                }
                if let Ended::Next(held, _) = &ended {
                    self.current.enter(held);
                }
                Some(ended)
            }
        }
    }

    /// Gives back a handle's count; the last one posts the grave.
    ///
    /// # Safety
    ///
    /// The count is the caller's, and the color is not the default one.
    pub(crate) unsafe fn drop_handle(&self, cell: NonNull<ColorCell>) {
        // SAFETY: our count keeps the cell, until the grave is run; we have not queued it yet.
        unsafe {
            if cell.as_ref().life.release() {
                // A palette may revive the color, and others post behind the grave.
                self.before_post();
                let (home, entry) = (cell.as_ref().home(), cell.as_ref().entry());
                if ColorCell::dig(cell) == Posted::BecameRunnable {
                    self.make_runnable(entry, home, GRAVE_WORTH);
                }
            }
        }
    }
}
