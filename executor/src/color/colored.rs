//! Data bound to a color (C13).
//!
//! The value is written in exclusive events of its color only, and read in shared ones, so it needs
//! no lock. Nothing counts the events that will reach it: when the last handle is dropped, an event
//! is posted to the color that drops the value, and the order of the queue puts it behind all that
//! were posted before. That event is posted whatever the phase of the runtime; where it is disposed
//! of instead of run, its drop does the same.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;

use dapple_colors::Access;

use super::colored_set::{Exclusive, Shared};
use super::handle::Color;
use super::value::{Borrow, Inner, Reached, ReachedRef};
use crate::TryPostError;
use crate::cx::Cx;
use crate::event::Owned;
use crate::event::large::{BoxedMut, BoxedRef, is_large};
use crate::post::Posting;
use crate::site::Site;
use crate::sync::{Ordering, fence};
use crate::turn::local::Local;

/// A value that belongs to a color: `&mut T` in its events, `&T` in its shared ones, nothing
/// anywhere else.
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

// SAFETY: only one event at a time reaches the value, on whatever thread, which T: Send allows; or
// several that share it, which asks for T: Sync. The rest of `Inner` is atomic, immutable, or
// touched on the color only.
unsafe impl<T: Send> Send for Colored<T> {}
// SAFETY: `&Colored<T>` gives no `&T` off the color.
unsafe impl<T: Send> Sync for Colored<T> {}

/// A pointer that an event takes along.
pub struct Reach<T>(pub(super) NonNull<Inner<T>>);

impl<T> Clone for Reach<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Reach<T> {}

impl<T: Send + 'static> Reach<T> {
    /// A handle for an event that may be suspended (E18): whatever ends meanwhile, the value stays
    /// until the event has ended. `None`: its color is not bound to a thread of the user's.
    /// `inner`: what this reaches.
    #[inline]
    fn keep(self, inner: &Inner<T>) -> Option<Colored<T>> {
        inner.color.as_cell().is_here().then(|| {
            // Relaxed: an end that stands behind this event already asks on this thread.
            inner.handles.fetch_add(1, Ordering::Relaxed);
            Colored(self.0)
        })
    }

    /// Runs `f` on the value; if it is poisoned, drops it, and counts.
    ///
    /// # Safety
    ///
    /// An exclusive event of the value's color runs, on the worker of `cx`, that was posted through
    /// a handle; it has no reference to the value.
    #[inline]
    pub(crate) unsafe fn run<R>(
        self,
        cx: &mut Cx,
        f: impl FnOnce(&mut T, &mut Cx) -> R,
    ) -> Option<R> {
        // SAFETY: the caller is an exclusive event of the color, posted through a handle, so the
        // value is there until it has ended, or `_keep` is gone; and it has no reference to the
        // value.
        let (_keep, borrow) = unsafe {
            let inner = self.0.as_ref();
            (self.keep(inner), (!inner.is_poisoned()).then(|| inner.borrow()))
        };
        let Some(mut borrow) = borrow else {
            cx.local().count_skipped();
            return None;
        };
        Some(f(borrow.value(), cx))
    }

    /// Runs `f` on the value in a shared event; if it is poisoned, drops `f`, and counts.
    ///
    /// # Safety
    ///
    /// A shared event of the value's color runs that was posted through a handle.
    pub(crate) unsafe fn run_shared<R>(
        self,
        cx: &mut Cx,
        f: impl FnOnce(&T, &mut Cx) -> R,
    ) -> Option<R> {
        // SAFETY: the caller is a shared event of the color, posted through a handle, so the value
        // is there until it has ended; and no exclusive one runs, so nobody has it by `&mut`.
        let sharing = unsafe {
            let inner = self.0.as_ref();
            (!inner.is_poisoned()).then(|| inner.share(false))
        };
        let Some(sharing) = sharing else {
            cx.local().count_skipped();
            return None;
        };
        Some(f(sharing.value(), cx))
    }
}

// SAFETY: it reaches the value in events of its color only, as a `Colored` does.
unsafe impl<T: Send> Send for Reach<T> {}

// What a panic may have left half done is poisoned.
impl<T: Send> UnwindSafe for Colored<T> {}
impl<T: Send> RefUnwindSafe for Colored<T> {}

