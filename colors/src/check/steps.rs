//! The step functions under check: those of a domain, or others that claim to do the same.

use std::fmt::Debug;
use std::hash::Hash;

use crate::{Abandoned, Context, Fate, Mode, Next, Order, Pins, Ticket};

/// The step functions that decide which event may run, with the interface of [`Order`].
///
/// An event goes on with its own ticket, and a sub-event with its parent's. Each function except
/// [`new`](Self::new) and [`order`](Self::order) has a default body that calls an [`Order`], so
/// that a variant defines only what it does differently.
///
/// # Examples
///
/// Step functions with a mistake: in read_write mode, a writer does not wait for readers.
///
/// ```
/// use dapple_colors::{Mode, Order, Pins, Ticket, check::{Rule, Scenario, Steps}};
///
/// #[derive(Clone, Debug, PartialEq, Eq, Hash)]
/// struct Hasty(Order<Ticket, ()>);
///
/// impl Steps for Hasty {
///     type Pins = Pins;
///     fn new(_: Mode) -> Self {
///         Hasty(Order::new(Mode::Snapshot, usize::MAX))
///     }
///     fn order(&mut self) -> &mut Order<Ticket, ()> {
///         &mut self.0
///     }
/// }
///
/// let scenario = Scenario::new(Mode::ReadWrite, 0)
///     .event("reads", |script| script.anon(|e| e.see(*e.read())))
///     .event("writes", |script| script.global(|e| *e.write() += 1));
/// assert!(scenario.check().is_ok());
/// let violation = scenario.check_over::<Hasty>().unwrap_err();
/// assert_eq!((violation.rule(), violation.event()), (Rule::I3, Some("writes")));
/// ```
pub trait Steps: Clone + Eq + Hash + Debug {
    /// The step functions that decide how long a version is kept.
    type Pins: PinSteps;

    /// Returns an order without events.
    fn new(mode: Mode) -> Self;

    /// Returns the [`Order`] that the default bodies call.
    fn order(&mut self) -> &mut Order<Ticket, ()>;

    /// Takes a ticket; see [`Order::take_ticket`].
    fn take_ticket(&mut self, highest: Context) -> Ticket {
        self.order().take_ticket(highest, ())
    }

    /// Takes a ticket for a repair; see [`Order::take_ticket_to_repair`].
    fn take_ticket_to_repair(&mut self) -> Ticket {
        self.order().take_ticket_to_repair(())
    }

    /// Asks to enter a context; see [`Order::want`].
    fn want(&mut self, ticket: Ticket, context: Context) {
        self.order().want(ticket, context, ticket);
    }

    /// Renounces the contexts above `highest`; see [`Order::renounce`].
    fn renounce(&mut self, ticket: Ticket, highest: Context) {
        self.order().renounce(ticket, highest);
    }

    /// Goes from global to anon; see [`Order::downgrade`].
    fn downgrade(&mut self, ticket: Ticket) {
        self.order().downgrade(ticket);
    }

    /// Asks to be alone in global; see [`Order::alone`].
    fn alone(&mut self, ticket: Ticket) {
        self.order().alone(ticket, ticket);
    }

    /// Ends an event, which then waits for its commit; see [`Order::commit`].
    fn commit(&mut self, ticket: Ticket, then: Option<Context>) {
        self.order().commit(ticket, then.map(|highest| (highest, ticket)));
    }

    /// Ends an event without a commit of its own; see [`Order::abandon`].
    fn abandon(&mut self, ticket: Ticket, restores: bool) -> Abandoned {
        self.order().abandon(ticket, restores)
    }

    /// Reports that the current commit is done; see [`Order::committed`].
    fn committed(&mut self) {
        self.order().committed();
    }

    /// Returns what to do next; see [`Order::decide`].
    fn decide(&mut self) -> Option<Next<Ticket>> {
        self.order().decide()
    }

    /// Returns the number of uncommitted events; see [`Order::uncommitted`].
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

/// The step functions that decide how long a version is kept, with the interface of [`Pins`].
///
/// [`Pins`] has an example of how they are called.
pub trait PinSteps: Clone + Eq + Hash + Debug {
    /// Returns the pins of a current version without readers; see [`Pins::new`].
    fn new() -> Self;

    /// Adds a reader; see [`Pins::pin`].
    fn pin(&mut self);

    /// Removes a reader; see [`Pins::unpin`].
    fn unpin(&mut self) -> Fate;

    /// Marks the version as replaced by a later one; see [`Pins::retire`].
    fn retire(&mut self) -> Fate;

    /// Returns `true` if an event reads the version; see [`Pins::is_read`].
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
