//! A descriptor in its reactor: it posts events, and asks the system for what its slots want.
//!
//! A descriptor has one entry in a reactor, whatever the number of its registrations. The user
//! keeps a borrowed descriptor open while it is registered; one that was closed all the same, and
//! whose number was given to a new one, is noticed when the new one is registered in the same
//! reactor, by whatever part of this crate, and its registrations are dead. (In another reactor, of
//! a color that is watched by another worker, it is not.) One that is paused is compared by the
//! number of its file, by which descriptors without a file, such as two eventfds, cannot be told
//! apart.
//!
//! Two locks, taken in this order: the table's, under which it is known whose a descriptor's number
//! is, and the entry's own. An entry that owns its descriptor needs the first one only to come and
//! to go. No user code runs under either.

use std::io;
use std::os::fd::RawFd;

use dapple::Cx;
use dapple::sync::{Arc, Mutex, MutexGuard, Weak, lock};
use mio::Token;

use super::interest::{Interest, Ready, Wants};
use super::slots::{Key, Look, Looks, Owns, Reports, Slots};
use crate::callback::Callback;
use crate::reactor::{Io, News, ReactorShared, Readiness, Registered, Seen, Table};
use crate::sys;

/// The system can be asked for levels.
pub(super) const HAS_LEVELS: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// What a registration calls.
pub(super) type Calls = Callback<Ready>;

/// See the module.
pub(crate) struct FdEntry {
    this: Weak<FdEntry>,
    fd: RawFd,
    /// Which file it is, as far as the system tells files apart.
    identity: Option<(u64, u64)>,
    reactor: Arc<ReactorShared>,
    state: Mutex<State>,
}

struct State {
    /// `None`: it is not in the table yet.
    token: Option<Token>,
    slots: Slots<Arc<Calls>>,
    /// What the system has been asked for; `None`: it does not know the descriptor.
    asked: Option<(Wants, Reports)>,
}

/// A registration, as its entry knows it.
#[derive(Clone)]
pub(super) struct EntryId {
    entry: Weak<FdEntry>,
    key: Key,
}

