//! The state of a domain and its order: what the domain's lock guards.
//!
//! The order is the step functions of `dapple_colors::domain`, as they are. Here they meet the
//! versions of the state, which are read and written *outside* the lock:
//!
//! * An event that enters anon, or downgrades, pins the current version under the lock, and reads
//!   it until it releases, which unpins it under the lock. So a thread that sees under the lock
//!   that nobody has a version pinned comes after all its readers.
//! * An event in global has the current version to itself if nobody had it pinned when the event
//!   entered, or at any later look under the lock: nobody can pin it while the event is in global.
//!   Then it writes in place. Otherwise it writes to a copy, which becomes current when it leaves.
//! * A version that is neither current nor pinned is handed out to be freed, outside the lock,
//!   since its drop is user code.
//!
//! What one event wrote the next one sees: each step on a state lies between two times under the
//! lock, that of the grant and that of the release; what is granted is handed on through run
//! queues, which order it, too.

use std::ptr::NonNull;

use dapple_colors::{Abandoned, Context, Fate, Mode, Next, Order, Pins, Ticket};

use crate::lock::Lock;
use crate::sync::{AtomicUsize, Ordering, UnsafeCell};

/// A state of the domain, and who needs it.
pub(crate) struct Version<S> {
    /// Touched under the lock only.
    pins: UnsafeCell<Pins>,
    state: UnsafeCell<S>,
}

impl<S> Version<S> {
    pub(crate) fn new(state: S) -> Box<Self> {
        let pins = UnsafeCell::new(Pins::new());
        Box::new(Version { pins, state: UnsafeCell::new(state) })
    }

    /// The state, for the event that may read or write it now by the module's rules.
    pub(crate) fn state(&self) -> &UnsafeCell<S> {
        &self.state
    }

    /// # Safety
    ///
    /// The caller has the lock.
    unsafe fn pins<R>(&self, f: impl FnOnce(&mut Pins) -> R) -> R {
        // SAFETY: the lock keeps everybody else from the pins.
        self.pins.with_mut(|pins| f(unsafe { &mut *pins }))
    }
}

/// A version of some store, which frees it when nobody needs it any more.
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

/// A version that nobody needs, or `None`. It is to be dropped outside the lock.
pub(crate) type Freed<S> = Option<Box<Version<S>>>;

/// What is kept with a ticket.
pub(crate) struct Kept<S, D> {
    /// What the event has pinned.
    version: Option<VersionPtr<S>>,
    pub(crate) data: D,
}

/// See the module. `W` and `D` are those of [`Order`].
pub(crate) struct Store<S, W, D> {
    order: Order<W, Kept<S, D>>,
    current: VersionPtr<S>,
    /// No handle of the domain is left.
    pub(crate) orphaned: bool,
    /// Who is about to come back for more decisions.
    pub(crate) settling: usize,
}

// SAFETY: the pointers are to boxes that the store owns. Readers on other threads have `&S`, hence
// Sync.
unsafe impl<S: Send + Sync, W: Send, D: Send> Send for Store<S, W, D> {}

/// Counts the handles of a domain.
///
/// It is brought to zero under the lock only, and by the holder of the last handle, so that handle
/// keeps the domain until the lock is taken. A ticket can make a first handle again: then the
/// domain is no orphan any more. That is said under the lock, too, and before it the ticket keeps
/// the domain.
///
/// Orderings: a handle's drop releases, and the last one acquires, so that what was done with the
/// others comes before the end.
pub(crate) struct Handles(AtomicUsize);

impl Handles {
    /// Counts one handle.
    pub(crate) fn new() -> Self {
        Handles(AtomicUsize::new(1))
    }

    /// One more. The caller has a handle, or a ticket.
    pub(crate) fn add<S, W, D>(&self, store: &Lock<Store<S, W, D>>) {
        match self.0.fetch_add(1, Ordering::Relaxed) {
            0 => store.with(|store| store.orphaned = false),
            n if n > usize::MAX / 2 => std::process::abort(),
            _ => {}
        }
    }

