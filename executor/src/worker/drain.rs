//! Emptying the run queues when nobody runs anything any more.

use dapple_colors::Priority;

use super::scheduler::Scheduler;
use super::steal::take_one;
use super::work::{Host, Work};

/// Entries that are taken out of a run queue at once.
const CHUNK: usize = 256;

impl<W: Work> Scheduler<W> {
    /// Has the host discard everything that is queued for any worker by now, and what that leads
    /// to: it may queue more here. It gives up when it is told to, once it has been at every entry
    /// that was there: `gives_up` gets how many links were passed. The answer is what is left then.
    pub(crate) fn drain<H: Host<Work = W>>(
        &self,
        host: &H,
        mut gives_up: impl FnMut(u64) -> bool,
    ) -> Vec<W> {
        let mut passed = 0;
        let mut some: Vec<W> = Vec::new();
        for worker in &self.fleet.workers {
            let mut rest = worker.queued() + worker.private.len();
            while rest > 0 {
                let chunk = rest.min(CHUNK);
                some.extend(worker.private.take(chunk));
                some.extend((some.len()..chunk).map_while(|_| take_one(worker)));
                // Fewer: somebody else has taken them.
                rest = if some.len() < chunk { 0 } else { rest - chunk };
                passed += some.drain(..).map(|work| host.discard(work)).sum::<u64>();
            }
        }
        // What others could not take out, and what was queued meanwhile.
        loop {
            some.extend(self.take_own());
            if some.is_empty() {
                return some;
            }
            passed += some.drain(..).map(|work| host.discard(work)).sum::<u64>();
            if gives_up(passed) {
                return self.take_own().collect();
            }
        }
    }

    /// What is in the own run queue now.
    fn take_own(&self) -> impl Iterator<Item = W> {
        let public = Priority::ALL.into_iter().flat_map(move |class| {
            let queued = self.lane(class).len();
            (0..queued).map_while(move |_| self.lane(class).pop())
        });
        let private = self.shared().private.len();
        public.chain((0..private).map_while(|_| self.pop_private()))
    }
}
