//! A descriptor in its reactor. The entry posts events, and asks the system for what its slots
//! want.
//!
//! A descriptor has one entry in a reactor, whatever the number of its registrations.
//!
//! The user keeps a borrowed descriptor open while it is registered. If it was closed all the same,
//! and its number was reused, that is noticed when any part of this crate registers the new
//! descriptor in the same reactor. The registrations of the old one are dead from then on. (In
//! another reactor, of a color that another worker watches, it is not noticed.) If all its
//! registrations are paused and none owns it, it is compared by its device and inode numbers.
//! Descriptors without a file of their own, such as two eventfds, cannot be told apart by that.
//!
//! There are two locks, taken in this order: the lock of the table, which records the entry of each
//! descriptor number, and the entry's own lock. An entry whose slots all own the descriptor and are
//! level-triggered needs the table's lock only when a registration comes or goes. No user code runs
//! under either lock.

use std::io;
use std::os::fd::RawFd;

use dapple::Cx;
use dapple::sync::{Arc, Mutex, MutexGuard, Weak, lock};
use mio::Token;

use super::interest::{Interest, Ready, Wants};
use super::slots::{Key, Owns, PolledBy, Renew, Reports, Slots};
use crate::callback::Callback;
use crate::reactor::{Io, News, ReactorShared, Registered, Table};
use crate::readiness::{Readiness, Seen};
use crate::sys;

/// Whether the system's poller can report levels.
pub(super) const HAS_LEVELS: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// The callback of a registration.
pub(super) type Calls = Callback<Ready>;

/// The entry of one descriptor; see the module's documentation.
pub(crate) struct FdEntry {
    this: Weak<FdEntry>,
    fd: RawFd,
    /// The device and inode numbers of the descriptor's file, if the system gave them.
    identity: Option<(u64, u64)>,
    reactor: Arc<ReactorShared>,
    state: Mutex<EntryState>,
}

struct EntryState {
    /// The entry's token; `None` before the entry is in the table, and after its last registration
    /// has left.
    token: Option<Token>,
    slots: Slots<Arc<Calls>>,
    /// The readiness that the system was asked for; `None` if its poller does not know the
    /// descriptor.
    asked: Option<(Wants, Reports)>,
}

/// A registration, named by its entry and the key of its slot.
#[derive(Clone)]
pub(super) struct EntryId {
    entry: Weak<FdEntry>,
    key: Key,
}

/// Registers a callback on a descriptor with the worker that watches the callback's color.
pub(super) fn register(
    io: &Io,
    fd: RawFd,
    interest: Interest,
    owns: Owns,
    calls: &Arc<Calls>,
) -> io::Result<EntryId> {
    let reactor = Arc::clone(io.reactor(io.watcher_of(calls.color())));
    reactor.check_own()?;
    let mut table = reactor.table();
    table.check_open()?;
    if let Some(entry) = known(&mut table, fd) {
        return entry.join(&table, interest, owns, calls);
    }
    let entry = Arc::new_cyclic(|this| FdEntry {
        this: this.clone(),
        fd,
        identity: sys::identity(fd).ok(),
        reactor: Arc::clone(&reactor),
        state: Mutex::new(EntryState { token: None, slots: Slots::default(), asked: None }),
    });
    let token = table.insert(Arc::clone(&entry) as Arc<dyn Registered>);
    entry.state().token = Some(token);
    let before = table.by_fd.insert(fd, Arc::downgrade(&entry));
    let outcome = entry.join(&table, interest, owns, calls);
    let mut gone = None;
    if outcome.is_err() {
        table.by_fd.remove(&fd);
        gone = table.remove(token);
    }
    drop(table);
    drop((gone, before));
    outcome
}

/// Returns the entry that the descriptor has, if the system's poller still knows the descriptor by
/// it.
fn known(table: &mut Table, fd: RawFd) -> Option<Arc<FdEntry>> {
    let entry = table.by_fd.get(&fd).and_then(Weak::upgrade)?;
    let mut state = entry.state();
    let token = state.token?;
    // An entry that asks for nothing and does not own the descriptor is checked by its file.
    let asks = !state.slots.wanted().is_nothing();
    let is_its_own = || state.slots.owns() || sys::identity(fd).ok() == entry.identity;
    let is_known = table.get(token).is_some() && (asks || is_its_own());
    let is_known = is_known && entry.settle(&mut state, Renew::Always).is_ok();
    drop(state);
    if !is_known {
        // The old descriptor was closed.
        table.by_fd.remove(&fd);
        table.remove(token);
        return None;
    }
    Some(entry)
}

