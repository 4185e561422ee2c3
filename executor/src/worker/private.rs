//! Run-queue entries that a worker keeps beside its deque, because nobody else would gain by them.
//!
//! Taking an entry out of a deque that thieves may look into costs an atomic read-modify-write.
//! Most entries are not worth stealing (E3), so the worker keeps them in a plain queue of its own.
//! And yet they can be taken: by a worker that finds this one stuck (E4), or a thread that disposes
//! of what is left.
//!
//! # Protocol
//!
//! A lock that is biased towards the owner. The owner says that it is `inside`, and goes on if the
//! queue is not `revoked`; otherwise it leaves again, and behaves as if the queue were full, or
//! empty. A taker revokes the queue, waits until the owner is not inside, takes, and gives the
//! queue back.
//!
//! # Why it is right
//!
//! The owner stores `inside` and then loads `revoked`; the taker stores `revoked` and then loads
//! `inside`. With a full fence between the two steps on both sides, one of them would see the
//! other. The owner's is a compiler's fence only. The taker's is `membarrier`, which has every
//! running thread of the process execute a full fence before it returns: an owner whose load came
//! before that fence has its store made visible by it; any other one loads `revoked` after it, and
//! sees it. A thread that does not run has passed through the scheduler, which is a full fence,
//! too.
//!
//! What one of them did in the queue the other one sees: by `inside` (release, acquire), and by
//! `revoked` (release, acquire). Takers exclude each other by a lock.
//!
//! A taker waits for an owner that was interrupted inside, a few instructions long; it yields
//! meanwhile.
//!
//! Where `membarrier` is missing (Linux before 4.14, other systems, some sandboxes), the queue
//! takes nothing, and everything goes to the deque.
//!
//! The fences are in `fences`; for the model, `membarrier` there is an interruption of the owner.

use std::cell::Cell;
use std::collections::VecDeque;
use std::marker::PhantomData;

use crossbeam_utils::CachePadded;

use super::fences::Fences;
use crate::sync::{Arc, AtomicBool, AtomicUsize, Mutex, Ordering, UnsafeCell};

/// The queue, when it is empty, is not kept larger than this.
const KEPT: usize = 1024;

/// See the module.
pub(crate) struct Private<E> {
    inside: AtomicBool,
    revoked: AtomicBool,
    /// Written by the holder of the queue; a hint for everybody else.
    len: AtomicUsize,
    entries: UnsafeCell<VecDeque<E>>,
    takers: Mutex<()>,
    /// The owner puts something in: the system has the heavy fence.
    works: AtomicBool,
    fences: Fences,
}

// SAFETY: `entries` is touched by the owner while it is inside and the queue is not revoked, or by
// one taker after it has revoked the queue and seen the owner outside.
unsafe impl<E: Send> Sync for Private<E> {}

/// The owner's side: one thread has it.
pub(crate) struct Owner<E>(Arc<CachePadded<Private<E>>>, PhantomData<Cell<()>>);

/// A queue, as its owner has it, and as everybody else does.
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
    /// Appends an entry; it comes back if the queue takes none now.
    #[inline]
    pub(crate) fn push(&self, entry: E) -> Result<(), E> {
        let queue = &**self.0;
        if !queue.works.load(Ordering::Relaxed) || !queue.enter() {
            return Err(entry);
        }
        queue.entries.with_mut(|entries| {
            // SAFETY: the one owner is inside, and the queue is not revoked.
            let entries = unsafe { &mut *entries };
            entries.push_back(entry);
            queue.len.store(entries.len(), Ordering::Relaxed);
        });
        queue.leave();
        Ok(())
    }

    /// Takes the oldest entry; none if there is none, or somebody else is about to take them.
    #[inline]
    pub(crate) fn pop(&self) -> Option<E> {
        let queue = &**self.0;
        if queue.len() == 0 || !queue.enter() {
            return None;
        }
        let entry = queue.entries.with_mut(|entries| {
            // SAFETY: the one owner is inside, and the queue is not revoked.
            let entries = unsafe { &mut *entries };
            let entry = entries.pop_front();
            queue.len.store(entries.len(), Ordering::Relaxed);
            entry
        });
        queue.leave();
        entry
    }

    /// How many entries there are; exact while nobody takes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Gives back what memory an empty queue does not need.
    pub(crate) fn shrink(&self) {
        let queue = &**self.0;
        if queue.len() == 0 && queue.enter() {
            queue.entries.with_mut(|entries| {
                // SAFETY: the one owner is inside, and the queue is not revoked.
                unsafe { &mut *entries }.shrink_to(KEPT);
            });
            queue.leave();
        }
    }

    /// The owner does not run any more, in the model.
    #[cfg(loom)]
    pub(crate) fn stops(&self) {
        self.0.fences.owner_stops();
    }
}

impl<E> Private<E> {
    /// How many entries there are; exact for the owner while nobody takes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Takes up to `n` of the oldest entries out of a queue that may be another thread's.
    pub(crate) fn take(&self, n: usize) -> Vec<E> {
        if self.len() == 0 || n == 0 {
            return Vec::new();
        }
        let takers = self.takers.lock().unwrap_or_else(|e| e.into_inner());
        // Relaxed: the heavy fence follows. Partner: the owner's load in `enter`.
        self.revoked.store(true, Ordering::Relaxed);
        if !self.fences.heavy() {
            // The system has changed its mind (a sandbox that was entered since): the owner has
            // what is in it alone, and puts no more into it.
            self.works.store(false, Ordering::Relaxed);
            self.revoked.store(false, Ordering::Release);
            return Vec::new();
        }
        // Acquire: partner is the release of `leave`.
        while self.inside.load(Ordering::Acquire) {
            crate::sync::yield_now();
        }
        let taken = self.entries.with_mut(|entries| {
            // SAFETY: the queue is revoked, the owner is outside, and the lock keeps other takers
            // out.
            let entries = unsafe { &mut *entries };
            let taken = entries.drain(..n.min(entries.len())).collect();
            self.len.store(entries.len(), Ordering::Relaxed);
            taken
        });
        // Release: partner is the acquire of `enter`.
        self.revoked.store(false, Ordering::Release);
        drop(takers);
        taken
    }

    #[inline]
    fn enter(&self) -> bool {
        self.fences.may_interrupt();
        self.inside.store(true, Ordering::Relaxed);
        self.fences.light();
        // Acquire: partner is the release at the end of `take`.
        if self.revoked.load(Ordering::Acquire) {
            self.leave();
            return false;
        }
        self.fences.may_interrupt();
        true
    }

    #[inline]
    fn leave(&self) {
        // Release: partner is the acquire of `take`.
        self.inside.store(false, Ordering::Release);
        self.fences.may_interrupt();
    }
}

#[cfg(all(test, not(loom)))]
#[path = "private_tests.rs"]
mod tests;
