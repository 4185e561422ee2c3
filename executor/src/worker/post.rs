//! Posting on a worker.
//!
//! A post takes an event from the worker's magazine, appends it to the color, with
//! one exchange or, if it is the own color of the event that runs, with none, and, if the color was idle, puts it into the
//! worker's run queue.
//! Nothing on this way is written by another core, but the color's tail when others post to it.

use std::panic::Location;
use std::ptr::NonNull;

use dapple_colors::{Posted, Priority};

use super::entry::Entry;
use super::local::Local;
use crate::color::cell::{ColorCell, UNKNOWN};
use crate::color::held::Held;
use crate::cx::Cx;
use crate::event::{Kind, Memory, Owned};
use crate::runtime::core::Core;

impl Local {
    /// A closure as an event, stamped if it is sampled.
    #[inline]
    pub(crate) fn event<F: FnOnce(&mut Cx) + Send + 'static>(
        &self,
        f: F,
        site: &'static Location<'static>,
    ) -> Owned {
        let posted = self.stamp();
        Owned::closure(self.take_memory(), f, Kind::Closure, site, posted)
    }

    /// Memory for an event made on whatever thread this is.
    pub(crate) fn memory_for(core: &Core) -> Memory {
        Local::current(core).map_or_else(|| core.take_memory_outside(), Local::take_memory)
    }

    /// Posts to a color.
    ///
    /// # Safety
    ///
    /// The caller has a handle of the color, or runs on it.
    #[inline]
    pub(crate) unsafe fn post<F: FnOnce(&mut Cx) + Send + 'static>(
        &self,
        cell: NonNull<ColorCell>,
        f: F,
        site: &'static Location<'static>,
    ) {
        // Never refused, so that no drop of a closure runs inside of a post (C16): what is posted while
        // the runtime stops is dropped when the worker leaves its loop.
        let event = self.event(f, site);
        // SAFETY: by contract; the event is fresh.
        unsafe { self.enqueue(cell, event) }
    }

    /// Appends an event to a color, and queues the color if it was idle.
    ///
    /// # Safety
    ///
    /// As [`ColorCell::push`].
    #[inline(always)]
    pub(crate) unsafe fn enqueue(&self, cell: NonNull<ColorCell>, event: Owned) {
        if self.current.may_keep(cell) {
            self.self_posts.set(self.self_posts.get().wrapping_add(1));
            // SAFETY: an event of the color runs here, so we hold it; the event is the caller's.
            let event = match unsafe { cell.as_ref().keep(event) } {
                None => return self.count_posts(1),
                Some(event) => event,
            };
            // SAFETY: by contract.
            return unsafe { self.enqueue_behind(cell, event) };
        }
        // SAFETY: by contract.
        unsafe { self.enqueue_behind(cell, event) }
    }

    /// The same, behind everything that is in the queue, even by an event of the color.
    ///
    /// # Safety
    ///
    /// As [`ColorCell::push`].
    #[inline]
    pub(crate) unsafe fn enqueue_behind(&self, cell: NonNull<ColorCell>, event: Owned) {
        // SAFETY: by contract.
        unsafe {
            match cell.as_ref().is_plain() {
                true => self.append_in(cell, event, true),
                false => self.enqueue_bounded(cell, event),
            }
        }
    }

    /// The same of a shared event: if the color is idle, it is let go at once.
    ///
    /// # Safety
    ///
    /// As [`ColorCell::push`].
    pub(crate) unsafe fn enqueue_shared(&self, cell: NonNull<ColorCell>, event: Owned) {
        // SAFETY: by contract; a color that was idle, and is not queued, is ours.
        unsafe {
            if cell.as_ref().is_bounded() {
                cell.as_ref().enter_bound(&event);
            }
            if cell.as_ref().push(event) == Posted::Behind {
                return self.count_posts(1);
            }
            let _aside = self.current.set_aside();
            self.go_on(Held::of(cell));
        }
    }

    /// The same; the color may be bounded.
    ///
    /// # Safety
    ///
    /// As [`ColorCell::push`].
    #[cold]
    #[inline(never)]
    unsafe fn enqueue_bounded(&self, cell: NonNull<ColorCell>, event: Owned) {
        // SAFETY: by contract.
        unsafe {
            if cell.as_ref().is_bounded() {
                cell.as_ref().enter_bound(&event);
            }
            self.append(cell, event);
        }
    }

    /// The same of an event that has been counted, or whose color is not bounded.
    ///
    /// # Safety
    ///
    /// As [`ColorCell::push`].
    pub(crate) unsafe fn append(&self, cell: NonNull<ColorCell>, event: Owned) {
        // SAFETY: by contract.
        unsafe { self.append_in(cell, event, false) }
    }

    /// The same; is the color surely of the normal class?
    ///
    /// # Safety
    ///
    /// As [`ColorCell::push`].
    #[inline(always)]
    unsafe fn append_in(&self, cell: NonNull<ColorCell>, event: Owned, is_normal: bool) {
        self.count_posts(1);
        // SAFETY: by contract the cell is there, and the event is the caller's.
        if unsafe { cell.as_ref().push(event) } == Posted::BecameRunnable {
            // SAFETY: the color has an event that only we can make run, so the cell is there.
            let color = unsafe { cell.as_ref() };
            let (home, worth) = (color.home(), color.worth());
            match is_normal {
                true => self.make_runnable_in(Entry::normal_color(cell), home, worth, true),
                false => self.make_runnable(color.entry(), home, worth),
            }
        }
    }

    /// So many posts more.
    #[inline]
    pub(crate) fn count_posts(&self, n: u32) {
        self.posts.set(self.posts.get().wrapping_add(n));
    }

    /// Posts an event without color.
    #[inline]
    pub(crate) fn post_uncolored<F: FnOnce(&mut Cx) + Send + 'static>(
        &self,
        f: F,
        site: &'static Location<'static>,
    ) {
        self.queue_event(self.event(f, site));
    }

    /// Queues an event without color.
    #[inline]
    pub(crate) fn queue_event(&self, event: Owned) {
        self.queue_event_as(event, Priority::Normal);
    }

    /// The same, in a class.
    #[inline(always)]
    pub(crate) fn queue_event_as(&self, event: Owned, class: Priority) {
        self.count_posts(1);
        self.uncolored_posts.set(self.uncolored_posts.get().wrapping_add(1));
        let is_normal = class == Priority::Normal;
        self.make_runnable_in(Entry::event(event, class), self.index, UNKNOWN, is_normal);
    }
}
