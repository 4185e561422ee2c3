//! Who sleeps, who is awake, who stands sentinel.
//!
//! # States
//!
//! A worker is *busy*, *spinning*, *idle*, *away*, or *claimed*. It alone goes from busy to
//! spinning ([`announce_spinning`]), from either of them to idle ([`announce`]), from busy to away
//! ([`go_away`]), and from any to busy ([`rise`]); anybody may turn idle or away into claimed
//! ([`claim`]), and the thread that did that unparks it, once. Away is a worker whose thread is not
//! with the runtime: it belongs to the user, who is told to come back (E18). Nobody knows when that
//! will be, so it is never the sentinel, and a worker that was called back (*called*, not claimed)
//! is looked after by the others as one is that is busy. A spinning worker has nothing and looks at
//! its queues all the time: nobody has to wake it, nobody has to watch it, and where it is asked
//! whether anything runs it is as good as idle. The rest of the word is an epoch that counts the
//! rises, so that two equal readings mean that nothing happened in between.
//!
//! One idle worker at most is the *sentinel*: it sleeps with a time limit and looks, each time it
//! runs out, whether work waits behind a worker that is busy. So a push to a worker's own run queue
//! needs no wake-up to be found within that time.
//!
//! # No lost wake-up
//!
//! *Inbox.* The poster pushes, fences, and reads the owner's state; the owner announces, fences,
//! and looks at its inbox before it parks. Sequentially consistent fences: either the poster sees
//! *idle* and claims, or the owner sees the push. A claim leads to an unpark, which is not lost, as
//! a [`Park`](crate::Park) remembers it.
//!
//! *Sentinel.* Claim: whenever a worker is busy with work and another one is idle, there is a
//! sentinel or one is on its way. A worker that found work after it had been idle has risen,
//! fenced, and then reads `sentinel` ([`needs_sentinel`]); if there is none it claims an idle
//! worker. A worker that goes to sleep without a limit has announced (or given up `sentinel`),
//! fenced, and then read the states of the others ([`others_busy`]); if one is busy it takes the
//! post of sentinel. One of the two sees the other. A sentinel that rises gives up its post first,
//! and then is itself a worker that found work, or one that goes to sleep again.
//!
//! [`announce_spinning`]: SleepState::announce_spinning
//! [`announce`]: SleepState::announce
//! [`go_away`]: SleepState::go_away
//! [`rise`]: SleepState::rise
//! [`claim`]: SleepState::claim
//! [`needs_sentinel`]: SleepState::needs_sentinel
//! [`others_busy`]: SleepState::others_busy

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicUsize, Ordering, fence};

const BUSY: usize = 0;
const IDLE: usize = 1;
const CLAIMED: usize = 2;
const SPINNING: usize = 3;
const AWAY: usize = 4;
/// Claimed while it was away: what it was to get waits for it, or for the worker that takes it.
const CALLED: usize = 5;
const STATE: usize = 7;
const EPOCH: usize = 8;

/// What a worker was that has been claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// It sleeps.
    Idle,
    /// Its thread is not with the runtime, and is told to come back.
    Away,
}

/// See the module.
pub(crate) struct SleepState {
    workers: Box<[CachePadded<AtomicUsize>]>,
    /// Number of the sentinel plus one; 0: none.
    sentinel: AtomicUsize,
    /// How many are idle: a hint that spares a look at each of them.
    idle: AtomicUsize,
}

impl SleepState {
    pub(crate) fn new(workers: usize) -> Self {
        SleepState {
            workers: (0..workers).map(|_| CachePadded::new(AtomicUsize::new(BUSY))).collect(),
            sentinel: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
        }
    }

    /// `me` is about to sleep. It looks for work once more after this, then parks, then rises.
    pub(crate) fn announce(&self, me: usize) {
        // Counted first: a claim that follows at once must not bring the count below zero.
        self.idle.fetch_add(1, Ordering::Relaxed);
        self.set(me, IDLE);
    }

    /// The thread of `me` leaves the runtime, with nothing to run but what is bound to it. It looks
    /// for work once more after this, and rises if there is some. If it is claimed later, its
    /// poller is woken.
    pub(crate) fn go_away(&self, me: usize) {
        self.set(me, AWAY);
    }

    /// `me` has nothing, and looks for work without sleeping. Then it announces or rises.
    pub(crate) fn announce_spinning(&self, me: usize) {
        self.set(me, SPINNING);
    }

