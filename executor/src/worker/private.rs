//! A worker's private queue: run-queue entries that it keeps out of its deque, because no other
//! worker would gain by them.
//!
//! Taking an entry out of a deque that thieves may look into costs an atomic read-modify-write.
//! Most entries are not worth stealing (E3), so the worker keeps them in a plain queue of its own.
//! Other threads can still take them: a worker that finds this one stuck (E4), or a thread that
//! disposes of what is left.
//!
//! # Protocol
//!
//! The queue is guarded by a lock that is biased towards the owner. The owner stores `inside`, and
//! goes on if the queue is not `revoked`. Otherwise it clears `inside` again, and behaves as if the
//! queue were full, or empty. A taker revokes the queue, waits until the owner is not inside, takes
//! entries, and ends the revocation.
//!
//! # Why it is right
//!
//! The owner stores `inside` and then loads `revoked`; the taker stores `revoked` and then loads
//! `inside`. With a full fence between the two steps on both sides, at least one of them would see
//! the other's store. The owner's fence is a compiler fence only. The taker's fence is
//! `membarrier`, which makes every running thread of the process execute a full fence before it
//! returns. If the owner's load came before that fence, the fence makes its store visible to the
//! taker. If the load comes after it, the owner sees `revoked`. A thread that is not running has
//! passed through the scheduler, which is a full fence, too.
//!
//! Each side sees what the other side did in the queue: by `inside` (release, acquire), and by
//! `revoked` (release, acquire). A lock keeps takers from each other.
//!
//! If the owner was interrupted while it was inside, the taker waits for it, and yields meanwhile.
//! The owner has only a few instructions left there.
//!
//! Where `membarrier` is missing (Linux before 4.14, other systems, some sandboxes), the queue
//! refuses every entry, and everything goes to the deque.
//!
//! The fences are in `fences`. In the loom model, `membarrier` is an interruption of the owner.

use std::cell::Cell;
use std::collections::VecDeque;
use std::marker::PhantomData;

use crossbeam_utils::CachePadded;

use super::fences::Fences;
use crate::sync::{Arc, AtomicBool, AtomicUsize, Mutex, Ordering, UnsafeCell};

/// The capacity to which an empty queue shrinks, in entries.
const KEPT: usize = 1024;

/// The queue, as all threads share it; see the module.
pub(crate) struct Private<E> {
    inside: AtomicBool,
    revoked: AtomicBool,
    /// The number of entries. Written by the side that has access to the queue; a hint for all
    /// other threads.
    len: AtomicUsize,
    entries: UnsafeCell<VecDeque<E>>,
    takers: Mutex<()>,
    /// Whether the owner may put entries in, as the system has the heavy fence.
    works: AtomicBool,
    fences: Fences,
}

// SAFETY: `entries` is touched only by the owner, while it is inside and the queue is not revoked,
// or by one taker, after it has revoked the queue and seen the owner outside. These exclude each
// other, as the module's documentation shows. Entries move between threads, hence `E: Send`.
unsafe impl<E: Send> Sync for Private<E> {}

/// The owner's side of the queue. Only one thread has it.
pub(crate) struct Owner<E>(Arc<CachePadded<Private<E>>>, PhantomData<Cell<()>>);

/// Creates a queue. Returns the owner's side, and the side of all other threads.
pub(crate) fn pair<E>() -> (Owner<E>, Arc<CachePadded<Private<E>>>) {
    pair_with(Fences::new())
}

pub(crate) fn pair_with<E>(fences: Fences) -> (Owner<E>, Arc<CachePadded<Private<E>>>) {
    let queue = Private {
        inside: AtomicBool::new(false),
        revoked: AtomicBool::new(false),
        len: AtomicUsize::new(0),
        entries: UnsafeCell::new(VecDeque::new()),
        takers: Mutex::new(()),
        works: AtomicBool::new(fences.available()),
        fences,
    };
    let queue = Arc::new(CachePadded::new(queue));
    (Owner(Arc::clone(&queue), PhantomData), queue)
}

