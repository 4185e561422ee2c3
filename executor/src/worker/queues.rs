//! The queues of a worker for one kind of work: ready or plain.
//!
//! For each class there is a deque that thieves may look into, and an inbox for what other threads
//! hand over. The normal class also has a private part, for entries that no other worker would gain
//! by (see `private`). A worker has two such sets of queues: one for work that is *ready* (see
//! `ready`), and one for all other work.
//!
//! [`OwnQueues`] is the worker's side, [`Queues`] that of other threads.

use std::cell::Cell;

use crossbeam_deque::{Injector, Stealer, Worker as Deque};
use crossbeam_utils::CachePadded;
use dapple_colors::Priority;

use super::private::{self, Owner, Private};
use crate::sync::Arc;

/// The part of a worker's queues of one class that other threads see.
pub(super) struct Lane<W> {
    pub(super) stealer: Stealer<W>,
    /// The entries that other threads hand to this worker.
    pub(super) inbox: Injector<W>,
}

impl<W> Lane<W> {
    pub(super) fn is_empty(&self) -> bool {
        self.inbox.is_empty() && self.stealer.is_empty()
    }
}

/// The part of a worker's queues that other threads see.
pub(crate) struct Queues<W> {
    lanes: [Lane<W>; 3],
    /// The entries that no other worker would gain by.
    pub(super) private: Arc<CachePadded<Private<W>>>,
}

/// The owner's side of [`Queues`].
pub(super) struct OwnQueues<W> {
    /// The deques, by class, into which thieves may look.
    lanes: [Deque<W>; 3],
    /// The entries that are kept out of the deque. `None` if these queues belong to no worker.
    private: Option<Owner<W>>,
    /// Whether the deque, and not the private part, was looked at first the last time.
    deque_first: Cell<bool>,
}

/// Creates both sides of the queues of a worker.
pub(super) fn pair<W>() -> (OwnQueues<W>, Queues<W>) {
    let lanes = [(); 3].map(|()| Deque::new_fifo());
    let lane = |deque: &Deque<W>| Lane { stealer: deque.stealer(), inbox: Injector::new() };
    let (owner, private) = private::pair();
    let queues = Queues { lanes: lanes.each_ref().map(lane), private };
    (OwnQueues { lanes, private: Some(owner), deque_first: Cell::new(false) }, queues)
}

impl<W> Queues<W> {
    #[inline]
    pub(super) fn lane(&self, class: Priority) -> &Lane<W> {
        &self.lanes[class as usize]
    }

    /// Returns the number of entries in the inboxes.
    pub(super) fn handed_over(&self) -> usize {
        self.lanes.iter().map(|lane| lane.inbox.len()).sum()
    }

    /// Returns the number of entries that are queued.
    pub(super) fn len(&self) -> usize {
        let open = self.lanes.iter().map(|lane| lane.inbox.len() + lane.stealer.len());
        open.sum::<usize>() + self.private.len()
    }

    /// Returns `true` if nothing is queued where any worker may take it.
    pub(super) fn has_nothing_open(&self) -> bool {
        self.lanes.iter().all(Lane::is_empty)
    }

    /// Returns `true` if nothing is queued.
    pub(super) fn is_empty(&self) -> bool {
        self.has_nothing_open() && self.private.len() == 0
    }
}

impl<W> OwnQueues<W> {
    /// Creates queues that belong to no worker: no other thread sees them, and they have no private
    /// part.
    pub(super) fn detached() -> Self {
        let lanes = [(); 3].map(|()| Deque::new_fifo());
        OwnQueues { lanes, private: None, deque_first: Cell::new(false) }
    }

    /// Returns `true` if these queues belong to no worker.
    #[inline]
    pub(super) fn is_detached(&self) -> bool {
        self.private.is_none()
    }

    #[inline]
    pub(super) fn lane(&self, class: Priority) -> &Deque<W> {
        &self.lanes[class as usize]
    }

    /// Appends an entry to the private part, or to the deque if the private part refuses it.
    #[inline(always)]
    pub(super) fn push_private(&self, work: W) {
        let refused = match &self.private {
            Some(private) => private.push(work).err(),
            None => Some(work),
        };
        if let Some(work) = refused {
            self.lane(Priority::Normal).push(work);
        }
    }

    /// Takes the next entry of a class.
    #[inline]
    pub(super) fn pop(&self, class: Priority) -> Option<W> {
        match class {
            Priority::Normal => self.pop_normal(),
            _ => self.lane(class).pop(),
        }
    }

    /// Takes the next entry of the normal class. Its two parts alternate, so neither starves the
    /// other.
    #[inline]
    fn pop_normal(&self) -> Option<W> {
        let deque_first = !self.deque_first.get();
        self.deque_first.set(deque_first);
        let deque = self.lane(Priority::Normal);
        match deque_first {
            true => deque.pop().or_else(|| self.pop_private()),
            false => self.pop_private().or_else(|| deque.pop()),
        }
    }

    /// Takes the next entry of the private part.
    #[inline]
    pub(super) fn pop_private(&self) -> Option<W> {
        self.private.as_ref()?.pop()
    }

    /// Returns the number of entries in the private part.
    #[inline]
    pub(super) fn private_len(&self) -> usize {
        self.private.as_ref().map_or(0, Owner::len)
    }

    /// Returns `true` if an entry of a class is queued, apart from the inbox.
    #[inline]
    pub(super) fn has(&self, class: Priority) -> bool {
        let has_private = class == Priority::Normal && self.private_len() > 0;
        has_private || !self.lane(class).is_empty()
    }

    /// Returns `true` if nothing is queued, apart from the inboxes.
    pub(super) fn is_empty(&self) -> bool {
        !Priority::ALL.iter().any(|class| self.has(*class))
    }

    /// Frees the memory that an empty private part does not need.
    pub(super) fn shrink(&self) {
        self.private.iter().for_each(Owner::shrink);
    }

    /// Takes all entries that are queued now, apart from the inboxes.
    pub(super) fn take_all(&self) -> impl Iterator<Item = W> {
        let open = Priority::ALL.into_iter().flat_map(move |class| {
            let queued = self.lane(class).len();
            (0..queued).map_while(move |_| self.lane(class).pop())
        });
        open.chain((0..self.private_len()).map_while(|_| self.pop_private()))
    }
}
