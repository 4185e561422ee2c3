//! What a callback gets: posting without a look for the current worker, and questions about where
//! it runs.

use std::marker::PhantomData;
use std::panic::Location;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use dapple_colors::Access;

use crate::color::cell::Plan;
use crate::color::set::post_set;
use crate::event::large::{Boxed, is_large};
use crate::runtime::core::CoreRef;
use crate::worker::local::Local;
use crate::{Color, Handle, Request, Timer, TryPostError};

/// The worker and the color that a callback runs on.
///
/// Each callback gets one by reference; it cannot be kept, sent, or made.
///
/// # Examples
///
/// ```
/// let rt = dapple::Runtime::new()?;
/// let (c, d) = (rt.handle().new_color(), rt.handle().new_color());
/// let also_c = c.clone();
/// rt.handle().post(&c, move |cx| {
///     assert!(cx.is_on(&also_c) && !cx.is_on(&d));
///     cx.post(&d, |_| println!("runs on another color, perhaps on another core"));
/// });
/// rt.wait_idle();
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Cx {
    local: NonNull<Local>,
    _not_send: PhantomData<*mut ()>,
}

impl Cx {
    /// The reference is given to user code only while the worker's stack holds `local`.
    #[inline]
    pub(crate) fn new(local: &Local) -> Self {
        Cx { local: NonNull::from(local), _not_send: PhantomData }
    }

    #[inline]
    pub(crate) fn local(&self) -> &Local {
        // SAFETY: a `Cx` is made on the worker's stack above its `Local`, is not Send, and user
        // code only ever gets a reference to it, which ends with the callback.
        unsafe { self.local.as_ref() }
    }

    /// What the callback may do with a color; `None`: nothing.
    #[inline]
    pub(crate) fn access(&self, color: &Color) -> Option<Access> {
        self.local().current.access(color.cell())
    }

    /// Runs `f`; a panic is caught, counted and reported.
    pub(crate) fn guard(&mut self, site: &'static Location<'static>, f: impl FnOnce(&mut Cx)) {
        // SAFETY: the worker's part outlives what runs on it.
        let local = unsafe { self.local.as_ref() };
        local.guard(Some(site), || f(self));
    }

