//! Async tasks: futures whose polls are events of a color (C12).
//!
//! The state of a task, its wakers and its memory are `async-task`'s. A wake posts an event to the
//! color that polls the task, whatever the phase of the runtime, as what wakes it was promised; so
//! a task is polled by one worker at a time, and in order with everything else of its color. When a
//! task is aborted, `async-task` schedules it once more to drop its future: that is an event of the
//! color, too. A task that nobody can wake any more stays until it is aborted, or the runtime ends.
//!
//! Nothing of the user panics through `async-task`: polls and drops are guarded, so that a panic
//! ends the task only.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use dapple_colors::Access;

use super::error::JoinError;
use super::join::JoinHandle;
use super::packet::{Promise, promise};
use super::polled;
use super::register::Key;
use crate::event::large::is_large;
use crate::post::Posting;
use crate::runtime::core::{Core, CoreRef, Phase};
use crate::site::Site;
use crate::sync::{Point, point};
use crate::turn::local::Local;
use crate::{Color, Cx};

pin_project_lite::pin_project! {
    /// A future whose outcome goes to its join handle, and whose panics go no further.
    struct Task<F, T>
    where
        F: Future<Output = Result<T, JoinError>>,
    {
        // None when it has ended.
        #[pin]
        future: Option<F>,
        promise: Option<Promise<T>>,
        core: CoreRef,
        key: Key,
        label: u32,
        site: Site,
    }

    impl<F, T> PinnedDrop for Task<F, T>
    where
        F: Future<Output = Result<T, JoinError>>,
    {
        fn drop(this: Pin<&mut Self>) {
            this.end(Err(JoinError::cancelled()));
        }
    }
}

pin_project_lite::pin_project! {
    /// A future that has an outcome whenever it ends.
    struct Plain<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Plain<F> {
    type Output = Result<F::Output, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx).map(Ok)
    }
}

impl<F: Future<Output = Result<T, JoinError>>, T> Task<F, T> {
    /// The future has panicked: what it holds is dropped by that.
    fn end_by_a_panic(self: Pin<&mut Self>) {
        // What it held may have ended another one so.
        polled::after_a_panic(|| self.end(Err(JoinError::panicked())));
    }

    /// Drops the future, and then tells the outcome, if there was none before.
    fn end(self: Pin<&mut Self>, outcome: Result<T, JoinError>) {
        let mut this = self.project();
        let core: &Core = this.core;
        core.guard(Some(*this.site), || this.future.set(None));
        if let Some(promise) = this.promise.take() {
            core.tasks.ended(*this.key);
            // If nobody waits, the outcome is dropped; and if somebody does, a foreign waker is
            // woken.
            core.guard(Some(*this.site), || promise.keep(outcome));
        }
    }
}

impl<F: Future<Output = Result<T, JoinError>>, T> Future for Task<F, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.as_mut().project();
        let Some(future) = this.future.as_pin_mut() else { return Poll::Ready(()) };
        let polled =
            polled::while_polled(cx, |cx| catch_unwind(AssertUnwindSafe(|| future.poll(cx))));
        match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(outcome)) => self.end(outcome),
            Err(payload) => {
                this.core.count_panic();
                this.core.report_panic(payload, Some(*this.site), *this.label);
                self.end_by_a_panic();
            }
        }
        Poll::Ready(())
    }
}

/// Starts a task on a color.
pub(crate) fn spawn<F>(color: &Color, future: F, site: Site) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let core = color.core();
    let (promise, packet) = promise();
    let key = core.tasks.reserve(Local::index_on(core));
    spawn_reserved(core, Some(color), key, Plain { future }, promise, site);
    JoinHandle::of_task(packet, CoreRef::of(core), key)
}

/// Starts a task, on a color or on none, for which there is a place among the tasks already.
pub(crate) fn spawn_reserved<F, T>(
    core: &Core,
    color: Option<&Color>,
    key: Key,
    future: F,
    promise: Promise<T>,
    site: Site,
) where
    F: Future<Output = Result<T, JoinError>> + Send + 'static,
    T: Send + 'static,
{
    let label = color.map_or(0, Color::label);
    let (future, promise) = (Some(future), Some(promise));
    let task = Task { future, promise, core: CoreRef::of(core), key, label, site };
    let (home, at) = (color.cloned(), CoreRef::of(core));
    let schedule = move |runnable: async_task::Runnable| {
        point(Point::TaskWoken);
        let poll = move |_: &mut Cx| {
            runnable.run();
        };
        match &home {
            Some(color) => color.post_as(Access::Exclusive, poll, Posting::promised(site)),
            None => at.post_uncolored(poll, Posting::promised(site)),
        }
    };
    let (runnable, task) = async_task::spawn(task, schedule);
    core.tasks.enter(key, task, || core.phase() >= Phase::Stopping);
    if Local::with(core, |local| core.accepts(local)) {
        runnable.schedule();
    } else {
        core.count_dropped(1);
        // Drops the future here, as a refused post drops its closure.
        drop(runnable);
    }
}

impl crate::Handle {
    /// Runs a future on a color: each poll is an event of it (C12), so between two `.await`s it
    /// runs alone with what the color stands for.
    ///
    /// The color is free while the future waits: other events of it run in between. So what was
    /// true of colored data before an `.await` need not be true after it, and references to it
    /// never cross one.
    ///
    /// A wake, from any thread, posts the next poll. The future is dropped as an event of the
    /// color, too. Its panic ends it, and nothing else. Dropping the `JoinHandle` detaches;
    /// [`abort`](JoinHandle::abort) drops the future, and so does the end of the runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let h = rt.handle();
    /// let inner = h.spawn(&h.new_color(), async { 6 });
    /// let outer = h.spawn(&h.new_color(), async move { inner.await.unwrap() * 7 });
    /// assert_eq!(rt.block_on(outer).unwrap(), 42);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, color: &Color, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        if is_large::<F>() {
            return spawn(color, Box::pin(future), Site::caller());
        }
        spawn(color, future, Site::caller())
    }
}

impl Color {
    /// Runs a future on this color; see [`Handle::spawn`](crate::Handle::spawn).
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        if is_large::<F>() {
            return spawn(self, Box::pin(future), Site::caller());
        }
        spawn(self, future, Site::caller())
    }
}

impl crate::Cx {
    /// Runs a future on a color; see [`Handle::spawn`](crate::Handle::spawn).
    #[track_caller]
    pub fn spawn<F>(&mut self, color: &Color, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        if is_large::<F>() {
            return spawn(color, Box::pin(future), Site::caller());
        }
        spawn(color, future, Site::caller())
    }
}
