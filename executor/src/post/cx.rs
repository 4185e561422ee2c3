//! The operations that a callback performs through its [`Cx`].

use std::time::{Duration, Instant};

use dapple_colors::Access;

use super::Posting;
use super::set::{Request, post_set};
use crate::color::cell::Plan;
use crate::cx::Cx;
use crate::event::large::{Boxed, is_large};
use crate::runtime::core::CoreRef;
use crate::site::Site;
use crate::{Color, Handle, JoinError, JoinHandle, Timer, TryPostError};

impl Cx {
    /// Returns the callback's access to a color, or `None` if it does not run on the color.
    #[inline]
    pub(crate) fn access(&self, color: &Color) -> Option<Access> {
        self.local().current.access(color.as_cell())
    }

    /// Posts `f` to a color. See [`Handle::post`].
    #[track_caller]
    #[inline]
    pub fn post<F: FnOnce(&mut Cx) + Send + 'static>(&mut self, color: &Color, f: F) {
        if is_large::<F>() {
            return self.post(color, Box::new(f) as Boxed);
        }
        self.post_from(Site::caller(), color, f);
    }

    /// Posts `f` to a color, with `site` as the place that reports name. See [`Handle::post_from`].
    #[inline]
    pub fn post_from<F>(&mut self, site: Site, color: &Color, f: F)
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        if is_large::<F>() {
            return self.post_from(site, color, Box::new(f) as Boxed);
        }
        let local = self.local();
        let posting = Posting::open(site);
        if std::ptr::eq(color.core(), &*local.core) {
            local.post(color.as_cell(), Access::Exclusive, f, posting);
        } else {
            color.post_as(Access::Exclusive, f, posting);
        }
    }

    /// Posts `f` to the color that the callback runs on, without needing a [`Color`] value for it.
    ///
    /// If the callback runs on a set of colors, `f` is posted to the color that the set named
    /// first. If it runs without a color, `f` is posted without a color.
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
        let posting = Posting::open(Site::caller());
        local.current.with_first(|color| match color {
            Some(cell) => local.post(cell, Access::Exclusive, f, posting),
            None => local.post_uncolored(f, posting),
        });
    }

    /// Posts `f` to the default color. See [`Handle::post_default`].
    #[track_caller]
    #[inline]
    pub fn post_default<F: FnOnce(&mut Cx) + Send + 'static>(&mut self, f: F) {
        if is_large::<F>() {
            return self.post_default(Box::new(f) as Boxed);
        }
        let local = self.local();
        let posting = Posting::open(Site::caller());
        local.post(local.core.default_color(), Access::Exclusive, f, posting);
    }

    /// Posts `f` without a color. See [`Handle::post_uncolored`].
    #[track_caller]
    #[inline]
    pub fn post_uncolored<F: FnOnce(&mut Cx) + Send + 'static>(&mut self, f: F) {
        if is_large::<F>() {
            return self.post_uncolored(Box::new(f) as Boxed);
        }
        self.local().post_uncolored(f, Posting::open(Site::caller()));
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
    /// Returns `Full` if the color has reached its capacity, which counts events that are queued or
    /// running and outstanding [permits](crate::Permit). Returns `Closed` if the color belongs to
    /// another runtime, which is shutting down. Both errors return `f`.
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
    /// If a color belongs to another runtime, or if two of the colors are bound to different
    /// workers.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let h = rt.handle();
    /// let (account, rates) = (h.new_color(), h.new_color());
    /// h.post_default(move |cx| {
    ///     let (also_account, also_rates) = (account.clone(), rates.clone());
    ///     cx.post_set(&[account.exclusive(), rates.shared()], move |cx| {
    ///         assert!(cx.is_alone_on(&also_account));
    ///         assert!(cx.is_on(&also_rates) && !cx.is_alone_on(&also_rates));
    ///     });
    /// });
    /// rt.wait_idle();
    /// # assert_eq!((rt.metrics().panics(), rt.metrics().events()), (0, 2));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn post_set<F>(&mut self, colors: &[Request<'_>], f: F)
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        if is_large::<F>() {
            return self.post_set(colors, Box::new(f) as Boxed);
        }
        post_set(&self.local().core, colors, f, Posting::open(Site::caller()));
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

    /// Posts `f` to a color at the time `at`. See [`Handle::post_at`].
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

    /// Posts `f` to a color every `period`. See [`Handle::every`].
    ///
    /// # Panics
    ///
    /// If `period` is zero.
    #[track_caller]
    pub fn every<F>(&mut self, period: Duration, color: &Color, f: F) -> Timer
    where
        F: FnMut(&mut Cx) + Send + 'static,
    {
        self.handle().every(period, color, f)
    }

    /// Runs blocking work on the blocking pool. See [`Handle::offload`].
    ///
    /// # Errors
    ///
    /// The handle yields an error if the work [panicked](crate::JoinError::is_panic), or if a
    /// shutdown dropped it unrun.
    #[track_caller]
    pub fn offload<R, F>(&mut self, f: F) -> JoinHandle<R>
    where
        R: Send + 'static,
        F: FnOnce() -> R + Send + 'static,
    {
        self.handle().offload(f)
    }

    /// Runs blocking work `f` on the blocking pool, then posts `then` with its result to a color.
    /// See [`Handle::offload_then`].
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let (log, config) = (rt.handle().new_color(), rt.handle().new_color());
    /// config.post(move |cx| {
    ///     let read = || std::fs::read_to_string("/etc/hostname");
    ///     cx.offload_then(&log, read, |name, _| println!("{:?}", name.expect("no panic")));
    /// });
    /// rt.wait_idle();
    /// # assert_eq!(rt.metrics().events(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn offload_then<R, F, G>(&mut self, color: &Color, f: F, then: G)
    where
        R: Send + 'static,
        F: FnOnce() -> R + Send + 'static,
        G: FnOnce(Result<R, JoinError>, &mut Cx) + Send + 'static,
    {
        self.handle().offload_then(color, f, then);
    }

    /// Creates a color. See [`Handle::new_color`].
    pub fn new_color(&mut self) -> Color {
        Color::create(&self.local().core, Plan::default())
    }

    /// Returns a handle of the runtime that runs the callback.
    pub fn handle(&self) -> Handle {
        Handle::new(CoreRef::of(&self.local().core))
    }

    /// Returns the color that the callback runs on, or `None` if it has none. For a set, it is the
    /// color that was named first.
    pub fn color(&self) -> Option<Color> {
        self.local().current.with_first(|color| color.map(Color::of))
    }

    /// Returns `true` if the callback runs on `color`, with exclusive or shared access (C15).
    pub fn is_on(&self, color: &Color) -> bool {
        self.access(color).is_some()
    }

    /// Returns `true` if the callback runs on `color` with exclusive access, so that no other event
    /// of the color overlaps it.
    pub fn is_alone_on(&self, color: &Color) -> bool {
        self.access(color) == Some(Access::Exclusive)
    }
}
