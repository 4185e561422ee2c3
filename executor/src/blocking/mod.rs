//! Blocking work on a pool of threads (E9).
//!
//! A bounded [`pool`] of threads takes closures in the order in which they were handed in. Closures
//! that no thread has taken when the runtime stops are dropped and counted; those that run go on,
//! and what they return is dropped or posted as far as anybody is left to get it.
//!
//! *The runtime is not at rest while there is work* (E16): each piece counts among those who hold
//! events that are in no queue (see `quiesce`), from before it is accepted until its outcome is
//! posted.

mod niceness;
pub(crate) mod pool;

use std::marker::PhantomData;

use dapple_colors::Access;

use self::pool::Work;
use crate::event::large::is_large;
use crate::post::{Posting, refuse};
use crate::runtime::core::{Core, CoreRef, Phase};
use crate::site::Site;
use crate::sync::{Point, Sort, event_begins, event_dropped, event_made, point};
use crate::task::call::{answer, outcome_of};
use crate::task::error::JoinError;
use crate::task::join::JoinHandle;
use crate::task::packet::promise;
use crate::thread;
use crate::turn::local::Local;
use crate::{Color, Cx, Handle};

/// Says whether the calling thread runs blocking work of this runtime.
pub(crate) fn works_for(core: &Core) -> bool {
    let core: *const Core = core;
    thread::state(|state| state.works_for.get() == core.cast())
}

/// Runs `f`, which waits. If this is a thread of a blocking pool, another one may take its place
/// meanwhile.
pub(crate) fn while_waiting<R>(f: impl FnOnce() -> R) -> R {
    let core = thread::state(|state| state.works_for.get()).cast::<Core>();
    // SAFETY: it is set while a piece runs only, which keeps the core.
    match unsafe { core.as_ref() } {
        Some(core) => core.blocking.while_waiting(f),
        None => f(),
    }
}

/// A closure with what keeps the runtime from being at rest. Dropped unrun, it is counted.
struct Piece<F: FnOnce() + Send> {
    run: Option<F>,
    core: CoreRef,
    site: Site,
}

impl<F: FnOnce() + Send> Piece<F> {
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl<F: FnOnce() + Send> Work for Piece<F> {
    fn run(mut self: Box<Self>) {
        let run = self.run.take();
        /// The thread works for nobody any more.
        struct Done;
        impl Drop for Done {
            fn drop(&mut self) {
                thread::state(|state| state.works_for.set(std::ptr::null()));
            }
        }
        let core: *const Core = &*self.core;
        thread::state(|state| state.works_for.set(core.cast()));
        let done = Done;
        event_begins(self.address());
        self.core.guard(Some(self.site), || run.into_iter().for_each(|run| run()));
        point(Point::Ended);
        drop(done);
    }
}

impl<F: FnOnce() + Send> Drop for Piece<F> {
    fn drop(&mut self) {
        if let Some(run) = self.run.take() {
            event_dropped(self.address());
            self.core.count_dropped(1);
            self.core.guard(Some(self.site), || drop(run));
        }
        self.core.quiesce.leave();
    }
}

impl Core {
    /// Says whether what the calling thread posts is accepted though a shutdown has begun: running
    /// work may post until the runtime stops, on whatever thread it runs (E11).
    #[cold]
    pub(crate) fn accepts_of_its_own(&self) -> bool {
        self.phase() < Phase::Stopping && works_for(self)
    }

