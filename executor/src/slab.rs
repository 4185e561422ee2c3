//! Memory for what comes and goes by the million: events, and the cells of colors.
//!
//! A [`Slab`] cuts chunks of 64 KiB, aligned to their size, into slots of one size; the first slot
//! of a chunk is its header, which any slot finds by clearing the low bits of its address. A worker
//! takes slots and gives them back by way of a [`Magazine`] of its own, which goes to the slab for
//! a batch at a time, so the slab's lock is paid once in a few hundred slots. A slot may be given
//! back on another worker than the one that took it. A chunk whose slots are all back goes back to
//! the allocator, but for a few that are kept.
//!
//! Compared with an allocation each: no header per slot, neighbours in the order of use, and
//! nothing to search or merge when three million events come back one by one.
//!
//! Threads that are no workers take from one of a few shared magazines, each under its own lock.
//!
//! With `--cfg dapple_single_slots` each slot is an allocation of its own, and none is kept: so
//! that a sanitizer of addresses sees who touches one that was given back (docs/TESTING.md).
//!
//! Left out on purpose: per-thread ownership of chunks and lock-free remote frees, as allocators
//! have them; a batch amortises the lock well enough.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};

use crossbeam_utils::CachePadded;

use crate::sync::{Mutex, lock};
use crate::thread;

/// Bytes of a chunk, and its alignment.
const CHUNK: usize = 64 * 1024;

/// Empty chunks that a slab keeps: 1 MiB.
const SPARE: usize = 16;

/// Shared magazines for threads that are no workers.
const OUTSIDE: usize = 8;

/// Slots of a worker's magazine, and of a shared one.
const WORKER_SLOTS: usize = if SINGLE { 0 } else { 512 };
const OUTSIDE_SLOTS: usize = if SINGLE { 0 } else { 32 };

/// Whether each slot is allocated by itself.
const SINGLE: bool = cfg!(dapple_single_slots);

pub(crate) type Slot = NonNull<u8>;

/// A slot that is free, in its chunk's list.
struct Free {
    next: *mut Free,
}

/// The start of a chunk. Touched under the slab's lock.
struct Chunk {
    slab: NonNull<Slab>,
    next: *mut Chunk,
    prev: *mut Chunk,
    free: *mut Free,
    /// The first slot that was never handed out.
    fresh: usize,
    /// Slots that are handed out.
    out: usize,
    is_listed: bool,
}

/// Where magazines are filled and emptied; see the module. It does not move once it has given a
/// slot.
pub(crate) struct Slab {
    slot: usize,
    inner: Mutex<Inner>,
    outside: [CachePadded<Mutex<Magazine>>; OUTSIDE],
}

struct Inner {
    /// The chunks that have a slot to give, but for the spare ones.
    open: *mut Chunk,
    spare: Vec<NonNull<Chunk>>,
}

// SAFETY: the chunks belong to the slab, and are touched under its lock.
unsafe impl Send for Inner {}

impl Slab {
    /// A slab for values of type `T`.
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

    /// A magazine for a worker.
    pub(crate) fn magazine(&self) -> Magazine {
        Magazine::new(WORKER_SLOTS)
    }

    /// A slot for a thread that is not a worker.
    pub(crate) fn take_outside(&self) -> Slot {
        let number = thread::state(|state| state.number());
        lock(&self.outside[number % OUTSIDE]).take(self)
    }

    /// Gives back one slot, by whatever thread, to the slab that it came from.
    ///
    /// # Safety
    ///
    /// It came from a slab, which is still there, and is not used again.
    pub(crate) unsafe fn free(slot: Slot) {
        // SAFETY: the caller says that it came from a slab that is there. Only this field of the
        // header is read, as others may be written meanwhile: it is written before the first slot
        // is handed out, and the slab does not move.
        unsafe {
            let slab = match SINGLE {
                true => Single::slab_of(slot),
                false => (&raw const (*Chunk::of(slot).as_ptr()).slab).read(),
            };
            slab.as_ref().free_outside(slot);
        }
    }

    /// Gives back one slot of this slab, by whatever thread.
    ///
    /// # Safety
    ///
    /// It came from this slab, and is not used again.
    pub(crate) unsafe fn free_outside(&self, slot: Slot) {
        // SAFETY: the caller says that it is one of this slab, and is done with it.
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
            // SAFETY: the lock is held, and the chunk is the slab's.
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
        // They are taken from the end: in the order of their addresses, for the sake of
        // prefetching.
        slots[start..].reverse();
    }
}