impl FdEntry {
    fn state(&self) -> MutexGuard<'_, EntryState> {
        lock(&self.state)
    }

    /// Adds a registration, under the table's lock.
    fn join(
        &self,
        _: &Table,
        interest: Interest,
        owns: Owns,
        calls: &Arc<Calls>,
    ) -> io::Result<EntryId> {
        let mut state = self.state();
        let key = state.slots.add(Arc::clone(calls), interest, owns);
        if let Err(error) = self.settle(&mut state, Renew::Always) {
            state.slots.remove(key);
            // The other registrations keep what they had.
            let _ = self.settle(&mut state, Renew::IfChanged);
            return Err(error);
        }
        Ok(EntryId { entry: self.this.clone(), key })
    }

    /// Asks the system for what the slots want, unless it was asked for that already. The
    /// descriptor must be this entry's: either the caller has the table's lock and has checked it,
    /// or the slots own the descriptor.
    fn settle(&self, state: &mut EntryState, renew: Renew) -> io::Result<()> {
        let Some(token) = state.token.filter(|_| !self.reactor.is_inherited()) else {
            return Ok(());
        };
        let wants = state.slots.wanted();
        let wanted = (!wants.is_nothing()).then(|| (wants, state.slots.reports()));
        let registry = self.reactor.registry();
        let asked = match (state.asked, wanted) {
            (None, None) => return Ok(()),
            (Some(_), None) => sys::forget(registry, self.fd),
            (None, Some((wants, reports))) => {
                sys::ask(registry, self.fd, token, sys::Operation::Add, &asks(wants, reports))
            }
            (Some(asked), Some(wanted)) if asked == wanted && renew == Renew::IfChanged => {
                return Ok(());
            }
            // A level that the poller has reported stays in the poller's ready list. Modifying it
            // then wakes no worker that attends to the poller. Removing and adding it does.
            (Some(asked), Some((wants, Reports::Levels)))
                if asked == (wants, Reports::Levels) && renew == Renew::Always =>
            {
                sys::forget(registry, self.fd)?;
                state.asked = None;
                let asks = asks(wants, Reports::Levels);
                sys::ask(registry, self.fd, token, sys::Operation::Add, &asks)
            }
            (Some(_), Some((wants, reports))) => {
                sys::ask(registry, self.fd, token, sys::Operation::Modify, &asks(wants, reports))
            }
        };
        if asked.is_ok() {
            state.asked = wanted;
        }
        asked
    }

    /// Applies a change to the slots, and asks the system for what they want then.
    fn change(&self, change: impl FnOnce(&mut Slots<Arc<Calls>>) -> Renew) {
        let mut state = self.state();
        let owns = state.slots.reports() == Reports::Levels;
        let renew = change(&mut state.slots);
        // All slots owned the descriptor before the change, and all own it now.
        if owns && state.slots.reports() == Reports::Levels {
            let settled = self.settle(&mut state, renew);
            drop(state);
            return self.log(settled);
        }
        drop(state);
        let table = self.reactor.table();
        let mut state = self.state();
        let settled = match self.is_of_fd(&table, &state) {
            true => self.settle(&mut state, renew),
            false => Ok(()),
        };
        drop(state);
        drop(table);
        self.log(settled);
    }

    /// Returns `true` if the descriptor still belongs to this entry.
    fn is_of_fd(&self, table: &Table, state: &EntryState) -> bool {
        let is_there = state.token.is_some_and(|token| table.get(token).is_some());
        is_there && table.by_fd.get(&self.fd).is_some_and(|known| known.ptr_eq(&self.this))
    }

    fn log(&self, outcome: io::Result<()>) {
        if let Err(error) = outcome {
            tracing::debug!(%error, fd = self.fd, "a registered descriptor was closed");
        }
    }

    /// Posts an event that calls the callback of a registration.
    fn post(&self, key: Key, calls: &Arc<Calls>, cx: &mut Cx) {
        let after = After {
            id: EntryId { entry: self.this.clone(), key },
            calls: Arc::clone(calls),
            runs: false,
        };
        cx.post_from(calls.site(), calls.color(), move |cx| {
            let mut after = after;
            after.runs = true;
            let told = after.id.entry.upgrade().and_then(|it| it.state().slots.begin(key));
            if let Some(ready) = told {
                after.calls.call(ready, cx);
            }
        });
    }
}

