//! The runtime of a base that has colors: its workers, of which the loop's thread is the first.
//!
//! A base without colors has none. With one, its loop waits in turns of the runtime, whose reactor
//! watches the base's own poller; so the thread of the loop also runs what has a color.

use std::ffi::c_int;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dapple::{Here, Turn};
use dapple_io::{Interest, Registration};

use super::base::Base;
use crate::runtime::owner::{Keeper, Owner};
use crate::runtime::runtimes::Runtime;

/// Turns of colors between two looks at the base's own events.
const AT_ONCE: usize = 64;

/// See the module.
pub(super) struct Workers {
    here: Here,
    pub(super) owner: Arc<Owner>,
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
// SAFETY: other threads use the reactors only, which are made for it; `here` is used by the thread
// of the loop, by `wait`, and by who makes or ends it when no loop runs.
unsafe impl Sync for Workers {}

/// The base's poller, for the reactor to watch.
struct Poller(OwnedFd);

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The base, which is told how much is posted to colors of its workers, or armed, or registered.
struct OfBase(*mut Base);

// SAFETY: a base may be used from all threads; the workers, and with them all that was posted to
// them, end before it is freed, and nothing is accepted after that.
unsafe impl Send for OfBase {}
// SAFETY: see above.
unsafe impl Sync for OfBase {}

impl Keeper for OfBase {
    fn begins(&self) {
        // SAFETY: it is there: see above.
        unsafe { (*self.0).lock().virtual_events.add(1) };
    }

    fn ends(&self) {
        // SAFETY: it is there: see above.
        unsafe { (*self.0).lock().has_run_posted() };
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
        let builder = dapple_io::runtime().workers(workers).stuck_after(Duration::MAX);
        let builder = builder.thread_name("dapple-event");
        let here = builder.default_here(true).build_here()?;
        let owner = Owner::new(&here.handle(), Some(Box::new(OfBase(base))));
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
        Ok(Workers { here, owner, runtime, is_ready, _poller: registration })
    }

    /// Waits for so many milliseconds, -1: without limit, and runs what has a color meanwhile. Says
    /// whether the base's own poller has something. For the thread of the loop.
    pub(super) fn wait(&self, millis: c_int) -> bool {
        let turn = match millis {
            -1 => Turn::Block,
            0 => Turn::Poll,
            _ => Turn::Until(Instant::now() + Duration::from_millis(millis as u64)),
        };
        self.here.turn(turn, AT_ONCE);
        self.is_ready.swap(false, Ordering::Relaxed)
    }

    /// The figures, as Prometheus has them.
    pub(super) fn figures(&self) -> String {
        self.owner.handle().metrics().to_prometheus()
    }
}
