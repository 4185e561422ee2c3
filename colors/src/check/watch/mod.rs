//! Watches the rules, from their text: which event was let in, which one waits without need, which
//! one commits.
//!
//! The watch keeps its own list of the uncommitted events. The world reports each request and each
//! decision, before it acts on them. The order uses gates for entry; the watch instead searches its
//! list for each event anew. It looks up poison among the tickets that poisoned the state and those
//! that repaired it.

mod decisions;

use super::State;
use super::violation::{Broken, Checked, Rule};
use crate::{Abandoned, Context, Mode, Ticket};

/// The position of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    In(Context),
    Waits(Context),
    /// The event is in global, and its deferred actions have not run yet.
    ToBeAlone,
    /// The event is in global, and its deferred actions have run.
    Flushed,
    Covered,
    Ended {
        then: Option<Context>,
        panicked: bool,
    },
}

/// What the watch knows of an uncommitted event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Seat {
    ticket: Ticket,
    /// The highest context that the event may still reach from none.
    may: Context,
    at: At,
    is_exempt: bool,
    was_alone: bool,
    /// The highest context that the event has been in.
    reached: Context,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::check) struct Watch<S> {
    mode: Mode,
    taken: u64,
    seats: Vec<Seat>,
    /// The states that events in global have left, by ticket. States that no event can read any
    /// longer are dropped.
    left: Vec<(u64, S)>,
    /// Where poison begins (`true`) and ends (`false`), by ticket.
    poison: Vec<(u64, bool)>,
    committing: Option<Ticket>,
    /// The sub-event that has to follow: its parent, what it declared, and whether poison covers
    /// it.
    expected: Option<(Ticket, Context, bool)>,
}

impl<S: State> Watch<S> {
    pub(in crate::check) fn new(mode: Mode, state: S) -> Self {
        Watch {
            mode,
            taken: 0,
            seats: Vec::new(),
            left: vec![(0, state)],
            poison: vec![(0, false)],
            committing: None,
            expected: None,
        }
    }

    pub(in crate::check) fn took(
        &mut self,
        ticket: Ticket,
        may: Context,
        is_exempt: bool,
    ) -> Checked {
        self.taken += 1;
        if ticket.number() != self.taken {
            let what = format!("ticket {ticket} is handed out, and {} is the next", self.taken);
            return Err(Broken::new(Rule::I1, what));
        }
        let at = At::In(Context::None);
        let reached = Context::None;
        self.seats.push(Seat { ticket, may, at, is_exempt, was_alone: false, reached });
        Ok(())
    }

    /// Returns the highest context that the event may still reach.
    pub(in crate::check) fn may(&mut self, ticket: Ticket) -> Context {
        self.seat(ticket).may
    }

    pub(in crate::check) fn wants(&mut self, ticket: Ticket, context: Context) {
        let seat = self.seat(ticket);
        (seat.at, seat.may) = (At::Waits(context), context);
    }

    pub(in crate::check) fn renounces(&mut self, ticket: Ticket, highest: Context) {
        self.seat(ticket).may = highest;
    }

    pub(in crate::check) fn downgrades(&mut self, ticket: Ticket, state: &S) {
        self.leaves_global(ticket, state);
        self.seat(ticket).at = At::In(Context::Anon);
    }

    pub(in crate::check) fn waits_to_be_alone(&mut self, ticket: Ticket) {
        self.seat(ticket).at = At::ToBeAlone;
    }

    pub(in crate::check) fn ends(&mut self, ticket: Ticket, state: &S, then: Option<Context>) {
        if self.seat(ticket).at == At::In(Context::Global) {
            self.leaves_global(ticket, state);
        }
        self.seat(ticket).at = At::Ended { then, panicked: false };
    }

    /// Checks the outcome of an event that was abandoned. `restores`: the caller restores the
    /// state.
    pub(in crate::check) fn abandoned(
        &mut self,
        ticket: Ticket,
        what: Abandoned,
        restores: bool,
    ) -> Checked {
        let seat = self.seat(ticket);
        let expected = match seat.at {
            At::In(Context::Global) if !restores || seat.was_alone => Abandoned::Poisons,
            At::In(context) => Abandoned::Left(context),
            _ => Abandoned::Left(Context::None),
        };
        if what != expected {
            let what = format!("its panic gives {what:?}, and should give {expected:?}");
            return Err(Broken::by(Rule::I12, ticket, what));
        }
        Ok(())
    }

