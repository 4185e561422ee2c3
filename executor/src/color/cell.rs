//! The shared object behind a color: its queue, its handles' count, and how it ends.
//!
//! # Life and death (C10)
//!
//! `life` counts the [`Color`](crate::Color) handles, plus one while the *grave* is in the queue.
//! The grave is a link that is part of the cell itself, so that dropping a handle allocates
//! nothing. The handle that finds itself to be the last one does not count down: it posts the
//! grave, which inherits its count. So no event and no run queue needs a count of its own: an event
//! was posted through a handle, the grave was posted after the last handle was done, and the queue
//! is first in, first out.
//!
//! When a worker reaches the grave it holds the color, so no event of it runs. Nobody but an event
//! of the color (by [`Cx::color`](crate::Cx::color)) or a palette can make a handle when there is
//! none. Hence:
//!
//! * one count, and nothing behind the grave: the color is dead, for good. A palette asks for
//!   this under its lock, and forgets the color in the same step (C4).
//! * otherwise the grave leaves the queue as any event does, and then gives its count back as a
//!   handle would; if it is the last one, that posts it again, behind what came meanwhile.
//!
//! The grave's count is given back only after its link is out of the queue; so there is never a
//! second post of a link that is still in it.
//!
//! The default color has no grave: its cell belongs to the core of the runtime, and each of its
//! handles holds a count of the core instead.

use std::ptr::NonNull;

use dapple_colors::{Finished, Posted, Priority};

use super::bound::Bound;
use super::life::Life;
use super::marks::{Boosts, Marks};
use super::queue::{Link, Queue};
use super::readers::Readers;
use crate::event::{Header, Owned};
use crate::lock::Flag;
use crate::runtime::core::Core;
use crate::sync::{AtomicU16, AtomicU32, Ordering};
use crate::worker::entry::Entry;
use crate::worker::steal::{Verdict, verdict};

/// What a palette adds to the death of its colors.
pub(crate) trait Retire: Send + Sync {
    /// Asks `dead` under the lock under which look-ups revive colors; if the answer is yes, the
    /// color `cell` is forgotten before the lock is left.
    fn retire(&self, cell: NonNull<ColorCell>, dead: &dyn Fn() -> bool) -> bool;
}

/// A learned figure in nanoseconds that is not known yet.
pub(crate) const UNKNOWN: u32 = 0;

/// Turns shorter than this, in nanoseconds, wake nobody, whatever they come with.
const LEAST_WORTH: u32 = 1_000;

/// What is gained by having a grave visited elsewhere.
pub(crate) const GRAVE_WORTH: u32 = 1;

/// See the module.
#[repr(C, align(64))]
pub(crate) struct ColorCell {
    pub(crate) queue: Queue,
    pub(crate) life: Life,
    core: NonNull<Core>,
    /// The worker that last ran it, or where it was placed.
    home: AtomicU16,
    label: u8,
    marks: Marks,
    pub(crate) readers: Readers,
    /// Learned: nanoseconds per turn and per event. Written by the holder only.
    turn_nanos: AtomicU32,
    event_nanos: AtomicU32,
    grave: Header,
    /// Learned: how many events a turn exchanges with other colors, in thousandths. Written by the
    /// holder.
    traffic: AtomicU32,
    /// How many sets of each higher class wait for it. Under the lock.
    boosts: Boosts,
    /// Held by posters of sets while they take their places.
    pub(crate) set_lock: Flag,
    retire: Option<Box<dyn Retire>>,
    bound: Option<Box<Bound>>,
    #[cfg(debug_assertions)]
    holder: AtomicU32,
}

/// What a turn reads stands in one line of the cache.
#[cfg(not(debug_assertions))]
const _: () = assert!(std::mem::offset_of!(ColorCell, grave) == 64);

/// What a color is made with.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) label: u32,
    pub(crate) priority: Priority,
    pub(crate) capacity: Option<usize>,
    pub(crate) retire: Option<Box<dyn Retire>>,
    /// It is the default color.
    pub(crate) default: bool,
}

/// How a visit to the grave ended.
#[must_use]
pub(crate) enum Buried {
    /// The color is dead; the caller frees the cell.
    Dead,
    /// The grave has left the queue, which goes on as after an event. It still has its count, which
    /// the caller gives back by [`Life::release`].
    Passed(Finished<NonNull<Link>>),
}

