//! Posting through a [`Handle`] of the runtime.

use dapple_colors::Access;

use super::Posting;
use super::set::{Request, post_set};
use crate::cx::Cx;
use crate::event::large::{Boxed, is_large};
use crate::site::Site;
use crate::turn::local::Local;
use crate::{Color, Handle, TryPostError};

impl Handle {
    /// Posts `f` to a color.
    ///
    /// `f` runs after every event that was posted to the color before it, and never at the same
    /// time as another event of the color.
    ///
    /// The color may belong to another runtime, in which case `f` runs there. If that runtime
    /// refuses the post because it is shutting down, `f` is dropped unrun and counted;
    /// [`try_post`](Self::try_post) returns an error instead.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// let rt = dapple::Runtime::new()?;
    /// let (h, color) = (rt.handle(), rt.handle().new_color());
    /// let (tx, rx) = mpsc::channel();
    /// for n in 0..3 {
    ///     let tx = tx.clone();
    ///     h.post(&color, move |_| tx.send(n).unwrap());
    /// }
    /// rt.wait_idle();
    /// assert_eq!(rx.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    #[inline]
    #[doc(alias = "spawn")]
    #[doc(alias = "cpucb")]
    pub fn post<F: FnOnce(&mut Cx) + Send + 'static>(&self, color: &Color, f: F) {
        if is_large::<F>() {
            return color.post(Box::new(f) as Boxed);
        }
        color.post_as(Access::Exclusive, f, Posting::open(Site::caller()));
    }

    /// Posts `f` to a color, with `site` as the place that reports name. [`post`](Self::post) names
    /// its caller.
    ///
    /// This is for code that posts on behalf of others, such as language bindings and layers on top
    /// of this crate.
    ///
    /// See [`Site`] for an example.
    pub fn post_from<F>(&self, site: Site, color: &Color, f: F)
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        if is_large::<F>() {
            return self.post_from(site, color, Box::new(f) as Boxed);
        }
        color.post_as(Access::Exclusive, f, Posting::open(site));
    }

    /// Posts `f` to a color if the color has room for one more event (C8).
    ///
    /// Only a color with a [capacity](crate::ColorBuilder::capacity) can be full. This form lets
    /// the program refuse work at once instead of queuing it.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let h = rt.handle();
    /// let mail = h.color_builder().capacity(100).build();
    /// let mut refused = 0;
    /// for n in 0..1_000 {
    ///     if let Err(full) = h.try_post(&mail, move |_| println!("letter {n}")) {
    ///         assert!(full.is_full());
    ///         let _the_closure = full.into_inner();
    ///         refused += 1;
    ///     }
    /// }
    /// rt.wait_idle();
    /// assert_eq!(rt.metrics().events() + refused, 1_000);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `Full` if the color has reached its capacity, which counts events that are queued or
    /// running and outstanding [permits](crate::Permit). Returns `Closed` if the color's runtime is
    /// shutting down, unless the caller is one of its workers, or its blocking work before the
    /// runtime drops the events that are left. Both errors return `f`.
    #[track_caller]
    pub fn try_post<F: FnOnce(&mut Cx) + Send + 'static>(
        &self,
        color: &Color,
        f: F,
    ) -> Result<(), TryPostError<F>> {
        color.try_post(f)
    }

    /// Posts `f` to the default color of the runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let h = rt.handle();
    /// let default = h.default_color();
    /// h.post_default(move |cx| assert!(cx.is_alone_on(&default)));
    /// rt.wait_idle();
    /// # assert_eq!(rt.metrics().panics(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    #[inline]
    pub fn post_default<F: FnOnce(&mut Cx) + Send + 'static>(&self, f: F) {
        if is_large::<F>() {
            return self.post_default(Box::new(f) as Boxed);
        }
        let posting = Posting::open(Site::caller());
        let core = self.core();
        Local::with(core, |local| match local {
            Some(local) => local.post(core.default_color(), Access::Exclusive, f, posting),
            None => self.default_color().post_from_outside(Access::Exclusive, f, posting),
        });
    }

    /// Posts `f` without a color (C14).
    ///
    /// Use it for an event that shares data with no other event: `f` may run at any time, on any
    /// worker, at the same time as any other event. It costs less than an event on a color of its
    /// own.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// let rt = dapple::Runtime::new()?;
    /// let (tx, rx) = mpsc::channel();
    /// for n in 1..=100 {
    ///     let tx = tx.clone();
    ///     rt.handle().post_uncolored(move |_| tx.send(n * n).unwrap());   // in parallel
    /// }
    /// rt.wait_idle();
    /// assert_eq!(rx.try_iter().sum::<u64>(), 338_350);                    // received in any order
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    #[inline]
    pub fn post_uncolored<F: FnOnce(&mut Cx) + Send + 'static>(&self, f: F) {
        self.post_uncolored_from(Site::caller(), f);
    }

    /// Posts `f` without a color, with `site` as the place that reports name.
    /// [`post_uncolored`](Self::post_uncolored) names its caller.
    #[inline]
    pub fn post_uncolored_from<F>(&self, site: Site, f: F)
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        if is_large::<F>() {
            return self.post_uncolored_from(site, Box::new(f) as Boxed);
        }
        self.core().post_uncolored(f, Posting::open(site));
    }

    /// Posts `f` to a color with shared access (C5).
    ///
    /// Shared events of a color may run at the same time, on all cores, but never at the same time
    /// as an exclusive event of the color. A shared event corresponds to a reader of a
    /// readers-writer lock.
    ///
    /// Consecutive shared events in the color's queue form a group, which has no order inside. The
    /// group starts when the exclusive event before it has ended, and the exclusive event behind it
    /// starts when the whole group has ended, so neither side starves.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use std::sync::Arc;
    /// let rt = dapple::Runtime::new()?;
    /// let (h, table) = (rt.handle(), rt.handle().new_color());
    /// let entries = Arc::new(AtomicU32::new(0));
    /// let writer = entries.clone();
    /// h.post(&table, move |_| writer.store(7, Ordering::Relaxed));
    /// for _ in 0..100 {
    ///     let reader = entries.clone();
    ///     h.post_shared(&table, move |_| assert_eq!(reader.load(Ordering::Relaxed), 7));
    /// }
    /// h.post(&table, move |_| entries.store(8, Ordering::Relaxed));
    /// rt.wait_idle();
    /// # assert_eq!(rt.metrics().panics(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    #[doc(alias = "read lock")]
    pub fn post_shared<F: FnOnce(&mut Cx) + Send + 'static>(&self, color: &Color, f: F) {
        self.post_shared_from(Site::caller(), color, f);
    }

    /// Posts `f` to a color with shared access, and `site` as the place that reports name.
    /// [`post_shared`](Self::post_shared) names its caller.
    pub fn post_shared_from<F>(&self, site: Site, color: &Color, f: F)
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        if is_large::<F>() {
            return self.post_shared_from(site, color, Box::new(f) as Boxed);
        }
        color.post_as(Access::Shared, f, Posting::open(site));
    }

    /// Posts `f` to several colors, each [exclusive](Color::exclusive) or [shared](Color::shared)
    /// (C6).
    ///
    /// `f` runs when it has all of them. No thread blocks in the meantime, and sets never deadlock,
    /// in whatever order they name their colors.
    ///
    /// A color that is named twice counts once, with the stronger access. A set of one color is a
    /// plain post, and an empty set is a post without a color.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicI64, Ordering::Relaxed}};
    /// let rt = dapple::Runtime::new()?;
    /// let h = rt.handle();
    /// let (alice, bob) = (h.new_color(), h.new_color());
    /// let balances = Arc::new([AtomicI64::new(100), AtomicI64::new(0)]);
    /// let (transfer, audit) = (balances.clone(), balances.clone());
    /// h.post_set(&[alice.exclusive(), bob.exclusive()], move |_| {
    ///     transfer[0].fetch_sub(30, Relaxed);
    ///     transfer[1].fetch_add(30, Relaxed);
    /// });
    /// h.post_set(&[bob.shared(), alice.shared()], move |_| {
    ///     assert_eq!(audit[0].load(Relaxed) + audit[1].load(Relaxed), 100);
    /// });
    /// rt.wait_idle();
    /// # assert_eq!((rt.metrics().panics(), rt.metrics().events()), (0, 2));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If a color belongs to another runtime, or if two of the colors are bound to different
    /// workers.
    #[track_caller]
    #[doc(alias = "when")]
    #[doc(alias = "behaviour")]
    pub fn post_set<F>(&self, colors: &[Request<'_>], f: F)
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        self.post_set_from(Site::caller(), colors, f);
    }

    /// Posts `f` to several colors, with `site` as the place that reports name. See
    /// [`post_set`](Self::post_set), which names its caller.
    ///
    /// # Panics
    ///
    /// If a color belongs to another runtime, or if two of the colors are bound to different
    /// workers.
    pub fn post_set_from<F>(&self, site: Site, colors: &[Request<'_>], f: F)
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        if is_large::<F>() {
            return self.post_set_from(site, colors, Box::new(f) as Boxed);
        }
        post_set(self.core(), colors, f, Posting::open(site));
    }
}
