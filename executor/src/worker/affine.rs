//! Work that is bound to one worker (E17): the events of affine colors.
//!
//! Bound work stands in queues of its own, so thieves, rescuers and workers that send work back
//! never see it. Each class has a lane, which only the worker's thread touches, and an inbox, into
//! which other threads put entries. *An affine entry stands in one of these queues, never
//! elsewhere, and only in those of its own worker.* The worker alternates between them and its
//! other queues, so neither keeps the other waiting for longer than one entry.
//!
//! Ready work has no precedence here. The worker runs the events of bound sets in the order in
//! which they became ready, among everything else that is bound to it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use crossbeam_deque::Injector;
use dapple_colors::Priority;

use super::scheduler::Scheduler;
use super::shared::Shared;
use super::steal::retry;
use super::work::Work;
use crate::sync::{AtomicUsize, Ordering};

/// The capacity that an empty lane keeps, in entries.
const KEPT: usize = 1_024;

/// The side of the other threads: an inbox per class, and the number of entries in the worker's
/// lanes.
pub(super) struct AffineInbox<W> {
    lanes: [Injector<W>; 3],
    /// The number of entries in the worker's lanes. Only the worker writes it.
    kept: AtomicUsize,
}

impl<W> AffineInbox<W> {
    pub(super) fn new() -> Self {
        AffineInbox { lanes: [(); 3].map(|()| Injector::new()), kept: AtomicUsize::new(0) }
    }

    pub(super) fn is_empty_of(&self, class: Priority) -> bool {
        self.lanes[class as usize].is_empty()
    }

    /// Returns `true` if nothing that is bound to the worker is queued, neither here nor in its
    /// lanes.
    pub(super) fn has_nothing(&self) -> bool {
        self.lanes.iter().all(Injector::is_empty) && self.kept.load(Ordering::Relaxed) == 0
    }

    /// Returns the number of entries that the worker has not taken out yet.
    pub(super) fn len(&self) -> usize {
        self.lanes.iter().map(Injector::len).sum()
    }

    pub(super) fn push(&self, work: W, class: Priority) {
        self.lanes[class as usize].push(work);
    }

    /// Takes an entry of the highest class. Called by the worker, or by a thread that disposes of
    /// what the worker has left behind.
    pub(super) fn take(&self) -> Option<W> {
        Priority::ALL.into_iter().find_map(|class| self.take_of(class))
    }

    fn take_of(&self, class: Priority) -> Option<W> {
        retry(|| self.lanes[class as usize].steal())
    }
}

/// The side of the worker: a lane per class.
pub(super) struct Affine<W> {
    lanes: [RefCell<VecDeque<W>>; 3],
    len: Cell<usize>,
    /// Whether bound work is served next, as the other queues were served last.
    is_its_turn: Cell<bool>,
}

impl<W> Default for Affine<W> {
    fn default() -> Self {
        Affine {
            lanes: [(); 3].map(|()| RefCell::default()),
            len: Cell::new(0),
            is_its_turn: Cell::new(false),
        }
    }
}

impl<W> Affine<W> {
    pub(super) fn is_empty(&self) -> bool {
        self.len.get() == 0
    }

    pub(super) fn has(&self, class: Priority) -> bool {
        !self.lanes[class as usize].borrow().is_empty()
    }

    /// Returns `true` if bound work is served next, for a worker that has other work as well. The
    /// answer alternates from call to call.
    #[inline]
    pub(super) fn alternate(&self) -> bool {
        self.is_its_turn.replace(!self.is_its_turn.get())
    }
}

impl<W: Work> Scheduler<W> {
    /// Appends an entry that is bound to this worker to its lane.
    pub(super) fn queue_affine(&self, work: W) {
        self.has_special.set(true);
        self.affine.lanes[work.class() as usize].borrow_mut().push_back(work);
        self.set_affine_len(self.affine.len.get() + 1, &self.shared().affine);
    }

    /// Takes the next entry of a class that is bound to this worker.
    pub(super) fn pop_affine(&self, class: Priority) -> Option<W> {
        let mut lane = self.affine.lanes[class as usize].borrow_mut();
        let work = lane.pop_front()?;
        if lane.is_empty() && lane.capacity() > KEPT {
            lane.shrink_to(KEPT);
        }
        drop(lane);
        self.set_affine_len(self.affine.len.get() - 1, &self.shared().affine);
        Some(work)
    }

    fn set_affine_len(&self, len: usize, inbox: &AffineInbox<W>) {
        self.affine.len.set(len);
        if self.is_detached() {
            return;
        }
        // Relaxed: a thread that asks whether nothing is queued has read before, in the sleep
        // state, that the worker sleeps or is away. The worker announces that after this store.
        inbox.kept.store(len, Ordering::Relaxed);
    }

    /// Moves the entries of a class from the inbox to the end of the worker's lane. Returns `true`
    /// if there were any.
    pub(super) fn receive_affine(&self, class: Priority) -> bool {
        if !self.fleet.has_affine() || self.shared().affine.is_empty_of(class) {
            return false;
        }
        self.polls.set(self.polls.get() + 1);
        // A bounded number of rounds, as other threads may put entries in as fast as this loop
        // takes them out.
        let mut some = false;
        for _ in 0..self.shared().affine.lanes[class as usize].len() {
            let Some(work) = self.shared().affine.take_of(class) else { break };
            self.queue_affine(work);
            some = true;
        }
        some
    }

    /// Takes all entries out of the worker's lanes, to sort them or to dispose of them.
    pub(super) fn take_all_affine(&self) -> impl Iterator<Item = W> {
        let some = self.affine.len.get();
        let next = || Priority::ALL.into_iter().find_map(|class| self.pop_affine(class));
        (0..some).map_while(move |_| next())
    }
}

impl<W> Shared<W> {
    /// Returns `true` if nothing is queued here, apart from entries that are bound to the worker.
    pub(super) fn has_nothing_to_give(&self) -> bool {
        self.plain.is_empty() && self.ready.is_empty()
    }
}
