//! [`Cx`], the view of its worker that a callback gets. Its methods that post are in `post::cx`.

use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::site::Site;
use crate::turn::local::Local;

/// The worker and the color that a callback runs on.
///
/// Each callback gets a `Cx` by reference. A program cannot keep it, send it to another thread, or
/// make one.
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
    /// Calls `f` with a `Cx` of this worker.
    #[inline]
    pub(crate) fn with<R>(local: &Local, f: impl FnOnce(&mut Cx) -> R) -> R {
        f(&mut Cx { local: NonNull::from(local), _not_send: PhantomData })
    }

    #[inline]
    pub(crate) fn local(&self) -> &Local {
        // SAFETY: a `Cx` is made in `with` only, which borrows the `Local` for longer than the `Cx`
        // exists.
        unsafe { self.local.as_ref() }
    }

    /// Runs `f` on this worker. A panic of `f` is caught, counted and reported.
    pub(crate) fn guard(&mut self, site: Site, f: impl FnOnce(&mut Cx)) {
        self.split(|local, cx| local.guard(Some(site), || f(cx)));
    }

    /// Calls `f` with the worker and with this `Cx`.
    #[inline]
    pub(crate) fn split<R>(&mut self, f: impl FnOnce(&Local, &mut Cx) -> R) -> R {
        // SAFETY: a `Cx` is made in `with` only, which borrows the `Local` for longer than the `Cx`
        // exists.
        let local = unsafe { self.local.as_ref() };
        f(local, self)
    }

    /// Returns the number of the worker that runs the callback, counted from 0.
    pub fn worker(&self) -> usize {
        self.local().index()
    }

    /// Returns a number that grows each time this worker polls its descriptors or takes work from
    /// another thread.
    ///
    /// Two callbacks on one worker that see the same number belong to the same batch of readiness.
    /// What the first one learned about the outside world after the batch began is as fresh for the
    /// second.
    ///
    /// # Examples
    ///
    /// A directory that is looked at once for all callbacks of a batch:
    ///
    /// ```
    /// use dapple::{Colored, Runtime};
    /// let rt = Runtime::new()?;
    /// let looked = Colored::new(&rt.handle().new_color(), None);
    /// for _ in 0..10 {
    ///     looked.post(|looked, cx| {
    ///         let batch = (cx.worker(), cx.poll_count());
    ///         if looked.as_ref().is_none_or(|(last, _)| *last != batch) {
    ///             *looked = Some((batch, std::fs::metadata(".")));
    ///         }
    ///     });
    /// }
    /// assert!(looked.call(|looked, _| matches!(looked, Some((_, Ok(_))))).join().unwrap());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn poll_count(&self) -> u64 {
        self.local().scheduler.polls.get()
    }
}

impl std::fmt::Debug for Cx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cx").field("worker", &self.worker()).finish_non_exhaustive()
    }
}
