//! A hierarchical timing wheel: start and cancel in O(1), without a clock or a thread.
//!
//! Source: G. Varghese, T. Lauck, "Hashed and hierarchical timing wheels", SOSP '87, scheme 7. Six
//! levels of 64 slots; a slot of level *l* spans 64^l ticks. A timer stands on the level of the
//! highest base-64 digit in which its tick differs from the wheel's, and moves down when the wheel
//! reaches its slot. A bit mask per level tells which slots are in use, so the next one is found by
//! counting zeros. A timer that differs beyond the top level (64^6 ticks, over a year) waits in a
//! separate list, which is gone through when the wheel has turned once.
//!
//! Timers that are due come out ordered by their exact deadline, then by creation (E8).

use crate::chunks::Chunks;

const LEVELS: usize = 6;
const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const SPAN: u64 = 1 << (BITS * LEVELS as u32);

/// The length of a tick, as a power of two of nanoseconds: 2^19 ns, which is 0.52 ms.
const TICK_SHIFT: u32 = 19;

/// A key that cancels a timer. It goes stale when the timer has fired or was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    index: usize,
    seq: u64,
}

/// A timer that was taken out of the wheel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Due<T> {
    pub(crate) deadline: u64,
    seq: u64,
    pub(crate) value: T,
}

struct Node<T> {
    deadline: u64,
    seq: u64,
    value: T,
    place: Position,
    prev: Option<usize>,
    next: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// Due when the wheel is next advanced.
    Now,
    Slot(usize, usize),
    /// Beyond the top level.
    Far,
}

struct Level {
    used: u64,
    slots: [Option<usize>; SLOTS],
}

/// A hierarchical timing wheel; see the module. Deadlines and times are in nanoseconds.
pub(crate) struct Wheel<T> {
    nodes: Chunks<Node<T>>,
    levels: [Level; LEVELS],
    now_list: Option<usize>,
    far_list: Option<usize>,
    /// The tick up to which everything has fired.
    tick: u64,
    next_seq: u64,
}

/// Returns the tick in which a deadline has passed, rounded up so that nothing fires early.
fn tick_of(deadline: u64) -> u64 {
    deadline.div_ceil(1 << TICK_SHIFT)
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Wheel {
            nodes: Chunks::default(),
            levels: std::array::from_fn(|_| Level { used: 0, slots: [None; SLOTS] }),
            now_list: None,
            far_list: None,
            tick: 0,
            next_seq: 0,
        }
    }
}

impl<T> Wheel<T> {
    pub(crate) fn insert(&mut self, deadline: u64, value: T) -> Key {
        let seq = self.next_seq;
        self.next_seq += 1;
        let node = Node { deadline, seq, value, place: Position::Now, prev: None, next: None };
        let index = self.nodes.insert(node);
        self.place(index);
        Key { index, seq }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        if self.nodes.get(key.index)?.seq != key.seq {
            return None;
        }
        self.unlink(key.index);
        self.nodes.remove(key.index).map(|node| node.value)
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Returns a time before which no timer is due: 0 if one is due now, `None` if there is none.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        if self.now_list.is_some() {
            return Some(0);
        }
        self.next_stop().map(|(_, tick)| tick << TICK_SHIFT)
    }

    /// Takes out the timers that are due at `now`, in order.
    pub(crate) fn advance(&mut self, now: u64) -> Vec<Due<T>> {
        let target = now >> TICK_SHIFT;
        let mut due = Vec::new();
        self.take_now_list(&mut due);
        while let Some((stop, tick)) = self.next_stop() {
            if tick > target {
                break;
            }
            self.tick = tick;
            // The timers of this stop are due now, or move to a lower level. A far timer may stay.
            let mut rest = match stop {
                Position::Slot(level, slot) => self.levels[level].slots[slot],
                _ => self.far_list,
            };
            while let Some(index) = rest {
                rest = self.nodes[index].next;
                self.unlink(index);
                self.place(index);
            }
            self.take_now_list(&mut due);
        }
        self.tick = self.tick.max(target);
        due.sort_unstable_by_key(|d| (d.deadline, d.seq));
        due
    }

    /// Takes out all timers, due or not, in order.
    pub(crate) fn drain(&mut self) -> Vec<Due<T>> {
        let next_seq = self.next_seq;
        let mut old = std::mem::replace(self, Wheel { next_seq, ..Wheel::default() });
        self.tick = old.tick;
        let due = |n: Node<T>| Due { deadline: n.deadline, seq: n.seq, value: n.value };
        let mut all: Vec<_> = old.nodes.drain().map(due).collect();
        all.sort_unstable_by_key(|d| (d.deadline, d.seq));
        all
    }

    fn take_now_list(&mut self, due: &mut Vec<Due<T>>) {
        while let Some(index) = self.now_list {
            self.unlink(index);
            let Some(node) = self.nodes.remove(index) else { continue };
            due.push(Due { deadline: node.deadline, seq: node.seq, value: node.value });
        }
    }

    /// Returns the slot that comes next, or the far list, and the tick at which that begins.
    fn next_stop(&self) -> Option<(Position, u64)> {
        for (level, l) in self.levels.iter().enumerate() {
            // The timers of a level are in slots ahead of the wheel's slot in the same round, so
            // the first used slot of the lowest used level is the next one of all.
            if l.used != 0 {
                let shift = BITS * level as u32;
                let slot = l.used.trailing_zeros() as usize;
                let round = self.tick >> shift >> BITS << BITS;
                return Some((Position::Slot(level, slot), (round + slot as u64) << shift));
            }
        }
        self.far_list.map(|_| (Position::Far, (self.tick / SPAN + 1) * SPAN))
    }

    fn place(&mut self, index: usize) {
        let tick = tick_of(self.nodes[index].deadline);
        let place = if tick <= self.tick {
            Position::Now
        } else {
            let level = ((tick ^ self.tick).ilog2() / BITS) as usize;
            match level < LEVELS {
                true => Position::Slot(level, (tick >> (BITS * level as u32)) as usize % SLOTS),
                false => Position::Far,
            }
        };
        let head = match place {
            Position::Now => &mut self.now_list,
            Position::Far => &mut self.far_list,
            Position::Slot(level, slot) => {
                self.levels[level].used |= 1 << slot;
                &mut self.levels[level].slots[slot]
            }
        };
        let next = head.replace(index);
        if let Some(next) = next {
            self.nodes[next].prev = Some(index);
        }
        let node = &mut self.nodes[index];
        (node.place, node.prev, node.next) = (place, None, next);
    }

    fn unlink(&mut self, index: usize) {
        let Node { place, prev, next, .. } = self.nodes[index];
        if let Some(next) = next {
            self.nodes[next].prev = prev;
        }
        match (prev, place) {
            (Some(prev), _) => self.nodes[prev].next = next,
            (None, Position::Now) => self.now_list = next,
            (None, Position::Far) => self.far_list = next,
            (None, Position::Slot(level, slot)) => {
                self.levels[level].slots[slot] = next;
                if next.is_none() {
                    self.levels[level].used &= !(1 << slot);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "wheel_tests.rs"]
mod tests;
