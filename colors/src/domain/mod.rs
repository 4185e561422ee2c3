//! The order of a domain: tickets, entry to the contexts, commit (rules I1-I9, I12).
//!
//! Every event has a slot from its post to its commit, in the order of the tickets. Two gates move
//! over the slots and pass each of them once:
//!
//! * The *anon gate* stands at the first slot that is in global or may still reach it. Every event
//!   up to and including this one may enter anon.
//! * The *global gate* stands at the first slot that is in global or may still enter any context.
//!   Only this event may enter global. In read_write mode it enters when all events in anon have
//!   released.
//!
//! So entry costs O(1) per event, amortized. The gates also give I5: an event that may enter anon
//! finds the state as the last earlier event in global left it, because no later event can have
//! entered global before. In read_write mode a count of the readers is enough, because no later
//! event can be among them.
//!
//! Commit is a third counter, at the front of the slots (I6): the first event commits when it is
//! ready, then the next. Poison (I12) is kept twice, once for each order. A step that enters a
//! context meets it at the gate, deferred actions meet it at the commit.
//!
//! Transitions change the order. [`Order::decide`] returns, one at a time, what the caller has to
//! do now. The caller asks until it returns `None`. The work per call is bounded, so that a caller
//! that holds a lock can let other threads in between.
//!
//! `entry` has the gates, `commit` has the ends of events, and this file has what they share.
//!
//! Left out on purpose: the state, versions (see [`Pins`]), actions, and where an event runs. `W`
//! is the value with which the caller continues an event, and `D` is the data that it keeps with a
//! ticket.

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

/// How events in anon and events in global may overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// An event in anon reads a version that later events in global do not touch.
    Snapshot,
    /// An event in global waits until all earlier ones in anon have released.
    ReadWrite,
}

/// The order of the events of one domain: tickets, entry, commit and poison.
///
/// The [module](self) describes the algorithm.
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
    /// The number of uncommitted events from which on the order is full.
    limit: usize,
    /// The ticket of the first slot.
    base: u64,
    slots: VecDeque<Slot<W, D>>,
    /// The ticket at which the anon gate stands; the other gate follows.
    anon_gate: u64,
    global_gate: u64,
    /// The number of events in anon.
    readers: usize,
    /// The number of events that wait to enter a context. While it is 0, the gates need not move.
    waiting: usize,
    /// The number of events that are ready to commit or wait to be alone.
    ready: usize,
    /// Whether the state is poisoned for the event that enters next.
    poisoned: bool,
    /// Whether the state is poisoned for the event that commits next.
    commits_poisoned: bool,
    /// Whether the first event's actions are running.
    committing: bool,
    /// The values of the waiters for room.
    room: VecDeque<W>,
    /// The number of waiters that were told of room and may not have posted since.
    told: usize,
    /// Decisions that have not been handed out yet.
    out: VecDeque<Next<W>>,
}

impl<W, D> Order<W, D> {
    /// Returns an order without events, which is full at `limit` uncommitted events.
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

    /// Takes a place behind all others (I1), for an event that begins in none and may go up to
    /// `highest` (I4). See the [type](Self) for an example.
    #[inline]
    pub fn take_ticket(&mut self, highest: Context, data: D) -> Ticket {
        let ticket = Ticket(self.base + self.slots.len() as u64);
        self.slots.push_back(Slot::new(highest, data));
        self.told = self.told.saturating_sub(1);
        ticket
    }

    /// Takes a place for an event that repairs the state: poison does not cover it, and ends when
    /// it commits or downgrades from global (I12). If it is abandoned there, the poison stays. See
    /// [`abandon`](Self::abandon) for an example.
    pub fn take_ticket_to_repair(&mut self, data: D) -> Ticket {
        let ticket = self.take_ticket(Context::Global, data);
        self.slot_mut(ticket).is_exempt = true;
        ticket
    }

