//! Work that stays with one worker (E17): the events of colors that are bound to it.
//!
//! Such work stands in queues of its own, so that nobody who steals, rescues or sends work back
//! ever sees it: a lane for each class that only the worker's thread touches, and an inbox for each
//! class into which others put it. *An affine entry stands in one of these, never elsewhere, and in
//! those of its own worker only.* The worker serves them and its other queues in turn, so neither
//! keeps the other waiting for longer than one entry.
//!
//! What is ready has no precedence here: a worker that is to run the events of sets has them in the
//! order in which they became ready, beside everything else that is bound to it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use crossbeam_deque::Injector;
use dapple_colors::Priority;

use super::scheduler::Scheduler;
use super::shared::Shared;
use super::steal::retry;
use super::work::Work;
use crate::sync::{AtomicUsize, Ordering};

/// Room for entries that an empty lane keeps.
const KEPT: usize = 1_024;

/// The side of everybody else.
pub(super) struct AffineInbox<W> {
    lanes: [Injector<W>; 3],
    /// How many entries the worker has in its lanes. Written by the worker only.
    kept: AtomicUsize,
}

impl<W> AffineInbox<W> {
    pub(super) fn new() -> Self {
        AffineInbox { lanes: [(); 3].map(|()| Injector::new()), kept: AtomicUsize::new(0) }
    }

    pub(super) fn is_empty_of(&self, class: Priority) -> bool {
        self.lanes[class as usize].is_empty()
    }

    /// Says whether nothing is bound to the worker, whether it has taken it out of here or not.
    pub(super) fn has_nothing(&self) -> bool {
        self.lanes.iter().all(Injector::is_empty) && self.kept.load(Ordering::Relaxed) == 0
    }

    /// How many entries others have put here that the worker has not taken yet.
    pub(super) fn len(&self) -> usize {
        self.lanes.iter().map(Injector::len).sum()
    }

    pub(super) fn push(&self, work: W, class: Priority) {
        self.lanes[class as usize].push(work);
    }

    /// One entry of the highest class: for the worker, or for who disposes of what it has left.
    pub(super) fn take(&self) -> Option<W> {
        Priority::ALL.into_iter().find_map(|class| self.take_of(class))
    }

    fn take_of(&self, class: Priority) -> Option<W> {
        retry(|| self.lanes[class as usize].steal())
    }
}

/// The side of the worker.
pub(super) struct Affine<W> {
    lanes: [RefCell<VecDeque<W>>; 3],
    len: Cell<usize>,
    /// The other queues were served last.
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

    /// Says whose turn it is, of a worker that has other work as well.
    #[inline]
    pub(super) fn takes_turns(&self) -> bool {
        self.is_its_turn.replace(!self.is_its_turn.get())
    }
}

impl<W: Work> Scheduler<W> {
    /// Puts something that is bound to this worker behind what it has.
    pub(super) fn queue_affine(&self, work: W) {
        self.has_special.set(true);
        self.affine.lanes[work.class() as usize].borrow_mut().push_back(work);
        self.set_affine_len(self.affine.len.get() + 1, &self.shared().affine);
    }

    /// The next entry of a class that is bound to this worker.
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
        // Relaxed: a thread that asks whether there is nothing has read before that the worker
        // sleeps, or is away, which the worker has said after this.
        inbox.kept.store(len, Ordering::Relaxed);
    }

    /// Moves what others have bound to this worker in a class behind what it has. True: there was
    /// something.
    pub(super) fn receive_affine(&self, class: Priority) -> bool {
        if !self.fleet.has_affine() || self.shared().affine.is_empty_of(class) {
            return false;
        }
        self.polls.set(self.polls.get() + 1);
        // Others may put in as fast as this takes out.
        let mut some = false;
        for _ in 0..self.shared().affine.lanes[class as usize].len() {
            let Some(work) = self.shared().affine.take_of(class) else { break };
            self.queue_affine(work);
            some = true;
        }
        some
    }

    /// All that the worker has taken out of its inbox, at its end.
    pub(super) fn take_all_affine(&self) -> impl Iterator<Item = W> {
        let some = self.affine.len.get();
        let next = || Priority::ALL.into_iter().find_map(|class| self.pop_affine(class));
        (0..some).map_while(move |_| next())
    }
}

impl<W> Shared<W> {
    /// Says whether nothing but what is bound to the worker is queued here.
    pub(super) fn has_nothing_to_give(&self) -> bool {
        self.plain.is_empty() && self.ready.is_empty()
    }
}
