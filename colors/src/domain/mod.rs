//! The order of a domain: tickets, entry to the contexts, commit (rules I1-I9, I12).
//!
//! Every event has a slot from its post to its commit, in the order of the tickets. Two gates pass
//! over the slots, each of them once:
//!
//! * The *anon gate* stands at the first slot that is in global or may still reach it. Everybody up
//!   to and including this one may enter anon.
//! * The *global gate* stands at the first slot that is in global or may still enter a context at
//!   all. Only this one may enter global; in read_write mode, when all that are in anon have
//!   released.
//!
//! So entry costs O(1) per event, over all. That is enough for I5, too: an event that may enter
//! anon finds the state as the last earlier event in global left it, because no later one can have
//! entered global before. In read_write mode counting the readers is enough, because no later one
//! can be among them.
//!
//! Commit is a third counter, at the front of the slots (I6): the first event commits when it is
//! ready, then the next. Poison (I12) is kept twice, once in each order: a step that enters a
//! context finds it at the gate, what was deferred finds it at the commit.
//!
//! Transitions change the order; [`Order::decide`] says, one thing at a time, what is to be done
//! now. The caller asks until it says nothing more. What is done for one event is bounded, so that
//! a caller that holds a lock can let others in between.
//!
//! `entry` has the gates, `commit` the ends of events; what they have in common is here.
//!
//! What is left out on purpose: state, versions (see [`Pins`]), actions, and where an event runs.
//! `W` is what the caller continues an event with, `D` what it keeps with a ticket.

mod commit;
mod decision;
mod entry;
mod pins;
mod slot;

use std::collections::VecDeque;

pub use decision::{Abandoned, Doing, Next, Oldest, Ticket};
pub use pins::{Fate, Pins};
use slot::{Slot, Stage};

use crate::Context;

/// How anon and global get along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// An event in anon reads a version that later events in global do not touch.
    Snapshot,
    /// An event in global waits until all earlier ones in anon have released.
    ReadWrite,
}

/// See the [module](self).
///
/// # Examples
///
/// ```
/// use dapple_colors::{Context, Mode, Next, Order};
/// let mut order: Order<&str, ()> = Order::new(Mode::Snapshot, usize::MAX);
/// let a = order.take_ticket(Context::Global, ());
/// let b = order.take_ticket(Context::Anon, ());
/// order.want(b, Context::Anon, "b reads");
/// assert_eq!(order.decide(), None);                     // a may still write
/// order.want(a, Context::Global, "a writes");
/// let writes = Next::Run { ticket: a, context: Context::Global, with: "a writes" };
/// assert_eq!(order.decide(), Some(writes));
/// assert_eq!(order.decide(), None);
/// order.commit(a, None);
/// let reads = Next::Run { ticket: b, context: Context::Anon, with: "b reads" };
/// assert_eq!(order.decide(), Some(reads));
/// assert_eq!(order.decide(), Some(Next::Commit { ticket: a, covered: false }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Order<W, D> {
    mode: Mode,
    /// Most events that should be uncommitted at once.
    limit: usize,
    /// The ticket of the first slot.
    base: u64,
    slots: VecDeque<Slot<W, D>>,
    /// See the module.
    anon_gate: u64,
    global_gate: u64,
    /// Events in anon.
    readers: usize,
    /// Events that wait to enter a context: if there is none, the gates need not move.
    waiting: usize,
    /// Events that are ready to commit, or wait to be alone.
    ready: usize,
    /// The state is poisoned for the event that enters next.
    poisoned: bool,
    /// The state is poisoned for the event that commits next.
    commits_poisoned: bool,
    /// The first event's actions are being run.
    committing: bool,
    /// Who waits for room, and how many have been told, and have not posted since, perhaps.
    room: VecDeque<W>,
    told: usize,
    /// What has been decided, and not been handed out.
    out: VecDeque<Next<W>>,
}

impl<W, D> Order<W, D> {
    /// An empty one, which should hold at most `limit` uncommitted events.
    pub fn new(mode: Mode, limit: usize) -> Self {
        Order {
            mode,
            limit,
            base: 1,
            slots: VecDeque::new(),
            anon_gate: 1,
            global_gate: 1,
            readers: 0,
            waiting: 0,
            ready: 0,
            poisoned: false,
            commits_poisoned: false,
            committing: false,
            room: VecDeque::new(),
            told: 0,
            out: VecDeque::new(),
        }
    }

    /// A place behind all others (I1), for an event that begins in none and may go up to `highest`
    /// (I4).
    #[inline]
    pub fn take_ticket(&mut self, highest: Context, data: D) -> Ticket {
        let ticket = Ticket(self.base + self.slots.len() as u64);
        self.slots.push_back(Slot::new(highest, data));
        self.told = self.told.saturating_sub(1);
        ticket
    }

