//! Blocking work beside the workers (E9).
//!
//! A bounded pool of threads that are no workers takes closures in the order in which they were handed in. A thread is
//! started when there is work and none is idle, up to the limit, and ends when it has been idle for a while. Closures that no
//! thread has taken when the runtime stops are dropped and counted; those that run go on, and what they return is dropped or posted as
//! far as anybody is left to get it.
//!
//! *The runtime is not at rest while there is work* (E16): each piece counts among those who hold events that are in no queue (see
//! `quiesce`), from before it is accepted until its outcome is posted.

use std::cell::Cell;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::PoisonError;
use std::time::Duration;

use crate::runtime::core::{Core, CoreRef};
use crate::runtime::quiesce::Outside;
use crate::sync::{Arc, Condvar, Mutex, lock, thread};
use crate::task::call::{answer, outcome_of};
use crate::task::error::JoinError;
use crate::task::join::JoinHandle;
use crate::task::packet::promise;
use crate::worker::cores::Mask;
use crate::worker::local::Local;
use crate::{Color, Cx, Handle};

/// How long a thread waits for more work.
const IDLE: Duration = Duration::from_secs(10);

/// Threads without a setting, per worker, and at least.
const PER_WORKER: usize = 4;
const LEAST: usize = 8;

/// The threads of one runtime; see the module.
pub(crate) struct Offload(Arc<Pool>);

struct Pool {
    state: Mutex<State>,
    changed: Condvar,
    limit: usize,
    name: String,
    /// Where the threads may run: not where the worker is pinned that happens to start one.
    mask: Option<Mask>,
}

thread_local! {
    /// The core whose work this thread does; null: none.
    static WORKS_FOR: Cell<*const Core> = const { Cell::new(std::ptr::null()) };
}

/// Does the calling thread run blocking work of this runtime?
pub(crate) fn works_for(core: &Core) -> bool {
    std::ptr::eq(WORKS_FOR.get(), core)
}

#[derive(Default)]
struct State {
    queue: VecDeque<Work>,
    threads: usize,
    idle: usize,
    closed: bool,
}

/// A closure with what keeps the runtime from being at rest. Dropped unrun, it is counted.
struct Work {
    run: Option<Box<dyn FnOnce() + Send>>,
    core: CoreRef,
    site: &'static Location<'static>,
}

impl Work {
    fn run(mut self) {
        let run = self.run.take();
        WORKS_FOR.set(&*self.core);
        self.core.guard(Some(self.site), || run.into_iter().for_each(|run| run()));
        WORKS_FOR.set(std::ptr::null());
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(run) = self.run.take() {
            self.core.count_dropped(1);
            self.core.guard(Some(self.site), || drop(run));
        }
        Outside::end(&self.core);
    }
}

impl Offload {
    pub(crate) fn new(limit: Option<usize>, workers: usize, name: &str) -> Self {
        let limit = limit.unwrap_or((PER_WORKER * workers).max(LEAST));
        let name = format!("{name}-offload");
        let (state, changed, mask) = (Mutex::default(), Condvar::new(), Mask::of_this_thread());
        Offload(Arc::new(Pool { state, changed, limit, name, mask }))
    }

    /// Queues work, unless the pool is closed.
    fn push(&self, work: Work) {
        let mut state = lock(&self.0.state);
        if state.closed {
            drop(state);
            return drop(work);
        }
        state.queue.push_back(work);
        if state.idle >= state.queue.len() || state.threads == self.0.limit {
            drop(state);
            return self.0.changed.notify_one();
        }
        state.threads += 1;
        drop(state);
        let pool = Arc::clone(&self.0);
        let thread = thread::Builder::new().name(self.0.name.clone()).spawn(move || pool.serve());
        if let Err(error) = thread {
            self.0.lacks_a_thread(&error);
        }
    }

    /// No more work is taken: what is queued is dropped.
    pub(crate) fn close(&self) {
        let left = {
            let mut state = lock(&self.0.state);
            state.closed = true;
            std::mem::take(&mut state.queue)
        };
        self.0.changed.notify_all();
        drop(left);
    }
}

impl Drop for Offload {
    fn drop(&mut self) {
        self.close();
    }
}

impl Pool {
    /// The body of a thread.
    fn serve(&self) {
        self.mask.inspect(Mask::apply);
        let mut state = lock(&self.state);
        loop {
            if let Some(work) = state.queue.pop_front() {
                drop(state);
                work.run();
                state = lock(&self.state);
                continue;
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let waited = self.changed.wait_timeout(state, IDLE);
            let (back, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = back;
            state.idle -= 1;
            if timeout.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }

    /// The system gives no further thread. If there are others, they will come to the work; if not, it is dropped.
    fn lacks_a_thread(&self, error: &std::io::Error) {
        tracing::error!(%error, "no thread for blocking work");
        let left = {
            let mut state = lock(&self.state);
            state.threads -= 1;
            match state.threads {
                0 => std::mem::take(&mut state.queue),
                _ => VecDeque::new(),
            }
        };
        drop(left);
    }
}

fn push(core: &Core, site: &'static Location<'static>, run: Box<dyn FnOnce() + Send>) {
    Outside::begin(core);
    core.offload.push(Work { run: Some(run), core: CoreRef::of(core), site });
}

impl Handle {
    /// Runs blocking work, such as a read of a cold file, on a thread that is no worker, and hands out what it returns.
    ///
    /// The threads are bounded ([`Builder::offload_threads`](crate::Builder::offload_threads)); what they have no time for yet waits in a
    /// queue, which is not. It may post, spawn and offload as a worker may, until the runtime stops. Work that has been accepted is not aborted, whether its handle is kept or not.
    ///
    /// # Errors
    ///
    /// The handle says that the work [panicked](JoinError::is_panic), or that it was dropped by a shutdown.
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
        let (promise, packet) = promise();
        let core = self.core();
        let site = Location::caller();
        if core.accepts(Local::current(core)) {
            let at = CoreRef::of(core);
            push(core, site, Box::new(move || answer(&at, site, 0, promise, || Ok(f()))));
        } else {
            crate::color::refuse(core, (promise, f), site);
        }
        JoinHandle::new(packet)
    }

    /// Runs blocking work `f` on a thread that is no worker, and posts `then` to a color with what it returns, whatever the number of events
    /// that the color may have.
    ///
    /// If `f` panics, `then` gets the error. What a shutdown finds before it has begun is dropped, with its `then`, and counted.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let h = rt.handle();
    /// h.offload_then(&h.default_color(), || std::fs::read_to_string("/etc/hostname"), |name, _cx| {
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
        let (core, site) = (self.core(), Location::caller());
        if !core.accepts(Local::current(core)) {
            return crate::color::refuse(core, (then, f), site);
        }
        let after = Then { then: Some(then), color: color.clone(), site, outcome: PhantomData };
        let at = CoreRef::of(core);
        push(core, site, Box::new(move || after.post(outcome_of(&at, site, 0, || Ok(f())))));
    }
}

/// What is posted when the work has ended, or is dropped.
struct Then<R: Send + 'static, G: FnOnce(Result<R, JoinError>, &mut Cx) + Send + 'static> {
    then: Option<G>,
    color: Color,
    site: &'static Location<'static>,
    outcome: PhantomData<fn(R)>,
}

impl<R: Send + 'static, G: FnOnce(Result<R, JoinError>, &mut Cx) + Send + 'static> Then<R, G> {
    fn post(mut self, outcome: Result<R, JoinError>) {
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Result<R, JoinError>) {
        if let Some(then) = self.then.take() {
            self.color.post_always(move |cx| then(outcome, cx), self.site);
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
