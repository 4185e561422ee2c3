//! The end of an event (I6-I9, I12): commit order, being alone, panics.

use super::slot::Stage;
use super::{Abandoned, Next, Order, Ticket};
use crate::Context;

/// The number of slots whose memory is always kept.
const KEPT: usize = 1_024;

impl<W, D> Order<W, D> {
    /// Asks to be alone: the event, in global, goes on with `with` when all earlier events have
    /// committed and its own deferred actions have run (I9).
    ///
    /// # Panics
    ///
    /// Panics if the event is not in global.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple_colors::{Context, Mode, Next, Order};
    /// let mut order: Order<&str, ()> = Order::new(Mode::Snapshot, usize::MAX);
    /// let first = order.take_ticket(Context::None, ());
    /// let asks = order.enter_at_once(Context::Global, || ()).expect("nothing is in its way");
    /// order.alone(asks, "alone");
    /// assert_eq!(order.decide(), None);                     // the first event has not committed
    /// order.commit(first, None);
    /// for ticket in [first, asks] {
    ///     // The caller runs what each of them has deferred, and then reports that.
    ///     assert_eq!(order.decide(), Some(Next::Commit { ticket, covered: false }));
    ///     order.committed();
    /// }
    /// let alone = Next::Run { ticket: asks, context: Context::Global, with: "alone" };
    /// assert_eq!(order.decide(), Some(alone));
    /// ```
    pub fn alone(&mut self, ticket: Ticket, with: W) {
        let slot = self.slot_mut(ticket);
        assert_eq!(slot.stage, Stage::Global, "only an event in global can be alone");
        slot.stage = Stage::ToBeAlone;
        slot.held = Some(with);
        self.ready += 1;
    }

    /// Ends the event: it releases the state, and commits when it is the oldest event (I6, I7).
    ///
    /// With `then` a sub-event follows, which takes its ticket at that commit and may go up to the
    /// given context.
    ///
    /// # Panics
    ///
    /// Panics if the event waits for something or has ended already, or if poison covers it.
    ///
    /// # Examples
    ///
    /// An event with a sub-event:
    ///
    /// ```
    /// use dapple_colors::{Context, Mode, Next, Order};
    /// let mut order: Order<&str, &str> = Order::new(Mode::Snapshot, usize::MAX);
    /// let event = order.take_ticket(Context::None, "data");
    /// order.commit(event, Some((Context::Anon, "goes on")));
    /// assert_eq!(order.decide(), Some(Next::Commit { ticket: event, covered: false }));
    /// assert_eq!(order.committed(), None);                  // the sub-event takes over the data
    /// let next = order.decide();
    /// assert!(matches!(next, Some(Next::Run { context: Context::None, with: "goes on", .. })));
    /// ```
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

    /// Commits the oldest event in one call, if it has deferred nothing and its end has no other
    /// consequence.
    ///
    /// This replaces [`commit`](Self::commit), [`decide`](Self::decide) and
    /// [`committed`](Self::committed). It calls `last` with the data of the ticket and returns the
    /// result. If it returns `None`, nothing has changed and `last` was not called. See
    /// [`enter_at_once`](Self::enter_at_once) for an example.
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

    /// Moves past the first slot, which has been removed.
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

    /// Ends the event without a commit of its own: it panicked, or its token was dropped.
    ///
    /// The event keeps its place in the commit order (I1, I12). An event in global poisons the
    /// domain, unless the caller restores the state as it was before (`restores`). That does not
    /// help once the event has been alone.
    ///
    /// # Panics
    ///
    /// Panics if the event waits for something or has ended already.
    ///
    /// # Examples
    ///
    /// An event that poisons the domain, and one that repairs it:
    ///
    /// ```
    /// use dapple_colors::{Abandoned, Context, Mode, Next, Order};
    /// let mut order: Order<&str, ()> = Order::new(Mode::Snapshot, usize::MAX);
    /// let breaks = order.enter_at_once(Context::Global, || ()).expect("nothing is in its way");
    /// let reads = order.take_ticket(Context::Anon, ());
    /// let repairs = order.take_ticket_to_repair(());
    /// assert_eq!(order.abandon(breaks, false), Abandoned::Poisons);
    /// order.want(reads, Context::Anon, "reads");
    /// order.want(repairs, Context::Global, "repairs");
    /// assert_eq!(order.decide(), Some(Next::Skip { ticket: Some(reads), with: "reads" }));
    /// assert!(matches!(order.decide(), Some(Next::Run { with: "repairs", .. })));
    /// order.commit(repairs, None);
    /// assert!(!order.is_poisoned());
    /// ```
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

    /// Reports that the caller has done what the last [`Next::Commit`] asked for.
    ///
    /// The event has committed, or is alone now. Returns the data of the ticket if the event is
    /// gone. If a sub-event follows, its ticket takes over the data. [`commit`](Self::commit) has
    /// an example.
    ///
    /// # Panics
    ///
    /// Panics if nothing is being committed.
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

    /// Lets the first event go on alone.
    fn is_alone(&mut self) -> Option<D> {
        let ticket = Ticket(self.base);
        self.ready -= 1;
        let slot = &mut self.slots[0];
        slot.stage = Stage::Global;
        slot.was_alone = true;
        let with = slot.held.take().expect("an event that waits to be alone has a continuation");
        self.out.push_back(Next::Run { ticket, context: Context::Global, with });
        None
    }

    /// Commits the first event, which has a sub-event.
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
