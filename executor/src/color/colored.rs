//! Data bound to a color (C13).
//!
//! The value is reached in exclusive events of its color only, so it needs no lock. Nothing counts
//! the events that will reach it: when the last handle is dropped, an event is posted to the color
//! that drops the value, and the order of the queue puts it behind all that were posted before.
//! That event is posted whatever the phase of the runtime; where it is disposed of instead of run,
//! its drop does the same.

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::panic::Location;
use std::ptr::NonNull;

use super::handle::{Color, outside_event};
use crate::cx::Cx;
use crate::sync::{AtomicBool, AtomicUsize, Ordering, fence};
use crate::worker::local::Local;

struct Inner<T> {
    handles: AtomicUsize,
    color: Color,
    poisoned: AtomicBool,
    /// An event has the value by reference. Touched on the color only.
    borrowed: Cell<bool>,
    value: UnsafeCell<T>,
}

/// A value that belongs to a color: `&mut T` in its events, nothing anywhere else.
///
/// Handles can be cloned and sent to any thread. When the last one is dropped, the value is dropped
/// as an event of its color, behind the events that were posted before.
///
/// # Panics in events
///
/// A value whose event panicked is *poisoned*: later events on it are dropped unrun, and counted,
/// until [`clear_poison`](Self::clear_poison) repairs it.
///
/// # Examples
///
/// ```
/// use dapple::{Colored, Runtime};
/// let rt = Runtime::new()?;
/// let hits = Colored::new(&rt.handle().new_color(), 0u64);
/// for _ in 0..100 {
///     hits.post(|n, _| *n += 1);
/// }
/// hits.post(|n, _| assert_eq!(*n, 100));
/// rt.wait_idle();
/// # assert_eq!(rt.metrics().panics(), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "actor")]
#[doc(alias = "mutex")]
pub struct Colored<T: Send + 'static>(NonNull<Inner<T>>);

// SAFETY: only one event at a time reaches the value, on whatever thread, which T: Send allows. The
// rest of `Inner` is atomic, immutable, or touched on the color only.
unsafe impl<T: Send> Send for Colored<T> {}
// SAFETY: as above; `&Colored<T>` gives no `&T` off the color.
unsafe impl<T: Send> Sync for Colored<T> {}

/// A pointer that an event takes along.
struct Reach<T>(NonNull<Inner<T>>);

// SAFETY: as for `Colored`.
unsafe impl<T: Send> Send for Reach<T> {}

impl<T: Send + 'static> Colored<T> {
    /// Binds `value` to `color`.
    pub fn new(color: &Color, value: T) -> Self {
        let inner = Box::new(Inner {
            handles: AtomicUsize::new(1),
            color: color.clone(),
            poisoned: AtomicBool::new(false),
            borrowed: Cell::new(false),
            value: UnsafeCell::new(value),
        });
        // SAFETY: a box is not null.
        Colored(unsafe { NonNull::new_unchecked(Box::into_raw(inner)) })
    }

    fn inner(&self) -> &Inner<T> {
        // SAFETY: a handle keeps it; the event that drops it is posted by the last one.
        unsafe { self.0.as_ref() }
    }

    /// The color that the value belongs to.
    pub fn color(&self) -> &Color {
        &self.inner().color
    }

    /// Posts an event that gets the value. Accepted or refused as by
    /// [`Handle::post`](crate::Handle::post).
    #[track_caller]
    #[inline]
    pub fn post<F: FnOnce(&mut T, &mut Cx) + Send + 'static>(&self, f: F) {
        let reach = Reach(self.0);
        let event = move |cx: &mut Cx| {
            let reach = reach;
            // SAFETY: this is an event of the color, posted through a handle; so the value is there
            // until it has ended, and no other event of the color runs.
            let inner = unsafe { reach.0.as_ref() };
            if inner.poisoned.load(Ordering::Relaxed) {
                cx.local().count_dropped(1);
                return drop(f);
            }
            inner.with(|value| f(value, cx));
        };
        self.inner().color.post_from_anywhere(event, Location::caller());
    }

    /// The value, from within an event of its color: how an event that has one value of a color
    /// reaches another.
    ///
    /// # Panics
    ///
    /// When the event does not run on the value's color; when it has this very value by reference
    /// already; when the value is poisoned.
    #[track_caller]
    pub fn get_mut<'a>(&'a self, cx: &'a mut Cx) -> &'a mut T {
        let inner = self.inner();
        assert!(cx.is_on(&inner.color), "the event does not run on the color of this value");
        assert!(!inner.borrowed.get(), "the event has this value by reference already");
        assert!(!self.is_poisoned(), "the value is poisoned: an event on it panicked");
        // SAFETY: we are in an event of the color, so no other one runs; this event has no
        // reference to the value from `post` (checked), nor from `get_mut`, which would still
        // borrow `cx`.
        unsafe { &mut *inner.value.get() }
    }

    /// Has an event on the value panicked, and nobody repaired it?
    pub fn is_poisoned(&self) -> bool {
        self.inner().poisoned.load(Ordering::Relaxed)
    }

    /// Posts an event that gets the value even if it is poisoned. When `f` returns, the value is
    /// not poisoned any more, and the events behind it run again.
    #[track_caller]
    pub fn clear_poison<F: FnOnce(&mut T, &mut Cx) + Send + 'static>(&self, f: F) {
        let reach = Reach(self.0);
        let event = move |cx: &mut Cx| {
            let reach = reach;
            // SAFETY: as in `post`.
            let inner = unsafe { reach.0.as_ref() };
            inner.with(|value| f(value, cx));
            inner.poisoned.store(false, Ordering::Relaxed);
        };
        self.inner().color.post_from_anywhere(event, Location::caller());
    }
}

