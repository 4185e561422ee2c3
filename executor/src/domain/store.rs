//! The state of a domain and its order, which the domain's lock guards.
//!
//! The order is the step functions of `dapple_colors::domain`, unchanged. Here they meet the
//! versions of the state, which are read and written *outside* the lock:
//!
//! * An event that enters anon, or downgrades, pins the current version under the lock. It reads
//!   the version until it releases, and then unpins it under the lock. So a thread that sees under
//!   the lock that no event has a version pinned comes after all readers of the version.
//! * An event in global has the current version to itself if no event had it pinned when the event
//!   entered, or at any later look under the lock: no event can pin it while this one is in global.
//!   It then writes in place. Otherwise it writes to a copy, which becomes current when it leaves.
//! * A version that is neither current nor pinned is handed out to be freed outside the lock, since
//!   its drop is user code.
//!
//! An event sees what the one before it wrote. Each step on a state lies between two moments under
//! the lock, that of the grant and that of the release. Granted events are handed on through run
//! queues, which order them, too.

use std::ptr::NonNull;

use dapple_colors::{Abandoned, Context, Fate, Mode, Next, Order, Pins, Ticket};

use crate::lock::Lock;
use crate::sync::{AtomicUsize, Ordering, UnsafeCell};

/// A version of the state, and the count of the events that need it.
pub(crate) struct Version<S> {
    /// The pins, which are used only under the lock.
    pins: UnsafeCell<Pins>,
    state: UnsafeCell<S>,
}

impl<S> Version<S> {
    pub(crate) fn new(state: S) -> Box<Self> {
        let pins = UnsafeCell::new(Pins::new());
        Box::new(Version { pins, state: UnsafeCell::new(state) })
    }

    /// Returns the state, for an event that may read or write it now by the rules of the module.
    pub(crate) fn state(&self) -> &UnsafeCell<S> {
        &self.state
    }

    /// Calls `f` with the pins.
    ///
    /// # Safety
    ///
    /// The caller has the domain's lock.
    unsafe fn pins<R>(&self, f: impl FnOnce(&mut Pins) -> R) -> R {
        // SAFETY: the caller has the lock, so no other thread uses the pins.
        self.pins.with_mut(|pins| f(unsafe { &mut *pins }))
    }
}

/// A pointer to a version. The store frees the version when it is no longer needed.
pub(crate) struct VersionPtr<S>(NonNull<Version<S>>);

impl<S> Clone for VersionPtr<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for VersionPtr<S> {}

impl<S> VersionPtr<S> {
    fn of(version: Box<Version<S>>) -> Self {
        VersionPtr(NonNull::from(Box::leak(version)))
    }

    #[inline]
    pub(crate) fn as_ptr(self) -> NonNull<Version<S>> {
        self.0
    }
}

/// A version that is no longer needed, or `None`. It must be dropped outside the lock.
pub(crate) type Freed<S> = Option<Box<Version<S>>>;

/// The data that the order keeps with a ticket.
pub(crate) struct Kept<S, D> {
    /// The version that the event has pinned.
    version: Option<VersionPtr<S>>,
    pub(crate) data: D,
}

/// The state and the order of a domain. `W` and `D` are those of [`Order`].
pub(crate) struct Store<S, W, D> {
    order: Order<W, Kept<S, D>>,
    current: VersionPtr<S>,
    /// Whether no handle of the domain is left.
    pub(crate) orphaned: bool,
    /// The number of threads and events that are about to come back for more decisions.
    pub(crate) settling: usize,
}

// SAFETY: the pointers lead to boxes that the store owns. Events on other threads read the state by
// `&S`, so `S` is `Sync`.
unsafe impl<S: Send + Sync, W: Send, D: Send> Send for Store<S, W, D> {}

/// The count of a domain's handles.
///
/// It reaches zero only under the lock, by the owner of the last handle, so that handle keeps the
/// domain until the lock is taken. An event with a ticket can make a new first handle. Then the
/// domain is no longer an orphan, which is noted under the lock, too. Until then the ticket keeps
/// the domain.
///
/// Orderings: the drop of a handle releases, and the drop of the last one acquires. So what was
/// done with the other handles happens before the end of the domain.
pub(crate) struct Handles(AtomicUsize);

impl Handles {
    /// Creates the count of one handle.
    pub(crate) fn new() -> Self {
        Handles(AtomicUsize::new(1))
    }

    /// Adds a handle. The caller has a handle, or a ticket.
    pub(crate) fn add<S, W, D>(&self, store: &Lock<Store<S, W, D>>) {
        match self.0.fetch_add(1, Ordering::Relaxed) {
            0 => store.with(|store| store.orphaned = false),
            n if n > usize::MAX / 2 => std::process::abort(),
            _ => {}
        }
    }

