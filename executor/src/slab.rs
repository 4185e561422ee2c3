//! Memory for values that come and go by the million: events, and the cells of colors.
//!
//! A [`Slab`] cuts chunks of 64 KiB, aligned to their size, into slots of one size. The first slot
//! of a chunk is its header, which any slot finds by clearing the low bits of its address. A worker
//! takes and frees slots through a [`Magazine`] of its own, which exchanges 256 of them with the
//! slab at a time. So the slab's lock is taken once in 256 slots. A slot may be freed on another
//! worker than the one that took it. A chunk whose slots have all returned to the slab goes back to
//! the allocator, except for 16 chunks that each slab keeps.
//!
//! Compared with one allocation per value: slots have no header, slots that are taken one after the
//! other are neighbours, and nothing has to be searched or merged when three million events are
//! freed one by one.
//!
//! Threads outside the runtime take slots from one of eight shared magazines, each under its own
//! lock.
//!
//! With `--cfg dapple_single_slots` each slot is an allocation of its own, and no slot is kept. An
//! address sanitizer then sees an access to a slot that was freed (docs/TESTING.md).
//!
//! Left out on purpose: per-thread ownership of chunks and lock-free remote frees, which general
//! allocators have. A batch amortises the lock well enough.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};

use crossbeam_utils::CachePadded;

use crate::sync::{Mutex, lock};
use crate::thread;

/// The size of a chunk in bytes, and its alignment.
const CHUNK: usize = 64 * 1024;

/// The number of empty chunks that a slab keeps: 1 MiB.
const SPARE: usize = 16;

/// The number of shared magazines for threads outside the runtime.
const OUTSIDE: usize = 8;

/// The number of slots in a worker's magazine, and in a shared one.
const WORKER_SLOTS: usize = if SINGLE { 0 } else { 512 };
const OUTSIDE_SLOTS: usize = if SINGLE { 0 } else { 32 };

/// Whether each slot is an allocation of its own.
const SINGLE: bool = cfg!(dapple_single_slots);

pub(crate) type Slot = NonNull<u8>;

/// A free slot, as an element of its chunk's free list.
struct Free {
    next: *mut Free,
}

/// The header of a chunk. It is accessed under the slab's lock, except that `Slab::free` reads
/// `slab` without it.
struct Chunk {
    slab: NonNull<Slab>,
    next: *mut Chunk,
    prev: *mut Chunk,
    free: *mut Free,
    /// The index of the first slot that was never handed out.
    fresh: usize,
    /// The number of slots that are handed out.
    out: usize,
    is_listed: bool,
}

/// The memory behind magazines: see the [module](self). A slab must not move after it has handed
/// out a slot.
pub(crate) struct Slab {
    slot: usize,
    inner: Mutex<Inner>,
    outside: [CachePadded<Mutex<Magazine>>; OUTSIDE],
}

struct Inner {
    /// The list of chunks with a free slot, without the spare ones.
    open: *mut Chunk,
    spare: Vec<NonNull<Chunk>>,
}

// SAFETY: the chunks belong to the slab, and are accessed under its lock. Only `slab` in a header
// is read without it, and does not change while a slot is out.
unsafe impl Send for Inner {}

impl Slab {
    /// Makes a slab for values of type `T`.
    pub(crate) fn of<T>() -> Slab {
        let slot = size_of::<T>().next_multiple_of(align_of::<T>());
        const { assert!(align_of::<T>() <= size_of::<T>() && size_of::<T>() >= 64) };
        assert!(slot >= size_of::<Chunk>() && slot <= CHUNK / 16, "a header fits into a slot");
        Slab {
            slot,
            inner: Mutex::new(Inner { open: ptr::null_mut(), spare: Vec::new() }),
            outside: std::array::from_fn(|_| Mutex::new(Magazine::new(OUTSIDE_SLOTS)).into()),
        }
    }

    /// Makes a magazine for a worker.
    pub(crate) fn magazine(&self) -> Magazine {
        Magazine::new(WORKER_SLOTS)
    }

    /// Takes a slot, for a thread outside the runtime.
    pub(crate) fn take_outside(&self) -> Slot {
        let number = thread::state(|state| state.number());
        lock(&self.outside[number % OUTSIDE]).take(self)
    }

