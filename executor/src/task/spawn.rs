//! Async tasks: futures whose polls are events of a color (C12).
//!
//! The crate `async-task` keeps the state of a task, its wakers and its memory. A wake posts an
//! event to the task's color, and that event polls the task. That post is accepted in every phase
//! of the runtime, because it was promised when the task was accepted. So a task is polled by one
//! worker at a time, and in order with everything else of its color. When a task is aborted,
//! `async-task` schedules it once more to drop its future, which is an event of the color, too. A
//! task that nothing can wake any longer stays until it is aborted, or the runtime ends.
//!
//! No panic of user code passes through `async-task`: polls and drops are guarded, so a panic ends
//! only its task.

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
    /// A future whose outcome goes to its join handle, and whose panics are caught.
    struct Task<F, T>
    where
        F: Future<Output = Result<T, JoinError>>,
    {
        // `None` once the future has ended.
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
    /// A future whose output is always `Ok`.
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
    /// Ends the task because its future has panicked, and drops what the future still contains.
    fn end_by_a_panic(self: Pin<&mut Self>) {
        // A token in the future does not count as a second panic when it is dropped here.
        polled::after_a_panic(|| self.end(Err(JoinError::panicked())));
    }

    /// Drops the future, and then tells the outcome, unless an outcome was told before.
    fn end(self: Pin<&mut Self>, outcome: Result<T, JoinError>) {
        let mut this = self.project();
        let core: &Core = this.core;
        core.guard(Some(*this.site), || this.future.set(None));
        if let Some(promise) = this.promise.take() {
            core.tasks.ended(*this.key);
            // If nobody waits, the outcome is dropped, which is user code. Otherwise the waker may
            // be foreign code.
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

/// Starts a task, on a color or on none, whose place among the tasks is already reserved.
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
    /// Runs a future on a color, and returns a handle to its output.
    ///
    /// Each poll is an event of the color (C12), so no other event of the color overlaps the code
    /// between two `.await`s. The color is free while the future waits, and other events of it run
    /// then. So what was true of colored data before an `.await` need not be true after it, and
    /// references to the data never cross one.
    ///
    /// A wake, from any thread, posts the next poll. The future is dropped as an event of the
    /// color, too. A panic of the future ends this task and nothing else. Dropping the `JoinHandle`
    /// detaches the task. [`abort`](JoinHandle::abort) drops the future, and so does the end of the
    /// runtime.
    ///
    /// # Errors
    ///
    /// Awaiting or joining the handle returns an error if the future panicked, or was dropped
    /// before its end.
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
    /// Runs a future on this color, and returns a handle to its output; see
    /// [`Handle::spawn`](crate::Handle::spawn).
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
    /// Runs a future on a color, and returns a handle to its output; see
    /// [`Handle::spawn`](crate::Handle::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let color = rt.handle().new_color();
    /// let call = rt.handle().new_color().call(move |cx| cx.spawn(&color, async { 6 * 7 }));
    /// assert_eq!(rt.block_on(async { call.await?.await }), Ok(42));
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