impl Chunk {
    /// The chunk of a slot.
    fn of(slot: Slot) -> NonNull<Chunk> {
        let chunk = slot.as_ptr().map_addr(|a| a & !(CHUNK - 1)).cast::<Chunk>();
        // SAFETY: chunks are aligned to their size and not at address 0.
        unsafe { NonNull::new_unchecked(chunk) }
    }

    /// # Safety
    ///
    /// The slab's lock is held, and the chunk is the slab's; its slots have so many bytes.
    unsafe fn take(chunk: NonNull<Chunk>, size: usize) -> Option<Slot> {
        // SAFETY: the chunk is the slab's, whose lock the caller holds.
        let this = unsafe { &mut *chunk.as_ptr() };
        if let Some(free) = NonNull::new(this.free) {
            // SAFETY: what is in the list is a free slot of the chunk.
            this.free = unsafe { free.as_ref() }.next;
            this.out += 1;
            return Some(free.cast());
        }
        if (this.fresh + 1) * size > CHUNK {
            return None;
        }
        // SAFETY: it lies within the chunk, from whose pointer it is made.
        let slot = unsafe { chunk.cast::<u8>().add(this.fresh * size) };
        this.fresh += 1;
        this.out += 1;
        Some(slot)
    }

    const LAYOUT: Layout = match Layout::from_size_align(CHUNK, CHUNK) {
        Ok(layout) => layout,
        Err(_) => panic!("a power of two"),
    };

    fn allocate() -> NonNull<Chunk> {
        // SAFETY: the layout has a size.
        let Some(chunk) = NonNull::new(unsafe { alloc(Self::LAYOUT) }.cast::<Chunk>()) else {
            handle_alloc_error(Self::LAYOUT)
        };
        chunk
    }
}

/// What stands before a slot that is allocated by itself.
struct Single {
    slab: NonNull<Slab>,
}

impl Single {
    /// Bytes before the slot, and the alignment of both.
    const BEFORE: usize = 128;

    fn layout(slab: &Slab) -> Layout {
        Layout::from_size_align(Self::BEFORE + slab.slot, Self::BEFORE).expect("a slot is small")
    }

    fn take(slab: &Slab) -> Slot {
        let layout = Self::layout(slab);
        // SAFETY: the layout has a size.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else {
            handle_alloc_error(layout)
        };
        // SAFETY: it is as large as that, and ours.
        unsafe {
            start.cast::<Single>().write(Single { slab: NonNull::from(slab) });
            start.add(Self::BEFORE)
        }
    }

    /// # Safety
    ///
    /// The slot is from [`take`](Self::take), and has not been given back.
    unsafe fn slab_of(slot: Slot) -> NonNull<Slab> {
        // SAFETY: the slot is from `take`, so a header stands before it.
        unsafe { slot.sub(Self::BEFORE).cast::<Single>().as_ref() }.slab
    }

    /// # Safety
    ///
    /// As [`slab_of`](Self::slab_of), and its slab is there.
    unsafe fn free(slot: Slot) {
        // SAFETY: the slot is from `take`, which allocated it with this layout; its slab is there.
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
            // The first one is the header's.
            fresh: 1,
            out: 0,
            is_listed: false,
        };
        // SAFETY: the chunk is fresh, or spare: ours alone.
        unsafe {
            chunk.write(header);
            self.list(chunk);
        }
        chunk
    }

    /// # Safety
    ///
    /// The chunk is the slab's and not in the list.
    unsafe fn list(&mut self, chunk: NonNull<Chunk>) {
        // SAFETY: the chunk is the slab's, whose lock is held; what is in the list are chunks of
        // the slab.
        unsafe {
            let this = &mut *chunk.as_ptr();
            (this.next, this.prev, this.is_listed) = (self.open, ptr::null_mut(), true);
            if !self.open.is_null() {
                (*self.open).prev = chunk.as_ptr();
            }
        }
        self.open = chunk.as_ptr();
    }

    /// # Safety
    ///
    /// The chunk is in the list.
    unsafe fn unlist(&mut self, chunk: NonNull<Chunk>) {
        // SAFETY: what is in the list are chunks of the slab, whose lock is held.
        unsafe {
            let this = &mut *chunk.as_ptr();
            match this.prev.is_null() {
                true => self.open = this.next,
                false => (*this.prev).next = this.next,
            }
            if !this.next.is_null() {
                (*this.next).prev = this.prev;
            }
            this.is_listed = false;
        }
    }

    /// # Safety
    ///
    /// The slot is one of the slab's, handed out, and not used again.
    unsafe fn free(&mut self, slot: Slot) {
        if SINGLE {
            // SAFETY: in this mode all slots are from `Single::take`; it is not used again.
            return unsafe { Single::free(slot) };
        }
        let chunk = Chunk::of(slot);
        // SAFETY: the slot was handed out by this slab, so its chunk is the slab's, whose lock is
        // held; and nobody uses it any more.
        unsafe {
            let this = &mut *chunk.as_ptr();
            let free = slot.cast::<Free>();
            free.write(Free { next: this.free });
            this.free = free.as_ptr();
            this.out -= 1;
            let (out, is_listed) = (this.out, this.is_listed);
            if out == 0 {
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
            // SAFETY: they were taken from this slab.
            unsafe { lock(magazine).empty_into(self) };
        }
        let inner = self.inner.get_mut().unwrap_or_else(|e| e.into_inner());
        debug_assert!(inner.open.is_null(), "everything has been given back");
        for chunk in inner.spare.drain(..) {
            // SAFETY: a spare chunk has no slot in use.
            unsafe { dealloc(chunk.as_ptr().cast(), Chunk::LAYOUT) };
        }
    }
}

