//! What is known of the registrations of one descriptor, and what they come to: a step function.
//!
//! A registration has a slot. The reactor reports readiness ([`report`](Slots::report)), which
//! queues an event for each slot that is called for it, one at most; the event begins
//! ([`begin`](Slots::begin)), calls, and ends ([`finish`](Slots::finish)). What the system is to be
//! asked for follows from the slots ([`wanted`](Slots::wanted)).
//!
//! *Levels.* A callback wants a level: to be called as long as the descriptor is ready. If all
//! slots own the descriptor, the system is asked for levels, and reports it in each look of the
//! poller as long as it is ready; so most of the time nothing more is to be asked. A slot that is
//! reported again while its event is queued, or runs on another worker, is *blocked* if the poller
//! has waited for that, or has been told so a few times in passing: the system is not asked for it
//! until the event has ended, or the poller would look again and again in vain.
//!
//! *Edges.* If a slot only borrows the descriptor, that may be closed too early while a copy of it
//! stays open. What was asked of the system could then not be taken back, and a level would be
//! reported for ever. So the system is asked for edges, and asked again when a callback that wants
//! a level has returned.

use super::interest::{Interest, Ready, Trigger, Wants};
use crate::reactor::{How, Seen};

/// What tells a slot from others of its descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(u64);

/// Whether a registration keeps the descriptor open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owns {
    Yes,
    No,
}

/// Who looks at the poller that has the descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Looks {
    /// Its worker, before it sleeps and as it sleeps: what is ready is told.
    Itself,
    /// Maybe another one, which attends to it, and is woken when something becomes ready.
    Another,
}

/// How often a slot is reported in passing while it has an event, before it is blocked. To be told
/// costs less than to ask the system twice; a callback that waits behind others is told of now and
/// then.
const PASSES: u8 = if cfg!(test) { 1 } else { 8 };

/// What the system is to do, though it may be asked for what it is asked for already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "what is not asked for is not reported"]
pub(super) enum Look {
    /// Look afresh, and report what there is.
    Afresh,
    /// Go on.
    On,
}

/// How the system reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reports {
    Levels,
    Edges,
}

/// See the module. `T` is what a slot stands for.
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
    /// Nobody calls it until it is resumed.
    is_paused: bool,
    event: Event,
    /// It was reported while it had an event, and the system is not asked for it.
    is_blocked: bool,
    /// How often it was reported in passing while it had an event.
    passes: u8,
    /// The last look that had begun when its last event ended.
    finished: u64,
    /// What its next event tells.
    pending: Ready,
}

/// What of a slot is under way.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Event {
    None,
    Queued,
    /// It runs, and another one is queued only when it has ended.
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

    /// Says whether one of them keeps the descriptor open.
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

    pub(super) fn resume(&mut self, key: Key) -> Look {
        let Some(slot) = self.slot(key).filter(|slot| slot.is_paused) else { return Look::On };
        slot.is_paused = false;
        self.after_a_change()
    }

    pub(super) fn set_interest(&mut self, key: Key, interest: Interest) -> Look {
        let Some(slot) = self.slot(key) else { return Look::On };
        slot.interest = interest;
        self.after_a_change()
    }

    /// What an edge has told before may be of interest only now; a level is told again.
    fn after_a_change(&self) -> Look {
        match self.reports() {
            Reports::Levels => Look::On,
            Reports::Edges => Look::Afresh,
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

    /// What the system is to be asked for.
    pub(super) fn wanted(&self) -> Wants {
        let levels = self.reports() == Reports::Levels;
        let asks = |slot: &&Slot<T>| !(slot.is_paused || levels && slot.is_blocked);
        let wants = self.slots.iter().filter(asks).map(|slot| slot.interest.wants());
        wants.fold(Wants::default(), Wants::and)
    }

    /// The system has reported. An event is to be posted for each slot that is told.
    pub(super) fn report(&mut self, ready: Ready, seen: Seen, mut post: impl FnMut(Key, &T)) {
        let reports = self.reports();
        for slot in &mut self.slots {
            let told = slot.interest.of(ready);
            // Of a look that began before the last event had ended: that may have read what there
            // was. What is still there is told by the next look, which comes soon after one in
            // passing. One that has waited has most likely been woken by something new.
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

    /// An event begins: what it tells. `None`: it calls nobody.
    pub(super) fn begin(&mut self, key: Key) -> Option<Ready> {
        let slot = self.slot(key)?;
        let told = slot.interest.of(std::mem::take(&mut slot.pending));
        match slot.interest.trigger() {
            Trigger::Level => slot.event = Event::Runs,
            // What comes from now on is worth another call.
            Trigger::Edge => (slot.event, slot.is_blocked) = (Event::None, false),
        }
        (!slot.is_paused && !told.is_nothing()).then_some(told)
    }

    /// An event has ended. `looks`: who looks from now on; `look`: the last look that has begun.
    pub(super) fn finish(&mut self, key: Key, looks: Looks, look: u64) -> Look {
        let reports = self.reports();
        let running = |slot: &&mut Slot<T>| slot.event == Event::Runs;
        let Some(slot) = self.slot(key).filter(running) else { return Look::On };
        (slot.event, slot.is_blocked, slot.finished) = (Event::None, false, look);
        // What has been told meanwhile is told again.
        slot.pending = Ready::default();
        match (reports, looks) {
            _ if slot.is_paused => Look::On,
            // What has been ready all the time wakes nobody who attends.
            (Reports::Edges, _) | (Reports::Levels, Looks::Another) => Look::Afresh,
            (Reports::Levels, Looks::Itself) => Look::On,
        }
    }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