    /// Frees a slot of any slab, from any thread.
    ///
    /// # Safety
    ///
    /// The slot came from a slab that still exists, and is not used after this call.
    pub(crate) unsafe fn free(slot: Slot) {
        // SAFETY: the caller guarantees that the slot came from a slab that still exists. Only this
        // field of the header is read, as other threads may be writing the other fields. This one
        // was written before the first slot of the chunk was handed out, and it stays valid because
        // the slab does not move.
        unsafe {
            let slab = match SINGLE {
                true => Single::slab_of(slot),
                false => (&raw const (*Chunk::of(slot).as_ptr()).slab).read(),
            };
            slab.as_ref().free_outside(slot);
        }
    }

    /// Frees a slot of this slab, from any thread.
    ///
    /// # Safety
    ///
    /// The slot came from this slab, and is not used after this call.
    pub(crate) unsafe fn free_outside(&self, slot: Slot) {
        // SAFETY: the caller guarantees that the slot is one of this slab and no longer used.
        unsafe { lock(&self.inner).free(slot) }
    }

    fn fill(&self, slots: &mut Vec<Slot>, n: usize) {
        if SINGLE {
            return slots.extend((0..n).map(|_| Single::take(self)));
        }
        let mut inner = lock(&self.inner);
        let start = slots.len();
        while slots.len() < start + n {
            let chunk = inner.chunk_with_slots(NonNull::from(self));
            // SAFETY: the slab's lock is held, and the chunk is one of the slab.
            unsafe {
                while slots.len() < start + n {
                    let Some(slot) = Chunk::take(chunk, self.slot) else {
                        inner.unlist(chunk);
                        break;
                    };
                    slots.push(slot);
                }
            }
        }
        drop(inner);
        // Slots are taken from the end of the vector. So after this they are taken in the order of
        // their addresses, which helps the prefetcher.
        slots[start..].reverse();
    }
}

impl Chunk {
    /// Returns the chunk that contains a slot.
    fn of(slot: Slot) -> NonNull<Chunk> {
        let chunk = slot.as_ptr().map_addr(|a| a & !(CHUNK - 1)).cast::<Chunk>();
        // SAFETY: chunks are aligned to their size, and none is at address 0.
        unsafe { NonNull::new_unchecked(chunk) }
    }

    /// Takes a free slot of the chunk, if there is one.
    ///
    /// # Safety
    ///
    /// The slab's lock is held, the chunk is one of the slab, and `size` is the size of its slots
    /// in bytes.
    unsafe fn take(chunk: NonNull<Chunk>, size: usize) -> Option<Slot> {
        let this = chunk.as_ptr();
        // SAFETY: the chunk belongs to the slab, whose lock the caller holds. Other threads read
        // `slab` at most, which is not written here, and no reference to the header is made. The
        // free list contains only free slots of this chunk, each with a `Free` in it. A fresh slot
        // lies within the chunk, as is checked first, and `chunk` is the pointer to all of it.
        unsafe {
            let slot = if let Some(free) = NonNull::new((*this).free) {
                (*this).free = (*free.as_ptr()).next;
                free.cast()
            } else if ((*this).fresh + 1) * size <= CHUNK {
                (*this).fresh += 1;
                chunk.cast::<u8>().add(((*this).fresh - 1) * size)
            } else {
                return None;
            };
            (*this).out += 1;
            Some(slot)
        }
    }

    const LAYOUT: Layout = match Layout::from_size_align(CHUNK, CHUNK) {
        Ok(layout) => layout,
        Err(_) => panic!("a power of two"),
    };

    fn allocate() -> NonNull<Chunk> {
        // SAFETY: the size of the layout is not zero.
        let Some(chunk) = NonNull::new(unsafe { alloc(Self::LAYOUT) }.cast::<Chunk>()) else {
            handle_alloc_error(Self::LAYOUT)
        };
        chunk
    }
}

/// The header before a slot that is an allocation of its own.
struct Single {
    slab: NonNull<Slab>,
}

impl Single {
    /// The number of bytes before the slot, and the alignment of the allocation.
    const BEFORE: usize = 128;

    fn layout(slab: &Slab) -> Layout {
        Layout::from_size_align(Self::BEFORE + slab.slot, Self::BEFORE).expect("a slot is small")
    }

