//! The threads of the blocking pool: bounded, started when there is work and none is idle.
//!
//! *Work that waits for work.* A thread whose work waits, by
//! [`JoinHandle::join`](crate::JoinHandle::join) or
//! [`Runtime::block_on`](crate::Runtime::block_on), does not count among the threads of the limit
//! meanwhile: otherwise as many waits as there are threads, each for something that stands in the
//! queue, would last for ever. Waits by other means (a channel, a lock) are not known here; when
//! nothing gets on for a while and work waits, that is logged.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::niceness::set_niceness;
use crate::clock;
use crate::runtime::thread_hooks::{ThreadHooks, ThreadKind};
use crate::sync::{self, Arc, Condvar, Mutex, Point, PoisonError, lock, point, thread};
use crate::worker::cores::Mask;

/// How long a thread waits for more work.
const IDLE: Duration = Duration::from_secs(10);

/// Room for work in the queue that is kept, whatever was there.
const KEPT: usize = 1_024;

/// After what time without progress it is logged that work waits.
const STUCK: Duration = Duration::from_secs(1);

/// Threads without a setting, per worker, and at least.
const PER_WORKER: usize = 4;
const LEAST: usize = 8;

/// What the threads are like; `None`: as the workers, or as many as there should be.
#[derive(Default)]
pub(crate) struct PoolSettings {
    pub(crate) limit: Option<usize>,
    pub(crate) name: Option<String>,
    pub(crate) stack_size: Option<usize>,
    pub(crate) nice: Option<i32>,
}

/// The threads of one runtime; see the module.
pub(crate) struct BlockingPool(Arc<Pool>);

struct Pool {
    state: Mutex<State>,
    changed: Condvar,
    limit: usize,
    name: String,
    nice: Option<i32>,
    hooks: Arc<ThreadHooks>,
    /// Where the threads may run: not where the worker is pinned that happens to start one.
    mask: Option<Mask>,
    stack_size: usize,
}

/// A piece of work. It is run once, or dropped unrun.
pub(crate) trait Work: Send {
    fn run(self: Box<Self>);
}

struct State {
    queue: VecDeque<Box<dyn Work>>,
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

impl BlockingPool {
    /// `name` and `stack_size` are those of the workers.
    pub(crate) fn new(
        settings: PoolSettings,
        workers: usize,
        name: &str,
        stack_size: usize,
        hooks: Arc<ThreadHooks>,
    ) -> Self {
        let limit = settings.limit.unwrap_or((PER_WORKER * workers).max(LEAST));
        let name = settings.name.unwrap_or_else(|| format!("{name}-offload"));
        let (nice, stack_size) = (settings.nice, settings.stack_size.unwrap_or(stack_size));
        let state = Mutex::new(State {
            queue: VecDeque::new(),
            threads: 0,
            idle: 0,
            waiting: 0,
            closed: false,
            progress: clock::now(),
        });
        let (changed, mask) = (Condvar::new(), Mask::of_the_process());
        let pool = Pool { state, changed, limit, name, nice, hooks, mask, stack_size };
        BlockingPool(Arc::new(pool))
    }

    /// How many threads there are at most.
    pub(crate) fn limit(&self) -> usize {
        self.0.limit
    }

    /// Queues work, unless the pool is closed.
    pub(crate) fn push(&self, work: Box<dyn Work>) {
        let mut state = lock(&self.0.state);
        if state.closed {
            drop(state);
            return drop(work);
        }
        if state.queue.is_empty() {
            state.progress = clock::now();
        }
        state.queue.push_back(work);
        let starts = self.0.starts_one(&mut state);
        let is_stuck = !starts && state.idle == 0 && clock::now() - state.progress >= STUCK;
        if is_stuck {
            state.progress = clock::now();
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
                "all threads for blocking work are busy, and work waits: if it waits for each \
                 other, more threads are needed"
            );
        }
    }

    /// Runs `f`, which waits, on one of these threads: another one may take its place meanwhile.
    pub(super) fn while_waiting<R>(&self, f: impl FnOnce() -> R) -> R {
        /// The thread counts again.
        struct Waits<'a>(&'a Pool);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                lock(&self.0.state).waiting -= 1;
            }
        }
        let mut state = lock(&self.0.state);
        state.waiting += 1;
        let starts = self.0.starts_one(&mut state);
        drop(state);
        let _waits = Waits(&self.0);
        if starts {
            self.0.start();
        }
        f()
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

impl Drop for BlockingPool {
    fn drop(&mut self) {
        self.close();
    }
}

impl Pool {
    /// Says whether one more thread is to be started. It is counted then.
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
        let is_simulated = sync::is_simulated();
        if !is_simulated {
            self.mask.iter().for_each(Mask::apply);
        }
        if let Some(nice) = self.nice
            && !is_simulated
            && let Err(error) = set_niceness(nice)
        {
            tracing::warn!(%error, nice, "the system refused a niceness");
        }
        let _running = self.hooks.thread_starts(ThreadKind::Blocking);
        point(Point::Started);
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
                state.progress = clock::now();
                if state.queue.capacity() > KEPT && state.queue.len() < state.queue.capacity() / 4 {
                    let some = 2 * state.queue.len();
                    state.queue.shrink_to(some.max(KEPT));
                }
                drop(state);
                point(Point::Offloaded);
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
        // The hook of its end does not run under the lock.
        drop(state);
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
