//! What stands in a run queue: a runnable color, at home or as a guest (see `worker::watch`), or an
//! event that stands in no color's queue; with its class (C7).

use std::ptr::NonNull;

use dapple_colors::Priority;

use crate::color::cell::ColorCell;
use crate::color::held::{Claims, Held};
use crate::color::marks::{AFFINE_TAG, CLASS, HIGH, LOW, class_of_tag, class_tag};
use crate::event::{Event, Owned};
use crate::worker::figures::UNKNOWN;
use crate::worker::work::Work;

/// One word: the lowest bits tell which of them it is. It owns what it stands for.
#[derive(Debug)]
pub(crate) struct Entry(NonNull<u8>);

// SAFETY: a cell is used from any thread by its protocol, and an event's closure is Send.
unsafe impl Send for Entry {}

/// An [`Entry`], opened.
pub(crate) enum Job {
    Color(Held),
    /// Run here because the worker where it belongs is stuck; it goes back afterwards.
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
    /// A color, in its class, and with the worker to which it is bound.
    #[inline]
    pub(crate) fn color(held: Held) -> Self {
        let tag = held.entry_tag();
        Entry(held.into_raw().cast()).tagged(tag)
    }

    /// A color of the normal class that is bound to no worker.
    #[inline]
    pub(crate) fn normal_color(held: Held) -> Self {
        Entry(held.into_raw().cast())
    }

    /// An event that stands in no color's queue.
    #[inline]
    pub(crate) fn event(event: Owned, class: Priority) -> Self {
        Entry(event.into_raw().cast()).tagged(EVENT | class_tag(class))
    }

    /// One that only the worker that gets it may run, as a color of it is bound to that.
    pub(crate) fn affine_event(event: Owned, class: Priority) -> Self {
        Entry::event(event, class).tagged(AFFINE)
    }

    /// The event of a set that has all its colors.
    #[inline]
    pub(crate) fn set(event: Owned, class: Priority) -> Self {
        Entry::event(event, class).tagged(READY)
    }

    /// A color with a gap that may keep a set waiting: as soon as the gap is closed, it goes on.
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
        // SAFETY: it is what `tagged` began with, which was not null.
        unsafe { NonNull::new_unchecked(self.0.as_ptr().map_addr(|a| a & !TAG)) }
    }

    /// The color, if it is one.
    #[inline]
    fn as_color(&self) -> Option<&ColorCell> {
        // SAFETY: a color in a run queue is held by this entry, so it is there.
        (self.tag() & EVENT == 0).then(|| unsafe { self.plain().cast::<ColorCell>().as_ref() })
    }

    #[inline]
    pub(crate) fn open(self) -> Job {
        let plain = if self.tag() == 0 { self.0 } else { self.plain() };
        // SAFETY: the entry was made of a color that is held, or of an event that is owned, and is
        // gone now.
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
            // A worker that is near may take it.
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