/// Slots at hand; see the module. Its owner empties it into its slab before it drops it.
///
/// A magazine can be *put away*: its owner then gets nothing from it by [`pop`](Self::pop) until it
/// takes it out again. A worker does so while it sleeps, so that whatever posts in its name comes
/// by a path on which the worker notices it, at no cost for all other posts.
pub(crate) struct Magazine {
    slots: Vec<Slot>,
    /// Most slots; 0 while it is put away.
    size: usize,
    /// What was in it when it was put away.
    away: Option<(Vec<Slot>, usize)>,
}

// SAFETY: the slots are free memory, which belongs to the holder of the magazine.
unsafe impl Send for Magazine {}

impl Magazine {
    fn new(size: usize) -> Self {
        Magazine { slots: Vec::with_capacity(size), size, away: None }
    }

    /// Puts its slots away.
    pub(crate) fn put_away(&mut self) {
        if self.away.is_none() {
            self.away = Some((std::mem::take(&mut self.slots), std::mem::take(&mut self.size)));
        }
    }

    /// Takes them out again.
    pub(crate) fn take_out(&mut self) {
        if let Some((slots, size)) = self.away.take() {
            // Nothing is kept meanwhile.
            (self.slots, self.size) = (slots, size);
        }
    }

    /// A slot that is at hand.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Slot> {
        self.slots.pop()
    }

    /// A slot; `slab` is the magazine's.
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
        // At least one, also while it is put away.
        slab.fill(&mut self.slots, (self.size / 2).max(1));
        self.slots.pop().expect("it was filled")
    }

    /// Gives a slot back.
    ///
    /// # Safety
    ///
    /// It came from this slab and is not used again.
    #[inline]
    pub(crate) unsafe fn free(&mut self, slot: Slot, slab: &Slab) {
        if self.slots.len() == self.size {
            // SAFETY: the caller says that the slot is one of this slab.
            return unsafe { self.free_slowly(slot, slab) };
        }
        self.slots.push(slot);
    }

    /// Gives back a slot for which there is no room.
    ///
    /// # Safety
    ///
    /// As [`give`](Self::give).
    #[cold]
    #[inline(never)]
    unsafe fn free_slowly(&mut self, slot: Slot, slab: &Slab) {
        // SAFETY: the slot came from the slab by contract, and so did what is in the magazine.
        unsafe {
            if self.away.is_some() || SINGLE {
                return slab.free_outside(slot);
            }
            self.spill(self.size / 2, slab);
        }
        self.slots.push(slot);
    }

    /// The oldest `n` go back: they are the coldest.
    ///
    /// # Safety
    ///
    /// The slots came from this slab.
    #[cold]
    #[inline(never)]
    unsafe fn spill(&mut self, n: usize, slab: &Slab) {
        let mut inner = lock(&slab.inner);
        for slot in self.slots.drain(..n) {
            // SAFETY: the caller says that what is in here came from this slab.
            unsafe { inner.free(slot) };
        }
    }

    /// Gives all slots back.
    ///
    /// # Safety
    ///
    /// The slots came from this slab.
    pub(crate) unsafe fn empty_into(&mut self, slab: &Slab) {
        self.take_out();
        // SAFETY: the caller says that what is in here came from this slab.
        unsafe { self.spill(self.slots.len(), slab) }
    }
}

#[cfg(test)]
#[path = "slab_tests.rs"]
mod tests;
