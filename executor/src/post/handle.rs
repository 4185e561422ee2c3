//! Posting through a handle of the runtime.

use dapple_colors::Access;

use super::Posting;
use super::set::{Request, post_set};
use crate::cx::Cx;
use crate::event::large::{Boxed, is_large};
use crate::site::Site;
use crate::turn::local::Local;
use crate::{Color, Handle, TryPostError};

impl Handle {
    /// Posts `f` to a color: it runs after everything that was posted to this color before, and
    /// not at the same time as anything else of it.
    ///
    /// The color may belong to another runtime; the callback then runs there.
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

    /// Posts `f` to a color, and has reports name `site` as the place that posted it. See
    /// [`post`](Self::post), which names its caller.
    ///
    /// This is for code that posts on behalf of others: bindings, and layers on top of this crate.
    pub fn post_from<F>(&self, site: Site, color: &Color, f: F)
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        if is_large::<F>() {
            return self.post_from(site, color, Box::new(f) as Boxed);
        }
        color.post_as(Access::Exclusive, f, Posting::open(site));
    }

    /// Posts `f` to a color if it has room for one more event (C8). Only a color with a
    /// [capacity](crate::ColorBuilder::capacity) can be full; code that posts in this way can say
    /// no at once where others would queue.
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
    /// `Full` if as many events as the color may have are queued, running, or have
    /// [permits](crate::Permit); `Closed` when the runtime is shutting down, unless the caller is a
    /// worker. Both hand `f` back.
    #[track_caller]
    pub fn try_post<F: FnOnce(&mut Cx) + Send + 'static>(
        &self,
        color: &Color,
        f: F,
    ) -> Result<(), TryPostError<F>> {
        color.try_post(f)
    }

    /// Posts `f` to the default color.
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

    /// Posts `f` without a color: it shares with nobody, so it may run at any time, on any worker,
    /// beside anything, and costs less than a color of its own (C14).
    #[track_caller]
    #[inline]
    pub fn post_uncolored<F: FnOnce(&mut Cx) + Send + 'static>(&self, f: F) {
        self.post_uncolored_from(Site::caller(), f);
    }

    /// Posts `f` without a color, and has reports name `site` as the place that posted it. See
    /// [`post_uncolored`](Self::post_uncolored), which names its caller.
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

    /// Posts `f` to a color with shared access: it may run beside other shared events of the color,
    /// on all cores at once, but not beside an exclusive one (C5). Elsewhere that is a reader of a
    /// readers-writer lock.
    ///
    /// Shared events that stand behind each other in the color's queue are one group, without an
    /// order inside. A group begins when the exclusive event before it has ended, and the exclusive
    /// event behind it begins when all of the group have ended; so neither side starves.
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

    /// Posts `f` to a color with shared access, and has reports name `site` as the place that
    /// posted it. See [`post_shared`](Self::post_shared), which names its caller.
    pub fn post_shared_from<F>(&self, site: Site, color: &Color, f: F)
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        if is_large::<F>() {
            return self.post_shared_from(site, color, Box::new(f) as Boxed);
        }
        color.post_as(Access::Shared, f, Posting::open(site));
    }

    /// Posts `f` to several colors, each [exclusive](Color::exclusive) or [shared](Color::shared):
    /// it runs when it has them all (C6). No thread waits meanwhile, and sets never wait for each
    /// other in a circle, in whatever order they name their colors.
    ///
    /// A color that is named twice counts once, with its stronger access. A set of one color is a
    /// plain post.
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
    /// When a color belongs to another runtime.
    #[track_caller]
    #[doc(alias = "when")]
    #[doc(alias = "behaviour")]
    pub fn post_set<F>(&self, colors: &[Request<'_>], f: F)
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        self.post_set_from(Site::caller(), colors, f);
    }

    /// Posts `f` to several colors, and has reports name `site` as the place that posted it. See
    /// [`post_set`](Self::post_set), which names its caller.
    ///
    /// # Panics
    ///
    /// When a color belongs to another runtime.
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
