//! The threads of the blocking pool: bounded, started when there is work and no thread is idle.
//!
//! *Work that waits for work.* A thread whose work waits, by
//! [`JoinHandle::join`](crate::JoinHandle::join) or
//! [`Runtime::block_on`](crate::Runtime::block_on), does not count towards the limit while it
//! waits. Otherwise the pool would be deadlocked once every thread waits for work that is still in
//! the queue. The pool does not know of other waits (on a channel, on a lock). If no queued work
//! has been taken for 1 s when more is submitted, that is logged.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::niceness::set_niceness;
use crate::clock;
use crate::runtime::thread_hooks::{ThreadHooks, ThreadKind};
use crate::sync::{self, Arc, Condvar, Mutex, Point, PoisonError, lock, point, thread};
use crate::worker::cores::Mask;

/// The time after which an idle thread ends.
const IDLE: Duration = Duration::from_secs(10);

/// The capacity of the queue, in pieces of work, below which the queue is not shrunk.
const KEPT: usize = 1_024;

/// The time without progress after which the pool logs that work waits.
const STUCK: Duration = Duration::from_secs(1);

/// The default limit: the number of threads per worker, and the minimum.
const PER_WORKER: usize = 4;
const LEAST: usize = 8;

/// The settings of the threads. `None` stands for the default limit, a name derived from that of
/// the workers, the stack size of the workers, and an unchanged niceness.
#[derive(Default)]
pub(crate) struct PoolSettings {
    pub(crate) limit: Option<usize>,
    pub(crate) name: Option<String>,
    pub(crate) stack_size: Option<usize>,
    pub(crate) nice: Option<i32>,
}

/// The blocking pool of one runtime.
pub(crate) struct BlockingPool(Arc<Pool>);

struct Pool {
    state: Mutex<PoolState>,
    changed: Condvar,
    limit: usize,
    name: String,
    nice: Option<i32>,
    hooks: Arc<ThreadHooks>,
    /// The cores on which the threads may run: those of the process, since a worker that starts a
    /// thread may be pinned to one core.
    mask: Option<Mask>,
    stack_size: usize,
}

/// A piece of work, which is run once or dropped unrun.
pub(crate) trait Work: Send {
    fn run(self: Box<Self>);
}

struct PoolState {
    queue: VecDeque<Box<dyn Work>>,
    threads: usize,
    idle: usize,
    /// The number of threads whose work waits for something that may be other work.
    waiting: usize,
    closed: bool,
    /// The time when work last entered an empty queue or left the queue, or when a lack of progress
    /// was last logged.
    progress: Instant,
}

impl PoolState {
    /// Returns the number of threads that count towards the limit.
    fn counted(&self) -> usize {
        self.threads - self.waiting
    }
}

impl BlockingPool {
    /// Creates a pool without threads. `name` and `stack_size` are those of the workers.
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
        let state = Mutex::new(PoolState {
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

    /// Returns the maximum number of threads, apart from those whose work waits.
    pub(crate) fn limit(&self) -> usize {
        self.0.limit
    }

    /// Queues work, or drops it if the pool is closed.
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
                "all threads for blocking work are busy and work is queued; if the running work \
                 waits for queued work, allow more threads"
            );
        }
    }

    /// Runs `f`, which blocks, on a thread of the pool. Another one may take its place meanwhile.
    pub(super) fn while_waiting<R>(&self, f: impl FnOnce() -> R) -> R {
        /// Makes the thread count again, also after a panic.
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

    /// Closes the pool: it drops the queued work, and accepts no more.
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
    /// Returns `true` if one more thread is needed and allowed. It then counts already, and the
    /// caller must start it.
    fn starts_one(&self, state: &mut PoolState) -> bool {
        let starts = state.idle < state.queue.len() && state.counted() < self.limit;
        state.threads += usize::from(starts);
        starts
    }

    /// Starts a thread that counts already.
    fn start(self: &Arc<Self>) {
        let pool = Arc::clone(self);
        let thread = thread::Builder::new().name(self.name.clone()).stack_size(self.stack_size);
        if let Err(error) = thread.spawn(move || pool.serve()) {
            self.thread_failed(&error);
        }
    }

    /// Serves the queue on a thread of the pool, until the thread is no longer needed.
    fn serve(self: &Arc<Self>) {
        let is_simulated = sync::is_simulated();
        if !is_simulated {
            self.mask.iter().for_each(Mask::apply);
        }
        if let Some(nice) = self.nice
            && !is_simulated
            && let Err(error) = set_niceness(nice)
        {
            tracing::warn!(%error, nice, "the system refused to set the niceness");
        }
        let _running = self.hooks.thread_starts(ThreadKind::Blocking);
        point(Point::Started);
        let mut state = lock(&self.state);
        loop {
            // This thread has replaced one that waited and now goes on, so it ends. If it was woken
            // for queued work, it passes the wakeup on.
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
        // `_running` calls the hook for the end of a thread when it is dropped, which must not
        // happen under the lock.
        drop(state);
    }

    /// Handles the failure to start a thread. If there are other threads whose work does not wait,
    /// they take the queued work. Otherwise it is dropped.
    fn thread_failed(&self, error: &std::io::Error) {
        tracing::error!(%error, "cannot start a thread for blocking work");
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
