//! The order of a domain: tickets, entry to the contexts, commit (rules I1-I9, I12).
//!
//! Every event has a slot from its post to its commit, in the order of the tickets. Two gates pass over
//! the slots, each of them once:
//!
//! * The *anon gate* stands at the first slot that is in global or may still reach it. Everybody up to
//!   and including this one may enter anon.
//! * The *global gate* stands at the first slot that is in global or may still enter a context at all.
//!   Only this one may enter global; in read_write mode, when all that are in anon have released.
//!
//! So entry costs O(1) per event, over all. That is enough for I5, too: whoever may enter anon finds
//! the state as the last earlier event in global left it, because no later one can have entered global
//! before. In read_write mode counting the readers is enough, because no later one can be among them.
//!
//! Commit is a third counter, at the front of the slots (I6): the first event commits when it is ready,
//! then the next. Poison (I12) is kept twice, once in each order: a step that enters a context finds it at the
//! gate, what was deferred finds it at the commit.
//!
//! Transitions change the order; [`Order::decide`] says, one thing at a time, what is to be done now. The
//! caller asks until it says nothing more. What is done for one event is bounded, so that a caller that
//! holds a lock can let others in between.
//!
//! What is left out on purpose: state, versions (see [`Pins`]), actions, and where an event runs.
//! `W` is what the caller continues an event with, `D` what it keeps with a ticket.

mod pins;
mod slot;

use std::collections::VecDeque;
use std::fmt;

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

/// The place of an event in the order of its domain; counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

impl Ticket {
    /// Its number.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The ticket of a number, as [`number`](Self::number) gave it.
    pub fn from_number(number: u64) -> Self {
        Ticket(number)
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is to be done next.
#[must_use = "what the order hands out is not handed out again"]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Next<W> {
    /// The event is in this context now; it goes on with `with`. In anon it reads what is the current
    /// version at this moment. In none it is a sub-event, whose ticket is new.
    Run {
        /// Whose turn it is.
        ticket: Ticket,
        /// Where it is.
        context: Context,
        /// How it goes on.
        with: W,
    },
    /// Poison covers the event: how it would have gone on is dropped. Its place stays until it is
    /// [abandoned](Order::abandon), unless it was a sub-event (no ticket), which has got no place.
    Skip {
        /// Whose turn it would have been.
        ticket: Option<Ticket>,
        /// How it would have gone on.
        with: W,
    },
    /// All earlier events have committed, and this one is ready: what it deferred runs now, or is dropped if
    /// poison covers it. Then [`Order::committed`] is to be called; until then no other event commits.
    Commit {
        /// Whose turn it is.
        ticket: Ticket,
        /// Is what it deferred to be dropped?
        covered: bool,
    },
    /// There is room again for an event.
    Room {
        /// Who waited for it.
        with: W,
    },
    /// Nothing, but it took a while to find out, and there may be more.
    Moved,
}

/// What an event that was abandoned leaves behind.
#[must_use = "an abandoned event may leave a state that nobody should see"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Abandoned {
    /// It was in this context, and poisons nothing.
    Left(Context),
    /// It was in global, and poisons the domain from now on.
    Poisons,
}

/// The oldest event that has not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Oldest {
    /// Its ticket.
    pub ticket: Ticket,
    /// What it is about.
    pub doing: Doing,
}

/// What an uncommitted event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Doing {
    /// It is in this context.
    In(Context),
    /// It waits to enter this context.
    WaitsFor(Context),
    /// It waits to be alone.
    WaitsToBeAlone,
    /// It commits, or is about to.
    Commits,
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doing::In(context) => write!(f, "in {context}"),
            Doing::WaitsFor(context) => write!(f, "waits for {context}"),
            Doing::WaitsToBeAlone => f.write_str("waits to be alone"),
            Doing::Commits => f.write_str("commits"),
        }
    }
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
/// assert_eq!(order.decide(), Some(Next::Run { ticket: a, context: Context::Global, with: "a writes" }));
/// assert_eq!(order.decide(), None);
/// order.commit(a, None);
/// assert_eq!(order.decide(), Some(Next::Run { ticket: b, context: Context::Anon, with: "b reads" }));
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
    /// Is the state poisoned for whoever enters next?
    poisoned: bool,
    /// Is it for whoever commits next?
    commits_poisoned: bool,
    /// The first event's actions are being run.
    committing: bool,
    /// Who waits for room, and how many have been told, and have not posted since, perhaps.
    room: VecDeque<W>,
    told: usize,
    /// What has been decided, and not been handed out.
    out: VecDeque<Next<W>>,
}

/// Slots whose memory is kept when there is no event.
const KEPT: usize = 16_384;