    /// Removes a handle. Returns `true` if it was the last one and nothing else is left: then the
    /// caller frees the domain.
    pub(crate) fn remove<S, W, D>(&self, store: &Lock<Store<S, W, D>>) -> bool {
        let mut handles = self.0.load(Ordering::Relaxed);
        while handles > 1 {
            let fewer = handles - 1;
            match self.0.compare_exchange(handles, fewer, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return false,
                Err(now) => handles = now,
            }
        }
        store.with(|store| {
            if self.0.fetch_sub(1, Ordering::AcqRel) > 1 {
                return false;
            }
            store.orphaned = true;
            store.is_over()
        })
    }
}

/// A decision of the order, with the version that it concerns; see [`Next`].
pub(crate) enum Decision<S, W> {
    /// The event enters this context, anon or global, with this version. `is_read` says whether
    /// other events read the version, too.
    Enter {
        ticket: Ticket,
        context: Context,
        with: W,
        version: VersionPtr<S>,
        is_read: bool,
    },
    /// A sub-event begins.
    Begin {
        ticket: Ticket,
        with: W,
    },
    Skip {
        with: W,
    },
    Commit {
        ticket: Ticket,
        covered: bool,
    },
    Room {
        with: W,
    },
    Moved,
}

impl<S, W, D> Store<S, W, D> {
    pub(crate) fn new(mode: Mode, limit: usize, state: Box<Version<S>>) -> Self {
        Store {
            order: Order::new(mode, limit),
            current: VersionPtr::of(state),
            orphaned: false,
            settling: 0,
        }
    }

    /// Returns the order, for questions that do not concern versions.
    #[inline]
    pub(crate) fn order(&self) -> &Order<W, Kept<S, D>> {
        &self.order
    }