    fn take(slab: &Slab) -> Slot {
        let layout = Self::layout(slab);
        // SAFETY: the size of the layout is not zero.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else {
            handle_alloc_error(layout)
        };
        // SAFETY: the allocation is larger than `BEFORE` bytes, and nobody else knows its address.
        unsafe {
            start.cast::<Single>().write(Single { slab: NonNull::from(slab) });
            start.add(Self::BEFORE)
        }
    }

    /// Returns the slab that a slot came from.
    ///
    /// # Safety
    ///
    /// The slot came from [`take`](Self::take), and has not been freed.
    unsafe fn slab_of(slot: Slot) -> NonNull<Slab> {
        // SAFETY: the slot came from `take`, so a header is in front of it.
        unsafe { slot.sub(Self::BEFORE).cast::<Single>().as_ref() }.slab
    }

    /// Frees the allocation of a slot.
    ///
    /// # Safety
    ///
    /// The slot came from [`take`](Self::take), has not been freed, and its slab still exists.
    unsafe fn free(slot: Slot) {
        // SAFETY: the slot came from `take`, which allocated it with this layout, and its slab
        // still exists.
        unsafe {
            let layout = Self::layout(Self::slab_of(slot).as_ref());
            dealloc(slot.sub(Self::BEFORE).as_ptr(), layout);
        }
    }
}

impl Inner {
    fn chunk_with_slots(&mut self, slab: NonNull<Slab>) -> NonNull<Chunk> {
        if let Some(open) = NonNull::new(self.open) {
            return open;
        }
        let chunk = self.spare.pop().unwrap_or_else(Chunk::allocate);
        let header = Chunk {
            slab,
            next: ptr::null_mut(),
            prev: ptr::null_mut(),
            free: ptr::null_mut(),
            // The first slot contains the header.
            fresh: 1,
            out: 0,
            is_listed: false,
        };
        // SAFETY: the chunk is new or spare, so nobody else accesses it, and it is not in the list.
        unsafe {
            chunk.write(header);
            self.list(chunk);
        }
        chunk
    }

    /// Puts a chunk at the head of the list of chunks with a free slot.
    ///
    /// # Safety
    ///
    /// The chunk is one of the slab, and not in the list.
    unsafe fn list(&mut self, chunk: NonNull<Chunk>) {
        // SAFETY: all chunks in the list, and this one, belong to the slab, whose lock is held
        // through `&mut self`.
        unsafe {
            let this = chunk.as_ptr();
            ((*this).next, (*this).prev) = (self.open, ptr::null_mut());
            (*this).is_listed = true;
            if !self.open.is_null() {
                (*self.open).prev = chunk.as_ptr();
            }
        }
        self.open = chunk.as_ptr();
    }

    /// Removes a chunk from the list of chunks with a free slot.
    ///
    /// # Safety
    ///
    /// The chunk is in the list.
    unsafe fn unlist(&mut self, chunk: NonNull<Chunk>) {
        // SAFETY: all chunks in the list belong to the slab, whose lock is held through `&mut
        // self`.
        unsafe {
            let this = chunk.as_ptr();
            let (next, prev) = ((*this).next, (*this).prev);
            match prev.is_null() {
                true => self.open = next,
                false => (*prev).next = next,
            }
            if !next.is_null() {
                (*next).prev = prev;
            }
            (*this).is_listed = false;
        }
    }

    /// Returns a slot to its chunk. A chunk with no slot in use becomes spare, or is freed.
    ///
    /// # Safety
    ///
    /// The slot is one of the slab, handed out, and not used after this call.
    unsafe fn free(&mut self, slot: Slot) {
        if SINGLE {
            // SAFETY: in this mode all slots come from `Single::take`, and the caller does not use
            // this one again.
            return unsafe { Single::free(slot) };
        }
        let chunk = Chunk::of(slot);
        // SAFETY: the slot was handed out by this slab, so its chunk belongs to the slab, whose
        // lock is held, and the caller does not use the slot again. A chunk is deallocated only
        // when none of its slots is in use, with the layout with which it was allocated.
        unsafe {
            let this = chunk.as_ptr();
            let free = slot.cast::<Free>();
            free.write(Free { next: (*this).free });
            (*this).free = free.as_ptr();
            (*this).out -= 1;
            let is_listed = (*this).is_listed;
            if (*this).out == 0 {
                if is_listed {
                    self.unlist(chunk);
                }
                if self.spare.len() < SPARE {
                    self.spare.push(chunk);
                } else {
                    dealloc(chunk.as_ptr().cast(), Chunk::LAYOUT);
                }
            } else if !is_listed {
                self.list(chunk);
            }
        }
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        for magazine in &self.outside {
            // SAFETY: the shared magazines of this slab contain only slots of this slab.
            unsafe { lock(magazine).empty_into(self) };
        }
        let inner = self.inner.get_mut().unwrap_or_else(|e| e.into_inner());
        debug_assert!(inner.open.is_null(), "all slots have been freed");
        for chunk in inner.spare.drain(..) {
            // SAFETY: a spare chunk has no slot in use, and was allocated with this layout.
            unsafe { dealloc(chunk.as_ptr().cast(), Chunk::LAYOUT) };
        }
    }
}

