//! Stealing: when a worker steals, from which worker, and how much.
//!
//! A thief takes whole colors: one word from the victim's run queue, however many events the color
//! has (E3). Moving a color that others feed with tiny events loses. Moving one that feeds itself,
//! or whose events are long, wins. A thief cannot look into a run queue, so it decides from what
//! the victim publishes: the average time of its run-queue entries, and their *traffic*. Traffic is
//! the number of events that a color exchanges in a turn with other colors: after a move, each of
//! them has to cross from core to core. The price of a crossing is measured at start (see `price`).
//! Where the figures do not decide, the thief tries (see `trial`). What has waited behind one event
//! for longer than the steal delay is taken whatever the figures say (E4): see `watch`.
//!
//! Entries that no other worker would gain by are not in the deque (see `private`). A thief that is
//! to try some of them asks, and the victim hands them over at its next look around. As long as the
//! thief tries, or has gained by it, such entries do stand in the deque (see `Fleet::opens_until`).

use crossbeam_deque::Steal;
use dapple_colors::Priority;

use super::counters::add;
use super::figures::UNKNOWN;
use super::queues::{OwnQueues, Queues};
use super::rules::StealPolicy;
use super::scheduler::Scheduler;
use super::shared::Shared;
use super::trial::{TRIAL, Trials};
use super::work::{Host, Work};
use crate::sync::{Ordering, Point, Reached, point, reached};

/// The largest number of entries that are taken out of a deque at once.
const BATCH: usize = 32;

/// The largest number of entries that one steal moves.
const STEAL: usize = 512;

/// The largest number of entries that one look at a stuck worker takes. The rest is taken at the
/// next look, as the worker that looks has timers and descriptors of its own.
const RESCUE_BATCH: usize = 1024;

/// The time in nanoseconds below which entries are stolen on trial only: averages do not tell how
/// much moves with them.
pub(crate) const SURELY_LONG: u32 = 5_000;

/// The verdict of the published figures on a steal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The move costs more than it brings.
    No,
    /// The move may bring more than it costs.
    Perhaps,
    /// The move brings several times what it costs.
    Yes,
}

/// Judges whether a run-queue entry is worth its move. The entry takes `entry_nanos` nanoseconds
/// and exchanges `traffic` thousandths of an event with other colors, and moving a cache line to
/// the other core and back takes `price` nanoseconds. Each exchanged event moves two lines: its
/// own, and the end of the queue.
///
/// The move of the entry itself does not count, as a color that feeds itself moves once and then
/// stays.
pub(crate) fn verdict(entry_nanos: u32, traffic: u32, price: u32) -> Verdict {
    let nanos = u64::from(entry_nanos);
    let cost = u64::from(price) * 2 * u64::from(traffic) / 1_000;
    if entry_nanos == UNKNOWN || nanos < cost / 2 {
        Verdict::No
    } else if nanos >= u64::from(SURELY_LONG).max(4 * cost) {
        Verdict::Yes
    } else {
        Verdict::Perhaps
    }
}

impl<W: Work> Scheduler<W> {
    /// Steals from the other workers, the nearest first. Returns `true` if there are entries in the
    /// own run queue now.
    pub(super) fn steal(&self, trials: &mut Trials) -> bool {
        for &index in &self.shared().neighbours {
            let Some(verdict) = self.judge_victim(index, trials) else { continue };
            let taken = self.take_from(&self.fleet.workers[index]);
            if taken {
                self.begin_trial(trials, index, verdict);
            }
            // Work that others surely gain by is not kept out of the deque. On trial, half of the
            // private work comes, too.
            let asks = verdict == Verdict::Perhaps && !self.has_asked();
            if asks && self.fleet.workers[index].kept() > 1 {
                self.ask(index);
                return taken;
            }
            if taken {
                return true;
            }
        }
        false
    }

    /// Begins a trial if the private work that this worker has asked for has arrived.
    pub(super) fn note_answer(&self, trials: &mut Trials) {
        // Acquire: pairs with the release store in `answer`.
        let from = self.shared().handed_by.load(Ordering::Acquire);
        if from > 0 {
            self.shared().handed_by.store(0, Ordering::Relaxed);
            self.begin_trial(trials, from - 1, Verdict::Perhaps);
        }
    }

    fn begin_trial(&self, trials: &mut Trials, victim: usize, verdict: Verdict) {
        if self.fleet.rules.policy == StealPolicy::CostAware {
            let reading = self.fleet.reading(self.now());
            // Work that is surely worth its move stands in the deques anyway.
            if trials.begins(reading, victim) && verdict == Verdict::Perhaps {
                self.fleet.opens_until(reading.now + TRIAL);
            }
        }
    }

    /// Returns `true` if there is something to steal.
    pub(super) fn sees_prey(&self, trials: &Trials) -> bool {
        self.shared().neighbours.iter().any(|&index| self.judge_victim(index, trials).is_some())
    }

