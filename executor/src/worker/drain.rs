//! Emptying the run queues when no worker serves them any longer.

use super::scheduler::Scheduler;
use super::steal::{take_handed_over, take_one};
use super::work::{Host, Work};

/// The number of entries that are taken out of a run queue at once.
const CHUNK: usize = 256;

impl<W: Work> Scheduler<W> {
    /// Has the host discard all entries that are queued for any worker at this time, and the
    /// entries that this leads to: a discarded entry may queue more here.
    ///
    /// `gives_up` is called with the number of links passed so far, and returns `true` if that is
    /// enough. Entries in the inboxes are discarded in any case. If `all` is set, so are all other
    /// entries that are queued at this time. Returns the entries that are left in the own run
    /// queue.
    pub(crate) fn drain<H: Host<Work = W>>(
        &self,
        host: &H,
        all: bool,
        mut gives_up: impl FnMut(u64) -> bool,
    ) -> Vec<W> {
        let mut passed = 0;
        let mut discard = |some: &mut Vec<W>| {
            passed += some.drain(..).map(|work| host.discard(work)).sum::<u64>();
            passed
        };
        let mut some: Vec<W> = Vec::new();
        // The inboxes come first: the thread that called this may have put something there. A
        // worker that still serves may fill its own queue faster than this loop empties it.
        for (index, worker) in self.fleet.workers.iter().enumerate() {
            // Bound entries are discarded on their own worker, or by the detached scheduler once
            // the runtime is closed: its workers have ended, or were given up as stuck. Elsewhere
            // an event of the same color might be running.
            let mut bound = match index == self.index || self.is_detached() {
                true => worker.affine.len(),
                false => 0,
            };
            while bound > 0 {
                some.extend((0..bound.min(CHUNK)).map_while(|_| worker.affine.take()));
                bound = if some.is_empty() { 0 } else { bound - some.len() };
                discard(&mut some);
            }
            let mut rest = worker.handed_over();
            while rest > 0 {
                let chunk = rest.min(CHUNK);
                some.extend((0..chunk).map_while(|_| take_handed_over(worker)));
                rest = if some.len() < chunk { 0 } else { rest - chunk };
                discard(&mut some);
            }
        }
        'workers: for worker in &self.fleet.workers {
            let mut rest = worker.queued();
            while rest > 0 {
                let chunk = rest.min(CHUNK);
                for queues in worker.both() {
                    some.extend(queues.private.take(chunk - some.len()));
                }
                some.extend((some.len()..chunk).map_while(|_| take_one(worker)));
                // If there are fewer, another thread has taken the others.
                rest = if some.len() < chunk { 0 } else { rest - chunk };
                if gives_up(discard(&mut some)) && !all {
                    break 'workers;
                }
            }
        }
        // Now the entries in the own queues, which other threads could not take out, and those that
        // were queued meanwhile.
        loop {
            some.extend(self.take_own());
            some.extend(self.take_all_affine());
            if some.is_empty() {
                return some;
            }
            if gives_up(discard(&mut some)) {
                return self.take_own().chain(self.take_all_affine()).collect();
            }
        }
    }

    /// Takes the entries that are in the own run queue now, apart from the inboxes and from entries
    /// that are bound to this worker.
    pub(super) fn take_own(&self) -> impl Iterator<Item = W> {
        self.ready.take_all().chain(self.plain.take_all())
    }
}