    /// From busy or spinning, in which only `me` changes the word.
    fn set(&self, me: usize, to: usize) {
        let state = &self.workers[me];
        let seen = state.load(Ordering::Relaxed);
        debug_assert!(matches!(seen & STATE, BUSY | SPINNING), "a worker sleeps once at a time");
        state.store((seen & !STATE) | to, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// `me` is awake.
    pub(crate) fn rise(&self, me: usize) {
        // Only this worker changes the epoch; a claim may come in between, hence the exchange.
        let state = &self.workers[me];
        let next = (state.load(Ordering::Relaxed) & !STATE).wrapping_add(EPOCH) | BUSY;
        if state.swap(next, Ordering::SeqCst) & STATE == IDLE {
            self.idle.fetch_sub(1, Ordering::Relaxed);
        }
        if self.sentinel.load(Ordering::Relaxed) == me + 1 {
            self.sentinel.store(0, Ordering::SeqCst);
        }
        fence(Ordering::SeqCst);
    }

    /// Unless it answers `None`, `worker` was idle or away, and the caller has to unpark it.
    #[must_use]
    pub(crate) fn claim(&self, worker: usize) -> Option<Claimed> {
        let seen = self.workers[worker].load(Ordering::SeqCst);
        match seen & STATE {
            IDLE => self.claim_idle(worker, seen).then_some(Claimed::Idle),
            AWAY => self.claim_seen(worker, seen).then_some(Claimed::Away),
            _ => None,
        }
    }

    /// Claims a worker that was seen to be idle.
    fn claim_idle(&self, worker: usize, seen: usize) -> bool {
        let won = seen & STATE == IDLE && self.claim_seen(worker, seen);
        if won {
            self.idle.fetch_sub(1, Ordering::Relaxed);
        }
        won
    }

    fn claim_seen(&self, worker: usize, seen: usize) -> bool {
        let to = if seen & STATE == AWAY { CALLED } else { CLAIMED };
        let claimed = (seen & !STATE) | to;
        let state = &self.workers[worker];
        state.compare_exchange(seen, claimed, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Claims any idle worker, `near` first if it is, and none that is away; the caller has to
    /// unpark it.
    #[must_use]
    pub(crate) fn claim_any(&self, near: usize) -> Option<usize> {
        let n = self.workers.len();
        let seen = |w: usize| self.workers[w].load(Ordering::SeqCst);
        (0..n).map(|i| (near + i) % n).find(|&w| self.claim_idle(w, seen(w)))
    }

    /// Says whether anybody is idle. Never no while a worker is that has announced it and fenced,
    /// as it is counted before; it may be yes for a moment too long.
    #[inline]
    pub(crate) fn any_idle(&self) -> bool {
        self.idle.load(Ordering::Relaxed) > 0
    }

    /// For a worker that has risen and found work: says whether nobody watches it, though somebody
    /// could.
    pub(crate) fn needs_sentinel(&self) -> bool {
        self.sentinel.load(Ordering::SeqCst) == 0 && self.any_idle()
    }

    /// Says whether somebody watches. A hint.
    #[cfg(not(loom))]
    pub(crate) fn has_sentinel(&self) -> bool {
        self.sentinel.load(Ordering::Relaxed) != 0
    }

    /// Takes the post of sentinel; true if it is `me` now.
    pub(crate) fn become_sentinel(&self, me: usize) -> bool {
        match self.sentinel.compare_exchange(0, me + 1, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => true,
            Err(holder) => holder == me + 1,
        }
    }

    /// Gives up the post of sentinel before a sleep without limit. The caller then asks
    /// [`others_busy`](Self::others_busy) again.
    pub(crate) fn resign_as_sentinel(&self, me: usize) {
        if self.sentinel.load(Ordering::Relaxed) == me + 1 {
            self.sentinel.store(0, Ordering::SeqCst);
        }
        fence(Ordering::SeqCst);
    }

    /// If `worker` is busy, the number of its stretch without sleep. One that has been claimed and
    /// does not rise is held up by its poller, which is as good.
    #[cfg(not(loom))]
    pub(crate) fn busy_stretch(&self, worker: usize) -> Option<usize> {
        let state = self.workers[worker].load(Ordering::SeqCst);
        matches!(state & STATE, BUSY | CLAIMED | CALLED).then_some(state / EPOCH)
    }

    /// Says whether what was read at the poller of another worker may have been meant to wake that
    /// one, which is to be woken again then. A thread claims the worker before it writes to its
    /// poller, so what is not seen here is written later, and read by its owner.
    pub(crate) fn may_be_woken(&self, worker: usize) -> bool {
        self.workers[worker].load(Ordering::SeqCst) & STATE != BUSY
    }

    /// Says whether a worker other than `me` is busy, or was called back and has not come: what it
    /// has may wait for somebody else.
    pub(crate) fn others_busy(&self, me: usize) -> bool {
        self.workers
            .iter()
            .enumerate()
            .any(|(w, s)| w != me && matches!(s.load(Ordering::SeqCst) & STATE, BUSY | CALLED))
    }

    /// If every worker is idle, away or spins, the states with their epochs: what the runtime looks
    /// like when nothing runs.
    pub(crate) fn all_idle(&self) -> Option<Vec<usize>> {
        self.workers
            .iter()
            .map(|s| {
                Some(s.load(Ordering::SeqCst))
                    .filter(|s| matches!(s & STATE, IDLE | SPINNING | AWAY))
            })
            .collect()
    }
}
