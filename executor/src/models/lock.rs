//! I11, I16: the lock of a domain. What it guards may be freed after a release.
//!
//! Three threads leave a domain under its own lock. The thread that sees that none is left frees
//! it, after its release. Loom reports an access that is not ordered before the freeing, and a
//! value that two threads reach. Loom cannot explore a loop that waits, so a thread that finds the
//! lock held tries again when the others have ended.
//!
//! Two things are not shown. One is that the release is also the last access to the flag itself,
//! which loom keeps alive: it is a single store, as `lock.rs` shows. The other is the loops of
//! `acquire`.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::model;
use crate::lock::spin::Flag;

/// A domain, reduced to what its end needs.
struct Shared {
    lock: Flag,
    /// The number of threads that are left. Guarded by the lock.
    left: UnsafeCell<usize>,
    /// Read by the holder of the lock, until its release. Written by the thread that frees the
    /// domain.
    is_there: UnsafeCell<bool>,
    freed: AtomicUsize,
}

// SAFETY: the lock under test keeps accesses of the cells apart; loom reports it if it does not.
unsafe impl Sync for Shared {}
// SAFETY: a `Shared` owns nothing that is tied to a thread.
unsafe impl Send for Shared {}

impl Shared {
    /// Leaves the domain, and frees it if this thread was the last. Returns `false` if another
    /// thread has the lock.
    fn leave(&self) -> bool {
        if !self.lock.try_acquire() {
            return false;
        }
        let last = self.left.with_mut(|left| {
            // SAFETY: this thread has the lock; loom reports an access by another thread.
            unsafe {
                *left -= 1;
                *left == 0
            }
        });
        // SAFETY: this thread has the lock; loom reports an access by another thread.
        self.is_there.with(|is_there| assert!(unsafe { *is_there }));
        self.lock.release();
        if last {
            // SAFETY: all other threads have released before this one acquired, so none looks at
            // the cell any longer; loom reports it otherwise.
            self.is_there.with_mut(|is_there| unsafe { *is_there = false });
            self.freed.fetch_add(1, Ordering::Relaxed);
        }
        true
    }
}

#[test]
fn i11_who_sees_under_the_lock_that_nobody_is_left_may_free_it() {
    model(|| {
        let shared = Arc::new(Shared {
            lock: Flag::new(),
            left: UnsafeCell::new(3),
            is_there: UnsafeCell::new(true),
            freed: AtomicUsize::new(0),
        });
        let others: Vec<_> = (0..2)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.leave())
            })
            .collect();
        let mut left = usize::from(shared.leave());
        left += others.into_iter().filter_map(|other| other.join().unwrap().then_some(())).count();
        // The first thread to try always gets the lock.
        assert!(left > 0);
        (left..3).for_each(|_| assert!(shared.leave()));
        assert_eq!(shared.freed.load(Ordering::Relaxed), 1);
    });
}
