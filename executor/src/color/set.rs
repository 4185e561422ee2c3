//! Color sets: an event that needs several colors at once (C6).
//!
//! See [`dapple_colors::set`] for the algorithm, and why sets that meet do not wait for each other
//! in a circle. A set has its closure's [`Event`], which stands in no color's queue; a *request*,
//! an event without closure, in the queue of each of its colors; and a [`Set`], which counts the
//! requests that have not arrived and knows the colors. All of them are slots of the runtime's
//! slab, so that a set of up to five colors allocates nothing.
//!
//! # Who may touch what
//!
//! The `Set` is written by the poster before the first request is in a queue. After that `missing`
//! is counted down by whoever holds a color whose request has come to the front; the rest is
//! immutable. Who counts it down to none has the `Set`, the event and, by their requests, all the
//! colors: an exclusive one is held, with the request, which is spent, at its head; of a shared one
//! it is a reader.
//!
//! A color cannot die while a request is in its queue, or a reader in it, as its grave waits for
//! both. So a `Set` needs no handles.
//!
//! Orderings: counting down is AcqRel, so that what the holders of all colors saw is seen by the
//! set's event. The locks of the posters order their places; what they order is argued in
//! `dapple_colors::set`.

use std::marker::PhantomData;
use std::ptr::NonNull;

use dapple_colors::{Access, Arrived, Gathering, Priority};

use super::cell::ColorCell;
use super::held::{Held, Reader};
use crate::event::{Event, Memory, Owned, Word};
use crate::sync::{AtomicU32, Ordering};

/// Colors of a set that needs no allocation.
pub(crate) const FEW: usize = 5;

/// One color of a set, and what for: the lowest bit says that it is shared.
#[derive(Clone, Copy)]
struct Want(NonNull<u8>);

const SHARED: usize = 1;
const _: () = assert!(align_of::<ColorCell>() > SHARED);

impl Want {
    #[inline]
    fn new(cell: &ColorCell, access: Access) -> Self {
        let bit = if access == Access::Shared { SHARED } else { 0 };
        let tagged = cell.me().as_ptr().cast::<u8>().map_addr(|a| a | bit);
        // SAFETY: setting a bit of a pointer that is not null leaves it so.
        Want(unsafe { NonNull::new_unchecked(tagged) })
    }

    fn as_ptr(self) -> NonNull<ColorCell> {
        let plain = self.0.as_ptr().map_addr(|a| a & !SHARED);
        // SAFETY: this undoes `new`.
        unsafe { NonNull::new_unchecked(plain) }.cast()
    }

    #[inline]
    fn is_of(self, cell: &ColorCell) -> bool {
        self.0.as_ptr().addr() & !SHARED == std::ptr::from_ref(cell).addr()
    }

    #[inline]
    fn access(self) -> Access {
        match self.0.as_ptr().addr() & SHARED {
            0 => Access::Exclusive,
            _ => Access::Shared,
        }
    }
}

/// A color that a set names, while somebody keeps it.
#[derive(Clone, Copy)]
pub(crate) struct Named<'a>(Want, PhantomData<&'a ColorCell>);

impl<'a> Named<'a> {
    #[inline]
    pub(crate) fn new(cell: &'a ColorCell, access: Access) -> Self {
        Named(Want::new(cell, access), PhantomData)
    }

    #[inline]
    pub(crate) fn cell(&self) -> &'a ColorCell {
        // SAFETY: it was made of a reference that lives as long.
        unsafe { self.0.as_ptr().as_ref() }
    }

    #[inline]
    pub(crate) fn access(&self) -> Access {
        self.0.access()
    }
}

impl dapple_colors::set::Want for Named<'_> {
    /// The one order of all colors.
    type Key = u64;
    #[inline]
    fn key(&self) -> u64 {
        self.cell().serial()
    }
    #[inline]
    fn access(&self) -> Access {
        self.0.access()
    }
    #[inline]
    fn set_access(&mut self, access: Access) {
        *self = Named::new(self.cell(), access);
    }
}

enum Wants {
    /// So many; the color that was named first comes first.
    Few(u8, [Want; FEW]),
    /// In the order of colors, to be found quickly; and where the one stands that was named first.
    Many(u32, Box<[Want]>),
}

/// What all requests of a set share; see the module.
struct Set {
    missing: AtomicU32,
    /// The highest class among its colors. All that it waits for are in this class until their
    /// request arrives.
    class: Priority,
    event: Option<Owned>,
    wants: Wants,
}

const _: () =
    assert!(size_of::<Set>() <= size_of::<Event>() && align_of::<Set>() <= align_of::<Event>());

