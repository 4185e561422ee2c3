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

use std::ops::Deref;
use std::ptr::NonNull;

use dapple_colors::{Access, Posted, Priority};

use super::bound::Bound;
use super::held::Held;
use super::life::Life;
use super::marks::{Affinity, Boosts, Marks};
use super::queue::{Link, Queue};
use super::readers::Readers;
use super::watcher::Watcher;
use crate::event::{Header, Kind, Owned};
use crate::lock::Flag;
use crate::runtime::core::{Core, CoreRef};
use crate::slab::Slot;
use crate::sync::{self, AtomicU16, AtomicU32, Ordering};
use crate::turn::local::Local;
use crate::worker::figures::{UNKNOWN, blend, blend_thousandths};
use crate::worker::steal::{Verdict, verdict};

/// What a palette adds to the death of its colors.
pub(crate) trait Retire: Send + Sync {
    /// Asks `dead` under the lock under which look-ups revive colors; if the answer is yes, the
    /// color of this number is forgotten before the lock is left.
    fn retire(&self, serial: u64, dead: &dyn Fn() -> bool) -> bool;
}

/// Turns shorter than this, in nanoseconds, wake nobody, whatever they come with.
const LEAST_WORTH: u32 = 1_000;

/// What is gained by having a grave visited elsewhere.
pub(crate) const GRAVE_WORTH: u32 = 1;

/// See the module.
#[repr(C, align(64))]
pub(crate) struct ColorCell {
    pub(super) queue: Queue,
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
    pub(crate) watcher: Watcher,
    /// Its number in the runtime. Colors of a set stand in the order of these.
    serial: u64,
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
    pub(crate) affinity: Affinity,
    /// Whether it is the default color.
    pub(crate) default: bool,
}

/// Where a color begins: its memory, its home, and its number, with a count of the core that is the
/// color's affair.
pub(crate) struct Birth {
    pub(crate) memory: CellMemory,
    pub(crate) home: usize,
    pub(crate) serial: u64,
}

impl ColorCell {
    /// A new color, with one handle.
    #[inline]
    pub(crate) fn create(birth: Birth, core: &Core, plan: Plan) -> CellRef {
        let Birth { memory, home, serial } = birth;
        let Plan { label, priority, capacity, retire, affinity, default } = plan;
        let cell = ColorCell {
            queue: Queue::new(),
            life: Life::new(),
            core: core.as_ptr(),
            home: AtomicU16::new(affinity.worker().unwrap_or(home) as u16),
            label: label as u8,
            marks: Marks::new(priority, default, capacity.is_some(), affinity),
            readers: Readers::new(),
            turn_nanos: AtomicU32::new(UNKNOWN),
            event_nanos: AtomicU32::new(UNKNOWN),
            grave: Header::grave(),
            traffic: AtomicU32::new(0),
            boosts: Boosts::default(),
            set_lock: Flag::new(),
            watcher: Watcher::new(),
            serial,
            retire,
            bound: capacity.map(|capacity| Box::new(Bound::new(capacity))),
            #[cfg(debug_assertions)]
            holder: AtomicU32::new(0),
        };
        // SAFETY: the memory is a free slot for a cell, and the caller's.
        unsafe { memory.0.write(cell) };
        // For `me`.
        memory.0.as_ptr().expose_provenance();
        let address = memory.0.as_ptr().addr();
        sync::color_made(address, affinity.worker(), || core.labels.name(label));
        CellRef(memory.0)
    }

    /// The pointer to its memory, as the slab gave it: what is made of a reference must not be
    /// written to, nor given back. It costs nothing, and no place in the cell.
    #[inline]
    pub(in crate::color) fn me(&self) -> NonNull<ColorCell> {
        let address = std::ptr::from_ref(self).addr();
        // SAFETY: the address of a reference is not null. The pointer to all of the slot has been
        // exposed when the cell was made.
        unsafe { NonNull::new_unchecked(std::ptr::with_exposed_provenance_mut(address)) }
    }

    /// Where it is, as a number, by which it is told from others.
    #[inline]
    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Its number in the runtime.
    #[inline]
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// The core that it belongs to.
    #[inline]
    pub(crate) fn core(&self) -> &Core {
        // SAFETY: a color counts on its core, as the default one's handles do.
        unsafe { self.core.as_ref() }
    }

    pub(crate) fn is_default(&self) -> bool {
        self.marks.is_default()
    }

    #[inline]
    pub(crate) fn is_bounded(&self) -> bool {
        self.marks.is_bounded()
    }

    /// Says whether it is bounded, or bound to a thread of the user's, by one look.
    #[inline]
    pub(crate) fn is_special(&self) -> bool {
        self.marks.is_special()
    }

    /// Says whether it is bound to the worker where it is at home (E17).
    #[inline]
    pub(crate) fn is_affine(&self) -> bool {
        self.marks.is_affine()
    }

