//! The sleep protocol: which workers sleep, which one stands sentinel, and how they are woken.
//!
//! # States
//!
//! A worker is *busy*, *spinning*, *idle*, *away*, *claimed*, or *called*.
//!
//! * Only the worker itself goes from busy to spinning ([`announce_spinning`]), from either of
//!   these to idle ([`announce`]), from busy to away ([`go_away`]), and from any state to busy
//!   ([`rise`]).
//! * Any thread may turn idle into claimed, or away into called ([`claim`]). The thread that did so
//!   unparks the worker, once.
//!
//! A *spinning* worker has nothing to run and looks at its queues all the time. Nobody has to wake
//! it or to watch it, and for the question whether anything runs it counts as idle.
//!
//! *Away* is a worker whose thread is not with the runtime: the thread belongs to the user, who is
//! told to come back (E18). Nobody knows when that happens, so such a worker is never the sentinel.
//! After it was called back, other workers look after it as after a busy one.
//!
//! The state is kept in the low bits of one word per worker. The other bits are an epoch, which
//! counts the rises. So two equal readings mean that nothing happened in between.
//!
//! At most one idle worker is the *sentinel*. It sleeps with a time limit, and each time the limit
//! expires it looks whether work waits behind a worker that is busy. So an entry that a worker
//! pushes to its own run queue is found within that time even without a wakeup.
//!
//! # No lost wakeup
//!
//! *Inbox.* The poster pushes, fences, and reads the owner's state. The owner announces, fences,
//! and looks at its inbox before it parks. As both fences are sequentially consistent, either the
//! poster sees *idle* and claims, or the owner sees the push. A claim leads to an unpark, which is
//! not lost, as a [`Park`](crate::park::Park) remembers it.
//!
//! *Sentinel.* Claim: whenever a worker is busy with work and another one is idle, there is a
//! sentinel or one is on its way. A worker that finds work after it was idle has risen and fenced,
//! and then reads `sentinel` ([`needs_sentinel`]). If there is none, it claims an idle worker. A
//! worker that goes to sleep without a limit has announced (or given up `sentinel`) and fenced, and
//! then reads the states of the others ([`others_busy`]). If one of them is busy, it becomes the
//! sentinel. At least one of the two sees the other. A sentinel that rises gives up the role first.
//! After that it is itself a worker that found work, or one that goes to sleep again.
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
/// Claimed while it was away. The work that it was called for waits for it, or for a worker that
/// takes it.
const CALLED: usize = 5;
const STATE: usize = 7;
const EPOCH: usize = 8;

/// The state in which a worker was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// The worker sleeps.
    Idle,
    /// The worker's thread is not with the runtime, and is told to come back.
    Away,
}

/// The states of all workers; see the module.
pub(crate) struct SleepState {
    workers: Box<[CachePadded<AtomicUsize>]>,
    /// The number of the sentinel plus one; 0 means that there is none.
    sentinel: AtomicUsize,
    /// The number of idle workers, as a hint: a poster that reads 0 need not look at each of them.
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

    /// Announces that worker `me` is about to sleep. It looks for work once more after this, then
    /// parks, then rises.
    pub(crate) fn announce(&self, me: usize) {
        // The count grows first: a claim that follows at once must not bring it below zero.
        self.idle.fetch_add(1, Ordering::Relaxed);
        self.set(me, IDLE);
    }

    /// Announces that the thread of worker `me` leaves the runtime, with nothing to run except work
    /// that is bound to it. It looks for work once more after this, and rises if there is some. If
    /// the worker is claimed later, its poller is woken.
    pub(crate) fn go_away(&self, me: usize) {
        self.set(me, AWAY);
    }

    /// Announces that worker `me` has nothing, and looks for work without sleeping. After that it
    /// announces its sleep, or rises.
    pub(crate) fn announce_spinning(&self, me: usize) {
        self.set(me, SPINNING);
    }

