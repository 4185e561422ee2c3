//! The end of an event (I6-I9, I12): commit order, being alone, panics.

use super::slot::Stage;
use super::{Abandoned, Next, Order, Ticket};
use crate::Context;

/// Slots whose memory is kept, however many there were.
const KEPT: usize = 1_024;

impl<W, D> Order<W, D> {
    /// The event, in global, goes on with `with` when all earlier ones have committed, and what it
    /// has deferred so far has run (I9).
    ///
    /// # Panics
    ///
    /// When it is not in global.
    pub fn alone(&mut self, ticket: Ticket, with: W) {
        let slot = self.slot_mut(ticket);
        assert_eq!(slot.stage, Stage::Global, "only an event in global can be alone");
        slot.stage = Stage::ToBeAlone;
        slot.held = Some(with);
        self.ready += 1;
    }

    /// The event has left the state, and commits when its turn comes (I6, I7). With `then` a
    /// sub-event follows, which takes its ticket at that commit, and may go as high as is said.
    ///
    /// # Panics
    ///
    /// When the event waits for something, or is ready already.
    #[inline]
    pub fn commit(&mut self, ticket: Ticket, then: Option<(Context, W)>) {
        match self.slot(ticket).stage {
            Stage::Global => self.repaired(ticket),
            Stage::Anon => self.readers -= 1,
            Stage::Free(_) => {}
            stage => panic!("an event that is {stage:?} cannot commit"),
        }
        let (highest, held) = then.unzip();
        let slot = self.slot_mut(ticket);
        slot.stage = Stage::Ready(highest);
        slot.held = held;
        self.ready += 1;
    }

    /// [`commit`](Self::commit), [`decide`](Self::decide) and [`committed`](Self::committed) in
    /// one, for the oldest event, if it has deferred nothing and nothing else follows from its end:
    /// what `last` says of what was kept with its ticket. `None`: nothing has changed, and `last`
    /// was not called.
    #[inline]
    pub fn commit_at_once<R>(
        &mut self,
        ticket: Ticket,
        last: impl FnOnce(&mut D) -> R,
    ) -> Option<R> {
        let is_quiet = ticket.0 == self.base
            && self.waiting + self.ready == 0
            && !(self.committing || self.commits_poisoned)
            && self.out.is_empty()
            && self.room.is_empty();
        if !is_quiet {
            return None;
        }
        let slot = &self.slots[0];
        if slot.is_exempt || !matches!(slot.stage, Stage::Free(_) | Stage::Anon | Stage::Global) {
            return None;
        }
        self.readers -= usize::from(slot.stage == Stage::Anon);
        let result = last(&mut self.slots[0].data);
        drop(self.slots.pop_front());
        self.pass_first();
        Some(result)
    }

    /// The first slot is gone.
    #[inline]
    fn pass_first(&mut self) {
        self.base += 1;
        self.anon_gate = self.anon_gate.max(self.base);
        self.global_gate = self.global_gate.max(self.base);
        if self.slots.is_empty() {
            self.told = 0;
        }
        if self.slots.capacity() > KEPT && self.slots.len() < self.slots.capacity() / 8 {
            self.slots.shrink_to((2 * self.slots.len()).max(KEPT));
        }
    }

    /// The event ends without a commit of its own: it panicked, or nobody holds its token any more.
    /// It keeps its place in the commit order (I1, I12). In global it poisons the domain, unless
    /// the caller `restores` the state as it was before, which does not help once the event has
    /// been alone.
    ///
    /// # Panics
    ///
    /// When the event waits for something, or is ready already.
    pub fn abandon(&mut self, ticket: Ticket, restores: bool) -> Abandoned {
        let slot = self.slot_mut(ticket);
        let (left, poisons) = match slot.stage {
            Stage::Global => (Context::Global, !restores || slot.was_alone),
            Stage::Anon => (Context::Anon, false),
            Stage::Free(_) | Stage::Covered => (Context::None, false),
            stage => panic!("an event that is {stage:?} cannot be abandoned"),
        };
        slot.stage = Stage::Ready(None);
        slot.poisons = poisons;
        self.ready += 1;
        self.readers -= usize::from(left == Context::Anon);
        self.poisoned |= poisons;
        if poisons { Abandoned::Poisons } else { Abandoned::Left(left) }
    }

    /// What the last [`Next::Commit`] was about has been done: the event has committed, or is alone
    /// now. What was kept with its ticket is handed back when it is gone, or goes over to its
    /// sub-event.
    ///
    /// # Panics
    ///
    /// When nothing is being committed.
    #[inline(always)]
    pub fn committed(&mut self) -> Option<D> {
        assert!(self.committing, "nothing is being committed");
        self.committing = false;
        let slot = &self.slots[0];
        let covered = self.commits_poisoned && !slot.is_exempt;
        match slot.stage {
            Stage::ToBeAlone => return self.is_alone(),
            Stage::Ready(Some(highest)) => return self.committed_with_more(highest, covered),
            _ => {}
        }
        self.commits_poisoned = slot.poisons || (self.commits_poisoned && !slot.repaired);
        let slot = self.slots.pop_front();
        self.ready -= 1;
        self.pass_first();
        slot.map(|slot| slot.data)
    }

    /// The first event goes on, alone.
    fn is_alone(&mut self) -> Option<D> {
        let ticket = Ticket(self.base);
        self.ready -= 1;
        let slot = &mut self.slots[0];
        slot.stage = Stage::Global;
        slot.was_alone = true;
        let with = slot.held.take().expect("who waits to be alone goes on with something");
        self.out.push_back(Next::Run { ticket, context: Context::Global, with });
        None
    }

    /// The first event has committed, and has a sub-event.
    fn committed_with_more(&mut self, highest: Context, covered: bool) -> Option<D> {
        let slot = &mut self.slots[0];
        slot.stage = Stage::Ready(None);
        let with = slot.held.take().expect("a sub-event begins with something");
        self.committing = true;
        let data = self.committed()?;
        if covered {
            self.out.push_back(Next::Skip { ticket: None, with });
            return Some(data);
        }
        let ticket = self.take_ticket(highest, data);
        self.out.push_back(Next::Run { ticket, context: Context::None, with });
        None
    }

    #[inline]
    pub(super) fn next_commit(&mut self) -> Option<Next<W>> {
        let slot = self.slots.front()?;
        if self.committing || !matches!(slot.stage, Stage::Ready(_) | Stage::ToBeAlone) {
            return None;
        }
        let covered = self.commits_poisoned && !slot.is_exempt && slot.stage != Stage::ToBeAlone;
        self.committing = true;
        Some(Next::Commit { ticket: Ticket(self.base), covered })
    }
}