    /// Posts `f` to a color. See [`Handle::post`].
    #[track_caller]
    #[inline]
    pub fn post<F: FnOnce(&mut Cx) + Send + 'static>(&mut self, color: &Color, f: F) {
        if is_large::<F>() {
            return self.post(color, Box::new(f) as Boxed);
        }
        let local = self.local();
        if color.core_ptr() == local.core.as_ptr() {
            // SAFETY: `color` is a handle.
            unsafe { local.post(color.cell(), f, Location::caller()) }
        } else {
            color.post_from_outside(f, Location::caller());
        }
    }

    /// Posts `f` to the color that the callback runs on, without a handle of it; of a set, to the color that was named first;
    /// if it runs on none, without a color.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple::{Cx, Runtime};
    /// fn count_down(n: u32, cx: &mut Cx) {
    ///     if n > 0 {
    ///         cx.post_here(move |cx| count_down(n - 1, cx));
    ///     }
    /// }
    /// let rt = Runtime::new()?;
    /// rt.handle().post(&rt.handle().new_color(), |cx| count_down(99, cx));
    /// rt.wait_idle();
    /// assert_eq!(rt.metrics().events(), 100);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    #[inline]
    pub fn post_here<F: FnOnce(&mut Cx) + Send + 'static>(&mut self, f: F) {
        if is_large::<F>() {
            return self.post_here(Box::new(f) as Boxed);
        }
        let local = self.local();
        match local.current.first_color() {
            // SAFETY: the callback runs on the color.
            Some(cell) => unsafe { local.post(cell, f, Location::caller()) },
            None => local.post_uncolored(f, Location::caller()),
        }
    }

    /// Posts `f` to the default color. See [`Handle::post_default`].
    #[track_caller]
    #[inline]
    pub fn post_default<F: FnOnce(&mut Cx) + Send + 'static>(&mut self, f: F) {
        if is_large::<F>() {
            return self.post_default(Box::new(f) as Boxed);
        }
        let local = self.local();
        // SAFETY: the default color lives as long as the core.
        unsafe { local.post(local.core.default_color(), f, Location::caller()) }
    }

    /// Posts `f` without a color. See [`Handle::post_uncolored`].
    #[track_caller]
    #[inline]
    pub fn post_uncolored<F: FnOnce(&mut Cx) + Send + 'static>(&mut self, f: F) {
        if is_large::<F>() {
            return self.post_uncolored(Box::new(f) as Boxed);
        }
        self.local().post_uncolored(f, Location::caller());
    }

    /// Posts `f` to a color with shared access. See [`Handle::post_shared`].
    #[track_caller]
    pub fn post_shared<F: FnOnce(&mut Cx) + Send + 'static>(&mut self, color: &Color, f: F) {
        color.post_shared(f);
    }

    /// Posts `f` to a color if it has room. See [`Handle::try_post`].
    ///
    /// # Errors
    ///
    /// As there.
    #[track_caller]
    pub fn try_post<F: FnOnce(&mut Cx) + Send + 'static>(
        &mut self,
        color: &Color,
        f: F,
    ) -> Result<(), TryPostError<F>> {
        color.try_post(f)
    }

    /// Posts `f` to several colors at once. See [`Handle::post_set`].
    ///
    /// # Panics
    ///
    /// When a color belongs to another runtime.
    #[track_caller]
    pub fn post_set<F>(&mut self, colors: &[Request<'_>], f: F)
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        if is_large::<F>() {
            return self.post_set(colors, Box::new(f) as Boxed);
        }
        post_set(&self.local().core, colors, f, Location::caller());
    }

    /// Posts `f` to a color after `delay`. See [`Handle::post_after`].
    #[track_caller]
    pub fn post_after<F>(&mut self, delay: Duration, color: &Color, f: F) -> Timer
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        if is_large::<F>() {
            return self.post_after(delay, color, Box::new(f) as Boxed);
        }
        self.handle().post_after(delay, color, f)
    }

    /// Posts `f` to a color at a time. See [`Handle::post_at`].
    #[track_caller]
    pub fn post_at<F>(&mut self, at: Instant, color: &Color, f: F) -> Timer
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        if is_large::<F>() {
            return self.post_at(at, color, Box::new(f) as Boxed);
        }
        self.handle().post_at(at, color, f)
    }

    /// A new color. See [`Handle::new_color`].
    pub fn new_color(&mut self) -> Color {
        Color::create(&self.local().core, Plan::default())
    }

    /// A handle of this runtime.
    pub fn handle(&self) -> Handle {
        Handle::new(CoreRef::of(&self.local().core))
    }

    /// The color that the callback runs on, of a set the one that was named first; `None` if it has none.
    pub fn color(&self) -> Option<Color> {
        // SAFETY: the color of the event that runs is alive, and held by this worker, or read by the event.
        self.local().current.first_color().map(|cell| unsafe { Color::revive(cell) })
    }

    /// Does the callback run on this color, alone or beside others (C15)?
    pub fn is_on(&self, color: &Color) -> bool {
        self.access(color).is_some()
    }

    /// Does it, and nothing else of the color meanwhile?
    pub fn is_alone_on(&self, color: &Color) -> bool {
        self.access(color) == Some(Access::Exclusive)
    }

    /// The number of the worker that runs the callback, counted from 0.
    pub fn worker(&self) -> usize {
        self.local().index
    }

    /// Grows whenever this worker looks at its descriptors, or steals. Two callbacks on one worker that
    /// see the same number belong to the same batch of readiness: what one of them learned about the
    /// outside world after the batch began is as fresh for the other.
    pub fn poll_count(&self) -> u64 {
        self.local().polls.get()
    }
}

impl std::fmt::Debug for Cx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cx").field("worker", &self.worker()).finish_non_exhaustive()
    }
}