    /// Judges whether to steal from a worker. Returns `None` if it has nothing, if the verdict is
    /// [`Verdict::No`], or if the verdict is [`Verdict::Perhaps`] and no trial is allowed.
    fn judge_victim(&self, index: usize, trials: &Trials) -> Option<Verdict> {
        let victim = &self.fleet.workers[index];
        let open = !victim.has_nothing_open();
        if !open && victim.kept() < 2 {
            return None;
        }
        let verdict = match self.fleet.judge(index) {
            Verdict::Yes if trials.doubts(self.now()) => Verdict::Perhaps,
            verdict => verdict,
        };
        let pays = match verdict {
            Verdict::No => false,
            Verdict::Yes => open,
            Verdict::Perhaps if !open && self.has_asked() => false,
            Verdict::Perhaps => {
                let paused = self.fleet.trials_paused_until.load(Ordering::Relaxed);
                trials.allows(self.now(), paused)
            }
        };
        pays.then_some(verdict)
    }

    /// Takes about half of what is runnable at another worker. Returns `false` if there was
    /// nothing.
    ///
    /// It takes half because colors that feed themselves never come to an end. Once both workers
    /// have such colors, neither becomes idle again, and what one has more than the other stays
    /// with it. The eager policy takes one batch.
    fn take_from(&self, victim: &Shared<W>) -> bool {
        if !self.fleet.has_classes() {
            return self.take_class_from(victim, Priority::Normal);
        }
        Priority::ALL.into_iter().any(|class| self.take_class_from(victim, class))
    }

    /// Takes about half of what is runnable at another worker in a class. Returns `false` if there
    /// was nothing.
    pub(super) fn take_class_from(&self, victim: &Shared<W>, class: Priority) -> bool {
        // Some of both kinds, so that the posters of sets come with the sets.
        let ready = !victim.ready.lane(class).is_empty()
            && self.take_lane(self.ready_queues(), &victim.ready, class);
        self.take_lane(&self.plain, &victim.plain, class) || ready
    }

    /// Takes about half of what stands in a lane of another worker. Returns `false` if there was
    /// nothing.
    fn take_lane(&self, mine: &OwnQueues<W>, theirs: &Queues<W>, class: Priority) -> bool {
        let (mine, theirs) = (mine.lane(class), theirs.lane(class));
        let before = mine.len();
        let half = match self.fleet.rules.is_eager() {
            true => BATCH,
            false => (theirs.stealer.len() / 2).clamp(1, STEAL),
        };
        let from_deque = || theirs.stealer.steal_batch_with_limit(mine, BATCH);
        let from_inbox = || theirs.inbox.steal_batch_with_limit(mine, BATCH);
        let taken = retry(from_deque).or_else(|| retry(from_inbox)).is_some();
        while taken && mine.len() - before.min(mine.len()) < half {
            if retry(from_deque).is_none() {
                break;
            }
        }
        if taken {
            point(Point::Stolen);
            reached(Reached::Steal);
            self.count_steal(mine.len().saturating_sub(before).max(1));
        }
        taken
    }

    /// Hands half of the private work to the worker that has asked for it.
    pub(super) fn answer<H: Host<Work = W>>(&self, host: &H) {
        let asked = &self.shared().asked;
        // The usual case costs one load. A worker that asks at the same time finds its question
        // gone, and asks again.
        let Some(thief) = asked.load(Ordering::Relaxed).checked_sub(1) else { return };
        let half = (self.shared().kept() / 2).min(STEAL);
        if half == 0 {
            // There may be enough later, so the question stays.
            return;
        }
        // Some of both kinds, so that the posters of sets come with the sets.
        let ready = self.ready.private_len().div_ceil(2).min(half);
        let plain = half - ready;
        asked.store(0, Ordering::Relaxed);
        let ready = (0..ready).map_while(|_| self.ready.pop_private());
        let plain = (0..plain).map_while(|_| self.plain.pop_private());
        let given: Vec<W> = ready.chain(plain).collect();
        let n = given.len();
        if n > 0 {
            reached(Reached::PrivateHandedOver);
            let thief_shared = &self.fleet.workers[thief];
            // Release: pairs with the acquire load in `note_answer`.
            thief_shared.handed_by.store(self.index + 1, Ordering::Release);
            self.send_all(host, thief, given);
            self.count_entries(n);
        }
    }

    /// Takes the entries that wait behind a stuck worker, as guests, up to [`RESCUE_BATCH`] of
    /// them.
    pub(super) fn take_as_guests(&self, victim: &Shared<W>) {
        let worth = victim.published.entry_nanos.load(Ordering::Relaxed);
        let has_classes = self.fleet.has_classes();
        let open = (0..RESCUE_BATCH).map_while(|_| match has_classes {
            true => take_one(victim),
            false => take_one_of(victim, Priority::Normal),
        });
        let mut taken = open.map(|entry| self.queue(entry.into_guest(), worth)).count();
        for queues in victim.both() {
            for entry in queues.private.take(RESCUE_BATCH.saturating_sub(taken)) {
                reached(Reached::PrivateTaken);
                self.queue(entry.into_guest(), worth);
                taken += 1;
            }
        }
        if taken > 0 {
            reached(Reached::Rescue);
            self.count_steal(taken);
        }
    }

