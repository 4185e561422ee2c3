//! I11, I16: the lock of a domain, after whose release what it guards may be freed.
//!
//! Three threads leave something under its own lock; the one that sees that nobody is left frees
//! it, after its release. Loom reports an access that is not ordered before the freeing, and a
//! value that is reached by two. It cannot explore a loop that waits; so who finds the lock held
//! tries again when the others are gone.
//!
//! Not shown: that the release is also the last access to the flag itself, which loom keeps; that
//! is a single store, and can be read in `lock.rs`. Nor the loops of `acquire`.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::model;
use crate::lock::spin::Flag;

/// A domain, as far as its life goes.
struct Shared {
    lock: Flag,
    /// Who is left. Under the lock.
    left: UnsafeCell<usize>,
    /// Read by the holder of the lock, until its release; written by the thread that frees it.
    is_there: UnsafeCell<bool>,
    freed: AtomicUsize,
}

// SAFETY: the model: what is checked are the cells.
unsafe impl Sync for Shared {}
// SAFETY: the model: what is checked are the cells.
unsafe impl Send for Shared {}

impl Shared {
    /// False: somebody else has the lock.
    fn leave(&self) -> bool {
        if !self.lock.try_acquire() {
            return false;
        }
        let last = self.left.with_mut(|left| {
            // SAFETY: checked by loom.
            unsafe {
                *left -= 1;
                *left == 0
            }
        });
        // SAFETY: checked by loom.
        self.is_there.with(|is_there| assert!(unsafe { *is_there }));
        self.lock.release();
        if last {
            // SAFETY: checked by loom: all others have released before this one acquired.
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
        // One of them is always the first to have it.
        assert!(left > 0);
        (left..3).for_each(|_| assert!(shared.leave()));
        assert_eq!(shared.freed.load(Ordering::Relaxed), 1);
    });
}
