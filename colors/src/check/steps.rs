//! What is checked: the step functions of a domain, or others that claim to do the same.

use std::fmt::Debug;
use std::hash::Hash;

use crate::{Abandoned, Context, Fate, Mode, Next, Order, Pins, Ticket};

/// The step functions that decide who may run, as [`Order`] has them. An event goes on with its own
/// ticket; a sub-event with its parent's.
///
/// Each function has a body that asks an [`Order`], so that a variant says only what it does
/// otherwise.
pub trait Steps: Clone + Eq + Hash + Debug {
    /// The step functions that decide how long a version is kept.
    type Pins: PinSteps;

    /// An empty one.
    fn new(mode: Mode) -> Self;

    /// Whom the functions below ask.
    fn order(&mut self) -> &mut Order<Ticket, ()>;

    /// See [`Order::take_ticket`].
    fn take_ticket(&mut self, highest: Context) -> Ticket {
        self.order().take_ticket(highest, ())
    }

    /// See [`Order::take_ticket_to_repair`].
    fn take_ticket_to_repair(&mut self) -> Ticket {
        self.order().take_ticket_to_repair(())
    }

    /// See [`Order::want`].
    fn want(&mut self, ticket: Ticket, context: Context) {
        self.order().want(ticket, context, ticket);
    }

    /// See [`Order::renounce`].
    fn renounce(&mut self, ticket: Ticket, highest: Context) {
        self.order().renounce(ticket, highest);
    }

    /// See [`Order::downgrade`].
    fn downgrade(&mut self, ticket: Ticket) {
        self.order().downgrade(ticket);
    }

    /// See [`Order::alone`].
    fn alone(&mut self, ticket: Ticket) {
        self.order().alone(ticket, ticket);
    }

    /// See [`Order::commit`].
    fn commit(&mut self, ticket: Ticket, then: Option<Context>) {
        self.order().commit(ticket, then.map(|highest| (highest, ticket)));
    }

    /// See [`Order::abandon`].
    fn abandon(&mut self, ticket: Ticket, restores: bool) -> Abandoned {
        self.order().abandon(ticket, restores)
    }

    /// See [`Order::committed`].
    fn committed(&mut self) {
        self.order().committed();
    }

    /// See [`Order::decide`].
    fn decide(&mut self) -> Option<Next<Ticket>> {
        self.order().decide()
    }

    /// See [`Order::uncommitted`].
    fn uncommitted(&mut self) -> usize {
        Order::uncommitted(self.order())
    }
}

impl Steps for Order<Ticket, ()> {
    type Pins = Pins;

    fn new(mode: Mode) -> Self {
        Order::new(mode, usize::MAX)
    }

    fn order(&mut self) -> &mut Order<Ticket, ()> {
        self
    }
}

/// The step functions that decide how long a version is kept, as [`Pins`] has them.
pub trait PinSteps: Clone + Eq + Hash + Debug {
    /// See [`Pins::new`].
    fn new() -> Self;

    /// See [`Pins::pin`].
    fn pin(&mut self);

    /// See [`Pins::unpin`].
    fn unpin(&mut self) -> Fate;

    /// See [`Pins::retire`].
    fn retire(&mut self) -> Fate;

    /// See [`Pins::is_read`].
    fn is_read(&self) -> bool;
}

impl PinSteps for Pins {
    fn new() -> Self {
        Pins::new()
    }

    fn pin(&mut self) {
        self.pin();
    }

    fn unpin(&mut self) -> Fate {
        self.unpin()
    }

    fn retire(&mut self) -> Fate {
        self.retire()
    }

    fn is_read(&self) -> bool {
        self.is_read()
    }
}
