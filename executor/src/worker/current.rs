//! What the event that runs on a worker has: a color for itself, a color that it shares, or the colors of a set.

use std::cell::Cell;
use std::ptr::{self, NonNull};

use dapple_colors::Access;

use crate::color::cell::ColorCell;
use crate::color::set::Set;

/// See the module. At most one of the three is there.
pub(crate) struct Current {
    /// The color whose exclusive event runs; null: none. The lowest bit says that it is bounded: what its events post to it is not
    /// kept (see [`Queue::keep`](crate::color::queue::Queue::keep)) without a look at the bound.
    color: Cell<*const ColorCell>,
    reads: Cell<*const ColorCell>,
    set: Cell<*const Set>,
    /// An event runs that has none of them for a moment.
    is_aside: Cell<bool>,
}

/// The color of the event that runs, which does not have it until this is dropped; see [`Current::set_aside`].
pub(crate) struct Aside<'a>(&'a Current, *const ColorCell);

impl Drop for Aside<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.is_aside.set(false);
        self.0.color.set(self.1);
    }
}

const BOUNDED: usize = 1;
const _: () = assert!(align_of::<ColorCell>() > BOUNDED);

impl Current {
    pub(super) const fn new() -> Self {
        Current {
            color: Cell::new(ptr::null()),
            reads: Cell::new(ptr::null()),
            set: Cell::new(ptr::null()),
            is_aside: Cell::new(false),
        }
    }

    /// An exclusive event of the color is about to run. The caller holds it.
    #[inline]
    pub(super) fn enter(&self, cell: &ColorCell) {
        self.enter_known(cell, cell.is_bounded());
    }

    /// The same, if it is known whether the color is bounded.
    #[inline]
    pub(super) fn enter_known(&self, cell: &ColorCell, is_bounded: bool) {
        let bit = if is_bounded { BOUNDED } else { 0 };
        self.color.set(ptr::from_ref(cell).map_addr(|a| a | bit));
    }

    /// The worker does not hold a color any more, or may not.
    #[inline]
    pub(super) fn leave(&self) {
        self.color.set(ptr::null());
    }

    /// What runs posts, and this worker may take hold of another color for a moment.
    #[inline]
    pub(crate) fn set_aside(&self) -> Aside<'_> {
        let color = self.color.replace(ptr::null());
        self.is_aside.set(!color.is_null());
        Aside(self, color)
    }

    /// A shared event runs, or none any more.
    pub(super) fn set_reads(&self, cell: *const ColorCell) {
        self.reads.set(cell);
    }

    /// A set's event runs, or none any more.
    pub(super) fn set_set(&self, set: *const Set) {
        self.set.set(set);
    }

    /// Does an event of a color run?
    #[inline]
    pub(super) fn is_held(&self) -> bool {
        let one = [self.color.get(), self.reads.get(), self.set.get().cast()];
        self.is_aside.get() || one.iter().any(|color| !color.is_null())
    }

    /// Does an exclusive event of this color run, which is not bounded?
    #[inline]
    pub(super) fn may_keep(&self, cell: NonNull<ColorCell>) -> bool {
        ptr::eq(self.color.get(), cell.as_ptr())
    }

    #[inline]
    fn held(&self) -> *const ColorCell {
        self.color.get().map_addr(|a| a & !BOUNDED)
    }

    /// What the event that runs may do with a color; `None`: nothing.
    #[inline]
    pub(crate) fn access(&self, cell: NonNull<ColorCell>) -> Option<Access> {
        match ptr::eq(self.held(), cell.as_ptr()) {
            true => Some(Access::Exclusive),
            false => self.access_of_free(cell),
        }
    }

    fn access_of_free(&self, cell: NonNull<ColorCell>) -> Option<Access> {
        if ptr::eq(self.reads.get(), cell.as_ptr()) {
            return Some(Access::Shared);
        }
        // SAFETY: the set whose event runs is there.
        unsafe { self.set.get().as_ref() }.and_then(|set| set.access(cell))
    }

    /// The color of the event that runs; of a set, the one that was named first.
    #[inline]
    pub(crate) fn first_color(&self) -> Option<NonNull<ColorCell>> {
        NonNull::new(self.held().cast_mut()).or_else(|| self.first_color_of_free())
    }

    fn first_color_of_free(&self) -> Option<NonNull<ColorCell>> {
        NonNull::new(self.reads.get().cast_mut()).or_else(|| {
            // SAFETY: the set whose event runs is there.
            unsafe { self.set.get().as_ref() }.map(Set::first)
        })
    }
}
