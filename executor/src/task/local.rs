//! Tasks whose futures are not `Send` (E18): on colors that are bound to a worker.
//!
//! The future stands in a table of its worker's, and never leaves that worker's thread. What is
//! spawned as a task is a [`Proxy`]: the number of the future, and where its output is put. The
//! color is bound to the worker, so the proxy is polled there, and asks the table. It may be
//! dropped elsewhere, when the runtime has ended; the future is dropped by its worker then, at the
//! latest when that stops.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::join::JoinHandle;
use super::spawn::spawn;
use crate::runtime::core::CoreRef;
use crate::site::Site;
use crate::sync::{Arc, Mutex, lock};
use crate::turn::futures::LocalFutures;
use crate::turn::local::Local;
use crate::{Color, Cx};

/// A future of a worker's, for those who may be on any thread.
struct Proxy<T> {
    core: CoreRef,
    worker: usize,
    number: usize,
    output: Arc<Mutex<Option<T>>>,
}

impl<T> Proxy<T> {
    /// Calls `f` with the futures of the worker, if this is its thread.
    fn with<R>(&self, f: impl FnOnce(&LocalFutures) -> R) -> Option<R> {
        Local::with(&self.core, |local| {
            let local = local.filter(|local| local.is_worker(self.worker))?;
            Some(f(&local.futures))
        })
    }
}

impl<T> Future for Proxy<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let polled = self.with(|futures| futures.poll(self.number, cx));
        match polled.expect("its color is bound to the worker") {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                let output = lock(&self.output).take();
                Poll::Ready(output.expect("a future that is ready has put its output there"))
            }
        }
    }
}

impl<T> Drop for Proxy<T> {
    fn drop(&mut self) {
        // Elsewhere, or when the worker has stopped, it is left to that.
        let _ = self.with(|futures| futures.remove(self.number));
    }
}

impl Cx {
    /// Runs a future that need not be `Send` on a color that is
    /// [bound](crate::ColorBuilder::on_worker) to this worker: each poll is an event of it (C12),
    /// and it is dropped on this thread. All else is as for
    /// [`Handle::spawn`](crate::Handle::spawn).
    ///
    /// # Panics
    ///
    /// When the color is not bound to this worker.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::rc::Rc;
    /// let rt = dapple::Runtime::new()?;
    /// let color = rt.handle().color_builder().on_worker(0).build();
    /// let also_color = color.clone();
    /// let answer = color.call(move |cx| {
    ///     let six = Rc::new(6);
    ///     cx.spawn_local(&also_color, async move { *six * 7 })
    /// });
    /// assert_eq!(rt.block_on(async { answer.await.unwrap().await.unwrap() }), 42);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn spawn_local<F>(&mut self, color: &Color, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        spawn_local(self.local(), color, future, Site::caller())
    }
}

/// Starts a task on a color that is bound to this worker.
///
/// # Panics
///
/// When it is not.
#[track_caller]
pub(crate) fn spawn_local<F>(
    local: &Local,
    color: &Color,
    future: F,
    site: Site,
) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: Send + 'static,
{
    let worker = local.index();
    let is_ours = std::ptr::eq(color.core(), &*local.core);
    assert!(
        is_ours && color.as_cell().bound_to() == Some(worker),
        "spawn_local: the color is not bound to worker {worker}, which this is"
    );
    let output = Arc::new(Mutex::new(None));
    let place = Arc::clone(&output);
    let number = local.futures.insert(Box::pin(async move {
        let result = future.await;
        *lock(&place) = Some(result);
    }));
    let core = CoreRef::of(&local.core);
    spawn(color, Proxy { core, worker, number, output }, site)
}