fn asks(wants: Wants, reports: Reports) -> sys::Asks {
    sys::Asks {
        readable: wants.reads(),
        writable: wants.writes(),
        priority: wants.is_priority(),
        levels: reports == Reports::Levels,
    }
}

/// A guard in the event of a registration, which ends the event when it is dropped.
///
/// After the callback has returned, or has panicked, the descriptor is looked at again. If the
/// event was refused or dropped unrun, the runtime of the color has ended, and the registration
/// ends with it (N11).
struct After {
    id: EntryId,
    calls: Arc<Calls>,
    runs: bool,
}

impl Drop for After {
    fn drop(&mut self) {
        if !self.runs {
            self.calls.end();
            self.id.deregister();
            // The closure may own its own registration. Dropping the closure breaks that cycle.
            return self.calls.close();
        }
        let Some(entry) = self.id.entry.upgrade() else { return };
        let reactor = &entry.reactor;
        // `is_attended` and `looks` are read under the lock that a report takes too. If another
        // worker begins to attend after that, it begins with a look at what is ready, and this
        // event is over by then.
        entry.change(|slots| {
            let polled_by =
                if reactor.is_attended() { PolledBy::Another } else { PolledBy::OwnWorker };
            slots.finish(self.id.key, polled_by, reactor.looks())
        });
    }
}

impl Registered for FdEntry {
    fn ready(&self, readiness: Readiness, seen: Seen, cx: &mut Cx) {
        // Posting may drop a closure, which may call back into this entry, so it happens outside
        // the lock.
        let (mut first, mut others) = (None, Vec::new());
        let mut state = self.state();
        state.slots.report(readiness.into(), seen, |key, calls| {
            let event = (key, Arc::clone(calls));
            match first {
                None => first = Some(event),
                Some(_) => others.push(event),
            }
        });
        let settled = match state.slots.reports() {
            Reports::Levels => self.settle(&mut state, Renew::IfChanged),
            Reports::Edges => Ok(()),
        };
        drop(state);
        self.log(settled);
        for (key, calls) in first.into_iter().chain(others) {
            self.post(key, &calls, cx);
        }
    }

    fn tell(&self, news: News) {
        let News::Closed = news else { return };
        let all: Vec<_> = self.state().slots.values().cloned().collect();
        all.iter().for_each(|calls| calls.close());
    }
}

impl EntryId {
    /// Takes the registration out of its entry, and the entry out of the reactor if it has no
    /// other.
    pub(super) fn deregister(&self) {
        let Some(entry) = self.entry.upgrade() else { return };
        let table_lock = &entry.reactor;
        let mut table = table_lock.table();
        let mut state = entry.state();
        let is_of_fd = entry.is_of_fd(&table, &state);
        let left = state.slots.remove(self.key);
        let settled = match left.is_some() && is_of_fd {
            true => entry.settle(&mut state, Renew::IfChanged),
            false => Ok(()),
        };
        let mut gone = None;
        if state.slots.is_empty()
            && let Some(token) = state.token.take()
        {
            gone = table.remove(token);
            if is_of_fd {
                table.by_fd.remove(&entry.fd);
            }
        }
        drop(state);
        drop(table);
        entry.log(settled);
        drop((left, gone));
    }

    pub(super) fn pause(&self) {
        self.change(|slots, key| {
            slots.pause(key);
            Renew::IfChanged
        });
    }

    pub(super) fn resume(&self) {
        self.change(Slots::resume);
    }

    pub(super) fn set_interest(&self, interest: Interest) {
        self.change(|slots, key| slots.set_interest(key, interest));
    }

    pub(super) fn is_paused(&self) -> bool {
        self.entry.upgrade().is_some_and(|entry| entry.state().slots.is_paused(self.key))
    }

    fn change(&self, change: impl FnOnce(&mut Slots<Arc<Calls>>, Key) -> Renew) {
        if let Some(entry) = self.entry.upgrade() {
            entry.change(|slots| change(slots, self.key));
        }
    }
}