impl Wants {
    /// `first`: the color that was named first.
    #[inline]
    fn new(named: &[Named<'_>], first: &ColorCell) -> Wants {
        let lead = named.iter().position(|named| named.0.is_of(first)).unwrap_or(0);
        match named.len() {
            n @ 1..=FEW => {
                let mut few = [named[0].0; FEW];
                few.iter_mut().zip(named).for_each(|(want, named)| *want = named.0);
                few.swap(0, lead);
                Wants::Few(n as u8, few)
            }
            _ => Wants::Many(lead as u32, named.iter().map(|named| named.0).collect()),
        }
    }

    fn all(&self) -> &[Want] {
        match self {
            Wants::Few(n, few) => &few[..usize::from(*n)],
            Wants::Many(_, many) => many,
        }
    }

    fn first(&self) -> Want {
        match self {
            Wants::Few(_, few) => few[0],
            Wants::Many(lead, many) => many[*lead as usize],
        }
    }

    /// # Safety
    ///
    /// The colors are there.
    unsafe fn find(&self, cell: &ColorCell) -> Option<Access> {
        let want = match self {
            Wants::Few(n, few) => few[..usize::from(*n)].iter().find(|want| want.is_of(cell)),
            Wants::Many(_, many) => {
                // SAFETY: the caller says that they are there.
                let serial = |want: &Want| unsafe { want.as_ptr().as_ref() }.serial();
                let at = many.binary_search_by_key(&cell.serial(), serial);
                at.ok().map(|at| &many[at]).filter(|want| want.is_of(cell))
            }
        };
        want.map(|want| want.access())
    }
}

/// The place of a set in the queue of one of its colors: what the request there holds.
#[derive(Clone, Copy)]
pub(crate) struct SetRequest(NonNull<Set>);

/// A set whose last request has arrived: it has all its colors.
#[must_use = "it gives its colors back"]
pub(crate) struct Gathered(NonNull<Set>);

/// One color of a set that gives them back, with what the set has of it.
pub(crate) enum Given {
    Held(Held),
    Reader(Reader),
}

impl SetRequest {
    /// Makes a set in `memory`, and says what its requests hold: as many are to be posted as there
    /// are colors `named`, each once, in the order of colors. `event` is what runs then; `first`:
    /// the color that was named first.
    pub(crate) fn make(
        memory: Memory,
        mut event: Owned,
        named: &[Named<'_>],
        first: &ColorCell,
        class: Priority,
    ) -> SetRequest {
        let set = memory.into_slot().cast::<Set>();
        // SAFETY: this is the set's event, and the set knows it alone.
        unsafe { event.set_claims(Word::pointer(set)) };
        let missing = AtomicU32::new(named.len() as u32);
        let wants = Wants::new(named, first);
        // SAFETY: the memory is that of an event, which is large enough, and the caller's.
        unsafe { set.write(Set { missing, class, event: Some(event), wants }) };
        SetRequest(set)
    }

    /// The request has come to the front of a color's queue.
    pub(crate) fn has_come_to(self, color: &ColorCell) {
        // SAFETY: a set is there until its last request has arrived.
        let class = unsafe { self.0.as_ref() }.class;
        if class.is_higher_than(color.own_priority()) {
            color.unboost(class);
        }
    }

    /// The request has arrived. If it was the last one, this is the event that is to be queued, and
    /// its class; it has all colors of the set.
    ///
    /// # Safety
    ///
    /// The request has come to the front of its color's queue, and arrives once. The caller gives
    /// the color up: what it held, or was a reader of.
    pub(crate) unsafe fn arrive(self) -> Option<(Owned, Priority)> {
        // SAFETY: a set is there until its last request has arrived.
        let left = unsafe { self.0.as_ref() }.missing.fetch_sub(1, Ordering::AcqRel) - 1;
        match Gathering::after(left as usize) {
            Arrived::Waits => None,
            Arrived::Complete => {
                // SAFETY: nobody else reaches the set any more.
                let set = unsafe { &mut *self.0.as_ptr() };
                set.event.take().map(|event| (event, set.class))
            }
        }
    }
}

impl Gathered {
    /// # Safety
    ///
    /// The word is that of a set's event, which has arrived, and this is the only such value of it.
    #[inline]
    pub(super) unsafe fn of(word: Word) -> Option<Gathered> {
        word.as_pointer().map(Gathered)
    }

    pub(super) fn into_word(self) -> Word {
        Word::pointer(self.0)
    }

    #[inline]
    fn wants(&self) -> &Wants {
        // SAFETY: the set is there until it has given its colors back.
        unsafe { &(*self.0.as_ptr()).wants }
    }

    /// A color of it.
    fn color(&self, want: &Want) -> &ColorCell {
        // SAFETY: the set has the color, so it is there.
        unsafe { &*want.as_ptr().as_ptr() }
    }

    /// Its colors.
    pub(crate) fn colors(&self) -> impl Iterator<Item = &ColorCell> {
        self.wants().all().iter().map(|want| self.color(want))
    }

    /// The color that was named first.
    pub(crate) fn first(&self) -> &ColorCell {
        self.color(&self.wants().first())
    }

    /// What the set may do with a color.
    pub(crate) fn access(&self, color: &ColorCell) -> Option<Access> {
        // SAFETY: the set has its colors, so they are there.
        unsafe { self.wants().find(color) }
    }

    /// The set's event has ended: `give` gets all colors. The answer is the set's memory.
    #[inline]
    pub(crate) fn give_back(self, mut give: impl FnMut(Given)) -> Memory {
        // SAFETY: it has all colors, each by the request that arrived for it: an exclusive one is
        // held, of a shared one it is a reader; each is given once. The set is not used again.
        unsafe {
            for want in self.wants().all() {
                give(match want.access() {
                    Access::Shared => Given::Reader(Reader::of(want.as_ptr())),
                    Access::Exclusive => Given::Held(Held::of(want.as_ptr())),
                });
            }
            std::ptr::drop_in_place(self.0.as_ptr());
            Memory::of(self.0.cast())
        }
    }
}
