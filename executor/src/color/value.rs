//! The value of a [`Colored`](super::colored::Colored), and who has it by reference.
//!
//! `borrows` says how the event that runs has the value: it keeps an event from having it by `&mut`
//! twice, or by `&mut` and `&`. It is touched by events that have the color for themselves; those
//! that share it only read the value, and need not say so.

use std::cell::{Cell, UnsafeCell};
use std::fmt;

use super::handle::Color;
use crate::site::Site;
use crate::sync::{AtomicBool, AtomicUsize, Ordering};

/// See the module.
pub struct Inner<T> {
    pub(super) handles: AtomicUsize,
    /// Events that are to end the value, and have not run; see `Colored`'s drop.
    pub(super) ends: AtomicUsize,
    pub(super) color: Color,
    /// Where it was made, which is what reports of its end name.
    pub(super) site: Site,
    poisoned: AtomicBool,
    /// How often the event that runs has the value by `&`; or that it has it by `&mut`.
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

    /// Says whether the event that runs has the value by reference. For an exclusive event of the
    /// color.
    pub(super) fn is_borrowed(&self) -> bool {
        self.borrows.get() != 0
    }

    /// Says whether the event that runs has the value by `&mut`.
    pub(super) fn is_written(&self) -> bool {
        self.borrows.get() == WRITTEN
    }

    /// The value by `&mut`.
    ///
    /// # Safety
    ///
    /// The caller is an exclusive event of the color, and has no reference to the value.
    #[inline]
    pub(super) unsafe fn borrow(&self) -> Borrow<'_, T> {
        // There may be borrows: a reference that an earlier event has forgotten ended with that
        // event, unless that is suspended.
        if self.borrows.get() != 0 {
            check_nothing_is_suspended();
        }
        self.borrows.set(WRITTEN);
        Borrow { inner: self, was_panicking: crate::sync::panicking() }
    }

    /// The value by `&`. If the event is alone on the color, it is kept from getting it by `&mut`
    /// meanwhile.
    ///
    /// # Safety
    ///
    /// The caller is an event of the color, exclusive if `alone`, and nobody has the value by
    /// `&mut`.
    pub(super) unsafe fn share(&self, alone: bool) -> Sharing<'_, T> {
        if self.is_written() {
            check_nothing_is_suspended();
        }
        if alone {
            let borrows = self.borrows.get();
            assert!(borrows < WRITTEN - 1, "a value is borrowed so often at most");
            self.borrows.set(borrows + 1);
        }
        Sharing { inner: self, alone }
    }

    /// The value by `&`, at the start of an event, which has no reference to it yet.
    ///
    /// # Safety
    ///
    /// As [`share`](Self::share).
    pub(super) unsafe fn share_first(&self, alone: bool) -> Sharing<'_, T> {
        if self.is_written() {
            check_nothing_is_suspended();
        }
        if alone {
            // As in `borrow`: what an earlier event has forgotten does not count.
            let before = if is_one_suspended() { self.borrows.get() } else { 0 };
            self.borrows.set(before + 1);
        }
        Sharing { inner: self, alone }
    }
}

/// A value is borrowed already: by an event that has forgotten the reference, and is over, unless
/// an event is suspended on this thread (E18).
#[cold]
#[track_caller]
fn check_nothing_is_suspended() {
    assert!(!is_one_suspended(), "C13: an event that is suspended has this value by reference");
}

fn is_one_suspended() -> bool {
    crate::thread::state(|state| state.suspended.get()) > 0
}

/// The one reference to a value, from [`Inner::borrow`] until it is dropped.
pub struct Borrow<'a, T> {
    inner: &'a Inner<T>,
    /// In a destructor that runs while the thread unwinds: that panic is not the value's.
    was_panicking: bool,
}

impl<T> Borrow<'_, T> {
    #[inline]
    pub(super) fn value(&mut self) -> &mut T {
        // SAFETY: made by an event of the color, of which no other one runs; `borrows` keeps this
        // event from making another reference.
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

/// A reference to a value, from [`Inner::share`] until it is dropped.
pub struct Sharing<'a, T> {
    inner: &'a Inner<T>,
    /// Whether it counts in `borrows`.
    alone: bool,
}

impl<T> Sharing<'_, T> {
    pub(super) fn value(&self) -> &T {
        // SAFETY: made by an event of the color. If it is alone, `borrows` keeps it from reaching
        // the value by `&mut`; if not, no exclusive event of the color runs.
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

/// A value of the color that the event runs on, to be written; see
/// [`Colored::get_mut`](crate::Colored::get_mut).
pub struct Reached<'a, T>(pub(super) Borrow<'a, T>);

impl<T> std::ops::Deref for Reached<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the borrow is the one reference to the value, and is borrowed here.
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

/// A value of the color that the event runs on, to be read; see
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
