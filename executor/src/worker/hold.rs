//! What the holder of a color does without running anything: it lets readers go, reserves the color for a set, gives it back, queues it.
//!
//! Whoever comes to hold a color outside of a turn, because it posted to an idle one, or was its last reader, or gives a set's colors back,
//! goes on with it at once as far as no event of the color has to run for that; only what is left is queued. So a set whose colors are
//! idle costs one entry of the run queue, not one for each color.

use std::ptr::NonNull;

use dapple_colors::{Access, Excluded, Finished, Left, Posted};

use super::local::Local;
use crate::color::cell::{Buried, ColorCell, GRAVE_WORTH, UNKNOWN};
use crate::color::queue::Link;
use crate::color::set::Set;
use crate::event::{Event, Header, Kind};

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
            // SAFETY: we hold it.
            unsafe { self.go_on(cell) };
        }
    }

    /// Goes on with a color, at whose front nothing has begun, as far as that runs nothing, and queues what is left.
    ///
    /// # Safety
    ///
    /// The caller holds the color outside of a turn, and lets it go.
    pub(crate) unsafe fn go_on(&self, cell: NonNull<ColorCell>) {
        // SAFETY: by contract; after `Finished::Idle`, and when somebody else has it, the color is not touched.
        unsafe {
            let color = cell.as_ref();
            if self.keeps_home && color.home() != self.index {
                // What it lets go is to run there, too.
                return self.queue_held(cell);
            }
            let queue = &color.queue;
            let mut left = AT_ONCE;
            while queue.own().is_none() && left > 0 {
                left -= 1;
                let link = queue.head();
                let finished = match Header::of(link).as_ref().kind() {
                    Kind::Request if color.readers.exclude() == Excluded::Waits => return,
                    Kind::Request => {
                        color.debug_hold(self.index);
                        return self.reserve(cell, link);
                    }
                    Kind::Shared => self.let_reader_go(cell, link),
                    Kind::SharedRequest => self.let_request_go(cell, link),
                    _ => break,
                };
                match finished {
                    Finished::Idle => return,
                    Finished::Gap => break,
                    Finished::Next(next) => queue.set_head(next),
                }
            }
            self.queue_held(cell);
        }
    }

    /// Queues a color that has something to run, wherever it comes from.
    ///
    /// # Safety
    ///
    /// The caller holds it, and lets it go.
    unsafe fn queue_held(&self, cell: NonNull<ColorCell>) {
        // SAFETY: by contract.
        let color = unsafe { cell.as_ref() };
        self.make_runnable(color.entry(), color.home(), color.worth());
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
                let cell = want.cell();
                match want.access() {
                    Access::Shared => self.leave(cell),
                    Access::Exclusive => {
                        let color = cell.as_ref();
                        let queue = &color.queue;
                        if color.is_bounded() {
                            color.leave_bound();
                        }
                        color.debug_let_go();
                        match self.finish(cell, queue.head()) {
                            Finished::Idle => {}
                            Finished::Gap => self.queue_held(cell),
                            Finished::Next(next) => {
                                queue.set_head(next);
                                self.go_on(cell);
                            }
                        }
                    }
                }
            }
            std::ptr::drop_in_place(set.as_ptr());
            self.give_memory(set.cast());
        }
    }

    /// May an exclusive event of a color that has, or had, readers begin? If not, the caller does not hold the color any more.
    ///
    /// # Safety
    ///
    /// The caller holds it.
    pub(super) unsafe fn exclude_readers(&self, cell: NonNull<ColorCell>) -> bool {
        // SAFETY: by contract.
        let color = unsafe { cell.as_ref() };
        // No post is kept for a color that is let go.
        self.current.leave();
        if color.readers.exclude() == Excluded::Waits {
            return false;
        }
        self.current.enter(color);
        true
    }

    /// The holder of a color has come to a shared event: it goes on by itself. Says what is behind it.
    ///
    /// # Safety
    ///
    /// The caller holds the color, and `link` is its head and a shared event. After [`Finished::Idle`] it does not hold it any more.
    pub(super) unsafe fn let_reader_go(
        &self,
        cell: NonNull<ColorCell>,
        link: NonNull<Link>,
    ) -> Finished<NonNull<Link>> {
        let event = Event::of(Header::of(link));
        self.current.leave();
        // SAFETY: we hold the color until `finish`, and it does not die before its reader has left. In a gap the link stays in the
        // queue, so the event moves on without it.
        unsafe {
            let color = cell.as_ref();
            color.readers.enter();
            color.debug_let_go();
            let finished = color.queue.finish(link);
            let event = match finished {
                Finished::Gap => Event::relocate(event, self.take_memory()),
                _ => event,
            };
            Event::set_word(event, cell.as_ptr().cast());
            self.queue_event_as(event, color.priority());
            finished
        }
    }

    /// The same of a shared request of a set.
    ///
    /// # Safety
    ///
    /// As there.
    pub(super) unsafe fn let_request_go(
        &self,
        cell: NonNull<ColorCell>,
        link: NonNull<Link>,
    ) -> Finished<NonNull<Link>> {
        self.current.leave();
        // SAFETY: as in `let_reader_go`; what a request holds is taken once.
        unsafe {
            let set = Event::take_request::<Set>(Event::of(Header::of(link)));
            let color = cell.as_ref();
            set.as_ref().has_come_to(color);
            color.readers.enter();
            color.debug_let_go();
            let finished = self.finish(cell, link);
            self.arrive(set);
            finished
        }
    }

    /// The holder of a color has come to an exclusive request: the set has the color now, and the caller does not.
    ///
    /// # Safety
    ///
    /// The caller holds the color, which has no readers, and `link` is its head and an exclusive request.
    pub(super) unsafe fn reserve(&self, cell: NonNull<ColorCell>, link: NonNull<Link>) {
        self.current.leave();
        // SAFETY: by contract; what a request holds is taken once. The request stays at the head, spent.
        unsafe {
            let set = Event::take_request::<Set>(Event::of(Header::of(link)));
            set.as_ref().has_come_to(cell.as_ref());
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

    /// The event of `ended` has run. If it is of the own list, it leaves it; in any case the first one that is left
    /// there is next.
    #[inline]
    pub(super) fn pass_own(
        &self,
        cell: NonNull<ColorCell>,
        ended: NonNull<Link>,
    ) -> Option<NonNull<Link>> {
        // SAFETY: we hold the color.
        let queue = unsafe { &cell.as_ref().queue };
        let own = queue.own()?;
        if own != ended {
            return Some(own);
        }
        // SAFETY: we hold the color; what left the list is ours, and its closure is spent.
        unsafe {
            queue.drop_own(own);
            self.give_memory(Event::of(Header::of(own)));
        }
        queue.own()
    }

    /// The event at the head, whose closure is spent, leaves the queue.
    ///
    /// # Safety
    ///
    /// As [`Queue::finish`](crate::color::queue::Queue::finish).
    #[inline]
    pub(super) unsafe fn finish(
        &self,
        cell: NonNull<ColorCell>,
        spent: NonNull<Link>,
    ) -> Finished<NonNull<Link>> {
        // SAFETY: by contract.
        let finished = unsafe { cell.as_ref().queue.finish(spent) };
        if finished != Finished::Gap {
            // SAFETY: the link is out of the queue, and its closure is spent.
            unsafe { self.give_memory(Event::of(Header::of(spent))) };
        }
        finished
    }

    /// # Safety
    ///
    /// The caller holds the color, and `link` is its head and its grave. None: the color is gone.
    pub(super) unsafe fn visit_grave(
        &self,
        cell: NonNull<ColorCell>,
        link: NonNull<Link>,
    ) -> Option<Finished<NonNull<Link>>> {
        // A palette may drop keys now, whose drops are user code: no event runs, so that what they
        // post is not kept (see `Queue::keep`).
        self.current.leave();
        self.time_passes();
        // SAFETY: by contract.
        match unsafe { cell.as_ref().bury(link) } {
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
                if finished != Finished::Gap {
                    // SAFETY: the grave's count is ours, and its link is out of the queue.
                    unsafe { self.drop_handle(cell) };
                }
                if let Finished::Next(_) = finished {
                    // SAFETY: we hold it.
                    self.current.enter(unsafe { cell.as_ref() });
                }
                Some(finished)
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