    /// One less. True: it was the last one, and nothing else is left, so the caller frees the
    /// domain.
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

/// What is to be done next; see [`Next`].
pub(crate) enum Decision<S, W> {
    /// In this context, anon or global, with the version that the event reads, and whether others
    /// read it, too.
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

    /// What does not concern versions.
    #[inline]
    pub(crate) fn order(&self) -> &Order<W, Kept<S, D>> {
        &self.order
    }

    /// Says whether there is neither a handle nor an event, nor anybody who is about to come back.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.orphaned && self.settling == 0 && self.order.is_empty()
    }

    /// A place behind all others.
    #[inline]
    pub(crate) fn take_ticket(&mut self, highest: Context, data: D) -> Ticket {
        self.order.take_ticket(highest, Kept { version: None, data })
    }

    /// A place behind all others, and a context at once, if nothing is in the way: with the
    /// version, and whether others read it.
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

    /// The oldest event commits, if nothing follows from that. False: nothing has changed.
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

    /// See [`Order::take_ticket_to_repair`].
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

    /// See [`Order::take_waiters`].
    pub(crate) fn take_waiters(&mut self) -> Vec<W> {
        self.order.take_waiters()
    }

    /// What the caller keeps with a ticket.
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
                // SAFETY: the current version is there; we have the lock.
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

    /// Says whether anybody has the current version pinned. The caller is in global.
    pub(crate) fn is_read(&self) -> bool {
        // SAFETY: the current version is there; we have the lock.
        unsafe { self.current.0.as_ref().pins(|pins| pins.is_read()) }
    }

    /// The event in global goes to anon, and leaves this copy, if it made one. Also: the version
    /// that it reads from now on.
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

    /// The event in global waits to be alone, and leaves this copy, if it made one.
    pub(crate) fn alone(&mut self, ticket: Ticket, copy: Freed<S>, with: W) -> Freed<S> {
        let freed = self.install(copy);
        self.order.alone(ticket, with);
        freed
    }

    /// The event leaves the state, and commits when its turn comes.
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

    /// The event ends without a commit of its own. With `restores`, a copy that it made is dropped,
    /// and the state is as it was before, unless it has been alone.
    pub(crate) fn abandon(
        &mut self,
        ticket: Ticket,
        copy: Freed<S>,
        restores: bool,
    ) -> (Abandoned, Freed<S>) {
        let abandoned = self.order.abandon(ticket, restores);
        let freed = match abandoned {
            // It had a version pinned, or a copy, not both.
            Abandoned::Left(_) => copy.or_else(|| self.unpin(ticket)),
            Abandoned::Poisons => self.install(copy),
        };
        (abandoned, freed)
    }

    /// What the last [`Decision::Commit`] was about has been done. The answer is what was kept with
    /// the ticket, if nothing follows.
    #[inline]
    pub(crate) fn committed(&mut self) -> Option<D> {
        self.order.committed().map(|kept| kept.data)
    }

    #[inline]
    fn pin(&mut self, ticket: Ticket) {
        // SAFETY: the current version is there; we have the lock.
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
        // SAFETY: what is pinned is there; we have the lock. If nobody needs it, nobody frees it
        // but us.
        unsafe {
            match version.0.as_ref().pins(Pins::unpin) {
                Fate::Kept => None,
                Fate::Free => Some(Box::from_raw(version.0.as_ptr())),
            }
        }
    }

    /// Makes a copy the current version.
    #[inline]
    fn install(&mut self, copy: Freed<S>) -> Freed<S> {
        let before = std::mem::replace(&mut self.current, VersionPtr::of(copy?));
        // SAFETY: the version was current, so it is there; we have the lock. If nobody needs it,
        // nobody else frees it.
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
        // SAFETY: every event has committed, so nobody but the store needs a version, and that is
        // the current one.
        drop(unsafe { Box::from_raw(self.current.0.as_ptr()) });
    }
}
