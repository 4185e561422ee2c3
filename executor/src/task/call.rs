//! Posts that answer.

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

/// What `f` returns. Its panic ends here: it is counted and reported.
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

/// Keeps a promise by what `f` returns, when everything about it is over: who waits sees its panic
/// counted, and what it poisoned.
pub(crate) fn answer<R>(
    core: &Core,
    site: Site,
    label: u32,
    promise: Promise<R>,
    f: impl FnOnce() -> Result<R, JoinError>,
) {
    let outcome = outcome_of(core, site, label, f);
    // The waker may be foreign code; and if nobody waits, the outcome is dropped.
    core.guard(Some(site), || promise.keep(outcome));
}

impl Color {
    /// Posts `f` and hands out what it returns: for async code, and for threads that wait.
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
    /// Posts an event that gets the value, and hands out what it returns: for async code, and for
    /// threads that wait.
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
                // SAFETY: this is an event of the color, posted through a handle.
                unsafe { reach.run(cx, f) }.ok_or(JoinError::poisoned())
            });
        };
        self.color().post_as(Access::Exclusive, event, Posting::open(site));
        JoinHandle::new(packet)
    }

    /// Posts a shared event that gets the value by `&`, beside others, and hands out what it
    /// returns.
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
                // SAFETY: this is a shared event of the color, posted through a handle.
                unsafe { reach.run_shared(cx, f) }.ok_or(JoinError::poisoned())
            });
        };
        self.color().post_as(Access::Shared, event, Posting::open(site));
        JoinHandle::new(packet)
    }
}