impl<T: Send + 'static> Colored<T> {
    /// Binds `value` to `color`. Reports name the caller as the place of the value's drop.
    #[track_caller]
    pub fn new(color: &Color, value: T) -> Self {
        Colored::new_from(Site::caller(), color, value)
    }

    /// Binds `value` to `color`, and has reports name `site` as the place of the value's drop: for
    /// code that binds values of others.
    pub fn new_from(site: Site, color: &Color, value: T) -> Self {
        let inner = Box::new(Inner::new(color.clone(), site, value));
        // SAFETY: a box is not null.
        Colored(unsafe { NonNull::new_unchecked(Box::into_raw(inner)) })
    }

    fn inner(&self) -> &Inner<T> {
        // SAFETY: a handle keeps it; the event that drops it is posted by the last one.
        unsafe { self.0.as_ref() }
    }

    pub(crate) fn reach(&self) -> Reach<T> {
        Reach(self.0)
    }

    /// This value by `&mut`, as a part of a set; see [`ColoredSet`](crate::ColoredSet).
    pub fn exclusive(&self) -> Exclusive<'_, T> {
        Exclusive(self)
    }

    /// This value by `&`, as a part of a set; see [`ColoredSet`](crate::ColoredSet).
    pub fn shared(&self) -> Shared<'_, T>
    where
        T: Sync,
    {
        Shared(self)
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
        if is_large::<F>() {
            return self.post(Box::new(f) as BoxedMut<T>);
        }
        self.post_open(f, Site::caller());
    }

    #[inline]
    pub(super) fn post_open<F>(&self, f: F, site: Site)
    where
        F: FnOnce(&mut T, &mut Cx) + Send + 'static,
    {
        self.inner().color.post_as(Access::Exclusive, self.event(f), Posting::open(site));
    }

    /// Posts an event that gets the value, if its color has room for one more. See
    /// [`Handle::try_post`](crate::Handle::try_post).
    ///
    /// # Errors
    ///
    /// `Full` if as many events as the color may have are queued, running, or have
    /// [permits](crate::Permit); `Closed` when the runtime is shutting down, unless the caller is a
    /// worker. Both hand `f` back.
    #[track_caller]
    pub fn try_post<F>(&self, f: F) -> Result<(), TryPostError<F>>
    where
        F: FnOnce(&mut T, &mut Cx) + Send + 'static,
    {
        let color = &self.inner().color;
        if let Err(refused) = color.admit() {
            return Err(refused.map(|()| f));
        }
        let posting = Posting::counted(Site::caller());
        match is_large::<F>() {
            true => {
                let f = Box::new(f) as BoxedMut<T>;
                color.post_as(Access::Exclusive, self.event(f), posting);
            }
            false => color.post_as(Access::Exclusive, self.event(f), posting),
        }
        Ok(())
    }

    /// Posts an event that gets the value, whatever the phase: what somebody has been promised.
    pub(crate) fn post_always<F: FnOnce(&mut T, &mut Cx) + Send + 'static>(
        &self,
        f: F,
        site: Site,
    ) {
        self.inner().color.post_as(Access::Exclusive, self.event(f), Posting::promised(site));
    }

    #[inline]
    fn event<F>(&self, f: F) -> impl FnOnce(&mut Cx) + Send + use<F, T>
    where
        F: FnOnce(&mut T, &mut Cx) + Send + 'static,
    {
        let reach = Reach(self.0);
        move |cx: &mut Cx| {
            // SAFETY: this is an event of the color, posted through a handle.
            unsafe { reach.run(cx, f) };
        }
    }

    /// Posts a shared event that gets the value: it may run beside other shared events of the
    /// color, on all cores at once, but not beside an exclusive one. See
    /// [`Handle::post_shared`](crate::Handle::post_shared).
    ///
    /// A panic in it poisons nothing, as it cannot have changed the value.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let table = dapple::Colored::new(&rt.handle().new_color(), vec![3, 1, 2]);
    /// table.post(|table, _| table.sort());
    /// for _ in 0..10 {
    ///     table.post_shared(|table, _| assert_eq!(*table, [1, 2, 3]));
    /// }
    /// rt.wait_idle();
    /// # assert_eq!(rt.metrics().panics(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn post_shared<F: FnOnce(&T, &mut Cx) + Send + 'static>(&self, f: F)
    where
        T: Sync,
    {
        if is_large::<F>() {
            return self.post_shared(Box::new(f) as BoxedRef<T>);
        }
        let reach = Reach(self.0);
        let event = move |cx: &mut Cx| {
            // SAFETY: this is a shared event of the color, posted through a handle.
            unsafe { reach.run_shared(cx, f) };
        };
        let posting = Posting::open(Site::caller());
        self.inner().color.post_as(Access::Shared, event, posting);
    }

    /// The value, from within any event of its color, shared or not, to be read.
    ///
    /// # Panics
    ///
    /// When the event does not run on the value's color; when it, or an earlier event that has
    /// forgotten it, has this very value by `&mut` already; when the value is poisoned.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let color = rt.handle().new_color();
    /// let (rates, prices) = (dapple::Colored::new(&color, 2), dapple::Colored::new(&color, 5));
    /// prices.post_shared(move |price, cx| assert_eq!(price * *rates.get(cx), 10));
    /// rt.wait_idle();
    /// # assert_eq!(rt.metrics().panics(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn get<'a>(&'a self, cx: &'a Cx) -> ReachedRef<'a, T>
    where
        T: Sync,
    {
        let inner = self.inner();
        let Some(access) = cx.access(&inner.color) else {
            panic!("the event does not run on the color of this value")
        };
        let alone = access == Access::Exclusive;
        if alone && inner.is_written() {
            panic!("the event has this value by reference already");
        }
        assert!(!self.is_poisoned(), "the value is poisoned: an event on it panicked");
        // SAFETY: an event of the color runs. If it shares the color, no exclusive one does; if it
        // is alone, it does not have the value by `&mut`.
        ReachedRef(unsafe { inner.share(alone) })
    }

    /// The value, from within an exclusive event of its color: how an event that has one value of a
    /// color reaches another. A panic while it is held poisons the value.
    ///
    /// # Panics
    ///
    /// When the event does not run alone on the value's color; when it, or an earlier event that
    /// has forgotten it, has this very value by reference already; when the value is poisoned.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let color = rt.handle().new_color();
    /// let (total, part) = (dapple::Colored::new(&color, 0), dapple::Colored::new(&color, 5));
    /// let also_total = total.clone();
    /// part.post(move |part, cx| *also_total.get_mut(cx) += *part);
    /// total.post(|total, _| assert_eq!(*total, 5));
    /// rt.wait_idle();
    /// # assert_eq!(rt.metrics().panics(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn get_mut<'a>(&'a self, cx: &'a mut Cx) -> Reached<'a, T> {
        Reached(self.reach_alone(cx.access(&self.inner().color)))
    }

    /// Runs `f` on the value, from within an exclusive event of its color: for code that has no
    /// [`Cx`], such as async tasks on the color. A panic in it poisons the value.
    ///
    /// # Panics
    ///
    /// When the calling thread does not run an exclusive event of the value's color; when that, or
    /// an earlier event that has forgotten it, has the value by reference already; when the value
    /// is poisoned.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let hits = dapple::Colored::new(&rt.handle().new_color(), 0);
    /// let task = rt.handle().spawn(hits.color(), {
    ///     let hits = hits.clone();
    ///     async move {
    ///         hits.with(|n| *n += 1);
    ///         dapple::yield_now().await;
    ///         hits.with(|n| *n)
    ///     }
    /// });
    /// assert_eq!(rt.block_on(task).unwrap(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let inner = self.inner();
        let cell = inner.color.as_cell();
        let access = Local::with(cell.core(), |local| local?.current.access(cell));
        f(self.reach_alone(access).value())
    }

    /// The value, for an event with such an access to its color.
    #[track_caller]
    pub(super) fn reach_alone(&self, access: Option<Access>) -> Borrow<'_, T> {
        match access {
            None => panic!("the event does not run on the color of this value"),
            Some(Access::Shared) => panic!("the event shares the color of this value with others"),
            Some(Access::Exclusive) => {}
        }
        let inner = self.inner();
        assert!(!inner.is_borrowed(), "the event has this value by reference already");
        assert!(!self.is_poisoned(), "the value is poisoned: an event on it panicked");
        // SAFETY: an exclusive event of the color runs, which has no reference to the value.
        unsafe { inner.borrow() }
    }

    /// Says whether an event on the value has panicked, and nobody has repaired it.
    pub fn is_poisoned(&self) -> bool {
        self.inner().is_poisoned()
    }

    /// Posts an event that gets the value even if it is poisoned. When `f` returns, the value is
    /// not poisoned any more, and the events behind it run again.
    #[track_caller]
    pub fn clear_poison<F: FnOnce(&mut T, &mut Cx) + Send + 'static>(&self, f: F) {
        if is_large::<F>() {
            return self.clear_poison(Box::new(f) as BoxedMut<T>);
        }
        let reach = Reach(self.0);
        let event = move |cx: &mut Cx| {
            let reach = reach;
            // SAFETY: this is an exclusive event of the color, posted through a handle, at its
            // start.
            let (_keep, inner, mut borrow) = unsafe {
                (reach.keep(reach.0.as_ref()), reach.0.as_ref(), reach.0.as_ref().borrow())
            };
            f(borrow.value(), cx);
            drop(borrow);
            inner.repair();
        };
        let posting = Posting::open(Site::caller());
        self.inner().color.post_as(Access::Exclusive, event, posting);
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
                let inner = (self.0).0;
                // SAFETY: this stands behind all events that had a handle, so the value is there
                // until the last end. If no handle is left, none of these events is suspended; and
                // if this is the last end, nobody else is to drop it.
                unsafe {
                    let is_last = inner.as_ref().ends.fetch_sub(1, Ordering::AcqRel) == 1;
                    if is_last && inner.as_ref().handles.load(Ordering::Acquire) == 0 {
                        drop(Box::from_raw(inner.as_ptr()));
                    }
                }
            }
        }
        // An event that is suspended may have taken a handle when there was none, and this is the
        // second end: the last one counts.
        self.inner().ends.fetch_add(1, Ordering::Relaxed);
        // A clone, as the one inside goes with the value.
        let (color, site) = (self.inner().color.clone(), self.inner().site);
        let end = End(Reach(self.0));
        let core = color.core();
        color.enqueue(Owned::housekeeping(core.memory_here(), end, site));
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