impl<T> Inner<T> {
    /// Runs `f` on the value, in an event of the color; a panic poisons.
    #[inline]
    fn with(&self, f: impl FnOnce(&mut T)) {
        struct Borrow<'a> {
            borrowed: &'a Cell<bool>,
            poisoned: &'a AtomicBool,
            returned: bool,
        }
        impl Drop for Borrow<'_> {
            fn drop(&mut self) {
                self.borrowed.set(false);
                if !self.returned {
                    self.poisoned.store(true, Ordering::Relaxed);
                }
            }
        }
        let borrowed_before = self.borrowed.replace(true);
        debug_assert!(!borrowed_before, "an event of the color begins while another one runs");
        let mut borrow =
            Borrow { borrowed: &self.borrowed, poisoned: &self.poisoned, returned: false };
        // SAFETY: only called by an event of the color as its only access; `borrowed` keeps
        // `get_mut` away.
        f(unsafe { &mut *self.value.get() });
        borrow.returned = true;
    }
}

impl<T: Send + 'static> Clone for Colored<T> {
    fn clone(&self) -> Self {
        // Relaxed: we are a handle.
        let before = self.inner().handles.fetch_add(1, Ordering::Relaxed);
        if before > usize::MAX / 2 {
            std::process::abort();
        }
        Colored(self.0)
    }
}

impl<T: Send + 'static> Drop for Colored<T> {
    #[track_caller]
    fn drop(&mut self) {
        // Release, and Acquire by the last one: what other handles posted comes before its event.
        if self.inner().handles.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        /// Drops the value where it is dropped itself: in its event, or with it.
        struct End<T>(Reach<T>);
        impl<T> Drop for End<T> {
            fn drop(&mut self) {
                // SAFETY: no handle is left, and this stands behind all events that had one.
                drop(unsafe { Box::from_raw((self.0).0.as_ptr()) });
            }
        }
        // A clone, as the one inside goes with the value.
        let color = self.inner().color.clone();
        let end = End(Reach(self.0));
        let (core, site) = (color.core(), Location::caller());
        let event = match Local::current(core) {
            Some(local) => local.event(move |_| drop(end), site),
            None => outside_event(core, move |_| drop(end), site),
        };
        // SAFETY: the event is fresh.
        unsafe { color.enqueue_from_anywhere(event) };
    }
}

impl<T: Send + 'static> fmt::Debug for Colored<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Colored")
            .field("color", self.color())
            .field("poisoned", &self.is_poisoned())
            .finish_non_exhaustive()
    }
}
