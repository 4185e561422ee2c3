//! The data that all handles and tickets of a domain share, and how long it lives.
//!
//! A domain's memory is kept by its handles, by every ticket that has not committed, and by each
//! thread between two collections of decisions (`settling`). The last handle marks the store as an
//! orphan (see `store::Handles`). The thread that then sees under the lock that nothing is left
//! frees the domain after it has released the lock. That release is a thread's last access, so a
//! thread that had the lock before no longer uses the memory.

use std::ops::Deref;
use std::ptr::NonNull;

use dapple_colors::{Mode, Ticket};

use super::actions::Actions;
use super::fate::Undecided;
use super::register::{Found, Observed};
use super::store::{Handles, Store, VersionPtr};
use crate::event::{Kind, Owned, Step, Word};
use crate::lock::Lock;
use crate::runtime::core::{Core, CoreRef};
use crate::site::Site;
use crate::sync::{Arc, AtomicUsize, DomainStep, Ordering, domain_decides};

/// An event without color that waits for its turn in the order.
pub(super) struct Waiting(pub(super) Owned);

/// The data that the domain keeps with a ticket, besides the version.
pub(super) struct Deferred {
    /// The actions that were deferred before the event left global, or, once it is ready to commit,
    /// all of them.
    pub(super) actions: Actions,
    /// Whether the event was in global and has left it.
    pub(super) left_global: bool,
    /// Whether its deferred actions were dropped because the runtime stops.
    pub(super) is_given_up: bool,
    /// The time when the event became ready to commit, in nanoseconds on the runtime's clock, or 0
    /// if it is not sampled.
    pub(super) ready: u64,
    /// The site that posted the event.
    pub(super) site: Site,
    /// The fate of the event, if it is an async task.
    pub(super) fate: Option<Undecided>,
}

pub(super) type DomainStore<S> = Store<S, Waiting, Deferred>;

/// The data that all handles and tickets of a domain share.
pub(super) struct Inner<S> {
    pub(super) core: CoreRef,
    pub(super) handles: Handles,
    pub(super) mode: Mode,
    /// The function that copies the state. It is `None` in read_write mode, which needs no copy
    /// unless it is transactional.
    pub(super) copy: Option<fn(&S) -> S>,
    /// Whether an event in global works on a copy, which is dropped if the event panics.
    pub(super) transactional: bool,
    pub(super) label: Option<Arc<str>>,
    /// The number of the label in figures, or 0 if there is no label.
    pub(super) label_number: u32,
    /// The key of the domain in the register; see `watch`.
    pub(super) key: AtomicUsize,
    pub(super) store: Lock<DomainStore<S>>,
}

/// The word of a step that poison covers. It is not the address of a version.
pub(super) const SKIPPED: Word = Word::number(1);
/// A tag in the word of a step: other events may read the version.
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

/// A pointer to a domain. Its owner keeps the domain: it has a handle or a ticket, or settles.
pub(super) struct DomainPtr<S: 'static>(pub(super) NonNull<Inner<S>>);

impl<S> Clone for DomainPtr<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for DomainPtr<S> {}

// SAFETY: threads share `Inner` by `&`. Its store is behind a lock, its counts are atomic, and the
// rest does not change. The state, which any thread may read or drop, is `Send` and `Sync`.
unsafe impl<S: Send + Sync> Send for DomainPtr<S> {}
// SAFETY: a shared pointer gives no more than a copy of it, which is `Send`.
unsafe impl<S: Send + Sync> Sync for DomainPtr<S> {}

impl<S> Deref for DomainPtr<S> {
    type Target = Inner<S>;
    #[inline]
    fn deref(&self) -> &Inner<S> {
        // SAFETY: the owner of the pointer keeps the domain by a handle or a ticket, or settles.
        unsafe { self.0.as_ref() }
    }
}

impl<S> DomainPtr<S> {
    /// Returns the address of the domain, which identifies it.
    pub(super) fn address(self) -> usize {
        self.0.as_ptr().addr()
    }

    /// Reports to a simulation what the order has decided about an event.
    #[inline(always)]
    pub(super) fn tell(self, ticket: Ticket, step: impl FnOnce() -> DomainStep) {
        domain_decides(self.address(), ticket.number(), step);
    }
}

impl<S: Send + Sync + 'static> DomainPtr<S> {
    /// Returns the oldest event that has not committed.
    fn oldest(self) -> Option<Found> {
        self.store.with(|store| {
            let oldest = store.order().oldest()?;
            let uncommitted = store.order().uncommitted();
            Some(Found { oldest, site: store.data(oldest.ticket).site, uncommitted })
        })
    }

    /// Takes out the events that wait for room. They are to be dropped: no room comes any longer.
    pub(super) fn take_waiters(self) -> Vec<Owned> {
        let waiters = self.store.with(|store| store.take_waiters());
        waiters.into_iter().map(|waiting| waiting.0).collect()
    }

    /// Releases a handle.
    pub(super) fn drop_handle(self) {
        if self.handles.remove(&self.store) {
            // No other thread knows the domain.
            let core = self.core.clone();
            self.free(&core);
        }
    }

    /// Frees the domain. The state is the user's, so an event drops it.
    pub(super) fn free(self, core: &Core) {
        core.domains.remove(self.key.load(Ordering::Relaxed));
        // SAFETY: the pointer came from `Box::leak` in `DomainBuilder::open`, and the caller has
        // seen under the lock that no handle and no ticket is left, and that no thread settles.
        // Only one thread sees that, so this is the only call.
        let inner = unsafe { Box::from_raw(self.0.as_ptr()) };
        // The core outlives the event: the thread that runs or discards the event keeps it.
        core.queue_event(Owned::housekeeping(core.memory_here(), inner, Site::caller()));
    }
}

impl<S: Send + Sync + 'static> Observed for DomainPtr<S> {
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
    /// Sets the version that the event gets in anon or global.
    #[inline]
    pub(super) fn set_version<S>(&mut self, version: VersionPtr<S>, is_read: bool) {
        self.set_word(Word::pointer(version.as_ptr()).tagged(if is_read { READ } else { 0 }));
    }

    /// Lets the queue delay of the event count from now on. The time that it waited in the order
    /// does not count.
    #[inline]
    pub(super) fn may_go_on(&mut self, core: &Core) {
        self.0.restamp(|| core.clock().now());
    }

    #[inline]
    pub(super) fn set_word(&mut self, word: Word) {
        self.0.set_word(word);
    }
}

const _: () = assert!(usize::BITS == 64, "a ticket's number must fit in a word");

/// Returns the word that tells a sub-event its ticket.
pub(super) fn word_of(ticket: Ticket) -> Word {
    Word::number(ticket.number() as usize)
}

/// Creates an event without color for a step of the domain itself, which is not counted.
pub(super) fn own_event<T: Step>(core: &Core, step: T, site: Site) -> Owned {
    // SAFETY: the event is put into no color's queue. Its word stays null, and a step of the domain
    // itself does not look at it.
    unsafe { Owned::step(core.memory_here(), step, Kind::Housekeeping, site, 0) }
}
