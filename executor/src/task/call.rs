//! Posts that return a result.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dapple_colors::Access;

use super::error::JoinError;
use super::join::JoinHandle;
use super::packet::{Promise, promise};
use crate::event::large::is_large;
use crate::post::Posting;
use crate::runtime::core::{Core, CoreRef};
use crate::site::Site;
use crate::{Color, Colored, Cx};

/// Returns the result of `f`. A panic is caught, counted and reported, and becomes an error.
pub(crate) fn outcome_of<R>(
    core: &Core,
    site: Site,
    label: u32,
    f: impl FnOnce() -> Result<R, JoinError>,
) -> Result<R, JoinError> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        core.count_panic();
        core.report_panic(payload, Some(site), label);
        Err(JoinError::panicked())
    })
}

/// Keeps a promise with the result of `f`. This comes last, so that the waiting side sees a panic
/// of `f` counted, and the value poisoned.
pub(crate) fn answer<R>(
    core: &Core,
    site: Site,
    label: u32,
    promise: Promise<R>,
    f: impl FnOnce() -> Result<R, JoinError>,
) {
    let outcome = outcome_of(core, site, label, f);
    // The waker may be foreign code. If nobody waits, the outcome is dropped here.
    core.guard(Some(site), || promise.keep(outcome));
}

impl Color {
    /// Posts `f` to this color, and returns a handle to its result.
    ///
    /// Async code can await the handle, and a thread outside the runtime can join it.
    ///
    /// # Errors
    ///
    /// Awaiting or joining the handle returns an error if `f` panicked, or if it was dropped unrun
    /// because the runtime shuts down.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let color = rt.handle().new_color();
    /// assert_eq!(color.call(|_| 6 * 7).join(), Ok(42));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    #[doc(alias = "ask")]
    pub fn call<R, F>(&self, f: F) -> JoinHandle<R>
    where
        R: Send + 'static,
        F: FnOnce(&mut Cx) -> R + Send + 'static,
    {
        if is_large::<F>() {
            return self.call(Box::new(f) as Box<dyn FnOnce(&mut Cx) -> R + Send>);
        }
        let (promise, packet) = promise();
        let (site, label) = (Site::caller(), self.label());
        let event = move |cx: &mut Cx| {
            let core = CoreRef::of(&cx.local().core);
            answer(&core, site, label, promise, || Ok(f(cx)));
        };
        self.post_as(Access::Exclusive, event, Posting::open(site));
        JoinHandle::new(packet)
    }
}

impl<T: Send + 'static> Colored<T> {
    /// Posts an event that runs `f` on the value, and returns a handle to the result of `f`.
    ///
    /// Async code can await the handle, and a thread outside the runtime can join it.
    ///
    /// # Errors
    ///
    /// Awaiting or joining the handle returns an error if `f` panicked, if the value was poisoned
    /// so that `f` did not run, or if `f` was dropped unrun because the runtime shuts down.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let next = dapple::Colored::new(&rt.handle().new_color(), 0);
    /// let mut take = || next.call(|n, _| {
    ///     *n += 1;
    ///     *n
    /// });
    /// assert_eq!((take().join(), take().join()), (Ok(1), Ok(2)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    #[doc(alias = "ask")]
    pub fn call<R, F>(&self, f: F) -> JoinHandle<R>
    where
        R: Send + 'static,
        F: FnOnce(&mut T, &mut Cx) -> R + Send + 'static,
    {
        if is_large::<F>() {
            return self.call(Box::new(f) as Box<dyn FnOnce(&mut T, &mut Cx) -> R + Send>);
        }
        let (promise, packet) = promise();
        let (site, label, reach) = (Site::caller(), self.color().label(), self.reach());
        let event = move |cx: &mut Cx| {
            let core = CoreRef::of(&cx.local().core);
            answer(&core, site, label, promise, || {
                // SAFETY: this closure runs as an exclusive event of the value's color, was posted
                // through the handle `self`, gets the `cx` of the worker that runs it, and has no
                // other reference to the value.
                unsafe { reach.run(cx, f) }.ok_or(JoinError::poisoned())
            });
        };
        self.color().post_as(Access::Exclusive, event, Posting::open(site));
        JoinHandle::new(packet)
    }

    /// Posts a shared event that runs `f` on the value by `&`, and returns a handle to the result.
    ///
    /// The event may overlap other shared events of the color.
    ///
    /// # Errors
    ///
    /// Awaiting or joining the handle returns an error if `f` panicked, if the value was poisoned
    /// so that `f` did not run, or if `f` was dropped unrun because the runtime shuts down.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let prices = dapple::Colored::new(&rt.handle().new_color(), vec![3, 5]);
    /// let first = prices.call_shared(|prices, _| prices[0]);
    /// let second = prices.call_shared(|prices, _| prices[1]);         // may run at the same time
    /// assert_eq!((first.join(), second.join()), (Ok(3), Ok(5)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn call_shared<R, F>(&self, f: F) -> JoinHandle<R>
    where
        T: Sync,
        R: Send + 'static,
        F: FnOnce(&T, &mut Cx) -> R + Send + 'static,
    {
        if is_large::<F>() {
            return self.call_shared(Box::new(f) as Box<dyn FnOnce(&T, &mut Cx) -> R + Send>);
        }
        let (promise, packet) = promise();
        let (site, label, reach) = (Site::caller(), self.color().label(), self.reach());
        let event = move |cx: &mut Cx| {
            let core = CoreRef::of(&cx.local().core);
            answer(&core, site, label, promise, || {
                // SAFETY: this closure runs as a shared event of the value's color, which was
                // posted through the handle `self`.
                unsafe { reach.run_shared(cx, f) }.ok_or(JoinError::poisoned())
            });
        };
        self.color().post_as(Access::Shared, event, Posting::open(site));
        JoinHandle::new(packet)
    }
}