    /// Returns `true` if there is no handle, no event, and no thread that is about to come back.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.orphaned && self.settling == 0 && self.order.is_empty()
    }

    /// Takes a place behind all others.
    #[inline]
    pub(crate) fn take_ticket(&mut self, highest: Context, data: D) -> Ticket {
        self.order.take_ticket(highest, Kept { version: None, data })
    }

    /// Takes a place behind all others, and enters a context at once if nothing is in the way.
    /// Returns the ticket, the version, and whether other events read that.
    #[inline]
    pub(crate) fn enter_at_once(
        &mut self,
        context: Context,
        data: impl FnOnce() -> D,
    ) -> Option<(Ticket, VersionPtr<S>, bool)> {
        let kept = || Kept { version: None, data: data() };
        let ticket = self.order.enter_at_once(context, kept)?;
        let (version, is_read) = (self.current, self.is_read());
        if context == Context::Anon {
            self.pin(ticket);
        }
        Some((ticket, version, is_read))
    }

    /// Commits the oldest event, if nothing else follows from that. `copy` is the event's copy of
    /// the state, and afterwards the version to free. Returns `false` if nothing has changed.
    #[inline]
    pub(crate) fn commit_at_once(&mut self, ticket: Ticket, copy: &mut Freed<S>) -> bool {
        if self.orphaned {
            return false;
        }
        let Some(version) = self.order.commit_at_once(ticket, |kept| kept.version.take()) else {
            return false;
        };
        let freed = self.install(copy.take());
        *copy = self.unpin_version(version).or(freed);
        true
    }

    /// Takes a place for an event that repairs the state; see [`Order::take_ticket_to_repair`].
    pub(crate) fn take_ticket_to_repair(&mut self, data: D) -> Ticket {
        self.order.take_ticket_to_repair(Kept { version: None, data })
    }

    #[inline]
    pub(crate) fn want(&mut self, ticket: Ticket, context: Context, with: W) {
        self.order.want(ticket, context, with);
    }

    pub(crate) fn renounce(&mut self, ticket: Ticket, highest: Context) {
        self.order.renounce(ticket, highest);
    }

    pub(crate) fn wait_for_room(&mut self, with: W) {
        self.order.wait_for_room(with);
    }

    /// Takes out the events that wait for room; see [`Order::take_waiters`].
    pub(crate) fn take_waiters(&mut self) -> Vec<W> {
        self.order.take_waiters()
    }

    /// Returns the data that the domain keeps with a ticket.
    #[inline]
    pub(crate) fn data(&mut self, ticket: Ticket) -> &mut D {
        &mut self.order.data(ticket).data
    }

    #[inline]
    pub(crate) fn decide(&mut self) -> Option<Decision<S, W>> {
        Some(match self.order.decide()? {
            Next::Run { ticket, context: Context::None, with } => Decision::Begin { ticket, with },
            Next::Run { ticket, context, with } => {
                let version = self.current;
                // SAFETY: the store owns the current version, and is used only under the lock.
                let is_read = unsafe { version.0.as_ref().pins(|pins| pins.is_read()) };
                if context == Context::Anon {
                    self.pin(ticket);
                }
                Decision::Enter { ticket, context, with, version, is_read }
            }
            Next::Skip { with, .. } => Decision::Skip { with },
            Next::Commit { ticket, covered } => Decision::Commit { ticket, covered },
            Next::Room { with } => Decision::Room { with },
            Next::Moved => Decision::Moved,
        })
    }

    /// Returns `true` if an event has the current version pinned. The caller is in global.
    pub(crate) fn is_read(&self) -> bool {
        // SAFETY: the store owns the current version, and is used only under the lock.
        unsafe { self.current.0.as_ref().pins(|pins| pins.is_read()) }
    }

    /// Moves the event from global to anon, and makes its copy, if there is one, the current
    /// version. Returns the version to free, and the version that the event reads from now on.
    pub(crate) fn downgrade(
        &mut self,
        ticket: Ticket,
        copy: Freed<S>,
    ) -> (Freed<S>, VersionPtr<S>) {
        let freed = self.install(copy);
        self.order.downgrade(ticket);
        self.pin(ticket);
        (freed, self.current)
    }

    /// Has the event in global wait to be alone, and makes its copy, if there is one, the current
    /// version. Returns the version to free.
    pub(crate) fn alone(&mut self, ticket: Ticket, copy: Freed<S>, with: W) -> Freed<S> {
        let freed = self.install(copy);
        self.order.alone(ticket, with);
        freed
    }

    /// Has the event leave the state, and commit when its turn comes. Returns the version to free.
    #[inline]
    pub(crate) fn commit(
        &mut self,
        ticket: Ticket,
        copy: Freed<S>,
        then: Option<(Context, W)>,
    ) -> Freed<S> {
        self.order.commit(ticket, then);
        let freed = self.install(copy);
        self.unpin(ticket).or(freed)
    }

    /// Ends the event without a commit of its own, and returns the version to free. With
    /// `restores`, a copy that it made is dropped and the state is as it was before, unless the
    /// event has been alone.
    pub(crate) fn abandon(
        &mut self,
        ticket: Ticket,
        copy: Freed<S>,
        restores: bool,
    ) -> (Abandoned, Freed<S>) {
        let abandoned = self.order.abandon(ticket, restores);
        let freed = match abandoned {
            // The event had either a version pinned or a copy, never both.
            Abandoned::Left(_) => copy.or_else(|| self.unpin(ticket)),
            Abandoned::Poisons => self.install(copy),
        };
        (abandoned, freed)
    }

    /// Tells the order that the last [`Decision::Commit`] has been carried out. Returns the data
    /// that was kept with the ticket, if nothing follows.
    #[inline]
    pub(crate) fn committed(&mut self) -> Option<D> {
        self.order.committed().map(|kept| kept.data)
    }

    #[inline]
    fn pin(&mut self, ticket: Ticket) {
        // SAFETY: the store owns the current version, and is used only under the lock.
        unsafe { self.current.0.as_ref().pins(Pins::pin) };
        self.order.data(ticket).version = Some(self.current);
    }

    #[inline]
    fn unpin(&mut self, ticket: Ticket) -> Freed<S> {
        let version = self.order.data(ticket).version.take();
        self.unpin_version(version)
    }

    #[inline]
    fn unpin_version(&mut self, version: Option<VersionPtr<S>>) -> Freed<S> {
        let version = version?;
        // SAFETY: a pinned version is not freed, and the store is used only under the lock. A
        // version that is `Fate::Free` is neither current nor pinned, so no other call frees it; it
        // was a box (`VersionPtr::of`).
        unsafe {
            match version.0.as_ref().pins(Pins::unpin) {
                Fate::Kept => None,
                Fate::Free => Some(Box::from_raw(version.0.as_ptr())),
            }
        }
    }

    /// Makes a copy the current version, and returns the version before it if that is to be freed.
    #[inline]
    fn install(&mut self, copy: Freed<S>) -> Freed<S> {
        let before = std::mem::replace(&mut self.current, VersionPtr::of(copy?));
        // SAFETY: the version was current, so it is not freed, and the store is used only under the
        // lock. A version that is `Fate::Free` is not pinned, so no other call frees it; it was a
        // box (`VersionPtr::of`).
        unsafe {
            match before.0.as_ref().pins(Pins::retire) {
                Fate::Kept => None,
                Fate::Free => Some(Box::from_raw(before.0.as_ptr())),
            }
        }
    }
}

impl<S, W, D> Drop for Store<S, W, D> {
    fn drop(&mut self) {
        // SAFETY: every event has committed, so the current version is the only one left. It was a
        // box (`VersionPtr::of`), and only the store owns it.
        drop(unsafe { Box::from_raw(self.current.0.as_ptr()) });
    }
}
