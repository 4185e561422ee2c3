//! What the event that runs on a worker has: a color for itself, a color that it shares, or the
//! colors of a set.

use std::cell::Cell;
use std::ptr;

use dapple_colors::Access;

use crate::color::cell::ColorCell;
use crate::color::held::Claims;

/// See the module. At most one of the two is there.
pub(crate) struct Current {
    /// The color whose exclusive event runs; null: none. The lowest bit says that it is bounded:
    /// what its events post to it is not kept (see
    /// [`Queue::keep`](crate::color::queue::Queue::keep)) without a look at the bound.
    color: Cell<*const ColorCell>,
    /// What an event has that stood in no color's queue; null: nothing.
    claims: Cell<*const Claims>,
    /// An event runs that has neither of them for a moment.
    is_aside: Cell<bool>,
}

/// The color of the event that runs, which does not have it until this is dropped; see
/// [`Current::set_aside`].
pub(crate) struct Aside<'a>(&'a Current, *const ColorCell);

impl Drop for Aside<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.is_aside.set(false);
        self.0.color.set(self.1);
    }
}

/// What the event that runs has, which it does not have until this is dropped; see
/// [`Current::suspend`].
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

    /// An exclusive event of the color is about to run.
    ///
    /// # Safety
    ///
    /// This worker holds the color until it calls [`leave`](Self::leave), or calls that before
    /// anything else runs when it has let the color go.
    #[inline]
    pub(super) unsafe fn enter(&self, cell: &ColorCell, is_bounded: bool) {
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

    /// The event that runs has nothing until the answer is dropped: others run meanwhile. `None`:
    /// it has something that is not its alone to give up.
    pub(super) fn suspend(&self) -> Option<Suspended<'_>> {
        self.can_suspend().then(|| Suspended(self, self.claims.replace(ptr::null())))
    }

    /// Says whether [`suspend`](Self::suspend) would.
    pub(super) fn can_suspend(&self) -> bool {
        let is_apart = self.claims().is_none_or(|claims| matches!(claims, Claims::Apart(_)));
        is_apart && !self.is_aside.get() && self.color.get().is_null()
    }

    /// Runs `f`, in which an event runs that has these.
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

    /// Says whether an event of a color runs.
    #[inline]
    pub(super) fn is_held(&self) -> bool {
        self.is_aside.get() || !self.color.get().is_null() || !self.claims.get().is_null()
    }

    /// Says whether an exclusive event of this color runs, which is not bounded.
    #[inline]
    pub(super) fn may_keep(&self, cell: &ColorCell) -> bool {
        ptr::eq(self.color.get(), cell)
    }

    /// What the event that runs may do with a color; `None`: nothing.
    #[inline]
    pub(crate) fn access(&self, color: &ColorCell) -> Option<Access> {
        let held = self.color.get().addr() & !BOUNDED;
        match held == ptr::from_ref(color).addr() {
            true => Some(Access::Exclusive),
            false => self.access_by_claims(color),
        }
    }

    /// What an event has that runs and stood in no color's queue.
    #[inline]
    fn claims(&self) -> Option<&Claims> {
        // SAFETY: it is set while `with_claims` borrows them only, which is longer than the event
        // runs; who asks is done when that has ended.
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

    /// Calls `f` with the color of the event that runs; of a set, with the one that was named
    /// first.
    #[inline]
    pub(crate) fn with_first<R>(&self, f: impl FnOnce(Option<&ColorCell>) -> R) -> R {
        let held = self.color.get().map_addr(|a| a & !BOUNDED);
        // SAFETY: a color that this worker holds is there, and it holds it until `leave`.
        if let Some(cell) = unsafe { held.as_ref() } {
            return f(Some(cell));
        }
        f(self.claims().and_then(Claims::first))
    }
}
