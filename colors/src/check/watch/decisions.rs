//! Checks each decision of the order.

use super::{At, Seat, Watch};
use crate::check::State;
use crate::check::violation::{Broken, Checked, Rule};
use crate::{Context, Ticket};

impl<S: State> Watch<S> {
    pub(in crate::check) fn enters(&mut self, ticket: Ticket, context: Context) -> Checked {
        if self.seat(ticket).at != At::Waits(context) {
            let what = format!("it is let into {context} without having asked for it");
            return Err(Broken::by(Rule::I3, ticket, what));
        }
        if let Some((other, does)) = self.hindrance(ticket, context) {
            let what = format!("it is let into {context} while ticket {other} {does}");
            return Err(Broken::by(Rule::I3, ticket, what));
        }
        if self.is_covered(ticket) {
            let what = format!("it is let into {context}, and poison covers it");
            return Err(Broken::by(Rule::I12, ticket, what));
        }
        let seat = self.seat(ticket);
        (seat.at, seat.reached) = (At::In(context), context);
        Ok(())
    }

    pub(in crate::check) fn is_alone(&mut self, ticket: Ticket) -> Checked {
        let with = |s: &Seat| s.ticket < ticket || matches!(s.at, At::In(c) if c > Context::None);
        let other = self.seats.iter().find(|s| s.ticket != ticket && with(s));
        if let Some(other) = other {
            let what = format!("it is let be alone while ticket {} is in the way", other.ticket);
            return Err(Broken::by(Rule::I9, ticket, what));
        }
        let seat = self.seat(ticket);
        if seat.at != At::Flushed {
            return Err(Broken::by(Rule::I9, ticket, "what it has deferred has not run yet"));
        }
        (seat.at, seat.was_alone) = (At::In(Context::Global), true);
        Ok(())
    }

    pub(in crate::check) fn is_skipped(&mut self, ticket: Ticket) -> Checked {
        if !matches!(self.seat(ticket).at, At::Waits(_)) || !self.is_covered(ticket) {
            return Err(Broken::by(Rule::I12, ticket, "it is skipped, and no poison covers it"));
        }
        self.seat(ticket).at = At::Covered;
        Ok(())
    }

    pub(in crate::check) fn commits(&mut self, ticket: Ticket, covered: bool) -> Checked {
        if let Some(other) = self.committing.or(Some(self.seats[0].ticket)).filter(|o| *o != ticket)
        {
            let what = format!("its commit begins before ticket {other} has committed");
            return Err(Broken::by(Rule::I7, ticket, what));
        }
        let expected = match self.seats[0].at {
            _ if self.committing.is_some() => {
                return Err(Broken::by(Rule::I7, ticket, "its commit begins twice"));
            }
            At::Ended { .. } => self.is_covered(ticket),
            At::ToBeAlone => false,
            at => {
                let what = format!("its commit begins while it is {at:?}");
                return Err(Broken::by(Rule::I8, ticket, what));
            }
        };
        if covered != expected {
            let not = if expected { "" } else { "not " };
            let what = format!("what it deferred should {not}be dropped at its commit");
            return Err(Broken::by(Rule::I12, ticket, what));
        }
        self.committing = Some(ticket);
        Ok(())
    }

    /// Ends a commit, and returns `true` if the event is gone. Otherwise the event is about to be
    /// alone.
    pub(in crate::check) fn committed(&mut self) -> bool {
        let ticket = self.committing.take().expect("a commit has begun");
        let At::Ended { then, .. } = self.seat(ticket).at else {
            self.seat(ticket).at = At::Flushed;
            return false;
        };
        let covered = self.is_covered(ticket);
        self.expected = then.map(|highest| (ticket, highest, covered));
        self.seats.remove(0);
        let first = self.seats.first().map_or(u64::MAX, |seat| seat.ticket.number());
        forget(&mut self.left, first.min(self.taken + 1));
        forget(&mut self.poison, first.min(self.taken + 1));
        true
    }

    pub(in crate::check) fn sub_event(&mut self, ticket: Ticket, parent: Ticket) -> Checked {
        match self.expected.take() {
            Some((of, highest, false)) if of == parent => self.took(ticket, highest, false),
            Some((of, _, true)) if of == parent => {
                Err(Broken::by(Rule::I12, parent, "its sub-event begins, and poison covers it"))
            }
            _ => Err(Broken::by(Rule::I1, parent, "its sub-event begins, but should not")),
        }
    }

    pub(in crate::check) fn skips_sub_event(&mut self, parent: Ticket) -> Checked {
        match self.expected.take() {
            Some((of, _, true)) if of == parent => Ok(()),
            _ => Err(Broken::by(Rule::I12, parent, "its sub-event is skipped, but should not be")),
        }
    }
}

/// Drops the marks that a later mark hides from every ticket from `first` on.
fn forget<T>(marks: &mut Vec<(u64, T)>, first: u64) {
    let keep = marks.iter().rposition(|(by, _)| *by < first).unwrap_or(0);
    marks.drain(..keep);
}