impl ColorCell {
    /// A cell with one handle; its count of the core is the caller's affair.
    ///
    /// # Safety
    ///
    /// The memory is valid for a cell, and the caller's.
    pub(crate) unsafe fn write(
        memory: NonNull<ColorCell>,
        core: NonNull<Core>,
        home: usize,
        plan: Plan,
    ) -> NonNull<ColorCell> {
        let Plan { label, priority, capacity, retire, default } = plan;
        let cell = ColorCell {
            queue: Queue::new(),
            life: Life::new(),
            core,
            home: AtomicU16::new(home as u16),
            label: label as u8,
            marks: Marks::new(priority, default, capacity.is_some()),
            readers: Readers::new(),
            turn_nanos: AtomicU32::new(UNKNOWN),
            event_nanos: AtomicU32::new(UNKNOWN),
            grave: Header::grave(),
            traffic: AtomicU32::new(0),
            boosts: Boosts::default(),
            set_lock: Flag::new(),
            retire,
            bound: capacity.map(|capacity| Box::new(Bound::new(capacity))),
            #[cfg(debug_assertions)]
            holder: AtomicU32::new(0),
        };
        // SAFETY: by contract.
        unsafe { memory.write(cell) };
        memory
    }

    #[inline]
    pub(crate) fn core(&self) -> NonNull<Core> {
        self.core
    }

    pub(crate) fn is_default(&self) -> bool {
        self.marks.is_default()
    }

    #[inline]
    pub(crate) fn is_bounded(&self) -> bool {
        self.marks.is_bounded()
    }

