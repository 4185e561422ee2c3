//! The state of the registrations of one descriptor, and what follows from it, as a step function.
//!
//! Each registration has a slot. The reactor reports readiness ([`report`](Slots::report)), which
//! queues an event for each slot that the report concerns, one event per slot at most. The event
//! begins ([`begin`](Slots::begin)), calls the callback, and ends ([`finish`](Slots::finish)). The
//! slots determine what the system is asked for ([`wanted`](Slots::wanted)).
//!
//! *Levels.* A level-triggered callback is called as long as the descriptor is ready. If all slots
//! own the descriptor and are level-triggered, the system is asked for levels. It then reports the
//! descriptor in each look of the poller as long as the descriptor is ready, so most of the time
//! nothing more has to be asked. A slot may be reported again while its event is queued, or runs on
//! another worker. It becomes *blocked* if the poller was about to wait when it found such a
//! report, or has got more than `PASSES` of them in passing. The system is not asked for a blocked
//! slot until its event has ended. Otherwise the poller would look again and again in vain.
//!
//! *Edges.* A descriptor that a slot only borrows may be closed too early, while a copy of it stays
//! open. What was asked of the system could not be taken back then, and a level would be reported
//! forever. So the system is asked for edges if a slot borrows the descriptor, or is
//! edge-triggered. It is asked again when a level-triggered callback has returned.

use super::interest::{Interest, Ready, Trigger, Wants};
use crate::readiness::{How, Seen};

/// The identity of a slot among the slots of its descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(u64);

/// Whether a registration keeps the descriptor open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owns {
    Yes,
    No,
}

/// The worker that looks at the poller of the descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum PolledBy {
    /// The poller's own worker, before and while it sleeps. It finds everything that is ready.
    OwnWorker,
    /// Possibly another worker, which attends to the poller. It is woken only when something
    /// becomes ready.
    Another,
}

/// The number of reports in passing that a slot with an event gets before it is blocked. A few
/// reports cost less than two system calls, and a callback that waits behind other events gets some
/// now and then.
const PASSES: u8 = if cfg!(test) { 1 } else { 8 };

/// Whether the system has to be asked again for what it was asked for already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "what is not asked for is not reported"]
pub(super) enum Renew {
    /// The system has to look at the descriptor afresh, and report what is ready.
    Always,
    /// The system is asked only if something has changed.
    IfChanged,
}

/// The way in which the system reports readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reports {
    Levels,
    Edges,
}

/// The slots of one descriptor, each with a `T` that it stands for; see the module's documentation.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    next: u64,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Slot<T> {
    key: Key,
    value: T,
    interest: Interest,
    owns: Owns,
    /// The registration is paused: its callback is not called until it is resumed.
    is_paused: bool,
    event: Event,
    /// The slot was reported while it had an event, and the system is not asked for it for now.
    is_blocked: bool,
    /// The number of reports in passing that the slot got while it had an event.
    passes: u8,
    /// The number of the last look that had begun when the slot's last event ended.
    finished: u64,
    /// The readiness that the slot's next event passes to the callback.
    pending: Ready,
}

/// The state of a slot's event.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Event {
    None,
    Queued,
    /// The event runs. Another one is queued only after it has ended.
    Runs,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { slots: Vec::new(), next: 0 }
    }
}

impl<T> Slots<T> {
    pub(super) fn add(&mut self, value: T, interest: Interest, owns: Owns) -> Key {
        let key = Key(self.next);
        self.next += 1;
        self.slots.push(Slot {
            key,
            value,
            interest,
            owns,
            is_paused: false,
            event: Event::None,
            is_blocked: false,
            passes: 0,
            finished: 0,
            pending: Ready::default(),
        });
        key
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let at = self.slots.iter().position(|slot| slot.key == key)?;
        Some(self.slots.remove(at).value)
    }

