//! The watchdog of a simulation. A callback that blocks its thread blocks all fibers on it, and so
//! the test forever. The watchdog reports this and ends the process.

use std::time::Duration;

use crate::site::Site;
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering, PoisonError, RwLock, sleep, thread};

/// The interval of the checks.
const LOOK: Duration = Duration::from_millis(200);

/// The signs of life of the thread that runs the fibers.
#[derive(Default)]
pub(super) struct Heart {
    beats: AtomicU64,
    /// The site where the running event was posted; `None` if something else runs.
    site: RwLock<Option<Site>>,
    is_over: AtomicBool,
}

impl Heart {
    /// Records that an event begins or goes on, or, with `None`, that something else does.
    pub(super) fn beat(&self, site: Option<Site>) {
        self.beats.fetch_add(1, Ordering::Relaxed);
        *self.site.write().unwrap_or_else(PoisonError::into_inner) = site;
    }
}

/// A handle to the thread that watches a [`Heart`]. The thread ends after the handle is dropped.
pub(super) struct Watchdog(pub(super) Arc<Heart>);

impl Watchdog {
    /// Starts the watchdog. `patience` is the time without progress after which it ends the
    /// process.
    pub(super) fn start(patience: Duration) -> Watchdog {
        let heart = Arc::new(Heart::default());
        let watched = Arc::clone(&heart);
        let named = thread::Builder::new().name("dapple-sim-watch".to_owned());
        // If the thread cannot be started, a test that blocks does not end.
        drop(named.spawn(move || watch(&watched, patience)));
        Watchdog(heart)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

fn watch(heart: &Heart, patience: Duration) {
    let (mut beats, mut silent) = (0, Duration::ZERO);
    while !heart.is_over.load(Ordering::Relaxed) {
        sleep(LOOK);
        silent += LOOK;
        let now = heart.beats.load(Ordering::Relaxed);
        if now != beats {
            (beats, silent) = (now, Duration::ZERO);
        } else if silent >= patience {
            let site = *heart.site.read().unwrap_or_else(PoisonError::into_inner);
            let what = site.map_or("the test".to_owned(), |s| format!("the event posted at {s}"));
            crate::report::tell(&format_args!(
                "{what} blocks the thread of the simulation, and with it what it may wait for: a \
                 lock that another event holds while it posts, a channel, or a thread"
            ));
            std::process::abort();
        }
    }
}
