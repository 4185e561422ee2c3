//! A table of values under small numbers, which returns its memory after a peak.
//!
//! Values are stored in chunks of 64. A chunk is freed when its last value is removed, so a single
//! value that outlives a peak keeps one chunk of 64 slots, and not the table at its largest size.
//! (The crate `slab` keeps all of it, and is alike otherwise.)
//!
//! A new value goes to any chunk that has room.
//!
//! The table is for the crates of this project, and is not part of the public API.

use std::ops::{Index, IndexMut};

const SLOTS: usize = 64;

/// A table of values under small numbers: see the [module](self).
#[derive(Debug)]
pub struct Chunks<T> {
    chunks: Vec<Option<Box<Chunk<T>>>>,
    /// The indices of the chunks that have room.
    open: Vec<usize>,
    /// The indices in `chunks` whose chunk was freed.
    vacant: Vec<usize>,
    len: usize,
}

#[derive(Debug)]
struct Chunk<T> {
    slots: [Option<T>; SLOTS],
    /// A bit for each slot that is in use.
    used: u64,
    /// The position of this chunk in `open`, if it has room.
    place: usize,
}

impl<T> Chunk<T> {
    fn new(place: usize) -> Box<Self> {
        Box::new(Chunk { slots: [const { None }; SLOTS], used: 0, place })
    }
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Chunks { chunks: Vec::new(), open: Vec::new(), vacant: Vec::new(), len: 0 }
    }
}

impl<T> Chunks<T> {
    /// Returns the number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns `true` if the table has no value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Stores a value, and returns its number.
    pub fn insert(&mut self, value: T) -> usize {
        let at = self.open.last().copied().unwrap_or_else(|| {
            let at = self.vacant.pop().unwrap_or_else(|| {
                self.chunks.push(None);
                self.chunks.len() - 1
            });
            self.open.push(at);
            at
        });
        let place = self.open.len() - 1;
        let chunk = self.chunks[at].get_or_insert_with(|| Chunk::new(place));
        let slot = chunk.used.trailing_ones() as usize;
        chunk.slots[slot] = Some(value);
        chunk.used |= 1 << slot;
        if chunk.used == u64::MAX {
            self.open.pop();
        }
        self.len += 1;
        at * SLOTS + slot
    }

    /// Returns the value under a number, if there is one.
    pub fn get(&self, number: usize) -> Option<&T> {
        self.chunks.get(number / SLOTS)?.as_ref()?.slots[number % SLOTS].as_ref()
    }

    /// Returns the value under a number, if there is one, for a change.
    pub fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        self.chunks.get_mut(number / SLOTS)?.as_mut()?.slots[number % SLOTS].as_mut()
    }

    /// Removes and returns the value under a number, if there is one.
    pub fn remove(&mut self, number: usize) -> Option<T> {
        let (at, slot) = (number / SLOTS, number % SLOTS);
        let chunk = self.chunks.get_mut(at)?.as_mut()?;
        let value = chunk.slots[slot].take()?;
        if chunk.used == u64::MAX {
            chunk.place = self.open.len();
            self.open.push(at);
        }
        chunk.used &= !(1 << slot);
        self.len -= 1;
        let (is_unused, place) = (chunk.used == 0, chunk.place);
        if self.len == 0 && self.chunks.len() > 1 {
            *self = Chunks::default();
        } else if is_unused && self.open.len() > 1 {
            // The only chunk with room is kept, so that a value that comes and goes does not
            // allocate.
            self.free(at, place);
        }
        Some(value)
    }

    /// Frees a chunk that has no value, and whose position in `open` is `place`.
    fn free(&mut self, at: usize, place: usize) {
        self.chunks[at] = None;
        self.vacant.push(at);
        self.open.swap_remove(place);
        if let Some(moved) = self.open.get(place)
            && let Some(moved) = &mut self.chunks[*moved]
        {
            moved.place = place;
        }
    }

    /// Returns the values whose number is `first` or greater, each with its number, in the order of
    /// the numbers.
    pub fn iter_mut_from(&mut self, first: usize) -> impl Iterator<Item = (usize, &mut T)> {
        let chunks = self.chunks.iter_mut().enumerate().skip(first / SLOTS);
        let values = chunks.filter_map(|(at, chunk)| Some((at, chunk.as_mut()?)));
        let values = values.flat_map(|(at, chunk)| {
            let slots = chunk.slots.iter_mut().enumerate();
            slots.filter_map(move |(slot, value)| Some((at * SLOTS + slot, value.as_mut()?)))
        });
        values.skip_while(move |(number, _)| *number < first)
    }

    /// Returns all values, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten().flat_map(|chunk| chunk.slots.iter().flatten())
    }

    /// Removes and returns all values, in the order of their numbers.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        let all = std::mem::take(self);
        all.chunks.into_iter().flatten().flat_map(|chunk| chunk.slots.into_iter().flatten())
    }
}

impl<T> Index<usize> for Chunks<T> {
    type Output = T;
    fn index(&self, number: usize) -> &T {
        self.get(number).expect("there is a value under this number")
    }
}

impl<T> IndexMut<usize> for Chunks<T> {
    fn index_mut(&mut self, number: usize) -> &mut T {
        self.get_mut(number).expect("there is a value under this number")
    }
}

#[cfg(test)]
#[path = "chunks_tests.rs"]
mod tests;
