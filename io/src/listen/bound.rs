//! A bound on the number of a listener's connections. While that many exist, further connections
//! wait in the system to be accepted.
//!
//! *No wakeup is lost.* An acceptor that finds no room marks itself hungry, and then looks for room
//! again. A connection that ends frees its room, and then looks for hungry acceptors. All four
//! steps are in one total order (SeqCst), so at least one of the two sees the other.
//!
//! *It comes to rest.* An acceptor takes room before it knows whether a connection waits, and frees
//! the room if none does. Only hungry acceptors are told of that. An acceptor that has got room is
//! not hungry, so two acceptors do not tell each other forever.

use std::fmt;

use dapple::sync::{Arc, AtomicBool, AtomicUsize, Mutex, Ordering, Weak, lock};

/// An acceptor, as the bound sees it.
pub(super) trait Hungry: Send + Sync {
    /// Returns the flag that says whether the acceptor has found no room, and has to be told when
    /// there is some.
    fn is_hungry(&self) -> &AtomicBool;

    /// Tells the acceptor that there may be room.
    fn has_room(&self);
}

/// The bound that the acceptors of one listener share; see the module's documentation.
pub(super) struct Bound {
    most: usize,
    count: AtomicUsize,
    /// Whether one of the acceptors may be hungry.
    are_hungry: AtomicBool,
    acceptors: Mutex<Vec<Weak<dyn Hungry>>>,
}

/// Room for one connection, which is freed when the value is dropped.
pub(crate) struct Counted(Arc<Bound>);

impl Bound {
    /// Makes a bound of `most` connections; `None` allows any number.
    pub(super) fn new(most: Option<usize>) -> Arc<Bound> {
        Arc::new(Bound {
            most: most.unwrap_or(usize::MAX),
            count: AtomicUsize::new(0),
            are_hungry: AtomicBool::new(false),
            acceptors: Mutex::default(),
        })
    }

    pub(super) fn join(&self, acceptor: Weak<dyn Hungry>) {
        lock(&self.acceptors).push(acceptor);
    }

    /// Returns the number of connections that exist.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Takes room for one connection. Returns `None` if there is none; the acceptor is told when
    /// there is.
    pub(super) fn enter(self: &Arc<Self>, acceptor: &impl Hungry) -> Option<Counted> {
        let entered = self.try_enter().or_else(|| {
            acceptor.is_hungry().store(true, Ordering::SeqCst);
            self.are_hungry.store(true, Ordering::SeqCst);
            self.try_enter()
        });
        if entered.is_some() {
            acceptor.is_hungry().store(false, Ordering::SeqCst);
        }
        entered
    }

    fn try_enter(self: &Arc<Self>) -> Option<Counted> {
        let more = |count: usize| (count < self.most).then(|| count + 1);
        let entered = self.count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        entered.is_ok().then(|| Counted(Arc::clone(self)))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let bound = &self.0;
        bound.count.fetch_sub(1, Ordering::SeqCst);
        // Most of the time no acceptor is hungry, and the flag is only read.
        let are_hungry = &bound.are_hungry;
        if !are_hungry.load(Ordering::SeqCst) || !are_hungry.swap(false, Ordering::SeqCst) {
            return;
        }
        let acceptors: Vec<_> = lock(&bound.acceptors).iter().filter_map(Weak::upgrade).collect();
        for acceptor in acceptors {
            if acceptor.is_hungry().swap(false, Ordering::SeqCst) {
                acceptor.has_room();
            }
        }
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counted").field(&self.0.count()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[derive(Default)]
    struct Told {
        times: AtomicUsize,
        is_hungry: AtomicBool,
    }

    impl Hungry for Told {
        fn is_hungry(&self) -> &AtomicBool {
            &self.is_hungry
        }

        fn has_room(&self) {
            self.times.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Told {
        fn join(bound: &Bound) -> Arc<Told> {
            let told = Arc::new(Told::default());
            bound.join(Arc::downgrade(&told) as Weak<dyn Hungry>);
            told
        }

        fn times(&self) -> usize {
            self.times.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn n3_only_an_acceptor_that_found_no_room_is_told() {
        let bound = Bound::new(Some(2));
        let (told, other) = (Told::join(&bound), Told::join(&bound));
        let (one, two) = (bound.enter(&*told).unwrap(), bound.enter(&*told).unwrap());
        drop(one);
        assert_eq!(told.times(), 0, "nobody was hungry");
        let one = bound.enter(&*other).unwrap();
        assert!(bound.enter(&*told).is_none());
        drop((one, two));
        assert_eq!((told.times(), other.times()), (1, 0), "once is enough");
        assert_eq!(bound.count(), 0);
    }

    #[test]
    fn n3_room_that_comes_beside_a_look_is_seen_by_one_of_the_two() {
        let bound = Bound::new(Some(1));
        let told = Told::join(&bound);
        for _ in 0..5_000 {
            let before = told.times();
            let held = bound.enter(&*told).unwrap();
            let found = thread::scope(|scope| {
                let give = scope.spawn(move || drop(held));
                let found = bound.enter(&*told);
                give.join().unwrap();
                found
            });
            assert!(found.is_some() || told.times() > before, "neither room nor news of it");
        }
    }
}
