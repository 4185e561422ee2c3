//! Data bound to a color (C13).
//!
//! Only exclusive events of its color write the value, and shared ones read it, so it needs no
//! lock. Nothing counts the events that are still to reach the value. Instead, dropping the last
//! handle posts an event to the color, which drops the value. The order of the queue puts this
//! event behind all that were posted before. It is posted in every phase of the runtime. Where it
//! is discarded instead of run, its drop does the same work.

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

/// A value that belongs to a color: exclusive events of the color get it as `&mut T`, shared ones
/// as `&T`, and nothing else reaches it.
///
/// Handles can be cloned and sent to any thread. When the last handle is dropped, the value is
/// dropped as an event of its color, behind the events that were posted before.
///
/// # Panics in events
///
/// A value is *poisoned* when an event that has it by `&mut` panics. From then on events on it are
/// dropped unrun and counted, until [`clear_poison`](Self::clear_poison) repairs the value.
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

// SAFETY: either one exclusive event at a time reaches the value, on any thread, which T: Send
// allows, or several shared ones do, which require T: Sync. The other fields of `Inner` are atomic,
// immutable, or touched on the color only.
unsafe impl<T: Send> Send for Colored<T> {}
// SAFETY: `&Colored<T>` gives no access to the value except in events of its color.
unsafe impl<T: Send> Sync for Colored<T> {}

/// A pointer to the value, which an event on it carries.
pub struct Reach<T>(pub(super) NonNull<Inner<T>>);

impl<T> Clone for Reach<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Reach<T> {}

