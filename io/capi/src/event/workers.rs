//! The runtime of a base that has colors, whose first worker is the thread of the loop.
//!
//! A base without colors has no runtime. With one, the loop waits in `Here::turn`, and the
//! runtime's reactor watches the base's own poller. So the thread of the loop also runs callbacks
//! with a color.

use std::ffi::c_int;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dapple::{Here, Turn};
use dapple_io::{Interest, Registration};

use super::base::Base;
use crate::runtime::owner::{Keeper, Owner};
use crate::runtime::runtimes::{Runtime, silent};

/// The maximum number of run-queue entries that run before the loop looks at the base's own events.
const AT_ONCE: usize = 64;

/// The runtime of a base, with its first worker.
pub(super) struct Workers {
    /// `None` after the end. The thread of the loop has the lock while it is in `Here::turn`.
    /// Without a running loop, the thread that ends the workers takes it.
    here: Mutex<Option<Here>>,
    pub(super) owner: Arc<Owner>,
    pub(super) posted: Arc<Posted>,
    /// The runtime in the form of `dapple.h`.
    pub(super) runtime: Runtime,
    /// The base's own poller has something to report.
    is_ready: Arc<AtomicBool>,
    _poller: Registration,
}

// SAFETY: a `Here` is not Send because tasks on its thread need not be Send, and this library
// spawns no tasks. The rest of it is used by one thread at a time, the one that runs the loop of
// its base, and is dropped when no loop runs.
unsafe impl Send for Workers {}
// SAFETY: other threads use only the reactors, which are made for that. `here` is under a lock.
// Only the thread of the loop uses it, or the thread that ends it when no loop runs.
unsafe impl Sync for Workers {}

/// A copy of the base's epoll descriptor, for the reactor to watch.
struct Poller(OwnedFd);

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The posts, armed timers and registrations that keep the loop of a base running.
///
/// It may outlive the base, because offloaded work may outlive it.
#[derive(Default)]
pub(super) struct Posted {
    /// The number of posts, timers and registrations that have not ended.
    count: AtomicUsize,
    /// The number of those that have ended.
    over: AtomicU64,
    /// The loop returns once callbacks have run (`EVLOOP_ONCE`).
    is_once: AtomicBool,
    /// The base, or `None` after it was freed. This lock is taken before the base's own.
    base: Mutex<Option<BasePtr>>,
}

struct BasePtr(*mut Base);

// SAFETY: all threads may use a base. The pointer is used only under the lock around it, and is
// removed under that lock before the base is freed.
unsafe impl Send for BasePtr {}

impl Posted {
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    pub(super) fn over(&self) -> u64 {
        self.over.load(Ordering::SeqCst)
    }

    pub(super) fn set_once(&self, is_once: bool) {
        self.is_once.store(is_once, Ordering::SeqCst);
    }

    fn base(&self) -> MutexGuard<'_, Option<BasePtr>> {
        self.base.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the base, which is about to be freed.
    pub(super) fn forget_base(&self) {
        *self.base() = None;
    }
}

impl Keeper for Posted {
    fn begins(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts an end, and wakes the loop if there may be nothing left to wait for.
    ///
    /// The loop reads the numbers under the base's lock before it waits, and is woken under that
    /// lock after they have changed. So it either sees the change or is woken.
    fn ends(&self) {
        self.over.fetch_add(1, Ordering::SeqCst);
        let was_last = self.count.fetch_sub(1, Ordering::SeqCst) == 1;
        if (was_last || self.is_once.load(Ordering::SeqCst))
            && let Some(base) = &*self.base()
        {
            // SAFETY: the base has not been freed, because the pointer is still here (see
            // `BasePtr`).
            unsafe { (*base.0).lock().wake_if_done() };
        }
    }
}

impl Workers {
    /// Starts the workers. `poller` is a copy of the base's epoll descriptor.
    pub(super) fn start(
        workers: usize,
        poller: OwnedFd,
        base: *mut Base,
    ) -> std::io::Result<Workers> {
        // Freeing a base waits for its callbacks, however long they take.
        let builder = silent(dapple_io::runtime().workers(workers).stuck_after(Duration::MAX));
        let builder = builder.thread_name("dapple-event");
        let here = builder.default_here(true).build_here()?;
        let posted =
            Arc::new(Posted { base: Mutex::new(Some(BasePtr(base))), ..Posted::default() });
        let owner = Owner::new(&here.handle(), Some(Arc::clone(&posted) as Arc<dyn Keeper>));
        let is_ready = Arc::new(AtomicBool::new(false));
        let says = Arc::clone(&is_ready);
        let color = here.handle().default_color();
        // Registered on this worker, so that the thread of the loop watches it.
        let registration = here.enter(|_| {
            owner.io.on_ready(Poller(poller), Interest::READABLE, &color, move |_, _| {
                says.store(true, Ordering::Relaxed);
            })
        })?;
        let runtime = Runtime::of_base(&owner);
        let here = Mutex::new(Some(here));
        Ok(Workers { here, owner, posted, runtime, is_ready, _poller: registration })
    }

    /// Waits for at most `millis` milliseconds, or without a limit if it is -1, and runs callbacks
    /// with a color meanwhile.
    ///
    /// Returns `true` if the base's own poller has something to report. Only for the thread of the
    /// loop.
    pub(super) fn wait(&self, millis: c_int) -> bool {
        let turn = match millis {
            -1 => Turn::Block,
            0 => Turn::Poll,
            _ => Turn::Until(Instant::now() + Duration::from_millis(millis as u64)),
        };
        if let Some(here) = &*self.here() {
            here.turn(turn, AT_ONCE);
        }
        self.is_ready.swap(false, Ordering::Relaxed)
    }

    fn here(&self) -> MutexGuard<'_, Option<Here>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the runtime, and waits for the callbacks that run, even if others have a reference to
    /// it.
    ///
    /// The caller is a thread that may run the loop, while no thread runs it.
    pub(super) fn end(&self) {
        if self.owner.check_process().is_err() {
            // A forked child has nothing to end. The lock may belong to a thread that only the
            // parent has.
            return;
        }
        let here = self.here().take();
        drop(here);
    }

    /// Returns `true` if a callback with a color runs on this thread.
    pub(super) fn runs_here(&self) -> bool {
        self.owner.handle().current_worker().is_some()
    }

    /// Returns the metrics in the text format of Prometheus.
    pub(super) fn figures(&self) -> String {
        self.owner.handle().metrics().to_prometheus()
    }
}
