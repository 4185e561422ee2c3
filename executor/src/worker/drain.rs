//! Emptying the run queues when nobody runs anything any more.

use super::scheduler::Scheduler;
use super::steal::{take_handed_over, take_one};
use super::work::{Host, Work};

/// Entries that are taken out of a run queue at once.
const CHUNK: usize = 256;

impl<W: Work> Scheduler<W> {
    /// Has the host discard what is queued for any worker by now, and what that leads to: it may
    /// queue more here. `gives_up` is asked, with how many links were passed, whether that is
    /// enough. What others have handed over is discarded in any case, and so, if `all`, is whatever
    /// else is queued by now. The answer is what is left in the own run queue.
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
        // First what may have been handed over by somebody who asks for this. A worker that still
        // serves may fill its own queue faster than this empties it.
        for (index, worker) in self.fleet.workers.iter().enumerate() {
            // What is bound to a worker is discarded there, or when that has left: an event of the
            // same color may run there.
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
                // Fewer: somebody else has taken them.
                rest = if some.len() < chunk { 0 } else { rest - chunk };
                if gives_up(discard(&mut some)) && !all {
                    break 'workers;
                }
            }
        }
        // What others could not take out, and what was queued meanwhile.
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

    /// What is in the own run queue now, apart from what others have handed over, and from what is
    /// bound to this worker.
    pub(super) fn take_own(&self) -> impl Iterator<Item = W> {
        self.ready.take_all().chain(self.plain.take_all())
    }
}
