//! Entry to the contexts (I3, I4): the gates, and which events pass them.

use super::slot::Stage;
use super::{Mode, Next, Order, Ticket};
use crate::Context;

/// The number of slots that a gate passes in one call.
const SCAN: usize = 64;

/// The position of a gate after a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// The gate is behind the last slot.
    AtEnd,
    /// The gate stands at a slot that it does not pass.
    Stands,
    /// The gate has passed [`SCAN`] slots, the limit of one call.
    OnItsWay,
}

impl<W, D> Order<W, D> {
    /// Lets a new event enter a context in one call, if nothing is in its way.
    ///
    /// This replaces [`take_ticket`](Self::take_ticket), [`want`](Self::want) and
    /// [`decide`](Self::decide): the event is in its context then, and there is nothing to decide.
    /// If it returns `None`, nothing has changed.
    ///
    /// `data` is called only if the event enters. It is called where the data is stored, because
    /// moving a large value that was just made is slow.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple_colors::{Context, Mode, Order};
    /// let mut order: Order<(), &str> = Order::new(Mode::Snapshot, usize::MAX);
    /// let first = order.enter_at_once(Context::Global, || "first");
    /// let first = first.expect("nothing is in its way");
    /// // The first event is in global, so a second one has to take a ticket and wait.
    /// assert_eq!(order.enter_at_once(Context::Global, || "second"), None);
    /// assert_eq!(order.commit_at_once(first, |data| *data), Some("first"));
    /// assert!(order.is_empty());
    /// ```
    #[inline]
    pub fn enter_at_once(&mut self, context: Context, data: impl FnOnce() -> D) -> Option<Ticket> {
        // Earlier decisions have to be handed out first, or the order of decisions would change.
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

    /// Asks to enter a context: the event goes on with `with` when it has entered. See the
    /// [type](Self) for an example.
    ///
    /// # Panics
    ///
    /// Panics if the event is not in none, if `context` is [`Context::None`], or if `context` is
    /// above the highest one that the event may reach.
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

    /// Moves the anon gate on to the next event that keeps others out of anon or wants to enter it.
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

    /// Moves the global gate on to the next event that keeps others out of global.
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

    /// Returns `true` if no event in anon keeps others out of global.
    fn is_writable(&self) -> bool {
        self.mode == Mode::Snapshot || self.readers == 0
    }

    fn wants(&self, ticket: u64, context: Context) -> bool {
        self.slot(Ticket(ticket)).stage == Stage::Wants(context)
    }

    /// Lets the event enter the context that it wants, unless poison covers it.
    #[inline]
    fn enter(&mut self, ticket: Ticket) -> Next<W> {
        self.waiting -= 1;
        let poisoned = self.poisoned;
        let slot = self.slot_mut(ticket);
        let Stage::Wants(context) = slot.stage else { unreachable!("it wants a context") };
        let with = slot.held.take().expect("an event that waits to enter has a continuation");
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
