//! E11: what is queued while a runtime ends is disposed of, once.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering, fence};
use loom::thread;

use super::model;
use crate::runtime::phase::{Phase, PhaseWord};
use crate::runtime::undertaking::Undertaking;

struct World {
    phase: PhaseWord,
    undertaking: Undertaking,
    /// Entries.
    inbox: AtomicUsize,
    disposed: AtomicUsize,
    /// Somebody disposes.
    at_it: AtomicUsize,
    /// What is disposed of queues so many more.
    more: AtomicUsize,
}

impl World {
    fn new(more: usize) -> Arc<World> {
        Arc::new(World {
            phase: PhaseWord::new(),
            undertaking: Undertaking::new(),
            inbox: AtomicUsize::new(0),
            disposed: AtomicUsize::new(0),
            at_it: AtomicUsize::new(0),
            more: AtomicUsize::new(more),
        })
    }

    /// As `Core::inject`. `patience`: of somebody who is not inside of a pass.
    fn inject(&self, patience: u32) {
        self.inbox.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.phase.get() == Phase::Closed {
            self.undertake(patience);
        }
    }

    fn undertake(&self, patience: u32) {
        self.undertaking.undertake(patience, || {
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

    /// As `shutdown::close`.
    fn close(&self) {
        self.phase.advance(Phase::Closed);
        self.undertake(0);
    }
}

/// `posters` threads queue something each while the runtime is closed; what is disposed of queues
/// `more`.
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

/// Two who advance the phase: one of them has done it.
#[test]
fn e11_a_phase_is_reached_once() {
    model(|| {
        let phase = std::sync::Arc::new(PhaseWord::new());
        let other = std::sync::Arc::clone(&phase);
        let stops = thread::spawn(move || other.advance(Phase::Stopping));
        let drains = phase.advance(Phase::Draining);
        let stopped = stops.join().unwrap();
        assert!(stopped, "nobody else went so far");
        assert_eq!(phase.get(), Phase::Stopping);
        assert!(!phase.advance(Phase::Draining));
        let _ = drains;
    });
}