    /// The worker to which it is bound.
    pub(crate) fn bound_to(&self) -> Option<usize> {
        self.is_affine().then(|| self.home())
    }

    /// Says whether it is bound to a thread of the user's (E18): its events are out of the queue
    /// while they run.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        self.marks.is_here()
    }

    /// Says whether it is of the normal class, not bounded, and not bound to a worker.
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

    /// The class, and whether it is bound to a worker, as the tag of a run-queue entry.
    #[inline]
    pub(crate) fn entry_tag(&self) -> usize {
        self.marks.entry_tag()
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
        let price = self.core().fleet.machine.move_nanos;
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

    /// The holder has timed a turn of so many events, which has exchanged so many thousandths of an
    /// event with other colors.
    pub(crate) fn learn(&self, turn: u64, events: u32, traffic: u64) {
        let traffic = traffic.min(u64::from(u32::MAX / 8)) as u32;
        let before = if self.turn_nanos() == UNKNOWN { traffic } else { self.traffic() };
        let traffic = blend_thousandths(before, traffic);
        self.traffic.store(traffic, Ordering::Relaxed);
        let per_event = turn / u64::from(events.max(1));
        self.turn_nanos.store(blend(self.turn_nanos(), turn), Ordering::Relaxed);
        self.event_nanos.store(blend(self.event_nanos(), per_event), Ordering::Relaxed);
    }

    /// An event is about to be appended that did not ask for room. For a color that is bounded.
    #[cold]
    pub(crate) fn enter_bound(&self, event: &Owned) {
        if event.is_counted() {
            self.enter_bound_by_set();
        }
    }

    /// [`enter_bound`](Self::enter_bound), of a set's request.
    #[cold]
    pub(crate) fn enter_bound_by_set(&self) {
        if let Some(bound) = self.bound()
            && !bound.enter()
        {
            self.core().count_over_limit(1);
        }
    }

    /// An event of it has ended. For a color that is bounded.
    #[cold]
    pub(crate) fn leave_bound(&self) {
        if let Some(bound) = self.bound() {
            bound.leave();
        }
    }

    /// Appends an event. If the color was idle, the poster holds it from now on.
    #[inline]
    pub(crate) fn push(&self, event: Owned) -> Option<Held> {
        sync::event_posted(event.address(), self.address(), || match event.kind() {
            Kind::Shared => Access::Shared,
            _ => Access::Exclusive,
        });
        // SAFETY: the event is owned, and the queue's until the holder passes it.
        unsafe { self.push_link(event.into_link()) }
    }

    /// Appends the link of an event, or of a request of a set. If the color was idle, the poster
    /// holds it from now on.
    ///
    /// # Safety
    ///
    /// The link is in no queue, and is the queue's until the holder passes it.
    #[inline]
    pub(super) unsafe fn push_link(&self, link: NonNull<Link>) -> Option<Held> {
        // SAFETY: passed on from the caller. Who makes an idle color runnable holds it.
        unsafe {
            let posted = self.queue.push(link);
            (posted == Posted::BecameRunnable).then(|| Held::of(self.me()))
        }
    }

    /// A post by an event of the color; see [`Queue::keep`]. What is not kept comes back.
    ///
    /// # Safety
    ///
    /// An exclusive event of the color runs on this thread.
    #[inline]
    pub(crate) unsafe fn keep(&self, event: Owned) -> Option<Owned> {
        let event_address = event.address();
        let link = event.into_link();
        // SAFETY: the worker of the event that runs holds the color; the pointer to the grave is
        // compared only. If the link is not kept, it is still ours.
        unsafe {
            let kept = self.queue.keep(link, (&raw const self.grave).cast());
            if kept {
                sync::event_posted(event_address, self.address(), || Access::Exclusive);
            }
            (!kept).then(|| Owned::of_link(link))
        }
    }

    /// What a palette says, if the color is one of its: whether it is dead.
    pub(super) fn retire(&self, dead: &dyn Fn() -> bool) -> bool {
        match &self.retire {
            None => dead(),
            Some(retire) => retire.retire(self.serial, dead),
        }
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

/// Memory for one color. Its owner is the only one that uses it.
#[must_use = "memory that is not given back is lost to its slab"]
pub(crate) struct CellMemory(NonNull<ColorCell>);

impl CellMemory {
    /// # Safety
    ///
    /// A free slot of a slab of cells, and the caller's.
    pub(crate) unsafe fn of(slot: Slot) -> CellMemory {
        CellMemory(slot.cast())
    }

    pub(crate) fn into_slot(self) -> Slot {
        self.0.cast()
    }
}

/// A color that has died: nobody knows it any more.
#[must_use = "its memory has to be given back"]
pub(crate) struct DeadCell(NonNull<ColorCell>);

impl DeadCell {
    /// # Safety
    ///
    /// The color has neither a handle nor an event, and nobody can reach it.
    pub(super) unsafe fn of(cell: NonNull<ColorCell>) -> DeadCell {
        DeadCell(cell)
    }

    /// Drops what is in it, and answers the memory.
    #[inline]
    pub(crate) fn into_memory(self) -> CellMemory {
        // SAFETY: nobody else can reach it, and it is not used again.
        unsafe { std::ptr::drop_in_place(self.0.as_ptr()) };
        CellMemory(self.0)
    }
}

/// One count of a color: what a handle has, and the color's grave.
#[derive(Debug)]
pub(crate) struct CellRef(NonNull<ColorCell>);

// SAFETY: a cell is used from any thread by its protocol (see the module and `queue`).
unsafe impl Send for CellRef {}
// SAFETY: a shared count gives `&ColorCell`, which any thread may have.
unsafe impl Sync for CellRef {}

impl CellRef {
    /// One more count of a color that somebody keeps meanwhile: a handle, an event of it that runs,
    /// or the lock of its palette.
    pub(crate) fn of(cell: &ColorCell) -> CellRef {
        if cell.is_default() {
            // It lives as long as the core.
            cell.core().acquire(1);
        } else {
            cell.life.retain();
        }
        CellRef(cell.me())
    }

    /// The count of the grave, which has left the queue.
    ///
    /// # Safety
    ///
    /// The holder has it, and gives it up.
    pub(super) unsafe fn of_the_grave(cell: NonNull<ColorCell>) -> CellRef {
        CellRef(cell)
    }

    /// For a table that is told before the color dies.
    pub(super) fn downgrade(&self) -> WeakCell {
        WeakCell(self.0, self.serial)
    }

    /// The count goes to the core that owns its default color.
    pub(crate) fn into_default(self) -> DefaultCell {
        let cell = self.0;
        std::mem::forget(self);
        DefaultCell(cell)
    }

    /// Posts the grave, which inherits this count, the last one. If the color was idle, the caller
    /// holds it.
    fn dig(&self) -> Option<Held> {
        // SAFETY: the pointer to the grave is made from the pointer to the whole cell, so that it
        // stays valid for the whole header. The one count left is ours, so the grave is in no queue
        // and nobody else posts it; it stays as long as the cell.
        let posted = unsafe {
            let grave = NonNull::new_unchecked(&raw mut (*self.0.as_ptr()).grave);
            (*self.0.as_ptr()).queue.push(grave.cast())
        };
        // SAFETY: if the color was idle, it is ours, so it is there.
        (posted == Posted::BecameRunnable).then(|| unsafe { Held::of(self.0) })
    }
}

impl Deref for CellRef {
    type Target = ColorCell;
    #[inline]
    fn deref(&self) -> &ColorCell {
        // SAFETY: our count keeps it.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for CellRef {
    fn clone(&self) -> Self {
        CellRef::of(self)
    }
}

impl Drop for CellRef {
    fn drop(&mut self) {
        if self.is_default() {
            // SAFETY: a handle of the default color has a count of the core, which is given back.
            return unsafe { Core::release(self.core, 1) };
        }
        if Local::is_on(self.core()) {
            // The worker keeps the core.
            Local::with(self.core(), |local| {
                if let Some(local) = local
                    && self.life.release()
                {
                    // A palette may revive the color, and others post behind the grave.
                    local.before_post();
                    if let Some(held) = self.dig() {
                        local.schedule(held, GRAVE_WORTH);
                    }
                }
            });
        } else if self.life.release() {
            // The color's count of the core keeps that until the grave is run; after that our own
            // does.
            let core = CoreRef::of(self.core());
            core.quiesce.enter();
            if let Some(held) = self.dig() {
                core.inject_color(held, GRAVE_WORTH);
            }
            core.quiesce.leave();
        }
    }
}

/// A color that may be dead.
pub(super) struct WeakCell(NonNull<ColorCell>, u64);

// SAFETY: a cell is used from any thread by its protocol.
unsafe impl Send for WeakCell {}

impl WeakCell {
    /// Its number in the runtime.
    pub(super) fn serial(&self) -> u64 {
        self.1
    }

    /// A count of the color.
    ///
    /// # Safety
    ///
    /// The color is not dead, and cannot die meanwhile: the caller holds the lock of its palette.
    pub(super) unsafe fn revive(&self) -> CellRef {
        // SAFETY: the caller says that it is there.
        CellRef::of(unsafe { self.0.as_ref() })
    }
}

/// The default color of a core, which has no handle of its own.
pub(crate) struct DefaultCell(NonNull<ColorCell>);

impl DefaultCell {
    /// The color; it lives as long as the core.
    #[inline]
    pub(crate) fn get(&self) -> &ColorCell {
        // SAFETY: the core that owns this keeps the cell until it ends itself.
        unsafe { self.0.as_ref() }
    }

    /// The end of the core.
    ///
    /// # Safety
    ///
    /// There is neither a handle, as handles count on the core, nor an event.
    pub(crate) unsafe fn end(self) -> DeadCell {
        DeadCell(self.0)
    }
}
