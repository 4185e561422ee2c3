//! A callback that blocks the thread blocks all fibers of it, and the test for ever: somebody has
//! to say so.

use std::time::Duration;

use crate::site::Site;
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering, PoisonError, RwLock, sleep, thread};

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(200);

/// What the fibers' thread says of itself.
#[derive(Default)]
pub(super) struct Heart {
    beats: AtomicU64,
    /// Where the event was posted that runs; `None`: something else does.
    site: RwLock<Option<Site>>,
    is_over: AtomicBool,
}

impl Heart {
    /// An event begins, or goes on; `None`: something else does.
    pub(super) fn goes_on(&self, site: Option<Site>) {
        self.beats.fetch_add(1, Ordering::Relaxed);
        *self.site.write().unwrap_or_else(PoisonError::into_inner) = site;
    }
}

/// A thread that listens to a heart, until this is dropped.
pub(super) struct Watchdog(pub(super) Arc<Heart>);

impl Watchdog {
    /// `patience`: how long nothing goes on before the process is ended.
    pub(super) fn start(patience: Duration) -> Watchdog {
        let heart = Arc::new(Heart::default());
        let watched = Arc::clone(&heart);
        let named = thread::Builder::new().name("dapple-sim-watch".to_owned());
        // Without it a test that blocks is one that does not end.
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