/// A stock of slots: see the [module](self). Its owner returns them to the slab before it drops the
/// magazine.
///
/// A magazine can be *put away*: [`pop`](Self::pop) then returns nothing until the owner takes the
/// magazine out again. A worker puts its magazine away while it sleeps. A post in its name then
/// goes by a slower path, on which the worker notices it, and all other posts need no check for
/// this.
pub(crate) struct Magazine {
    slots: Vec<Slot>,
    /// The greatest number of slots; 0 while the magazine is put away.
    size: usize,
    /// The slots and the size of a magazine that is put away.
    away: Option<(Vec<Slot>, usize)>,
}

// SAFETY: the slots are free memory, which belongs to the owner of the magazine.
unsafe impl Send for Magazine {}

impl Magazine {
    fn new(size: usize) -> Self {
        Magazine { slots: Vec::with_capacity(size), size, away: None }
    }

    /// Puts the magazine away.
    pub(crate) fn put_away(&mut self) {
        if self.away.is_none() {
            self.away = Some((std::mem::take(&mut self.slots), std::mem::take(&mut self.size)));
        }
    }

    /// Takes the magazine out again.
    pub(crate) fn take_out(&mut self) {
        if let Some((slots, size)) = self.away.take() {
            // No slot is lost: a magazine that is put away has a size of 0, and keeps none.
            (self.slots, self.size) = (slots, size);
        }
    }

    /// Returns a slot of the magazine, if it has one.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Slot> {
        self.slots.pop()
    }

    /// Returns a slot of the magazine, or one of `slab` if it is empty. `slab` is the slab of the
    /// magazine.
    #[inline]
    pub(crate) fn take(&mut self, slab: &Slab) -> Slot {
        match self.slots.pop() {
            Some(slot) => slot,
            None => self.fill_and_take(slab),
        }
    }

    #[cold]
    #[inline(never)]
    fn fill_and_take(&mut self, slab: &Slab) -> Slot {
        // At least one, also while the magazine is put away.
        slab.fill(&mut self.slots, (self.size / 2).max(1));
        self.slots.pop().expect("it was filled")
    }

    /// Frees a slot.
    ///
    /// # Safety
    ///
    /// `slab` is the slab of the magazine. The slot came from it, and is not used after this call.
    #[inline]
    pub(crate) unsafe fn free(&mut self, slot: Slot, slab: &Slab) {
        if self.slots.len() == self.size {
            // SAFETY: the caller guarantees that the slot came from this slab and is no longer
            // used. The slots of the magazine came from the same slab, because `take` and `free`
            // are called only with the magazine's slab.
            return unsafe { self.free_slowly(slot, slab) };
        }
        self.slots.push(slot);
    }

    /// Frees a slot for which the magazine has no room.
    ///
    /// # Safety
    ///
    /// The slot came from this slab, and is not used after this call. All slots of the magazine
    /// came from this slab, too.
    #[cold]
    #[inline(never)]
    unsafe fn free_slowly(&mut self, slot: Slot, slab: &Slab) {
        // SAFETY: the caller guarantees that this slot and those of the magazine came from this
        // slab and are not in use.
        unsafe {
            if self.away.is_some() || SINGLE {
                return slab.free_outside(slot);
            }
            self.spill(self.size / 2, slab);
        }
        self.slots.push(slot);
    }

    /// Returns the `n` oldest slots to the slab, as they are the coldest in the cache.
    ///
    /// # Safety
    ///
    /// All slots of the magazine came from this slab.
    #[cold]
    #[inline(never)]
    unsafe fn spill(&mut self, n: usize, slab: &Slab) {
        let mut inner = lock(&slab.inner);
        for slot in self.slots.drain(..n) {
            // SAFETY: the caller guarantees that all slots of the magazine came from this slab, and
            // nobody uses them.
            unsafe { inner.free(slot) };
        }
    }

    /// Returns all slots to the slab.
    ///
    /// # Safety
    ///
    /// All slots of the magazine came from this slab.
    pub(crate) unsafe fn empty_into(&mut self, slab: &Slab) {
        self.take_out();
        // SAFETY: the caller guarantees that all slots of the magazine came from this slab.
        unsafe { self.spill(self.slots.len(), slab) }
    }
}

#[cfg(test)]
#[path = "slab_tests.rs"]
mod tests;
