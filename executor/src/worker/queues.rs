//! The queues of a worker for one kind of work.
//!
//! For each class there is a deque that thieves may look into, and an inbox for what others hand
//! over; for the normal class there is a private part besides, for what nobody else would gain by
//! (see `private`). A worker has two such sets of queues: one for work that is *ready* (see
//! `ready`), and one for all other work.
//!
//! [`OwnQueues`] is the side of the worker, [`Queues`] that of everybody else.

use std::cell::Cell;

use crossbeam_deque::{Injector, Stealer, Worker as Deque};
use crossbeam_utils::CachePadded;
use dapple_colors::Priority;

use super::private::{self, Owner, Private};
use crate::sync::Arc;

/// What others see of a worker's queues of one class.
pub(super) struct Lane<W> {
    pub(super) stealer: Stealer<W>,
    /// What others hand to this worker.
    pub(super) inbox: Injector<W>,
}

impl<W> Lane<W> {
    pub(super) fn is_empty(&self) -> bool {
        self.inbox.is_empty() && self.stealer.is_empty()
    }
}

/// See the module.
pub(crate) struct Queues<W> {
    lanes: [Lane<W>; 3],
    /// What nobody else would gain by.
    pub(super) private: Arc<CachePadded<Private<W>>>,
}

/// The owner's side of [`Queues`].
pub(super) struct OwnQueues<W> {
    /// What is queued where thieves may look, by class.
    lanes: [Deque<W>; 3],
    /// What is kept out of the deque. `None`: these are no worker's queues.
    private: Option<Owner<W>>,
    /// Which part is looked at first.
    deque_first: Cell<bool>,
}

/// Both sides of the queues of a worker.
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

    /// How many entries others have handed over.
    pub(super) fn handed_over(&self) -> usize {
        self.lanes.iter().map(|lane| lane.inbox.len()).sum()
    }

    /// How many entries are queued.
    pub(super) fn len(&self) -> usize {
        let open = self.lanes.iter().map(|lane| lane.inbox.len() + lane.stealer.len());
        open.sum::<usize>() + self.private.len()
    }

    /// Says whether nothing is queued where everybody may take it.
    pub(super) fn has_nothing_open(&self) -> bool {
        self.lanes.iter().all(Lane::is_empty)
    }

    /// Says whether nothing is queued.
    pub(super) fn is_empty(&self) -> bool {
        self.has_nothing_open() && self.private.len() == 0
    }
}

impl<W> OwnQueues<W> {
    /// Queues that nobody else sees, without a private part.
    pub(super) fn detached() -> Self {
        let lanes = [(); 3].map(|()| Deque::new_fifo());
        OwnQueues { lanes, private: None, deque_first: Cell::new(false) }
    }

    /// Says whether these are no worker's.
    #[inline]
    pub(super) fn is_detached(&self) -> bool {
        self.private.is_none()
    }

    #[inline]
    pub(super) fn lane(&self, class: Priority) -> &Deque<W> {
        &self.lanes[class as usize]
    }

    /// Appends to the private part; to the deque if that takes nothing now.
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

    /// The next entry of a class.
    #[inline]
    pub(super) fn pop(&self, class: Priority) -> Option<W> {
        match class {
            Priority::Normal => self.pop_normal(),
            _ => self.lane(class).pop(),
        }
    }

    /// The next entry of the normal class. Neither part of it starves the other.
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

    /// The next entry that is kept out of the deque.
    #[inline]
    pub(super) fn pop_private(&self) -> Option<W> {
        self.private.as_ref()?.pop()
    }

    /// How many entries the private part has.
    #[inline]
    pub(super) fn private_len(&self) -> usize {
        self.private.as_ref().map_or(0, Owner::len)
    }

    /// Says whether something of a class is queued, apart from what others have handed over.
    #[inline]
    pub(super) fn has(&self, class: Priority) -> bool {
        let has_private = class == Priority::Normal && self.private_len() > 0;
        has_private || !self.lane(class).is_empty()
    }

    /// Says whether nothing is queued, apart from what others have handed over.
    pub(super) fn is_empty(&self) -> bool {
        !Priority::ALL.iter().any(|class| self.has(*class))
    }

    /// Gives back what memory an empty private part does not need.
    pub(super) fn shrink(&self) {
        self.private.iter().for_each(Owner::shrink);
    }

    /// What is queued now, apart from what others have handed over.
    pub(super) fn take_all(&self) -> impl Iterator<Item = W> {
        let open = Priority::ALL.into_iter().flat_map(move |class| {
            let queued = self.lane(class).len();
            (0..queued).map_while(move |_| self.lane(class).pop())
        });
        open.chain((0..self.private_len()).map_while(|_| self.pop_private()))
    }
}