    pub(super) fn count_steal(&self, entries: usize) {
        // The stolen work may have become ready after this worker's last look at its descriptors.
        self.polls.set(self.polls.get() + 1);
        self.count_entries(entries);
    }

    fn count_entries(&self, entries: usize) {
        let counters = &self.shared().counters;
        add(&counters.steals, 1);
        add(&counters.colors_stolen, entries as u64);
    }

    /// Undoes a steal: the entries that are queued here go to `victim`, unless that worker is
    /// stuck. All of them go, as this worker had nothing when it stole, and what has come since
    /// comes, as a rule, from what it stole.
    pub(super) fn send_back<H: Host<Work = W>>(&self, host: &H, victim: usize) {
        if !self.fleet.is_still_stuck(victim) {
            add(&self.shared().counters.steals_undone, 1);
            // This does not use `dequeue`, which may look for ready work elsewhere. Entries that
            // arrive meanwhile were not taken from the victim.
            let queued = self.shared().queued();
            self.send_all(host, victim, self.take_own().take(queued));
        }
    }

    /// Hands several entries to a worker, and wakes it once.
    fn send_all<H: Host<Work = W>>(
        &self,
        host: &H,
        worker: usize,
        entries: impl IntoIterator<Item = W>,
    ) {
        let mut last = None;
        for entry in entries {
            if let Some(entry) = last.replace(entry) {
                self.fleet.hand_quietly(worker, entry);
            }
        }
        // The last entry wakes the worker.
        if let Some(entry) = last {
            host.hand_over(worker, entry, UNKNOWN);
        }
    }

    /// Takes an entry of the normal class from the inbox, and moves more of them to the own queues.
    pub(super) fn take_inbox(&self) -> Option<W> {
        let class = Priority::Normal;
        let was_bound = self.receive_affine(class);
        let [ready, plain] = self.shared().both().map(|queues| &queues.lane(class).inbox);
        let (inbox, mine) = match (ready.is_empty(), plain.is_empty()) {
            (false, _) => (ready, self.ready_queues()),
            (true, false) => (plain, &self.plain),
            (true, true) if was_bound => return self.pop_affine(class),
            (true, true) => return None,
        };
        // The entry may have been put there after this worker's last look at its descriptors.
        self.polls.set(self.polls.get() + 1);
        retry(|| inbox.steal_batch_and_pop(mine.lane(class)))
    }

    /// Moves the entries of a class from the inbox to the end of the own queues.
    pub(super) fn empty_inbox_of(&self, class: Priority) {
        self.receive_affine(class);
        let shared = self.shared();
        let has_ready = !shared.ready.lane(class).inbox.is_empty();
        let ready = if has_ready { self.ready_queues() } else { &self.ready };
        for (mine, theirs) in [(ready, &shared.ready), (&self.plain, &shared.plain)] {
            let inbox = &theirs.lane(class).inbox;
            if !inbox.is_empty() {
                self.polls.set(self.polls.get() + 1);
                // A bounded number of rounds, as other threads may hand over as fast as this loop
                // takes.
                for _ in 0..inbox.len() {
                    if retry(|| inbox.steal_batch(mine.lane(class))).is_none() {
                        break;
                    }
                }
            }
        }
    }
}

/// Takes an entry of the highest class from a worker. Called by a thread that disposes of what is
/// left, or by a rescuer.
pub(super) fn take_one<W: Work>(worker: &Shared<W>) -> Option<W> {
    Priority::ALL.into_iter().find_map(|class| take_one_of(worker, class))
}

/// Takes an entry of the highest class from a worker's inbox.
pub(super) fn take_handed_over<W: Work>(worker: &Shared<W>) -> Option<W> {
    let steal = |queues: &Queues<W>, class| retry(|| queues.lane(class).inbox.steal());
    Priority::ALL
        .into_iter()
        .find_map(|class| worker.both().into_iter().find_map(|queues| steal(queues, class)))
}

/// Takes an entry of a class from a worker.
fn take_one_of<W: Work>(worker: &Shared<W>, class: Priority) -> Option<W> {
    worker.both().into_iter().find_map(|queues| {
        let lane = queues.lane(class);
        retry(|| lane.inbox.steal()).or_else(|| retry(|| lane.stealer.steal()))
    })
}

pub(super) fn retry<T>(mut attempt: impl FnMut() -> Steal<T>) -> Option<T> {
    loop {
        match attempt() {
            Steal::Success(entry) => return Some(entry),
            Steal::Empty => return None,
            Steal::Retry => crate::sync::spin_loop(),
        }
    }
}

#[cfg(test)]
#[path = "steal_tests.rs"]
mod tests;