    /// Records that the event has panicked and has released the state.
    pub(in crate::check) fn panicked(&mut self, ticket: Ticket, state: &S, poisons: bool) {
        if self.seat(ticket).at == At::In(Context::Global) {
            self.left.push((ticket.number(), state.clone()));
        }
        if poisons {
            self.poison.push((ticket.number(), true));
        }
        self.seat(ticket).at = At::Ended { then: None, panicked: true };
    }

    fn leaves_global(&mut self, ticket: Ticket, state: &S) {
        self.left.push((ticket.number(), state.clone()));
        if self.seat(ticket).is_exempt {
            self.poison.push((ticket.number(), false));
        }
    }

    // Checks between two transitions.

    /// Checks that everything that may happen has happened, when the order decides nothing more.
    pub(in crate::check) fn settled(&self) -> Checked {
        if let Some((parent, ..)) = self.expected {
            return Err(Broken::by(Rule::I1, parent, "its sub-event does not begin"));
        }
        for seat in &self.seats {
            if let At::Waits(context) = seat.at
                && self.hindrance(seat.ticket, context).is_none()
            {
                return Err(self.waits_in_vain(seat.ticket, context));
            }
        }
        let Some(first) = self.seats.first().filter(|_| self.committing.is_none()) else {
            return Ok(());
        };
        let (rule, what) = match first.at {
            At::Ended { panicked: true, .. } => (Rule::I12, "it panicked, and the order stops"),
            At::Ended { .. } => (Rule::I8, "it is the oldest and has ended, but does not commit"),
            At::ToBeAlone | At::Flushed => (Rule::I9, "it is the oldest, and waits to be alone"),
            _ => return Ok(()),
        };
        Err(Broken::by(rule, first.ticket, what))
    }

    /// Returns the state that an event in anon has to read.
    pub(in crate::check) fn reads(&self, ticket: Ticket) -> &S {
        let own = self.seats.iter().any(|s| s.ticket == ticket && s.reached == Context::Global);
        let end = ticket.number() + u64::from(own);
        let last = self.left.iter().rfind(|(by, _)| *by < end);
        &last.expect("what may be read is kept").1
    }

    pub(in crate::check) fn uncommitted(&self) -> usize {
        self.seats.len()
    }

    /// I3: returns the event that keeps this one from entering, and how it does so.
    fn hindrance(&self, ticket: Ticket, context: Context) -> Option<(Ticket, &'static str)> {
        use Context::*;
        let earlier = self.seats.iter().take_while(|seat| seat.ticket < ticket);
        let does = |seat: &Seat| match (seat.at, context) {
            (At::In(Global) | At::ToBeAlone | At::Flushed, _) => Some("is in global"),
            (At::In(None) | At::Waits(_), _) if seat.may == Global => Some("may enter global"),
            (At::In(None) | At::Waits(_), Global) if seat.may == Anon => Some("may enter anon"),
            (At::In(Anon), Global) if self.mode == Mode::ReadWrite => Some("is in anon"),
            _ => Option::None,
        };
        earlier.filter_map(|seat| Some((seat.ticket, does(seat)?))).next()
    }

    /// Returns the violation for an event that waits although nothing keeps it from entering. The
    /// rule depends on what the earlier events do.
    fn waits_in_vain(&self, ticket: Ticket, context: Context) -> Broken {
        let earlier = || self.seats.iter().take_while(|seat| seat.ticket < ticket);
        let panicked = |s: &Seat| matches!(s.at, At::Covered | At::Ended { panicked: true, .. });
        let ended = |s: &Seat| matches!(s.at, At::Ended { .. });
        let (rule, why) = if earlier().any(panicked) {
            (Rule::I12, "an earlier one has panicked, or is covered by poison")
        } else if earlier().any(ended) {
            (Rule::I6, "an earlier one has ended and awaits its commit")
        } else if earlier().any(|seat| seat.may == Context::None) {
            (Rule::I4, "an earlier one is in none for good")
        } else {
            (Rule::I3, "nobody keeps it from entering")
        };
        Broken::by(rule, ticket, format!("it waits for {context} in vain: {why}"))
    }

    /// I12: returns `true` if the last mark before the event is one of poison.
    fn is_covered(&self, ticket: Ticket) -> bool {
        let is_exempt = self.seats.iter().any(|s| s.ticket == ticket && s.is_exempt);
        let last = self.poison.iter().rfind(|(by, _)| *by < ticket.number());
        !is_exempt && last.is_some_and(|(_, poisons)| *poisons)
    }

    fn seat(&mut self, ticket: Ticket) -> &mut Seat {
        let seat = self.seats.iter_mut().find(|seat| seat.ticket == ticket);
        seat.expect("the event has not committed")
    }
}
