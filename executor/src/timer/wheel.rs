//! A hierarchical timing wheel: start and cancel in O(1), no clock, no thread.
//!
//! Source: G. Varghese, T. Lauck, "Hashed and hierarchical timing wheels", SOSP '87, scheme 7. Six
//! levels of 64 slots; a slot of level *l* spans 64^l ticks. An entry stands on the level of the
//! highest base-64 digit in which its tick differs from the wheel's, and moves down when the wheel
//! reaches its slot. A bit mask per level tells which slots are in use, so the next one is found by
//! counting zeros. What differs beyond the top level (64^6 ticks, a year) waits in a list of its
//! own, which is gone through when the wheel has turned once.
//!
//! Entries that are due come out ordered by their exact deadline, then by creation (E8).

use crate::chunks::Chunks;

const LEVELS: usize = 6;
const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const SPAN: u64 = 1 << (BITS * LEVELS as u32);

/// Nanoseconds per tick, as a power of two: 0.52 ms.
const TICK_SHIFT: u32 = 19;

/// What cancels an entry. It goes stale when the entry has fired or was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    index: usize,
    seq: u64,
}

/// An entry that was taken out.
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

/// See the module. Deadlines and times are nanoseconds.
pub(crate) struct Wheel<T> {
    nodes: Chunks<Node<T>>,
    levels: [Level; LEVELS],
    now_list: Option<usize>,
    far_list: Option<usize>,
    /// The tick up to which everything has fired.
    tick: u64,
    next_seq: u64,
}

/// The tick in which a deadline has passed: rounded up, so that nothing fires early.
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

    /// No entry is due before this time; 0: one is due already.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        if self.now_list.is_some() {
            return Some(0);
        }
        self.next_stop().map(|(_, tick)| tick << TICK_SHIFT)
    }

    /// Takes out what is due at `now`, in order.
    pub(crate) fn advance(&mut self, now: u64) -> Vec<Due<T>> {
        let target = now >> TICK_SHIFT;
        let mut due = Vec::new();
        self.take_now_list(&mut due);
        while let Some((stop, tick)) = self.next_stop() {
            if tick > target {
                break;
            }
            self.tick = tick;
            // What stands there is due now, or moves to a lower level; a far one may stay.
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

    /// Takes out everything, due or not.
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

    /// The slot that the wheel comes to next, or the far list, and the tick at which it begins.
    fn next_stop(&self) -> Option<(Position, u64)> {
        for (level, l) in self.levels.iter().enumerate() {
            // Whatever stands on a level is in a slot ahead of the wheel's in the same round, so
            // the first one on the lowest level is the next one of all.
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