    /// Has a closure run on a thread of the blocking pool.
    fn run_blocking<F>(&self, site: Site, run: F)
    where
        F: FnOnce() + Send + 'static,
    {
        self.quiesce.enter();
        let piece = Box::new(Piece { run: Some(run), core: CoreRef::of(self), site });
        event_made(piece.address(), &site, || Sort::Blocking);
        self.blocking.push(piece);
        point(Point::Posted);
    }
}

impl Handle {
    /// Runs blocking work, such as a read of a cold file, on the blocking pool, and hands out what
    /// it returns.
    ///
    /// The threads are bounded ([`Builder::offload_threads`](crate::Builder::offload_threads));
    /// what they have no time for yet waits in a queue, which is not. While work joins a
    /// [`JoinHandle`], or blocks on a future, its thread does not count, so work may wait for other
    /// work; by a channel or a lock it should not. It may post, spawn and offload as a worker may,
    /// until the runtime stops. Work that has been accepted is not aborted, whether its handle is
    /// kept or not.
    ///
    /// # Errors
    ///
    /// The handle says that the work [panicked](JoinError::is_panic), or that it was dropped by a
    /// shutdown.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let read = rt.handle().offload(|| std::fs::read("/proc/self/stat").map(|text| text.len()));
    /// assert!(read.join().unwrap()? > 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    #[doc(alias = "spawn_blocking")]
    pub fn offload<R, F>(&self, f: F) -> JoinHandle<R>
    where
        R: Send + 'static,
        F: FnOnce() -> R + Send + 'static,
    {
        if is_large::<F>() {
            return self.offload(Box::new(f) as Box<dyn FnOnce() -> R + Send>);
        }
        let (promise, packet) = promise();
        let core = self.core();
        let site = Site::caller();
        if Local::with(core, |local| core.accepts(local)) {
            let at = CoreRef::of(core);
            core.run_blocking(site, move || answer(&at, site, 0, promise, || Ok(f())));
        } else {
            refuse(core, (promise, f), site);
        }
        JoinHandle::new(packet)
    }

    /// Runs blocking work `f` on the blocking pool, and posts `then` to a color with what it
    /// returns, whatever the number of events that the color may have.
    ///
    /// If `f` panics, `then` gets the error. What a shutdown finds before it has begun is dropped,
    /// with its `then`, and counted.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let h = rt.handle();
    /// let read = || std::fs::read_to_string("/etc/hostname");
    /// h.offload_then(&h.default_color(), read, |name, _cx| {
    ///     println!("{:?}", name.expect("reading does not panic"));
    /// });
    /// rt.wait_idle();
    /// # assert_eq!(rt.metrics().events(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn offload_then<R, F, G>(&self, color: &Color, f: F, then: G)
    where
        R: Send + 'static,
        F: FnOnce() -> R + Send + 'static,
        G: FnOnce(Result<R, JoinError>, &mut Cx) + Send + 'static,
    {
        self.offload_then_from(Site::caller(), color, f, then);
    }

    /// Runs blocking work on the blocking pool, posts `then` to a color with what it returns, and
    /// has reports name `site` as the place that asked for both. See
    /// [`offload_then`](Self::offload_then), which names its caller.
    pub fn offload_then_from<R, F, G>(&self, site: Site, color: &Color, f: F, then: G)
    where
        R: Send + 'static,
        F: FnOnce() -> R + Send + 'static,
        G: FnOnce(Result<R, JoinError>, &mut Cx) + Send + 'static,
    {
        if is_large::<F>() {
            let f = Box::new(f) as Box<dyn FnOnce() -> R + Send>;
            return self.offload_then_from(site, color, f, then);
        }
        if is_large::<G>() {
            let then = Box::new(then) as Box<dyn FnOnce(Result<R, JoinError>, &mut Cx) + Send>;
            return self.offload_then_from(site, color, f, then);
        }
        let core = self.core();
        if !Local::with(core, |local| core.accepts(local)) {
            return refuse(core, (then, f), site);
        }
        let after = Then { then: Some(then), color: color.clone(), site, outcome: PhantomData };
        let at = CoreRef::of(core);
        core.run_blocking(site, move || after.post(outcome_of(&at, site, 0, || Ok(f()))));
    }
}

/// What is posted when the work has ended, or is dropped.
struct Then<R: Send + 'static, G: FnOnce(Result<R, JoinError>, &mut Cx) + Send + 'static> {
    then: Option<G>,
    color: Color,
    site: Site,
    outcome: PhantomData<fn(R)>,
}

impl<R: Send + 'static, G: FnOnce(Result<R, JoinError>, &mut Cx) + Send + 'static> Then<R, G> {
    fn post(mut self, outcome: Result<R, JoinError>) {
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Result<R, JoinError>) {
        if let Some(then) = self.then.take() {
            let posting = Posting::promised(self.site);
            self.color.post_as(Access::Exclusive, move |cx| then(outcome, cx), posting);
        }
    }
}

impl<R: Send + 'static, G: FnOnce(Result<R, JoinError>, &mut Cx) + Send + 'static> Drop
    for Then<R, G>
{
    fn drop(&mut self) {
        self.settle(Err(JoinError::cancelled()));
    }
}
