//! Entry to the contexts (I3, I4): the gates, and who passes them.

use super::slot::Stage;
use super::{Mode, Next, Order, Ticket};
use crate::Context;

/// Slots that a gate passes in one call.
const SCAN: usize = 64;

/// Where a gate is after a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// Behind the last slot.
    AtEnd,
    /// At a slot that it does not pass.
    Stands,
    /// It has passed as many as it may in one call.
    OnItsWay,
}

impl<W, D> Order<W, D> {
    /// [`take_ticket`](Self::take_ticket), [`want`](Self::want) and [`decide`](Self::decide) in
    /// one, for an event that has nothing in its way: it is in its context then, and there is
    /// nothing to decide. `None`: nothing has changed.
    ///
    /// `data` is called where the data is kept, if the event enters: what is large, and was made a
    /// moment ago, is slow to move.
    #[inline]
    pub fn enter_at_once(&mut self, context: Context, data: impl FnOnce() -> D) -> Option<Ticket> {
        // What is decided must not come in another order than it would have.
        if self.waiting > 0 || self.poisoned || !self.out.is_empty() {
            return None;
        }
        let stage = match context {
            Context::Anon if self.move_anon_gate() == Gate::AtEnd => Stage::Anon,
            Context::Global if self.move_global_gate() == Gate::AtEnd && self.is_writable() => {
                Stage::Global
            }
            _ => return None,
        };
        self.readers += usize::from(stage == Stage::Anon);
        let ticket = self.take_ticket(context, data());
        self.slot_mut(ticket).stage = stage;
        Some(ticket)
    }

    /// The event waits to enter a context, and goes on with `with` when it has.
    ///
    /// # Panics
    ///
    /// When the step is not legal; see [`Context::passage`].
    #[inline]
    pub fn want(&mut self, ticket: Ticket, context: Context, with: W) {
        let slot = self.slot_mut(ticket);
        let Stage::Free(highest) = slot.stage else { panic!("only an event in none can upgrade") };
        assert!(Context::None < context && context <= highest, "{context} was not declared");
        slot.stage = Stage::Wants(context);
        slot.held = Some(with);
        self.waiting += 1;
        if context == Context::Anon && ticket.0 < self.anon_gate {
            let entered = self.enter(ticket);
            self.out.push_back(entered);
        }
    }

    /// Returns the event that may enter next.
    #[inline]
    pub(super) fn next_entry(&mut self) -> Option<Next<W>> {
        let anon = self.move_anon_gate();
        if anon == Gate::Stands && self.wants(self.anon_gate, Context::Anon) {
            return Some(self.enter(Ticket(self.anon_gate)));
        }
        let global = self.move_global_gate();
        let is_first = global == Gate::Stands && self.wants(self.global_gate, Context::Global);
        if is_first && self.is_writable() {
            return Some(self.enter(Ticket(self.global_gate)));
        }
        (anon == Gate::OnItsWay || global == Gate::OnItsWay).then_some(Next::Moved)
    }

    /// Moves the anon gate on to the event that keeps others out of anon, or wants to enter it.
    #[inline]
    fn move_anon_gate(&mut self) -> Gate {
        for _ in 0..SCAN {
            let Some(slot) = self.slots.get((self.anon_gate - self.base) as usize) else {
                return Gate::AtEnd;
            };
            if slot.blocks_anon() || slot.stage == Stage::Wants(Context::Anon) {
                return Gate::Stands;
            }
            self.anon_gate += 1;
        }
        Gate::OnItsWay
    }

    /// Moves the global gate on to the event that keeps others out of global.
    #[inline]
    fn move_global_gate(&mut self) -> Gate {
        for _ in 0..SCAN {
            let Some(slot) = self.slots.get((self.global_gate - self.base) as usize) else {
                return Gate::AtEnd;
            };
            if slot.blocks_global() {
                return Gate::Stands;
            }
            self.global_gate += 1;
        }
        Gate::OnItsWay
    }

    /// Says whether nobody who is in anon keeps others out of global.
    fn is_writable(&self) -> bool {
        self.mode == Mode::Snapshot || self.readers == 0
    }

    fn wants(&self, ticket: u64, context: Context) -> bool {
        self.slot(Ticket(ticket)).stage == Stage::Wants(context)
    }

    /// The event enters what it wants, or is covered by poison.
    #[inline]
    fn enter(&mut self, ticket: Ticket) -> Next<W> {
        self.waiting -= 1;
        let poisoned = self.poisoned;
        let slot = self.slot_mut(ticket);
        let Stage::Wants(context) = slot.stage else { unreachable!("it wants a context") };
        let with = slot.held.take().expect("who wants to enter goes on with something");
        if poisoned && !slot.is_exempt {
            slot.stage = Stage::Covered;
            return Next::Skip { ticket: Some(ticket), with };
        }
        if context == Context::Anon {
            slot.stage = Stage::Anon;
            self.readers += 1;
        } else {
            slot.stage = Stage::Global;
        }
        Next::Run { ticket, context, with }
    }
}