    /// A place for an event that repairs the state: poison does not cover it, and ends with it
    /// (I12).
    pub fn take_ticket_to_repair(&mut self, data: D) -> Ticket {
        let ticket = self.take_ticket(Context::Global, data);
        self.slot_mut(ticket).is_exempt = true;
        ticket
    }

    /// The event, in none, will no longer go higher than `highest`.
    ///
    /// # Panics
    ///
    /// When it is not in none, or could not go so high.
    pub fn renounce(&mut self, ticket: Ticket, highest: Context) {
        let slot = self.slot_mut(ticket);
        let Stage::Free(before) = slot.stage else { panic!("only an event in none can renounce") };
        assert!(highest <= before, "{highest} was not declared");
        slot.stage = Stage::Free(highest);
    }

    /// The event goes from global to anon, at once. It reads the current version.
    ///
    /// # Panics
    ///
    /// When it is not in global.
    pub fn downgrade(&mut self, ticket: Ticket) {
        let slot = self.slot_mut(ticket);
        assert_eq!(slot.stage, Stage::Global, "only an event in global can downgrade");
        slot.stage = Stage::Anon;
        self.readers += 1;
        self.repaired(ticket);
    }

    /// Asks for a [`Next::Room`] when there is room.
    pub fn wait_for_room(&mut self, with: W) {
        self.room.push_back(with);
    }

    /// Says whether there are as many uncommitted events as there should be at most.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.slots.len() >= self.limit
    }

    /// Says whether there are more uncommitted events than there should be.
    pub fn is_over_full(&self) -> bool {
        self.slots.len() > self.limit
    }

    /// How many events have not committed.
    #[inline]
    pub fn uncommitted(&self) -> usize {
        self.slots.len()
    }

    /// Says whether there is nothing, neither an event nor somebody who waits, nor anything to be
    /// handed out.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.out.is_empty() && self.room.is_empty()
    }

    /// The oldest event that has not committed.
    pub fn oldest(&self) -> Option<Oldest> {
        let doing = match self.slots.front()?.stage {
            _ if self.committing => Doing::Commits,
            Stage::Free(_) | Stage::Covered => Doing::In(Context::None),
            Stage::Wants(context) => Doing::WaitsFor(context),
            Stage::Global => Doing::In(Context::Global),
            Stage::Anon => Doing::In(Context::Anon),
            Stage::ToBeAlone => Doing::WaitsToBeAlone,
            Stage::Ready(_) => Doing::Commits,
        };
        Some(Oldest { ticket: Ticket(self.base), doing })
    }

    /// What the caller keeps with an uncommitted ticket.
    ///
    /// # Panics
    ///
    /// When the event has committed.
    #[inline]
    pub fn data(&mut self, ticket: Ticket) -> &mut D {
        &mut self.slot_mut(ticket).data
    }

    /// Says whether the state is poisoned for the event that enters next.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// What is to be done next; `None`: nothing, until another transition.
    #[inline]
    pub fn decide(&mut self) -> Option<Next<W>> {
        if let Some(next) = self.out.pop_front() {
            return Some(next);
        }
        if self.waiting > 0
            && let Some(next) = self.next_entry()
        {
            return Some(next);
        }
        if self.ready > 0
            && let Some(next) = self.next_commit()
        {
            return Some(next);
        }
        if self.room.is_empty() { None } else { self.next_room() }
    }

    /// As many are told as there is room for; all, if there is no event whose end would tell the
    /// others.
    fn next_room(&mut self) -> Option<Next<W>> {
        if !self.slots.is_empty() && self.slots.len() + self.told >= self.limit {
            return None;
        }
        let with = self.room.pop_front()?;
        if self.room.is_empty() {
            self.room.shrink_to(0);
        }
        self.told += 1;
        Some(Next::Room { with })
    }

    /// Takes out who waits for room: there will be none, as nothing commits any more (E11).
    pub fn take_waiters(&mut self) -> Vec<W> {
        std::mem::take(&mut self.room).into()
    }

    /// The event leaves global as it should: if it came to repair, the poison ends here.
    fn repaired(&mut self, ticket: Ticket) {
        let slot = self.slot_mut(ticket);
        if slot.is_exempt {
            slot.repaired = true;
            self.poisoned = false;
        }
    }

    fn slot(&self, ticket: Ticket) -> &Slot<W, D> {
        &self.slots[self.index(ticket)]
    }

    fn slot_mut(&mut self, ticket: Ticket) -> &mut Slot<W, D> {
        let index = self.index(ticket);
        &mut self.slots[index]
    }

    fn index(&self, ticket: Ticket) -> usize {
        ticket.0.checked_sub(self.base).expect("the event has not committed") as usize
    }
}
