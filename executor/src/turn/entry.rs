//! The entries of run queues: a runnable color, at home or as a guest (see `worker::watch`), or an
//! event that is in no color's queue. Each has a class (C7).

use std::ptr::NonNull;

use dapple_colors::Priority;

use crate::color::cell::ColorCell;
use crate::color::held::{Claims, Held};
use crate::color::marks::{AFFINE_TAG, CLASS, HIGH, LOW, class_of_tag, class_tag};
use crate::event::{Event, Owned};
use crate::worker::figures::UNKNOWN;
use crate::worker::work::Work;

/// An entry as one word, whose lowest bits are its tag. It owns its color or event.
#[derive(Debug)]
pub(crate) struct Entry(NonNull<u8>);

// SAFETY: an entry is a held color or an owned event. Any thread may use a color's cell by its
// protocol, and the closure of an event is Send.
unsafe impl Send for Entry {}

/// The content of an [`Entry`].
pub(crate) enum Job {
    Color(Held),
    /// A color that runs here because its home worker is stuck. It goes back afterwards.
    Guest(Held),
    Event(Owned),
}

const EVENT: usize = 1;
const GUEST: usize = 2;
const READY: usize = 16;
const AFFINE: usize = AFFINE_TAG;
const TAG: usize = EVENT | GUEST | HIGH | LOW | READY | AFFINE;
const _: () = assert!(align_of::<ColorCell>() > TAG && align_of::<Event>() > TAG);

impl Entry {
    /// Makes the entry of a color, tagged with its class and with whether it is bound to a worker.
    #[inline]
    pub(crate) fn color(held: Held) -> Self {
        let tag = held.entry_tag();
        Entry(held.into_raw().cast()).tagged(tag)
    }

    /// Makes the entry of a color of the normal class that is not bound to a worker.
    #[inline]
    pub(crate) fn normal_color(held: Held) -> Self {
        Entry(held.into_raw().cast())
    }

    /// Makes the entry of an event that is in no color's queue.
    #[inline]
    pub(crate) fn event(event: Owned, class: Priority) -> Self {
        Entry(event.into_raw().cast()).tagged(EVENT | class_tag(class))
    }

    /// Makes the entry of an event that only the receiving worker may run, because one of the
    /// event's colors is bound to that worker.
    pub(crate) fn affine_event(event: Owned, class: Priority) -> Self {
        Entry::event(event, class).tagged(AFFINE)
    }

    /// Makes the entry of the event of a set that has all its colors.
    #[inline]
    pub(crate) fn set(event: Owned, class: Priority) -> Self {
        Entry::event(event, class).tagged(READY)
    }

    /// Makes the entry of a color with a gap. It is ready, because the color may keep a set waiting
    /// and can go on as soon as the gap is closed.
    pub(crate) fn color_with_gap(held: Held) -> Self {
        Entry::color(held).tagged(READY)
    }

    #[inline]
    fn tagged(self, tag: usize) -> Self {
        Entry(self.0.map_addr(|a| a | tag))
    }

    #[inline]
    fn tag(&self) -> usize {
        self.0.as_ptr().addr() & TAG
    }

    #[inline]
    fn plain(&self) -> NonNull<u8> {
        // SAFETY: the pointer before `tagged` was not null, and clearing the tag restores it: the
        // alignment of cells and events leaves these bits free.
        unsafe { NonNull::new_unchecked(self.0.as_ptr().map_addr(|a| a & !TAG)) }
    }

    /// Returns the color, if the entry has one.
    #[inline]
    fn as_color(&self) -> Option<&ColorCell> {
        // SAFETY: without `EVENT` the word is a color, which this entry holds and so keeps alive.
        (self.tag() & EVENT == 0).then(|| unsafe { self.plain().cast::<ColorCell>().as_ref() })
    }

    #[inline]
    pub(crate) fn open(self) -> Job {
        let plain = if self.tag() == 0 { self.0 } else { self.plain() };
        // SAFETY: by its tag, the entry was made of a `Held` or of an `Owned` by `into_raw`, and it
        // is consumed here, so the value is restored once.
        unsafe {
            match self.tag() & (EVENT | GUEST) {
                0 => Job::Color(Held::of(plain.cast())),
                EVENT => Job::Event(Owned::of_raw(plain.cast())),
                _ => Job::Guest(Held::of(plain.cast())),
            }
        }
    }
}

impl Work for Entry {
    #[inline]
    fn class(&self) -> Priority {
        class_of_tag(self.tag() & CLASS)
    }

    #[inline]
    fn is_ready(&self) -> bool {
        self.tag() & READY != 0
    }

    #[inline]
    fn is_affine(&self) -> bool {
        self.tag() & AFFINE != 0
    }

    #[inline]
    fn is_plain(&self) -> bool {
        self.tag() & (CLASS | READY | AFFINE) == 0
    }

    #[inline]
    fn home(&self) -> Option<usize> {
        self.as_color().map(ColorCell::home)
    }

    fn worth(&self) -> u32 {
        match self.as_color() {
            // A guest is always worth a steal, so that it goes to the public queue.
            Some(_) if self.tag() & GUEST != 0 => u32::MAX,
            Some(color) => color.worth(),
            None => UNKNOWN,
        }
    }

    fn into_guest(self) -> Self {
        debug_assert!(!self.is_affine(), "what is bound to a worker is nobody's guest");
        match self.tag() & EVENT {
            0 => self.tagged(GUEST),
            _ => self,
        }
    }

    fn sorted(self) -> Self {
        let (is_ready, is_affine) = (self.is_ready(), self.is_affine());
        match self.open() {
            Job::Color(held) if is_ready => Entry::color_with_gap(held),
            Job::Color(held) => Entry::color(held),
            Job::Guest(held) if is_ready => Entry::color_with_gap(held).into_guest(),
            Job::Guest(held) => Entry::color(held).into_guest(),
            Job::Event(mut event) => {
                let claims = Claims::take(&mut event);
                let (class, is_set) = (claims.class(), matches!(claims, Claims::Set(_)));
                claims.put_back(&mut event);
                match is_set {
                    _ if is_affine => Entry::affine_event(event, class),
                    true => Entry::set(event, class),
                    false => Entry::event(event, class),
                }
            }
        }
    }
}
