//! The colors of the event that runs on a worker: one exclusive color, one shared color, or the
//! colors of a set.

use std::cell::Cell;
use std::ptr;

use dapple_colors::Access;

use crate::color::cell::ColorCell;
use crate::color::held::Claims;

/// The colors of the current event; see the module. At most one of `color` and `claims` is set.
pub(crate) struct Current {
    /// The color whose exclusive event runs, or null. The lowest bit is set if the color is
    /// bounded. An event's posts to its own bounded color are not kept (see
    /// [`Queue::keep`](crate::color::queue::Queue::keep)), because each has to be counted.
    color: Cell<*const ColorCell>,
    /// The claims of an event that is in no color's queue, or null.
    claims: Cell<*const Claims>,
    /// Set while an exclusive event runs whose color has been set aside.
    is_aside: Cell<bool>,
}

/// The color of the current event, set aside until this is dropped; see [`Current::set_aside`].
pub(crate) struct Aside<'a>(&'a Current, *const ColorCell);

impl Drop for Aside<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.is_aside.set(false);
        self.0.color.set(self.1);
    }
}

/// The claims of the current event, taken away until this is dropped; see [`Current::suspend`].
pub(crate) struct Suspended<'a>(&'a Current, *const Claims);

impl Drop for Suspended<'_> {
    fn drop(&mut self) {
        self.0.claims.set(self.1);
    }
}

const BOUNDED: usize = 1;
const _: () = assert!(align_of::<ColorCell>() > BOUNDED);

impl Current {
    pub(super) const fn new() -> Self {
        Current {
            color: Cell::new(ptr::null()),
            claims: Cell::new(ptr::null()),
            is_aside: Cell::new(false),
        }
    }

    /// Sets the color whose exclusive event is about to run.
    ///
    /// # Safety
    ///
    /// This worker holds the color until it calls [`leave`](Self::leave). If it releases the color
    /// first, it calls `leave` before anything else runs.
    #[inline]
    pub(super) unsafe fn enter(&self, cell: &ColorCell, is_bounded: bool) {
        let bit = if is_bounded { BOUNDED } else { 0 };
        self.color.set(ptr::from_ref(cell).map_addr(|a| a | bit));
    }

    /// Clears the color, as the worker no longer holds it, or may soon release it.
    #[inline]
    pub(super) fn leave(&self) {
        self.color.set(ptr::null());
    }

    /// Sets the current color aside for a post, in which this worker may come to hold another
    /// color.
    #[inline]
    pub(crate) fn set_aside(&self) -> Aside<'_> {
        let color = self.color.replace(ptr::null());
        self.is_aside.set(!color.is_null());
        Aside(self, color)
    }

    /// Takes the colors from the current event until the returned value is dropped, so that others
    /// can run. Returns `None` if the event has a color that it cannot give up alone.
    pub(super) fn suspend(&self) -> Option<Suspended<'_>> {
        self.can_suspend().then(|| Suspended(self, self.claims.replace(ptr::null())))
    }

    /// Returns `true` if [`suspend`](Self::suspend) would succeed.
    pub(super) fn can_suspend(&self) -> bool {
        let is_apart = self.claims().is_none_or(|claims| matches!(claims, Claims::Apart(_)));
        is_apart && !self.is_aside.get() && self.color.get().is_null()
    }

    /// Runs `f`, in which an event with these claims runs.
    #[inline]
    pub(super) fn with_claims<R>(&self, claims: &Claims, f: impl FnOnce() -> R) -> R {
        struct Leave<'a>(&'a Current);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.claims.set(ptr::null());
            }
        }
        self.claims.set(claims);
        let _leave = Leave(self);
        f()
    }

    /// Returns `true` if the current event has a color.
    #[inline]
    pub(super) fn is_held(&self) -> bool {
        self.is_aside.get() || !self.color.get().is_null() || !self.claims.get().is_null()
    }

    /// Returns `true` if an exclusive event of this color runs, and the color is not bounded.
    #[inline]
    pub(super) fn may_keep(&self, cell: &ColorCell) -> bool {
        ptr::eq(self.color.get(), cell)
    }

    /// Returns the current event's access to a color, or `None` if it does not have the color.
    #[inline]
    pub(crate) fn access(&self, color: &ColorCell) -> Option<Access> {
        let held = self.color.get().addr() & !BOUNDED;
        match held == ptr::from_ref(color).addr() {
            true => Some(Access::Exclusive),
            false => self.access_by_claims(color),
        }
    }

    /// Returns the claims of a current event that is in no color's queue.
    #[inline]
    fn claims(&self) -> Option<&Claims> {
        // SAFETY: the pointer is null, or `with_claims` set it and resets it before its borrow of
        // the claims ends. The callers are inside `with_claims` then, and use the reference no
        // longer than the event runs.
        unsafe { self.claims.get().as_ref() }
    }

    fn access_by_claims(&self, color: &ColorCell) -> Option<Access> {
        match self.claims()? {
            Claims::Nothing => None,
            Claims::Reads(reader) => {
                ptr::eq::<ColorCell>(&**reader, color).then_some(Access::Shared)
            }
            Claims::Set(set) => set.access(color),
            Claims::Apart(own) => ptr::eq::<ColorCell>(&**own, color).then_some(Access::Exclusive),
        }
    }

    /// Calls `f` with the color of the current event. For a set, this is the color that was named
    /// first.
    #[inline]
    pub(crate) fn with_first<R>(&self, f: impl FnOnce(Option<&ColorCell>) -> R) -> R {
        let held = self.color.get().map_addr(|a| a & !BOUNDED);
        // SAFETY: the pointer is null, or was set by `enter`, whose caller holds the color until
        // `leave`. A color that is held is alive.
        if let Some(cell) = unsafe { held.as_ref() } {
            return f(Some(cell));
        }
        f(self.claims().and_then(Claims::first))
    }
}
