//! What all handles and tickets of a domain share, and how long it lives.
//!
//! The domain's memory is kept by its handles, by every ticket that has not committed, and by a
//! thread between two collections of decisions (`settling`). The last handle marks the store as an
//! orphan (see `store::Handles`); the thread that then sees under the lock that nothing is left
//! frees it, after the lock, whose release is the last access of the one before.

use std::ops::Deref;
use std::ptr::NonNull;

use dapple_colors::{Mode, Ticket};

use super::actions::Actions;
use super::fate::Undecided;
use super::register::{Found, Looked};
use super::store::{Handles, Store, VersionPtr};
use crate::event::{Kind, Owned, Step, Word};
use crate::lock::Lock;
use crate::runtime::core::{Core, CoreRef};
use crate::site::Site;
use crate::sync::{Arc, AtomicUsize, DomainStep, Ordering, domain_decides};

/// An event without color that waits for its turn.
pub(super) struct Waiting(pub(super) Owned);

/// What is kept with a ticket.
pub(super) struct Deferred {
    /// What was deferred before the event left global; or, once it is ready, all of it.
    pub(super) actions: Actions,
    /// The event was in global, and is no longer.
    pub(super) left_global: bool,
    /// What it deferred was dropped, as nothing runs any more.
    pub(super) is_given_up: bool,
    /// When it became ready to commit, if that is sampled; otherwise 0.
    pub(super) ready: u64,
    /// Where it was posted.
    pub(super) site: Site,
    /// For the task that it is, if it is one.
    pub(super) fate: Option<Undecided>,
}

pub(super) type DomainStore<S> = Store<S, Waiting, Deferred>;

/// What all handles and tickets of a domain share.
pub(super) struct Inner<S> {
    pub(super) core: CoreRef,
    pub(super) handles: Handles,
    pub(super) mode: Mode,
    /// How to copy the state; none in read_write mode, which needs no copy unless it is
    /// transactional.
    pub(super) copy: Option<fn(&S) -> S>,
    /// An event in global works on a copy, which is dropped if it panics.
    pub(super) transactional: bool,
    pub(super) label: Option<Arc<str>>,
    /// The label's number in figures; 0: none.
    pub(super) label_number: u32,
    /// Where it stands in the register; see `watch`.
    pub(super) key: AtomicUsize,
    pub(super) store: Lock<DomainStore<S>>,
}

/// The word of a step that poison covers: it is not a version's address.
pub(super) const SKIPPED: Word = Word::number(1);
/// Marks a version that others may read, in the word of a step.
pub(super) const READ: usize = 1;

impl Deferred {
    #[inline]
    pub(super) fn new(site: Site) -> Self {
        Deferred {
            actions: Actions::default(),
            left_global: false,
            is_given_up: false,
            ready: 0,
            site,
            fate: None,
        }
    }
}

/// A pointer to a domain. Its holder has a handle, or a ticket, or settles.
pub(super) struct DomainPtr<S: 'static>(pub(super) NonNull<Inner<S>>);

impl<S> Clone for DomainPtr<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for DomainPtr<S> {}

// SAFETY: `Inner` is reached from all threads by its lock; S: Send + Sync is asked for when it is
// made.
unsafe impl<S: Send + Sync> Send for DomainPtr<S> {}
// SAFETY: a shared pointer gives what a pointer gives.
unsafe impl<S: Send + Sync> Sync for DomainPtr<S> {}

impl<S> Deref for DomainPtr<S> {
    type Target = Inner<S>;
    #[inline]
    fn deref(&self) -> &Inner<S> {
        // SAFETY: the holder of the pointer keeps the domain; see the module.
        unsafe { self.0.as_ref() }
    }
}

impl<S> DomainPtr<S> {
    /// Which domain it is.
    pub(super) fn address(self) -> usize {
        self.0.as_ptr().addr()
    }

    /// The order has decided this of an event.
    #[inline(always)]
    pub(super) fn tell(self, ticket: Ticket, step: impl FnOnce() -> DomainStep) {
        domain_decides(self.address(), ticket.number(), step);
    }
}

impl<S: Send + Sync + 'static> DomainPtr<S> {
    /// The oldest event that has not committed.
    fn oldest(self) -> Option<Found> {
        self.store.with(|store| {
            let oldest = store.order().oldest()?;
            let uncommitted = store.order().uncommitted();
            Some(Found { oldest, site: store.data(oldest.ticket).site, uncommitted })
        })
    }

    /// Takes out who waits for room, which will no longer come: events that are to be dropped
    /// unrun.
    pub(super) fn take_waiters(self) -> Vec<Owned> {
        let waiters = self.store.with(|store| store.take_waiters());
        waiters.into_iter().map(|waiting| waiting.0).collect()
    }

    /// Gives back a handle.
    pub(super) fn drop_handle(self) {
        if self.handles.remove(&self.store) {
            // We are the last one to know the domain.
            let core = self.core.clone();
            self.free(&core);
        }
    }

    /// Frees the domain, as an event: its state is the user's.
    pub(super) fn free(self, core: &Core) {
        core.domains.leave(self.key.load(Ordering::Relaxed));
        // SAFETY: nobody keeps it any more, and it was a box.
        let inner = unsafe { Box::from_raw(self.0.as_ptr()) };
        // The core outlives the event: what runs or discards it keeps it.
        core.queue_event(Owned::housekeeping(core.memory_here(), inner, Site::caller()));
    }
}

impl<S: Send + Sync + 'static> Looked for DomainPtr<S> {
    fn look(&self) -> Option<Found> {
        self.oldest()
    }

    fn end_waits(&self) -> Box<dyn FnOnce() + Send> {
        let (domain, waiters) = (*self, DomainPtr::take_waiters(*self));
        let core = domain.core.clone();
        Box::new(move || waiters.into_iter().for_each(|event| core.queue_event(event)))
    }
}

impl Waiting {
    /// The event is in anon or global, with this version.
    #[inline]
    pub(super) fn set_version<S>(&mut self, version: VersionPtr<S>, is_read: bool) {
        self.set_word(Word::pointer(version.as_ptr()).tagged(if is_read { READ } else { 0 }));
    }

    /// What it waited for is not a delay of a queue; that counts from here.
    #[inline]
    pub(super) fn may_go_on(&mut self, core: &Core) {
        self.0.restamp(|| core.clock().now());
    }

    #[inline]
    pub(super) fn set_word(&mut self, word: Word) {
        self.0.set_word(word);
    }
}

const _: () = assert!(usize::BITS == 64, "a ticket's number stands in a word");

/// The word of a sub-event that gets its ticket.
pub(super) fn word_of(ticket: Ticket) -> Word {
    Word::number(ticket.number() as usize)
}

/// An event without color of the domain's own, which is not counted.
pub(super) fn own_event<T: Step>(core: &Core, step: T, site: Site) -> Owned {
    // SAFETY: it gets no color, and its word is null: that of the domain's own steps says nothing.
    unsafe { Owned::step(core.memory_here(), step, Kind::Housekeeping, site, 0) }
}