    /// Returns `true` if one of the slots keeps the descriptor open.
    pub(super) fn owns(&self) -> bool {
        self.slots.iter().any(|slot| slot.owns == Owns::Yes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().map(|slot| &slot.value)
    }

    fn slot(&mut self, key: Key) -> Option<&mut Slot<T>> {
        self.slots.iter_mut().find(|slot| slot.key == key)
    }

    pub(super) fn pause(&mut self, key: Key) {
        if let Some(slot) = self.slot(key) {
            slot.is_paused = true;
            slot.pending = Ready::default();
        }
    }

    pub(super) fn resume(&mut self, key: Key) -> Renew {
        let Some(slot) = self.slot(key).filter(|slot| slot.is_paused) else {
            return Renew::IfChanged;
        };
        slot.is_paused = false;
        self.after_a_change()
    }

    pub(super) fn set_interest(&mut self, key: Key, interest: Interest) -> Renew {
        let Some(slot) = self.slot(key) else { return Renew::IfChanged };
        slot.interest = interest;
        self.after_a_change()
    }

    /// Returns what a change of a slot asks of the system. An edge that was ignored before may
    /// matter now, so the system has to report it again. A level is reported again anyway.
    fn after_a_change(&self) -> Renew {
        match self.reports() {
            Reports::Levels => Renew::IfChanged,
            Reports::Edges => Renew::Always,
        }
    }

    pub(super) fn is_paused(&self, key: Key) -> bool {
        self.slots.iter().any(|slot| slot.key == key && slot.is_paused)
    }

    pub(super) fn reports(&self) -> Reports {
        let is_level =
            |slot: &Slot<T>| slot.owns == Owns::Yes && slot.interest.trigger() == Trigger::Level;
        match super::entry::HAS_LEVELS && self.slots.iter().all(is_level) {
            true => Reports::Levels,
            false => Reports::Edges,
        }
    }

    /// Returns the readiness that the system has to be asked for.
    pub(super) fn wanted(&self) -> Wants {
        let levels = self.reports() == Reports::Levels;
        let asks = |slot: &&Slot<T>| !(slot.is_paused || levels && slot.is_blocked);
        let wants = self.slots.iter().filter(asks).map(|slot| slot.interest.wants());
        wants.fold(Wants::default(), Wants::and)
    }

    /// Records a report of the system, and calls `post` for each slot that needs an event.
    pub(super) fn report(&mut self, ready: Ready, seen: Seen, mut post: impl FnMut(Key, &T)) {
        let reports = self.reports();
        for slot in &mut self.slots {
            let told = slot.interest.of(ready);
            // The look may have begun before the slot's last event ended, and that event may have
            // read what the look found. What is still there is reported by the next look, which
            // follows soon after a look in passing. A look that has waited is not dropped, as
            // something new has most likely woken it.
            let is_stale = reports == Reports::Levels
                && seen.how == How::InPassing
                && seen.look <= slot.finished;
            if slot.is_paused || told.is_nothing() || is_stale && slot.event == Event::None {
                continue;
            }
            slot.pending = slot.pending.and(told);
            match slot.event {
                Event::Queued | Event::Runs => {
                    slot.passes = slot.passes.saturating_add(1);
                    slot.is_blocked |= seen.how == How::Waiting || slot.passes > PASSES;
                }
                Event::None => {
                    (slot.event, slot.passes) = (Event::Queued, 0);
                    post(slot.key, &slot.value);
                }
            }
        }
    }

    /// Begins an event, and returns the readiness for its callback. Returns `None` if the callback
    /// is not to be called.
    pub(super) fn begin(&mut self, key: Key) -> Option<Ready> {
        let slot = self.slot(key)?;
        let told = slot.interest.of(std::mem::take(&mut slot.pending));
        match slot.interest.trigger() {
            Trigger::Level => slot.event = Event::Runs,
            // Readiness that comes from now on is worth another call.
            Trigger::Edge => (slot.event, slot.is_blocked) = (Event::None, false),
        }
        (!slot.is_paused && !told.is_nothing()).then_some(told)
    }

    /// Ends an event. `polled_by` says which worker looks at the poller from now on, and `look` is
    /// the number of the last look that has begun.
    pub(super) fn finish(&mut self, key: Key, polled_by: PolledBy, look: u64) -> Renew {
        let reports = self.reports();
        let running = |slot: &&mut Slot<T>| slot.event == Event::Runs;
        let Some(slot) = self.slot(key).filter(running) else { return Renew::IfChanged };
        (slot.event, slot.is_blocked, slot.finished) = (Event::None, false, look);
        // The system reports again what it has reported while the event ran.
        slot.pending = Ready::default();
        match (reports, polled_by) {
            _ if slot.is_paused => Renew::IfChanged,
            // A descriptor that has been ready all the time does not wake a worker that attends.
            (Reports::Edges, _) | (Reports::Levels, PolledBy::Another) => Renew::Always,
            (Reports::Levels, PolledBy::OwnWorker) => Renew::IfChanged,
        }
    }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