    /// Changes the state from busy or spinning. In these states only `me` changes the word.
    fn set(&self, me: usize, to: usize) {
        let state = &self.workers[me];
        let seen = state.load(Ordering::Relaxed);
        debug_assert!(matches!(seen & STATE, BUSY | SPINNING), "a worker sleeps once at a time");
        state.store((seen & !STATE) | to, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Makes worker `me` busy.
    pub(crate) fn rise(&self, me: usize) {
        // Only this worker changes the epoch. The exchange is needed as a claim may come in
        // between.
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

    /// Claims a worker if it is idle or away. If this returns `Some`, the caller has to unpark the
    /// worker.
    #[must_use]
    pub(crate) fn claim(&self, worker: usize) -> Option<Claimed> {
        let seen = self.workers[worker].load(Ordering::SeqCst);
        match seen & STATE {
            IDLE => self.claim_idle(worker, seen).then_some(Claimed::Idle),
            AWAY => self.claim_seen(worker, seen).then_some(Claimed::Away),
            _ => None,
        }
    }

    /// Claims a worker whose state was read as `seen`, if that is idle.
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

    /// Claims any idle worker, `near` first if it is idle, and none that is away. The caller has to
    /// unpark the worker that is returned.
    #[must_use]
    pub(crate) fn claim_any(&self, near: usize) -> Option<usize> {
        let n = self.workers.len();
        let seen = |w: usize| self.workers[w].load(Ordering::SeqCst);
        (0..n).map(|i| (near + i) % n).find(|&w| self.claim_idle(w, seen(w)))
    }

    /// Returns `true` if a worker is idle. This is never `false` while there is an idle worker that
    /// has announced itself and fenced, as it is counted before. It may be `true` for a moment too
    /// long.
    #[inline]
    pub(crate) fn any_idle(&self) -> bool {
        self.idle.load(Ordering::Relaxed) > 0
    }

    /// Returns `true` if there is no sentinel though a worker is idle. Asked by a worker that has
    /// risen and found work.
    pub(crate) fn needs_sentinel(&self) -> bool {
        self.sentinel.load(Ordering::SeqCst) == 0 && self.any_idle()
    }

    /// Returns `true` if there is a sentinel. A hint.
    #[cfg(not(loom))]
    pub(crate) fn has_sentinel(&self) -> bool {
        self.sentinel.load(Ordering::Relaxed) != 0
    }

    /// Makes worker `me` the sentinel if there is none. Returns `true` if `me` is the sentinel now.
    pub(crate) fn become_sentinel(&self, me: usize) -> bool {
        match self.sentinel.compare_exchange(0, me + 1, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => true,
            Err(holder) => holder == me + 1,
        }
    }

    /// Gives up the role of sentinel before a sleep without a limit. The caller then asks
    /// [`others_busy`](Self::others_busy) again.
    pub(crate) fn resign_as_sentinel(&self, me: usize) {
        if self.sentinel.load(Ordering::Relaxed) == me + 1 {
            self.sentinel.store(0, Ordering::SeqCst);
        }
        fence(Ordering::SeqCst);
    }

    /// Returns the number of the worker's stretch without sleep if it is busy, and `None`
    /// otherwise. A worker that was claimed and does not rise is held up by its poller, so it
    /// counts as busy.
    #[cfg(not(loom))]
    pub(crate) fn busy_stretch(&self, worker: usize) -> Option<usize> {
        let state = self.workers[worker].load(Ordering::SeqCst);
        matches!(state & STATE, BUSY | CLAIMED | CALLED).then_some(state / EPOCH)
    }

    /// Returns `true` if what a thread has read from a worker's poller may have been meant to wake
    /// the worker, so that the worker is to be woken again. A thread claims the worker before it
    /// writes to its poller. So if a claim is not seen here, the write comes later, and the owner
    /// reads it.
    pub(crate) fn may_be_woken(&self, worker: usize) -> bool {
        self.workers[worker].load(Ordering::SeqCst) & STATE != BUSY
    }

    /// Returns `true` if a worker other than `me` is busy, or was called back and has not come. The
    /// work of such a worker may wait for another one.
    pub(crate) fn others_busy(&self, me: usize) -> bool {
        self.workers
            .iter()
            .enumerate()
            .any(|(w, s)| w != me && matches!(s.load(Ordering::SeqCst) & STATE, BUSY | CALLED))
    }

    /// Returns the states of all workers, with their epochs, if each of them is idle, away or
    /// spinning. If two results are equal, no worker has risen in between.
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
