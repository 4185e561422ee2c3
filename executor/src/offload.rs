//! Blocking work beside the workers (E9).
//!
//! A bounded pool of threads that are no workers takes closures in the order in which they were handed in. A thread is
//! started when there is work and none is idle, up to the limit, and ends when it has been idle for a while. Closures that no
//! thread has taken when the runtime stops are dropped and counted; those that run go on, and what they return is dropped or posted as
//! far as anybody is left to get it.
//!
//! *Work that waits for work.* A thread whose work waits, by
//! [`JoinHandle::join`](crate::JoinHandle::join) or
//! [`Runtime::block_on`](crate::Runtime::block_on), does not count among the threads of the limit
//! meanwhile: otherwise as many waits as there are threads, each for something that stands in the
//! queue, would last for ever. Waits by other means (a channel, a lock) are not known here; when
//! nothing gets on for a while and work waits, that is logged.
//!
//! *The runtime is not at rest while there is work* (E16): each piece counts among those who hold events that are in no queue (see
//! `quiesce`), from before it is accepted until its outcome is posted.

use std::cell::{Cell, OnceCell};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::event::large::is_large;
use crate::runtime::core::{Core, CoreRef};
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

/// Room for work in the queue that is kept, whatever was there.
const KEPT: usize = 1_024;

/// After what time without progress it is logged that work waits.
const STUCK: Duration = Duration::from_secs(1);

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
    stack_size: usize,
}

thread_local! {
    /// The core whose work this thread does; null: none.
    static WORKS_FOR: Cell<*const Core> = const { Cell::new(std::ptr::null()) };
    /// The pool that this thread is one of.
    static SERVES: OnceCell<Arc<Pool>> = const { OnceCell::new() };
}

/// Runs `f`, which waits. If this is a thread for blocking work, another one may take its place
/// meanwhile.
pub(crate) fn while_waiting<R>(f: impl FnOnce() -> R) -> R {
    /// The thread counts again.
    struct Waits(Arc<Pool>);
    impl Drop for Waits {
        fn drop(&mut self) {
            lock(&self.0.state).waiting -= 1;
        }
    }
    // In a destructor of a thread-local it may be gone.
    let pool = SERVES.try_with(|pool| pool.get().cloned()).ok().flatten();
    let _waits = pool.map(|pool| {
        let mut state = lock(&pool.state);
        state.waiting += 1;
        let starts = pool.starts_one(&mut state);
        drop(state);
        if starts {
            pool.start();
        }
        Waits(pool)
    });
    f()
}

/// Does the calling thread run blocking work of this runtime?
pub(crate) fn works_for(core: &Core) -> bool {
    std::ptr::eq(WORKS_FOR.get(), core)
}

struct State {
    queue: VecDeque<Work>,
    threads: usize,
    idle: usize,
    /// Threads whose work waits for something that may be work.
    waiting: usize,
    closed: bool,
    /// When a thread last took something out of the queue, or that it does not was logged.
    progress: Instant,
}

impl State {
    /// Threads that count for the limit.
    fn counted(&self) -> usize {
        self.threads - self.waiting
    }
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
        let outer = WORKS_FOR.replace(&*self.core);
        self.core.guard(Some(self.site), || run.into_iter().for_each(|run| run()));
        WORKS_FOR.set(outer);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(run) = self.run.take() {
            self.core.count_dropped(1);
            self.core.guard(Some(self.site), || drop(run));
        }
        self.core.quiesce.leave();
    }
}

impl Offload {
    pub(crate) fn new(limit: Option<usize>, workers: usize, name: &str, stack_size: usize) -> Self {
        let limit = limit.unwrap_or((PER_WORKER * workers).max(LEAST));
        let name = format!("{name}-offload");
        let state = Mutex::new(State {
            queue: VecDeque::new(),
            threads: 0,
            idle: 0,
            waiting: 0,
            closed: false,
            progress: Instant::now(),
        });
        let (changed, mask) = (Condvar::new(), Mask::of_the_process());
        Offload(Arc::new(Pool { state, changed, limit, name, mask, stack_size }))
    }

    /// Queues work, unless the pool is closed.
    fn push(&self, work: Work) {
        let mut state = lock(&self.0.state);
        if state.closed {
            drop(state);
            return drop(work);
        }
        if state.queue.is_empty() {
            state.progress = Instant::now();
        }
        state.queue.push_back(work);
        let starts = self.0.starts_one(&mut state);
        let is_stuck = !starts && state.idle == 0 && state.progress.elapsed() >= STUCK;
        if is_stuck {
            state.progress = Instant::now();
        }
        let (threads, queued) = (state.threads, state.queue.len());
        drop(state);
        if starts {
            return self.0.start();
        }
        self.0.changed.notify_one();
        if is_stuck {
            tracing::warn!(
                threads,
                queued,
                "all threads for blocking work are busy, and work waits: if it waits for each other, more threads are needed"
            );
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
    /// Is one more thread to be started? It is counted then.
    fn starts_one(&self, state: &mut State) -> bool {
        let starts = state.idle < state.queue.len() && state.counted() < self.limit;
        state.threads += usize::from(starts);
        starts
    }

    /// Starts a thread that has been counted.
    fn start(self: &Arc<Self>) {
        let pool = Arc::clone(self);
        let thread = thread::Builder::new().name(self.name.clone()).stack_size(self.stack_size);
        if let Err(error) = thread.spawn(move || pool.serve()) {
            self.lacks_a_thread(&error);
        }
    }

    /// The body of a thread.
    fn serve(self: &Arc<Self>) {
        self.mask.iter().for_each(Mask::apply);
        SERVES.with(|serves| drop(serves.set(Arc::clone(self))));
        let mut state = lock(&self.state);
        loop {
            // One that has taken the place of another, which goes on now. It may have been woken
            // for work, for which it wakes another one then.
            if state.counted() > self.limit {
                if !state.queue.is_empty() {
                    self.changed.notify_one();
                }
                break;
            }
            if let Some(work) = state.queue.pop_front() {
                state.progress = Instant::now();
                if state.queue.capacity() > KEPT && state.queue.len() < state.queue.capacity() / 4 {
                    let some = 2 * state.queue.len();
                    state.queue.shrink_to(some.max(KEPT));
                }
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

    /// The system gives no further thread. If there are others that do not wait for work
    /// themselves, they will come to it; if not, it is dropped.
    fn lacks_a_thread(&self, error: &std::io::Error) {
        tracing::error!(%error, "no thread for blocking work");
        let left = {
            let mut state = lock(&self.state);
            state.threads -= 1;
            match state.counted() {
                0 => std::mem::take(&mut state.queue),
                _ => VecDeque::new(),
            }
        };
        drop(left);
    }
}

fn push(core: &Core, site: &'static Location<'static>, run: Box<dyn FnOnce() + Send>) {
    core.quiesce.enter();
    core.offload.push(Work { run: Some(run), core: CoreRef::of(core), site });
}

impl Handle {
    /// Runs blocking work, such as a read of a cold file, on a thread that is no worker, and hands out what it returns.
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
        if is_large::<F>() {
            return self.offload(Box::new(f) as Box<dyn FnOnce() -> R + Send>);
        }
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
        if is_large::<F>() {
            let f = Box::new(f) as Box<dyn FnOnce() -> R + Send>;
            return self.offload_then(color, f, then);
        }
        if is_large::<G>() {
            let then = Box::new(then) as Box<dyn FnOnce(Result<R, JoinError>, &mut Cx) + Send>;
            return self.offload_then(color, f, then);
        }
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
