//! The runtime of a base that has colors: its workers, of which the loop's thread is the first.
//!
//! A base without colors has none. With one, its loop waits in turns of the runtime, whose reactor
//! watches the base's own poller; so the thread of the loop also runs what has a color.

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

/// Turns of colors between two looks at the base's own events.
const AT_ONCE: usize = 64;

/// See the module.
pub(super) struct Workers {
    /// `None`: it has ended. Locked by the thread of the loop while it is in a turn, and by who
    /// ends it when no loop runs.
    here: Mutex<Option<Here>>,
    pub(super) owner: Arc<Owner>,
    pub(super) posted: Arc<Posted>,
    /// As `dapple.h` has it.
    pub(super) runtime: Runtime,
    /// The base's own poller has something.
    is_ready: Arc<AtomicBool>,
    _poller: Registration,
}

// SAFETY: a `Here` is not Send because tasks on its thread need not be; this library spawns none.
// What else it has is used by the thread that runs the loop of its base, one at a time, and dropped
// when no loop runs.
unsafe impl Send for Workers {}
// SAFETY: other threads use the reactors only, which are made for it; `here` is under a lock, and
// is used by the thread of the loop, or by who ends it when no loop runs.
unsafe impl Sync for Workers {}

/// The base's poller, for the reactor to watch.
struct Poller(OwnedFd);

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What is posted to colors of a base's workers, or armed, or registered: it keeps the loop of the
/// base running. It outlives the base, as what is offloaded may.
#[derive(Default)]
pub(super) struct Posted {
    /// How much there is.
    count: AtomicUsize,
    /// How much has been.
    over: AtomicU64,
    /// The loop ends when something has run.
    is_once: AtomicBool,
    /// The base; `None`: it has been freed. Taken before the base's own lock.
    base: Mutex<Option<BasePtr>>,
}

struct BasePtr(*mut Base);

// SAFETY: a base may be used from all threads; the pointer is used under the lock that it stands
// under, and taken away under it before the base is freed.
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

    /// The base is about to be freed.
    pub(super) fn forget_base(&self) {
        *self.base() = None;
    }
}

impl Keeper for Posted {
    fn begins(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    /// The loop looks at the numbers under the lock of the base before it waits, and is woken under
    /// it after they have changed: so it sees them, or is woken.
    fn ends(&self) {
        self.over.fetch_add(1, Ordering::SeqCst);
        let was_last = self.count.fetch_sub(1, Ordering::SeqCst) == 1;
        if (was_last || self.is_once.load(Ordering::SeqCst))
            && let Some(base) = &*self.base()
        {
            // SAFETY: it has not been freed: see `BasePtr`.
            unsafe { (*base.0).lock().wake_if_done() };
        }
    }
}

impl Workers {
    /// Starts so many. `poller`: a copy of the base's.
    pub(super) fn start(
        workers: usize,
        poller: OwnedFd,
        base: *mut Base,
    ) -> std::io::Result<Workers> {
        // A base that is freed waits for its callbacks, however long they take.
        let builder = silent(dapple_io::runtime().workers(workers).stuck_after(Duration::MAX));
        let builder = builder.thread_name("dapple-event");
        let here = builder.default_here(true).build_here()?;
        let posted =
            Arc::new(Posted { base: Mutex::new(Some(BasePtr(base))), ..Posted::default() });
        let owner = Owner::new(&here.handle(), Some(Arc::clone(&posted) as Arc<dyn Keeper>));
        let is_ready = Arc::new(AtomicBool::new(false));
        let says = Arc::clone(&is_ready);
        let color = here.handle().default_color();
        // On this worker, whose thread looks there.
        let registration = here.enter(|_| {
            owner.io.on_ready(Poller(poller), Interest::READABLE, &color, move |_, _| {
                says.store(true, Ordering::Relaxed);
            })
        })?;
        let runtime = Runtime::of_base(&owner);
        let here = Mutex::new(Some(here));
        Ok(Workers { here, owner, posted, runtime, is_ready, _poller: registration })
    }

    /// Waits for so many milliseconds, -1: without limit, and runs what has a color meanwhile. Says
    /// whether the base's own poller has something. For the thread of the loop.
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

    /// Ends what runs, and waits for it, whoever else has this. For who may run the loop, when
    /// nobody does.
    pub(super) fn end(&self) {
        if self.owner.check_process().is_err() {
            // The copy of a forked child does nothing. The thread that had the lock is the
            // parent's.
            return;
        }
        let here = self.here().take();
        drop(here);
    }

    /// Says whether a callback with a color runs on this thread.
    pub(super) fn runs_here(&self) -> bool {
        self.owner.handle().current_worker().is_some()
    }

    /// The figures, as Prometheus has them.
    pub(super) fn figures(&self) -> String {
        self.owner.handle().metrics().to_prometheus()
    }
}
