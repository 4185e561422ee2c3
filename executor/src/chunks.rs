//! A table of values under small numbers, which gives its memory back.
//!
//! Values stand in chunks of 64. A chunk whose values are all gone is freed, so after a peak one
//! value that stays keeps 64 places, not all that there ever were. Otherwise as the crate `slab`,
//! which keeps them.
//!
//! A new value goes to a chunk that has room; which one does not matter.
//!
//! It is for the crates of this project, and no part of the public API.

use std::ops::{Index, IndexMut};

const SLOTS: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Chunks<T> {
    chunks: Vec<Option<Box<Chunk<T>>>>,
    /// Chunks that have room.
    open: Vec<usize>,
    /// Places of chunks that have been freed.
    vacant: Vec<usize>,
    len: usize,
}

#[derive(Debug)]
struct Chunk<T> {
    slots: [Option<T>; SLOTS],
    /// Which of them are in use.
    used: u64,
    /// Where it stands among the open ones, if it has room.
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
    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes a value in, and says under which number.
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

    /// The value under a number.
    pub fn get(&self, number: usize) -> Option<&T> {
        self.chunks.get(number / SLOTS)?.as_ref()?.slots[number % SLOTS].as_ref()
    }

    /// What stands at a number, to change it.
    pub fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        self.chunks.get_mut(number / SLOTS)?.as_mut()?.slots[number % SLOTS].as_mut()
    }

    /// Takes a value out.
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
            // The only one with room is kept, so that a value that comes and goes costs no memory.
            self.free(at, place);
        }
        Some(value)
    }

    /// Frees an empty chunk.
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

    /// All values with their numbers, from a number on.
    pub fn iter_mut_from(&mut self, first: usize) -> impl Iterator<Item = (usize, &mut T)> {
        let chunks = self.chunks.iter_mut().enumerate().skip(first / SLOTS);
        let values = chunks.filter_map(|(at, chunk)| Some((at, chunk.as_mut()?)));
        let values = values.flat_map(|(at, chunk)| {
            let slots = chunk.slots.iter_mut().enumerate();
            slots.filter_map(move |(slot, value)| Some((at * SLOTS + slot, value.as_mut()?)))
        });
        values.skip_while(move |(number, _)| *number < first)
    }

    /// Returns all values.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten().flat_map(|chunk| chunk.slots.iter().flatten())
    }

    /// Takes out all values.
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