/// Slots that a gate passes in one call.
const SCAN: usize = 64;

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

    /// A place behind all others (I1), for an event that begins in none and may go up to `highest` (I4).
    #[inline]
    pub fn take_ticket(&mut self, highest: Context, data: D) -> Ticket {
        let ticket = Ticket(self.base + self.slots.len() as u64);
        self.slots.push_back(Slot::new(highest, data));
        self.told = self.told.saturating_sub(1);
        ticket
    }

    /// The same for an event that repairs the state: poison does not cover it, and ends with it (I12).
    pub fn take_ticket_to_repair(&mut self, data: D) -> Ticket {
        let ticket = self.take_ticket(Context::Global, data);
        self.slot_mut(ticket).is_exempt = true;
        ticket
    }

    /// [`take_ticket`](Self::take_ticket), [`want`](Self::want) and [`decide`](Self::decide) in one, for an event that has
    /// nothing in its way: it is in its context then, and there is nothing to decide. Otherwise nothing has
    /// changed, and `data` comes back.
    #[inline]
    pub fn enter_at_once(&mut self, context: Context, data: D) -> Result<Ticket, D> {
        // What is decided must not come in another order than it would have.
        if self.waiting > 0 || self.poisoned || !self.out.is_empty() {
            return Err(data);
        }
        let stage = match context {
            Context::Anon if self.anon_is_open() => Stage::Anon,
            Context::Global if self.global_is_open() => Stage::Global,
            _ => return Err(data),
        };
        self.readers += usize::from(stage == Stage::Anon);
        let ticket = self.take_ticket(context, data);
        self.slot_mut(ticket).stage = stage;
        Ok(ticket)
    }

    /// May whoever comes next enter anon? It may say no if the gate has a long way to go.
    #[inline]
    fn anon_is_open(&mut self) -> bool {
        let end = self.base + self.slots.len() as u64;
        for _ in 0..SCAN {
            if self.anon_gate == end {
                return true;
            }
            if self.slots[(self.anon_gate - self.base) as usize].blocks_anon() {
                return false;
            }
            self.anon_gate += 1;
        }
        false
    }

    /// May whoever comes next enter global? It may say no if the gate has a long way to go.
    #[inline]
    fn global_is_open(&mut self) -> bool {
        let end = self.base + self.slots.len() as u64;
        for _ in 0..SCAN {
            if self.global_gate == end {
                return self.mode == Mode::Snapshot || self.readers == 0;
            }
            if self.slots[(self.global_gate - self.base) as usize].blocks_global() {
                return false;
            }
            self.global_gate += 1;
        }
        false
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

    /// The event, in none, will not go higher than `highest` any more.
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

    /// The event, in global, goes on with `with` when all earlier ones have committed, and what it has
    /// deferred so far has run (I9).
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

    /// The event has left the state, and commits when its turn comes (I6, I7). With `then` a sub-event follows, which
    /// takes its ticket at that commit, and may go as high as is said.
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

    /// [`commit`](Self::commit), [`decide`](Self::decide) and [`committed`](Self::committed) in one, for the oldest event,
    /// if it has deferred nothing and nothing else follows from its end: what was kept with its ticket. Otherwise
    /// nothing has changed.
    #[inline]
    pub fn commit_at_once(&mut self, ticket: Ticket) -> Option<D> {
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
        let slot = self.slots.pop_front();
        self.pass_first();
        slot.map(|slot| slot.data)
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
        if self.slots.is_empty() && self.slots.capacity() > KEPT {
            self.slots.shrink_to(KEPT);
        }
    }

    /// The event ends without a commit of its own: it panicked, or nobody holds its token any more. It keeps
    /// its place in the commit order (I1, I12). In global it poisons the domain, unless the caller
    /// `restores` the state as it was before, which does not help once the event has been alone.
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

    /// What the last [`Next::Commit`] was about has been done: the event has committed, or is alone now. What
    /// was kept with its ticket is handed back when it is gone, or goes over to its sub-event.
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

    /// Asks for a [`Next::Room`] when there is room.
    pub fn wait_for_room(&mut self, with: W) {
        self.room.push_back(with);
    }

    /// Are there as many uncommitted events as there should be at most?
    #[inline]
    pub fn is_full(&self) -> bool {
        self.slots.len() >= self.limit
    }

    /// Are there more?
    pub fn is_over_full(&self) -> bool {
        self.slots.len() > self.limit
    }

    /// How many events have not committed.
    #[inline]
    pub fn uncommitted(&self) -> usize {
        self.slots.len()
    }

    /// Is there nothing, neither an event nor somebody who waits, nor anything to be handed out?
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

    /// Is the state poisoned for whoever enters next?
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

    #[inline]
    fn next_entry(&mut self) -> Option<Next<W>> {
        let end = self.base + self.slots.len() as u64;
        let mut is_there = false;
        for _ in 0..SCAN {
            if self.anon_gate == end {
                is_there = true;
                break;
            }
            let slot = &self.slots[(self.anon_gate - self.base) as usize];
            if slot.stage == Stage::Wants(Context::Anon) {
                return Some(self.enter(Ticket(self.anon_gate)));
            }
            if slot.blocks_anon() {
                is_there = true;
                break;
            }
            self.anon_gate += 1;
        }
        for _ in 0..SCAN {
            if self.global_gate == end {
                return None;
            }
            let slot = &self.slots[(self.global_gate - self.base) as usize];
            if slot.blocks_global() {
                let enters = slot.stage == Stage::Wants(Context::Global)
                    && (self.mode == Mode::Snapshot || self.readers == 0);
                if enters {
                    return Some(self.enter(Ticket(self.global_gate)));
                }
                // This gate stands, and the other one may still have a way to go.
                return (!is_there).then_some(Next::Moved);
            }
            self.global_gate += 1;
        }
        Some(Next::Moved)
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

    #[inline]
    fn next_commit(&mut self) -> Option<Next<W>> {
        let slot = self.slots.front()?;
        if self.committing || !matches!(slot.stage, Stage::Ready(_) | Stage::ToBeAlone) {
            return None;
        }
        let covered = self.commits_poisoned && !slot.is_exempt && slot.stage != Stage::ToBeAlone;
        self.committing = true;
        Some(Next::Commit { ticket: Ticket(self.base), covered })
    }

    /// As many are told as there is room for; all, if there is no event whose end would tell the others.
    fn next_room(&mut self) -> Option<Next<W>> {
        if !self.slots.is_empty() && self.slots.len() + self.told >= self.limit {
            return None;
        }
        let with = self.room.pop_front()?;
        self.told += 1;
        Some(Next::Room { with })
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
