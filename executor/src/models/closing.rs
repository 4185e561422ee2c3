//! E11: entries that are queued while a runtime ends are disposed of, once.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering, fence};
use loom::thread;

use super::model;
use crate::runtime::disposal::Disposal;
use crate::runtime::phase::{Phase, PhaseWord};

struct World {
    phase: PhaseWord,
    disposal: Disposal,
    /// The number of queued entries.
    inbox: AtomicUsize,
    disposed: AtomicUsize,
    /// The number of threads that are in a pass: 0 or 1.
    at_it: AtomicUsize,
    /// The number of entries that are queued by those that are disposed of.
    more: AtomicUsize,
}

impl World {
    fn new(more: usize) -> Arc<World> {
        Arc::new(World {
            phase: PhaseWord::new(),
            disposal: Disposal::new(),
            inbox: AtomicUsize::new(0),
            disposed: AtomicUsize::new(0),
            at_it: AtomicUsize::new(0),
            more: AtomicUsize::new(more),
        })
    }

    /// Queues an entry, as `Core::inject` does. `patience` is 0 inside a pass.
    fn inject(&self, patience: u32) {
        self.inbox.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.phase.get() == Phase::Closed {
            self.dispose_queues(patience);
        }
    }

    fn dispose_queues(&self, patience: u32) {
        self.disposal.dispose(patience, || {
            assert_eq!(self.at_it.fetch_add(1, Ordering::Relaxed), 0, "one at a time");
            let found = self.inbox.swap(0, Ordering::Relaxed);
            for _ in 0..found {
                if self.more.load(Ordering::Relaxed) > 0 {
                    self.more.fetch_sub(1, Ordering::Relaxed);
                    self.inject(0);
                }
            }
            self.disposed.fetch_add(found, Ordering::Relaxed);
            self.at_it.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Closes the runtime, as `shutdown::close` does.
    fn close(&self) {
        self.phase.advance(Phase::Closed);
        self.dispose_queues(0);
    }
}

/// Lets `posters` threads queue an entry each while the runtime is closed. Disposing of entries
/// queues `more` in all.
fn closes_beside(posters: usize, more: usize, patience: u32) {
    model(move || {
        let world = World::new(more);
        let threads: Vec<_> = (0..posters)
            .map(|_| {
                let world = Arc::clone(&world);
                thread::spawn(move || world.inject(patience))
            })
            .collect();
        world.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(world.inbox.load(Ordering::Relaxed), 0, "something is left behind");
        assert_eq!(world.disposed.load(Ordering::Relaxed), posters + more);
    });
}

#[test]
fn e11_what_is_queued_beside_the_end_is_disposed_of() {
    closes_beside(2, 0, 0);
    closes_beside(2, 0, 1);
}

#[test]
fn e11_what_a_drop_queues_is_disposed_of() {
    closes_beside(1, 2, 0);
    closes_beside(2, 1, 0);
}

/// E11: two threads advance the phase, and only one of them reaches each value.
#[test]
fn e11_a_phase_is_reached_once() {
    model(|| {
        let phase = std::sync::Arc::new(PhaseWord::new());
        let other = std::sync::Arc::clone(&phase);
        let stops = thread::spawn(move || other.advance(Phase::Stopping));
        let drains = phase.advance(Phase::Draining);
        let stopped = stops.join().unwrap();
        assert!(stopped, "no other thread advances to Stopping");
        assert_eq!(phase.get(), Phase::Stopping);
        assert!(!phase.advance(Phase::Draining));
        let _ = drains;
    });
}