impl<E> Owner<E> {
    /// Appends an entry. Returns the entry as the error if the queue refuses it now.
    #[inline]
    pub(crate) fn push(&self, entry: E) -> Result<(), E> {
        let queue = &**self.0;
        if !queue.works.load(Ordering::Relaxed) || !queue.enter() {
            return Err(entry);
        }
        queue.entries.with_mut(|entries| {
            // SAFETY: only one thread has the owner's side, `enter` succeeded, and takers stay out
            // until `leave`.
            let entries = unsafe { &mut *entries };
            entries.push_back(entry);
            queue.len.store(entries.len(), Ordering::Relaxed);
        });
        queue.leave();
        Ok(())
    }

    /// Takes the oldest entry. Returns `None` if there is none, or if a taker has revoked the
    /// queue.
    #[inline]
    pub(crate) fn pop(&self) -> Option<E> {
        let queue = &**self.0;
        if queue.len() == 0 || !queue.enter() {
            return None;
        }
        let entry = queue.entries.with_mut(|entries| {
            // SAFETY: only one thread has the owner's side, `enter` succeeded, and takers stay out
            // until `leave`.
            let entries = unsafe { &mut *entries };
            let entry = entries.pop_front();
            queue.len.store(entries.len(), Ordering::Relaxed);
            entry
        });
        queue.leave();
        entry
    }

    /// Returns the number of entries, which is exact while no taker is active.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Frees the memory that an empty queue does not need.
    pub(crate) fn shrink(&self) {
        let queue = &**self.0;
        if queue.len() == 0 && queue.enter() {
            queue.entries.with_mut(|entries| {
                // SAFETY: only one thread has the owner's side, `enter` succeeded, and takers stay
                // out until `leave`.
                unsafe { &mut *entries }.shrink_to(KEPT);
            });
            queue.leave();
        }
    }

    /// Notes that the owner's thread ends, in the model.
    #[cfg(loom)]
    pub(crate) fn stops(&self) {
        self.0.fences.owner_stops();
    }
}

impl<E> Private<E> {
    /// Returns the number of entries, which is exact for the owner while no taker is active.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Takes up to `n` of the oldest entries out of a queue that another thread may own.
    pub(crate) fn take(&self, n: usize) -> Vec<E> {
        if self.len() == 0 || n == 0 {
            return Vec::new();
        }
        let takers = self.takers.lock().unwrap_or_else(|e| e.into_inner());
        // Relaxed: the heavy fence follows. Partner: the owner's load of `revoked` in `enter`.
        self.revoked.store(true, Ordering::Relaxed);
        if !self.fences.heavy() {
            // The system refuses the fence now, as the process has entered a sandbox since. Only
            // the owner uses the entries that are left, and it puts no more into the queue.
            self.works.store(false, Ordering::Relaxed);
            self.revoked.store(false, Ordering::Release);
            return Vec::new();
        }
        // Acquire: pairs with the release store of `leave`.
        while self.inside.load(Ordering::Acquire) {
            crate::sync::yield_now();
        }
        let taken = self.entries.with_mut(|entries| {
            // SAFETY: the queue is revoked and the owner is not inside, so the owner stays out; the
            // lock keeps other takers out.
            let entries = unsafe { &mut *entries };
            let taken = entries.drain(..n.min(entries.len())).collect();
            self.len.store(entries.len(), Ordering::Relaxed);
            taken
        });
        // Release: pairs with the acquire load of `enter`.
        self.revoked.store(false, Ordering::Release);
        drop(takers);
        taken
    }

    #[inline]
    fn enter(&self) -> bool {
        self.fences.may_interrupt();
        self.inside.store(true, Ordering::Relaxed);
        self.fences.light();
        // Acquire: pairs with the release store at the end of `take`.
        if self.revoked.load(Ordering::Acquire) {
            self.leave();
            return false;
        }
        self.fences.may_interrupt();
        true
    }

    #[inline]
    fn leave(&self) {
        // Release: pairs with the acquire load in `take`.
        self.inside.store(false, Ordering::Release);
        self.fences.may_interrupt();
    }
}

#[cfg(all(test, not(loom)))]
#[path = "private_tests.rs"]
mod tests;