impl<T: Send + 'static> Reach<T> {
    /// Returns a handle for an event that may be suspended (E18), so that the value stays alive
    /// until the event has ended. Returns `None` if the color is not bound to the user's thread.
    /// `inner` is what `self` points to.
    #[inline]
    fn keep(self, inner: &Inner<T>) -> Option<Colored<T>> {
        inner.color.as_cell().is_here().then(|| {
            // Relaxed: an end event that stands behind this event reads the count on this same
            // thread.
            inner.handles.fetch_add(1, Ordering::Relaxed);
            Colored(self.0)
        })
    }

    /// Runs `f` on the value. If the value is poisoned, drops `f` unrun and counts it.
    ///
    /// # Safety
    ///
    /// The caller is an exclusive event of the value's color, was posted through a handle, and runs
    /// on the worker of `cx`. It has no reference to the value.
    #[inline]
    pub(crate) unsafe fn run<R>(
        self,
        cx: &mut Cx,
        f: impl FnOnce(&mut T, &mut Cx) -> R,
    ) -> Option<R> {
        // SAFETY: the caller is an exclusive event of the color, posted through a handle, so the
        // value stays alive until the event has ended or `_keep` is dropped. The event has no
        // reference to the value.
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

    /// Runs `f` on the value in a shared event. If the value is poisoned, drops `f` unrun and
    /// counts it.
    ///
    /// # Safety
    ///
    /// The caller is a shared event of the value's color and was posted through a handle.
    pub(crate) unsafe fn run_shared<R>(
        self,
        cx: &mut Cx,
        f: impl FnOnce(&T, &mut Cx) -> R,
    ) -> Option<R> {
        // SAFETY: the caller is a shared event of the color, posted through a handle, so the value
        // stays alive until the event has ended. No exclusive event runs, so nobody has the value
        // by `&mut`.
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

// SAFETY: a `Reach` reaches the value in events of its color only, as a `Colored` does.
unsafe impl<T: Send> Send for Reach<T> {}

// A panic poisons the value, so no event sees what it left half done.
impl<T: Send> UnwindSafe for Colored<T> {}
impl<T: Send> RefUnwindSafe for Colored<T> {}

impl<T: Send + 'static> Colored<T> {
    /// Binds `value` to `color`. Reports name the caller as the site of the value's drop.
    ///
    /// See [`Colored`] for an example.
    #[track_caller]
    pub fn new(color: &Color, value: T) -> Self {
        Colored::new_from(Site::caller(), color, value)
    }

    /// Binds `value` to `color`, and makes `site` the site of the value's drop in reports. For
    /// libraries that bind the values of their callers.
    ///
    /// See [`Site`] for an example.
    pub fn new_from(site: Site, color: &Color, value: T) -> Self {
        let inner = Box::new(Inner::new(color.clone(), site, value));
        // SAFETY: `Box::into_raw` never returns null.
        Colored(unsafe { NonNull::new_unchecked(Box::into_raw(inner)) })
    }

    fn inner(&self) -> &Inner<T> {
        // SAFETY: this handle keeps the value alive: only the last handle posts the event that
        // drops it.
        unsafe { self.0.as_ref() }
    }

    pub(crate) fn reach(&self) -> Reach<T> {
        Reach(self.0)
    }

    /// Names this value as a part of a [`ColoredSet`](crate::ColoredSet) whose event gets it by
    /// `&mut`.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple::{Colored, ColoredSet};
    /// let rt = dapple::Runtime::new()?;
    /// let h = rt.handle();
    /// let (from, to) = (Colored::new(&h.new_color(), 100), Colored::new(&h.new_color(), 0));
    /// let amount = Colored::new(&h.new_color(), 30);
    /// (from.exclusive(), to.exclusive(), amount.shared()).post(|(from, to, amount), _| {
    ///     *from -= *amount;
    ///     *to += *amount;
    /// });
    /// (from.shared(), to.shared()).post(|(from, to), _| assert_eq!((*from, *to), (70, 30)));
    /// rt.wait_idle();
    /// # assert_eq!((rt.metrics().panics(), rt.metrics().events()), (0, 2));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn exclusive(&self) -> Exclusive<'_, T> {
        Exclusive(self)
    }

    /// Names this value as a part of a [`ColoredSet`](crate::ColoredSet) whose event gets it by
    /// `&`.
    ///
    /// See [`exclusive`](Self::exclusive) for an example.
    pub fn shared(&self) -> Shared<'_, T>
    where
        T: Sync,
    {
        Shared(self)
    }

    /// Returns the color that the value belongs to.
    pub fn color(&self) -> &Color {
        &self.inner().color
    }

    /// Posts an exclusive event that gets the value. The runtime accepts or refuses it as
    /// [`Handle::post`](crate::Handle::post) does.
    ///
    /// See [`Colored`] for an example.
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

    /// Posts an exclusive event that gets the value, if its color has room for one more. See
    /// [`Handle::try_post`](crate::Handle::try_post).
    ///
    /// # Errors
    ///
    /// Returns `Full` if the color has reached its capacity, which counts events that are queued or
    /// running and outstanding [permits](crate::Permit). Returns `Closed` if the color's runtime is
    /// shutting down, unless the caller is one of its workers, or its blocking work before the
    /// runtime drops the events that are left. Both errors return `f`.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let color = rt.handle().color_builder().capacity(100).build();
    /// let letters = dapple::Colored::new(&color, vec![]);
    /// let mut refused = 0;
    /// for n in 0..1_000 {
    ///     if let Err(full) = letters.try_post(move |letters, _| letters.push(n)) {
    ///         assert!(full.is_full());
    ///         refused += 1;
    ///     }
    /// }
    /// letters.post(move |letters, _| assert_eq!(letters.len() + refused, 1_000));
    /// rt.wait_idle();
    /// # assert_eq!(rt.metrics().panics(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
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

    /// Posts an event that gets the value, in every phase of the runtime, to keep a promise made
    /// earlier.
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
            // SAFETY: this is an exclusive event of the color, posted through a handle, on the
            // worker of `cx`. It has just begun, so it has no reference to the value.
            unsafe { reach.run(cx, f) };
        }
    }

    /// Posts a shared event that gets the value by reference.
    ///
    /// It may run concurrently with other shared events of the color, on any number of cores, but
    /// not with an exclusive one. See [`Handle::post_shared`](crate::Handle::post_shared). A panic
    /// in the event does not poison the value, as the event cannot have changed it.
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

    /// Returns the value for reading, within any event of its color, exclusive or shared.
    ///
    /// # Panics
    ///
    /// Panics if the caller does not run on the value's color, if it already has the value by
    /// `&mut`, or if the value is poisoned. May also panic if an earlier event leaked such a
    /// reference, for example by `mem::forget`.
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
        if alone && inner.is_borrowed_mut() {
            panic!("the event already has a reference to this value");
        }
        assert!(!self.is_poisoned(), "the value is poisoned: an event on it panicked");
        // SAFETY: an event of the color runs. If it is shared, no exclusive event runs. If it is
        // exclusive, the check above shows that it does not have the value by `&mut`.
        ReachedRef(unsafe { inner.share(alone) })
    }

    /// Returns the value for writing, within an exclusive event of its color.
    ///
    /// An event that has one value of a color reaches another one in this way. A panic while the
    /// reference exists poisons the value.
    ///
    /// # Panics
    ///
    /// Panics if the caller is not an exclusive event of the value's color, if it already has the
    /// value by reference, or if the value is poisoned. Panics as well if an earlier event leaked a
    /// reference to the value, for example by `mem::forget`.
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

    /// Runs `f` on the value, within an exclusive event of its color.
    ///
    /// This is for code without a [`Cx`], such as async tasks on the color. A panic in `f` poisons
    /// the value.
    ///
    /// # Panics
    ///
    /// Panics if the calling thread does not run an exclusive event of the value's color, if that
    /// event already has the value by reference, or if the value is poisoned. Panics as well if an
    /// earlier event leaked a reference to the value, for example by `mem::forget`.
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

    /// Returns the value to an event that has this access to its color.
    #[track_caller]
    pub(super) fn reach_alone(&self, access: Option<Access>) -> Borrow<'_, T> {
        match access {
            None => panic!("the event does not run on the color of this value"),
            Some(Access::Shared) => {
                panic!("the event has only shared access to the color of this value")
            }
            Some(Access::Exclusive) => {}
        }
        let inner = self.inner();
        assert!(!inner.is_borrowed(), "the event already has a reference to this value");
        assert!(!self.is_poisoned(), "the value is poisoned: an event on it panicked");
        // SAFETY: an exclusive event of the color runs, and by the check above it has no reference
        // to the value.
        unsafe { inner.borrow() }
    }

    /// Returns `true` if an event on the value has panicked and the value has not been repaired
    /// since.
    pub fn is_poisoned(&self) -> bool {
        self.inner().is_poisoned()
    }

    /// Posts an exclusive event that gets the value even if it is poisoned. When `f` returns, the
    /// value is no longer poisoned, and the events behind it run again.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let sum = dapple::Colored::new(&rt.handle().new_color(), 1);
    /// sum.post(|sum, _| {
    ///     *sum = 7;
    ///     panic!("halfway");
    /// });
    /// sum.post(|_, _| unreachable!("the value is poisoned, so this is dropped unrun"));
    /// sum.clear_poison(|sum, _| *sum = 0);
    /// sum.post(|sum, _| *sum += 1);
    /// assert_eq!(sum.call(|sum, _| *sum).join(), Ok(1));
    /// assert!(!sum.is_poisoned());
    /// # assert_eq!((rt.metrics().panics(), rt.metrics().dropped()), (1, 1));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn clear_poison<F: FnOnce(&mut T, &mut Cx) + Send + 'static>(&self, f: F) {
        if is_large::<F>() {
            return self.clear_poison(Box::new(f) as BoxedMut<T>);
        }
        let reach = Reach(self.0);
        let event = move |cx: &mut Cx| {
            let reach = reach;
            // SAFETY: this is an exclusive event of the color, posted through a handle. It has just
            // begun, so it has no reference to the value.
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
        // Relaxed: this handle keeps the count above zero.
        let before = self.inner().handles.fetch_add(1, Ordering::Relaxed);
        if before > usize::MAX / 2 {
            std::process::abort();
        }
        Colored(self.0)
    }
}

impl<T: Send + 'static> Drop for Colored<T> {
    fn drop(&mut self) {
        // Release here, acquire by the last handle: what the other handles posted precedes its
        // event.
        if self.inner().handles.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        /// Drops the value when it is dropped itself, in the end event or together with it.
        struct End<T>(Reach<T>);
        impl<T> Drop for End<T> {
            fn drop(&mut self) {
                let inner = (self.0).0;
                // SAFETY: the end event stands behind all events that were posted through a handle,
                // so the value is alive until the last end. If no handle is left, none of those
                // events is suspended. If this is also the last end, nothing else drops the value.
                unsafe {
                    let is_last = inner.as_ref().ends.fetch_sub(1, Ordering::AcqRel) == 1;
                    if is_last && inner.as_ref().handles.load(Ordering::Acquire) == 0 {
                        drop(Box::from_raw(inner.as_ptr()));
                    }
                }
            }
        }
        // A suspended event may take a handle when none is left, so there can be a second end
        // event. The last one to run drops the value.
        self.inner().ends.fetch_add(1, Ordering::Relaxed);
        // A clone, because the color inside is dropped with the value.
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
