//! Tasks whose futures are not `Send`, on colors that are bound to a worker (E18).
//!
//! The future stands in a table of its worker, and never leaves that worker's thread. The task that
//! is spawned is a [`Proxy`]: the number of the future, and the place for its output. The color is
//! bound to the worker, so the proxy is polled there, and polls the future in the table. The proxy
//! may be dropped elsewhere when the runtime has ended. Then the worker drops the future, at the
//! latest when it stops.

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

/// A future that may be on any thread, and polls a future in the table of a worker.
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
        // On another thread, or when the worker has stopped, the future is left to the worker.
        let _ = self.with(|futures| futures.remove(self.number));
    }
}

impl Cx {
    /// Runs a future that need not be `Send`, on a color that is bound to this worker.
    ///
    /// The color is [bound](crate::ColorBuilder::on_worker) to the worker. Each poll of the future
    /// is an event of the color (C12), and the future is dropped on this thread. Everything else is
    /// as for [`Handle::spawn`](crate::Handle::spawn).
    ///
    /// # Panics
    ///
    /// Panics if the color is not bound to this worker.
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
/// Panics if the color is not bound to this worker.
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
        "spawn_local: the color is not bound to this worker ({worker})"
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
