//! Blocking work on a pool of threads (E9).
//!
//! A bounded [`pool`] of threads takes closures in the order in which they were submitted. When the
//! runtime stops, closures that no thread has taken are dropped and counted. A closure that runs is
//! not interrupted: its result goes to the handle or the color that waits for it, if there still is
//! one, and is dropped otherwise.
//!
//! *The runtime is not at rest while there is work* (E16). Each piece of work counts as a thread
//! that owns unqueued events (see `quiesce`), from before the pool accepts it until its outcome has
//! been posted.

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

/// Returns `true` if the calling thread runs blocking work of this runtime.
pub(crate) fn works_for(core: &Core) -> bool {
    let core: *const Core = core;
    thread::state(|state| state.works_for.get() == core.cast())
}

/// Runs `f`, which blocks. If the calling thread belongs to a blocking pool, another thread may
/// take its place there until `f` returns.
pub(crate) fn while_waiting<R>(f: impl FnOnce() -> R) -> R {
    let core = thread::state(|state| state.works_for.get()).cast::<Core>();
    // SAFETY: the pointer is not null only while `Piece::run` is on the stack of this thread, and
    // its piece owns a reference to the core.
    match unsafe { core.as_ref() } {
        Some(core) => core.blocking.while_waiting(f),
        None => f(),
    }
}

/// A piece of blocking work, which keeps the runtime from being at rest until it is dropped. A
/// piece that is dropped unrun is counted.
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
        /// Notes that the thread works for no runtime, also after a panic.
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
    /// Returns `true` if the calling thread runs blocking work of this runtime, and may still post.
    /// Running work may post until the runtime stops, even after a shutdown has begun (E11).
    #[cold]
    pub(crate) fn accepts_of_its_own(&self) -> bool {
        self.phase() < Phase::Stopping && works_for(self)
    }

    /// Submits a closure to the blocking pool.
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
    /// Runs `f`, which may block, on the blocking pool, and returns a handle to its result.
    ///
    /// The pool has a bounded number of threads
    /// ([`Builder::offload_threads`](crate::Builder::offload_threads)). Work for which no thread is
    /// free waits in a queue without a bound. While work joins a [`JoinHandle`] or blocks on a
    /// future, its thread does not count, so work may wait for other work in these ways. It should
    /// not do so by a channel or a lock: once every thread waits, no thread is left for the queued
    /// work. Work may post, spawn and offload as a worker may, until the runtime stops. Accepted
    /// work cannot be aborted, even if its handle is dropped.
    ///
    /// # Errors
    ///
    /// Awaiting or joining the handle returns an error if the work [panicked](JoinError::is_panic),
    /// or if it was [dropped or refused](JoinError::is_cancelled): because the runtime shuts down,
    /// or because no thread can be started.
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

    /// Runs `f` on the blocking pool, and posts `then` with its result to a color.
    ///
    /// `f` may block. The bound of the color does not apply to this post. If `f` panics, or is
    /// dropped because no thread can be started, `then` gets the error. If the runtime stops before
    /// `f` has started, `f` and `then` are dropped and counted.
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

    /// Runs `f` on the blocking pool, posts `then` with its result, and names `site` in reports.
    ///
    /// In reports, `site` is the place that asked for both. See
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

/// The closure `then` of an `offload_then`, which is posted when the work has ended or is dropped.
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