    /// Is it of the normal class, and not bounded?
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.marks.is_plain()
    }

    pub(crate) fn bound(&self) -> Option<&Bound> {
        self.bound.as_deref()
    }

    /// The class that it runs in now.
    pub(crate) fn priority(&self) -> Priority {
        self.marks.priority()
    }

    /// What stands for it in a run queue.
    #[inline]
    pub(crate) fn entry(&self) -> Entry {
        Entry::color(NonNull::from(self), self.marks.class_tag())
    }

    /// A set of a class waits for it. True: it runs in a higher class from now on.
    ///
    /// The caller has the lock of the color.
    pub(crate) fn boost(&self, class: Priority) -> bool {
        self.boosts.add(class);
        self.marks.raise(class)
    }

    /// A set of a class does not wait for it any more.
    pub(crate) fn unboost(&self, class: Priority) {
        self.set_lock.acquire();
        self.boosts.remove(class);
        self.marks.set(self.boosts.highest().or_higher(self.marks.own_priority()));
        self.set_lock.release();
    }

    /// The class that it was made with.
    pub(crate) fn own_priority(&self) -> Priority {
        self.marks.own_priority()
    }

    /// Which label it has; 0: none.
    #[inline]
    pub(crate) fn label(&self) -> u32 {
        self.label.into()
    }

    #[inline]
    pub(crate) fn home(&self) -> usize {
        self.home.load(Ordering::Relaxed) as usize
    }

    #[inline]
    pub(crate) fn set_home(&self, worker: usize) {
        if self.home() != worker {
            self.home.store(worker as u16, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn turn_nanos(&self) -> u32 {
        self.turn_nanos.load(Ordering::Relaxed)
    }

    /// What another worker would gain by running it: the time of a turn, unless it comes with so
    /// many events from elsewhere that moving them costs more. Unknown at first.
    #[inline]
    pub(crate) fn worth(&self) -> u32 {
        let turn = self.turn_nanos();
        if turn < LEAST_WORTH {
            return turn;
        }
        // SAFETY: the caller has a handle or holds the color; both count on the core.
        let price = unsafe { self.core.as_ref() }.move_nanos;
        match verdict(turn, self.traffic(), price) {
            Verdict::No => 1,
            _ => turn,
        }
    }

    #[inline]
    pub(crate) fn event_nanos(&self) -> u32 {
        self.event_nanos.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn traffic(&self) -> u32 {
        self.traffic.load(Ordering::Relaxed)
    }

    /// The holder has timed a turn of so many events, which has exchanged so many with other
    /// colors.
    pub(crate) fn learn(&self, turn: u64, events: u32, traffic: u32) {
        let traffic = traffic.saturating_mul(1_000).min(u32::MAX / 8);
        let before = if self.turn_nanos() == UNKNOWN { traffic } else { self.traffic() };
        let traffic = blend_thousandths(before, traffic);
        self.traffic.store(traffic, Ordering::Relaxed);
        let per_event = turn / u64::from(events.max(1));
        self.turn_nanos.store(blend(self.turn_nanos(), turn), Ordering::Relaxed);
        self.event_nanos.store(blend(self.event_nanos(), per_event), Ordering::Relaxed);
    }

    /// Appends an event.
    ///
    /// # Safety
    ///
    /// The event is the caller's and goes to the queue; the caller has a handle, or holds the
    /// color.
    #[inline]
    pub(crate) unsafe fn push(&self, event: Owned) -> Posted {
        // SAFETY: by contract.
        unsafe { self.queue.push(event.into_link()) }
    }

    /// A post by an event of the color; see [`Queue::keep`]. What is not kept comes back.
    ///
    /// # Safety
    ///
    /// As there.
    #[inline]
    pub(crate) unsafe fn keep(&self, event: Owned) -> Option<Owned> {
        let link = event.into_link();
        // SAFETY: by contract; the pointer to the grave is compared only. If it is not kept, it is
        // still ours.
        unsafe {
            let kept = self.queue.keep(link, (&raw const self.grave).cast());
            (!kept).then(|| Owned::of_link(link))
        }
    }

    /// Posts the grave.
    ///
    /// # Safety
    ///
    /// [`Life::release`] has just answered true to the caller. The cell may be freed as
    /// soon as the color is run; after [`Posted::Behind`] the caller must not touch it any more.
    pub(crate) unsafe fn dig(cell: NonNull<ColorCell>) -> Posted {
        // SAFETY: the pointer to the grave is made from the pointer to the whole cell, so that it
        // stays valid for the whole header. The one count left is the caller's, so the grave is in
        // no queue and nobody else posts it; it stays as long as the cell.
        unsafe {
            let grave = NonNull::new_unchecked(&raw mut (*cell.as_ptr()).grave);
            (*cell.as_ptr()).queue.push(grave.cast())
        }
    }

    /// The holder has come to the grave.
    ///
    /// # Safety
    ///
    /// The caller holds the color, and `link` is its head and its grave.
    pub(crate) unsafe fn bury(&self, link: NonNull<Link>) -> Buried {
        let dead = || self.life.is_over(&self.queue, link);
        let is_dead = match &self.retire {
            None => dead(),
            Some(retire) => retire.retire(NonNull::from(self), &dead),
        };
        if is_dead {
            return Buried::Dead;
        }
        // SAFETY: by contract.
        Buried::Passed(unsafe { self.queue.finish(link) })
    }

    /// Debug builds: this worker takes hold of the color (C1).
    #[inline]
    pub(crate) fn debug_hold(&self, _worker: usize) {
        #[cfg(debug_assertions)]
        {
            let other = self.holder.swap(_worker as u32 + 1, Ordering::Relaxed);
            assert_eq!(other, 0, "C1: two workers are about to run events of one color");
        }
    }

    /// Debug builds: it lets the color go.
    #[inline]
    pub(crate) fn debug_let_go(&self) {
        #[cfg(debug_assertions)]
        self.holder.store(0, Ordering::Relaxed);
    }
}

/// A moving average of thousandths.
pub(crate) fn blend_thousandths(old: u32, new: u32) -> u32 {
    old - old / 8 + new / 8
}

/// A moving average that starts with its first value, and is never [`UNKNOWN`] after it. One value
/// that is far above, such as that of the one long event among short ones, counts for four times
/// the average at most; if the average itself is far above, as after a first long event, it soon
/// comes down.
pub(crate) fn blend(old: u32, new: u64) -> u32 {
    let new = new.clamp(1, u64::from(u32::MAX / 8)) as u32;
    if old == UNKNOWN {
        return new;
    }
    if new < old / 4 {
        return old / 2;
    }
    let new = new.min(old.saturating_mul(4).max(1_000));
    (old - old / 8 + new / 8).max(1)
}
