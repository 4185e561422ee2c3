//! The value of a [`Colored`](super::colored::Colored), and the references to it.
//!
//! `borrows` says how the running event has the value. It keeps the event from having the value by
//! `&mut` twice, or by `&mut` and `&`. Only events with exclusive access to the color change it.
//! Shared events only read the value, and need not record that.

use std::cell::{Cell, UnsafeCell};
use std::fmt;

use super::handle::Color;
use crate::site::Site;
use crate::sync::{AtomicBool, AtomicUsize, Ordering};

/// A value that belongs to a color, with the state of its references.
pub struct Inner<T> {
    pub(super) handles: AtomicUsize,
    /// The number of posted events that are to drop the value and have not run; see the drop of
    /// `Colored`.
    pub(super) ends: AtomicUsize,
    pub(super) color: Color,
    /// The site where the value was bound, which reports of its drop name.
    pub(super) site: Site,
    poisoned: AtomicBool,
    /// The number of `&` references that the running event has, or `WRITTEN` for one `&mut`.
    borrows: Cell<u32>,
    pub(super) value: UnsafeCell<T>,
}

const WRITTEN: u32 = u32::MAX;

impl<T> Inner<T> {
    pub(super) fn new(color: Color, site: Site, value: T) -> Self {
        Inner {
            handles: AtomicUsize::new(1),
            ends: AtomicUsize::new(0),
            color,
            site,
            poisoned: AtomicBool::new(false),
            borrows: Cell::new(0),
            value: UnsafeCell::new(value),
        }
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed)
    }

    pub(super) fn repair(&self) {
        self.poisoned.store(false, Ordering::Relaxed);
    }

    /// Returns `true` if the running event has the value by reference. For exclusive events of the
    /// color.
    pub(super) fn is_borrowed(&self) -> bool {
        self.borrows.get() != 0
    }

    /// Returns `true` if the running event has the value by `&mut`.
    pub(super) fn is_borrowed_mut(&self) -> bool {
        self.borrows.get() == WRITTEN
    }

    /// Returns the value by `&mut`.
    ///
    /// # Safety
    ///
    /// The caller is an exclusive event of the color, and has no reference to the value.
    #[inline]
    pub(super) unsafe fn borrow(&self) -> Borrow<'_, T> {
        // An earlier event may have leaked a reference. It ended with that event, unless the event
        // is suspended.
        if self.borrows.get() != 0 {
            check_nothing_is_suspended();
        }
        self.borrows.set(WRITTEN);
        Borrow { inner: self, was_panicking: crate::sync::panicking() }
    }

    /// Returns the value by `&`. An event that is `alone` on the color cannot get the value by
    /// `&mut` until the reference is dropped.
    ///
    /// # Safety
    ///
    /// The caller is an event of the color, an exclusive one if `alone`, and nobody has the value
    /// by `&mut`.
    pub(super) unsafe fn share(&self, alone: bool) -> Sharing<'_, T> {
        if self.is_borrowed_mut() {
            check_nothing_is_suspended();
        }
        if alone {
            let borrows = self.borrows.get();
            assert!(borrows < WRITTEN - 1, "too many shared borrows of one value");
            self.borrows.set(borrows + 1);
        }
        Sharing { inner: self, alone }
    }

    /// Returns the value by `&` at the start of an event, which has no reference to it yet.
    ///
    /// # Safety
    ///
    /// The caller is an event of the color, an exclusive one if `alone`, and nobody has the value
    /// by `&mut`.
    pub(super) unsafe fn share_first(&self, alone: bool) -> Sharing<'_, T> {
        if self.is_borrowed_mut() {
            check_nothing_is_suspended();
        }
        if alone {
            // A reference that an earlier event has leaked does not count, as in `borrow`.
            let before = if is_one_suspended() { self.borrows.get() } else { 0 };
            self.borrows.set(before + 1);
        }
        Sharing { inner: self, alone }
    }
}

/// Panics if an event is suspended on this thread (E18), as it may have the reference that
/// `borrows` records. Otherwise an event that is over has leaked that reference.
#[cold]
#[track_caller]
fn check_nothing_is_suspended() {
    assert!(!is_one_suspended(), "C13: a suspended event already has a reference to this value");
}

fn is_one_suspended() -> bool {
    crate::thread::state(|state| state.suspended.get()) > 0
}

/// The exclusive reference to a value, from [`Inner::borrow`] until it is dropped.
pub struct Borrow<'a, T> {
    inner: &'a Inner<T>,
    /// Whether the thread was already unwinding when this was made: then this is in a destructor,
    /// and that panic is not the value's.
    was_panicking: bool,
}

impl<T> Borrow<'_, T> {
    #[inline]
    pub(super) fn value(&mut self) -> &mut T {
        // SAFETY: an exclusive event of the color made this, so no other event of the color runs,
        // and `borrows` keeps this event from making another reference.
        unsafe { &mut *self.inner.value.get() }
    }
}

impl<T> Drop for Borrow<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.inner.borrows.set(0);
        if !self.was_panicking && crate::sync::panicking() {
            self.inner.poisoned.store(true, Ordering::Relaxed);
        }
    }
}

/// A shared reference to a value, from [`Inner::share`] until it is dropped.
pub struct Sharing<'a, T> {
    inner: &'a Inner<T>,
    /// Whether the event is alone on the color, so that the reference counts in `borrows`.
    alone: bool,
}

impl<T> Sharing<'_, T> {
    pub(super) fn value(&self) -> &T {
        // SAFETY: an event of the color made this. If it is alone, `borrows` keeps it from reaching
        // the value by `&mut`. Otherwise no exclusive event of the color runs.
        unsafe { &*self.inner.value.get() }
    }
}

impl<T> Drop for Sharing<'_, T> {
    fn drop(&mut self) {
        if self.alone {
            self.inner.borrows.set(self.inner.borrows.get().saturating_sub(1));
        }
    }
}

/// A value that the event may write, of the color that it runs on; see
/// [`Colored::get_mut`](crate::Colored::get_mut).
pub struct Reached<'a, T>(pub(super) Borrow<'a, T>);

impl<T> std::ops::Deref for Reached<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the borrow is the only reference to the value, and is itself borrowed here.
        unsafe { &*self.0.inner.value.get() }
    }
}

impl<T> std::ops::DerefMut for Reached<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.value()
    }
}

impl<T: fmt::Debug> fmt::Debug for Reached<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A value that the event may read, of the color that it runs on; see
/// [`Colored::get`](crate::Colored::get).
pub struct ReachedRef<'a, T>(pub(super) Sharing<'a, T>);

impl<T> std::ops::Deref for ReachedRef<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.value()
    }
}

impl<T: fmt::Debug> fmt::Debug for ReachedRef<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