/// Registers a callback with a descriptor, where others of its color are.
pub(super) fn register(
    io: &Io,
    fd: RawFd,
    interest: Interest,
    owns: Owns,
    calls: &Arc<Calls>,
) -> io::Result<EntryId> {
    let reactor = Arc::clone(io.reactor(io.place_of(calls.color())));
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
        state: Mutex::new(State { token: None, slots: Slots::default(), asked: None }),
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

/// The entry that the descriptor has, if the system still knows the descriptor by it.
fn known(table: &mut Table, fd: RawFd) -> Option<Arc<FdEntry>> {
    let entry = table.by_fd.get(&fd).and_then(Weak::upgrade)?;
    let mut state = entry.state();
    let token = state.token?;
    // One that asks for nothing, and does not keep the descriptor open, is asked what it was.
    let asks = !state.slots.wanted().is_nothing();
    let is_its_own = || state.slots.owns() || sys::identity(fd).ok() == entry.identity;
    let is_known = table.get(token).is_some() && (asks || is_its_own());
    let is_known = is_known && entry.settle(&mut state, Look::Afresh).is_ok();
    drop(state);
    if !is_known {
        // It was closed.
        table.by_fd.remove(&fd);
        table.remove(token);
        return None;
    }
    Some(entry)
}

impl FdEntry {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Adds a registration. Under the table's lock.
    fn join(
        &self,
        _: &Table,
        interest: Interest,
        owns: Owns,
        calls: &Arc<Calls>,
    ) -> io::Result<EntryId> {
        let mut state = self.state();
        let key = state.slots.add(Arc::clone(calls), interest, owns);
        if let Err(error) = self.settle(&mut state, Look::Afresh) {
            state.slots.remove(key);
            // The others have what they had.
            let _ = self.settle(&mut state, Look::On);
            return Err(error);
        }
        Ok(EntryId { entry: self.this.clone(), key })
    }

    /// Asks the system for what the slots want, if that is not what it was asked for. The
    /// descriptor is this entry's: the caller has the table's lock, and has looked, or the slots
    /// own it.
    fn settle(&self, state: &mut State, look: Look) -> io::Result<()> {
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
                sys::ask(registry, self.fd, token, sys::Asked::First, &asks(wants, reports))
            }
            (Some(asked), Some(wanted)) if asked == wanted && look == Look::On => return Ok(()),
            // A level that the poller has told stays in its list, and asking for it again wakes
            // nobody who attends to the poller; asking for it as for a new one does.
            (Some(asked), Some((wants, Reports::Levels)))
                if asked == (wants, Reports::Levels) && look == Look::Afresh =>
            {
                sys::forget(registry, self.fd)?;
                state.asked = None;
                let asks = asks(wants, Reports::Levels);
                sys::ask(registry, self.fd, token, sys::Asked::First, &asks)
            }
            (Some(_), Some((wants, reports))) => {
                sys::ask(registry, self.fd, token, sys::Asked::Again, &asks(wants, reports))
            }
        };
        if asked.is_ok() {
            state.asked = wanted;
        }
        asked
    }

    /// Changes the slots, and does what follows for the system.
    fn change(&self, change: impl FnOnce(&mut Slots<Arc<Calls>>) -> Look) {
        let mut state = self.state();
        let owns = state.slots.reports() == Reports::Levels;
        let look = change(&mut state.slots);
        // All slots own the descriptor, before and after.
        if owns && state.slots.reports() == Reports::Levels {
            let settled = self.settle(&mut state, look);
            drop(state);
            return self.log(settled);
        }
        drop(state);
        let table = self.reactor.table();
        let mut state = self.state();
        let settled = match self.is_of_fd(&table, &state) {
            true => self.settle(&mut state, look),
            false => Ok(()),
        };
        drop(state);
        drop(table);
        self.log(settled);
    }

    /// Says whether the descriptor is still this entry's.
    fn is_of_fd(&self, table: &Table, state: &State) -> bool {
        let is_there = state.token.is_some_and(|token| table.get(token).is_some());
        is_there && table.by_fd.get(&self.fd).is_some_and(|known| known.ptr_eq(&self.this))
    }

    fn log(&self, outcome: io::Result<()>) {
        if let Err(error) = outcome {
            tracing::debug!(%error, fd = self.fd, "a registered descriptor was closed");
        }
    }

    /// Posts an event for a registration.
    fn post(&self, key: Key, calls: &Arc<Calls>, cx: &mut Cx) {
        let after = After {
            place: EntryId { entry: self.this.clone(), key },
            calls: Arc::clone(calls),
            runs: false,
        };
        cx.post_from(calls.site(), calls.color(), move |cx| {
            let mut after = after;
            after.runs = true;
            let told = after.place.entry.upgrade().and_then(|it| it.state().slots.begin(key));
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

/// Goes along with an event of a registration. When the callback has returned, even by a panic, the
/// descriptor is looked at again. If the event is refused, or dropped unrun, the runtime of the
/// color has ended, and with it the registration (N11).
struct After {
    place: EntryId,
    calls: Arc<Calls>,
    runs: bool,
}

impl Drop for After {
    fn drop(&mut self) {
        if !self.runs {
            self.calls.end();
            self.place.leave();
            // What the closure holds may hold the registration, and through it itself.
            return self.calls.close();
        }
        let Some(entry) = self.place.entry.upgrade() else { return };
        let reactor = &entry.reactor;
        // Asked for under the lock that a report takes. If attention begins after that, it begins
        // with a look at what is ready; and this one is over by then.
        entry.change(|slots| {
            let looks = if reactor.is_attended() { Looks::Another } else { Looks::Itself };
            slots.finish(self.place.key, looks, reactor.looks())
        });
    }
}

impl Registered for FdEntry {
    fn ready(&self, readiness: Readiness, seen: Seen, cx: &mut Cx) {
        // Posting may drop a closure, which may come back here: not under the lock.
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
            Reports::Levels => self.settle(&mut state, Look::On),
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
    /// Takes the registration out of its entry, and the entry out of the reactor if it was the
    /// last.
    pub(super) fn leave(&self) {
        let Some(entry) = self.entry.upgrade() else { return };
        let table_lock = &entry.reactor;
        let mut table = table_lock.table();
        let mut state = entry.state();
        let is_of_fd = entry.is_of_fd(&table, &state);
        let left = state.slots.remove(self.key);
        let settled = match left.is_some() && is_of_fd {
            true => entry.settle(&mut state, Look::On),
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
            Look::On
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

    fn change(&self, change: impl FnOnce(&mut Slots<Arc<Calls>>, Key) -> Look) {
        if let Some(entry) = self.entry.upgrade() {
            entry.change(|slots| change(slots, self.key));
        }
    }
}