    /// Renounces, for an event in none, every context above `highest`.
    ///
    /// # Panics
    ///
    /// Panics if the event is not in none, or if `highest` is above the context that it may reach.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple_colors::{Context, Mode, Next, Order};
    /// let mut order: Order<&str, ()> = Order::new(Mode::Snapshot, usize::MAX);
    /// let first = order.take_ticket(Context::Global, ());
    /// let second = order.take_ticket(Context::Global, ());
    /// order.want(second, Context::Global, "writes");
    /// assert_eq!(order.decide(), None);                     // the first one may still write
    /// order.renounce(first, Context::None);
    /// let writes = Next::Run { ticket: second, context: Context::Global, with: "writes" };
    /// assert_eq!(order.decide(), Some(writes));
    /// ```
    pub fn renounce(&mut self, ticket: Ticket, highest: Context) {
        let slot = self.slot_mut(ticket);
        let Stage::Free(before) = slot.stage else { panic!("only an event in none can renounce") };
        assert!(highest <= before, "{highest} was not declared");
        slot.stage = Stage::Free(highest);
    }

    /// Moves the event from global to anon, at once. It reads the current version.
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
    /// let first = order.enter_at_once(Context::Global, || ()).expect("nothing is in its way");
    /// let second = order.take_ticket(Context::Anon, ());
    /// order.want(second, Context::Anon, "reads");
    /// assert_eq!(order.decide(), None);                     // the first one may still write
    /// order.downgrade(first);
    /// let reads = Next::Run { ticket: second, context: Context::Anon, with: "reads" };
    /// assert_eq!(order.decide(), Some(reads));
    /// ```
    pub fn downgrade(&mut self, ticket: Ticket) {
        let slot = self.slot_mut(ticket);
        assert_eq!(slot.stage, Stage::Global, "only an event in global can downgrade");
        slot.stage = Stage::Anon;
        self.readers += 1;
        self.repaired(ticket);
    }

    /// Asks for a [`Next::Room`] as soon as there is room.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple_colors::{Context, Mode, Next, Order};
    /// let mut order: Order<&str, ()> = Order::new(Mode::Snapshot, 1);
    /// let only = order.take_ticket(Context::None, ());
    /// assert!(order.is_full());
    /// order.wait_for_room("post again");
    /// assert_eq!(order.decide(), None);
    /// order.commit(only, None);
    /// assert_eq!(order.decide(), Some(Next::Commit { ticket: only, covered: false }));
    /// order.committed();
    /// assert_eq!(order.decide(), Some(Next::Room { with: "post again" }));
    /// ```
    pub fn wait_for_room(&mut self, with: W) {
        self.room.push_back(with);
    }

    /// Returns `true` if the number of uncommitted events has reached the limit.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.slots.len() >= self.limit
    }

    /// Returns `true` if the number of uncommitted events exceeds the limit.
    pub fn is_over_full(&self) -> bool {
        self.slots.len() > self.limit
    }

    /// Returns the number of uncommitted events.
    #[inline]
    pub fn uncommitted(&self) -> usize {
        self.slots.len()
    }

    /// Returns `true` if there are no events, no waiters for room and no decisions to hand out.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.out.is_empty() && self.room.is_empty()
    }

    /// Returns the oldest event that has not committed.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple_colors::{Context, Doing, Mode, Oldest, Order};
    /// let mut order: Order<&str, ()> = Order::new(Mode::Snapshot, usize::MAX);
    /// let ticket = order.take_ticket(Context::Global, ());
    /// order.want(ticket, Context::Global, "writes");
    /// let doing = Doing::WaitsFor(Context::Global);
    /// assert_eq!(order.oldest(), Some(Oldest { ticket, doing }));
    /// ```
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

    /// Returns the data of an uncommitted ticket.
    ///
    /// # Panics
    ///
    /// Panics if the event has committed.
    #[inline]
    pub fn data(&mut self, ticket: Ticket) -> &mut D {
        &mut self.slot_mut(ticket).data
    }

    /// Returns `true` if the state is poisoned for the event that enters next.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Returns what to do next, or `None` if there is nothing to do until another transition. See
    /// the [type](Self) for an example.
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

    /// Tells a waiter of room, unless the waiters already told may take all of it. If no event is
    /// left whose end could tell the others, every waiter is told.
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

    /// Removes and returns the waiters for room, when no event commits any longer (E11).
    pub fn take_waiters(&mut self) -> Vec<W> {
        std::mem::take(&mut self.room).into()
    }

    /// Ends the poison if the event, which leaves global without a panic, came to repair the state.
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
