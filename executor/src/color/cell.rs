//! The shared object behind a color: its queue, the count of its handles, and how it dies.
//!
//! # Life and death (C10)
//!
//! `life` counts the [`Color`](crate::Color) handles, plus one while the *grave* is in the queue.
//! The grave is a link inside the cell, so dropping a handle allocates nothing. The last handle
//! does not decrement the count: it posts the grave, which inherits that handle's count. So events
//! and run-queue entries need no count of their own: an event is posted through a handle, the grave
//! is posted after the last handle is gone, and the queue is first in, first out.
//!
//! A worker that reaches the grave holds the color, so no event of the color runs. When no handle
//! is left, only an event of the color (by [`Cx::color`](crate::Cx::color)) or a palette can create
//! one. Hence there are two cases:
//!
//! * The count is one and nothing stands behind the grave: the color is dead, for good. A palette
//!   checks this under its lock, and forgets the color in the same step (C4).
//! * Otherwise the grave leaves the queue as any event does, and then releases its count as a
//!   handle would. If that was the last count, the release posts the grave again, behind what was
//!   posted in the meantime.
//!
//! The grave's count is released only after the grave's link is out of the queue, so a link that is
//! still queued is never posted a second time.
//!
//! The default color has no grave: its cell belongs to the core of the runtime, and each of its
//! handles owns a reference count of the core instead.

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

/// A palette's part in the death of its colors.
pub(crate) trait Retire: Send + Sync {
    /// Calls `dead` under the lock under which look-ups revive colors, and returns its answer. If
    /// the answer is `true`, removes the color with this number before the lock is released.
    fn retire(&self, serial: u64, dead: &dyn Fn() -> bool) -> bool;
}

/// Turns shorter than this, in nanoseconds, are not worth a wakeup, whatever their traffic is.
const LEAST_WORTH: u32 = 1_000;

/// The worth of a color that is queued only for its grave: no other worker gains by running it.
pub(crate) const GRAVE_WORTH: u32 = 1;

/// The shared object behind the handles of a color.
#[repr(C, align(64))]
pub(crate) struct ColorCell {
    pub(super) queue: Queue,
    pub(crate) life: Life,
    core: NonNull<Core>,
    /// The home: the worker that last ran the color, other than as a guest, or where it was placed.
    home: AtomicU16,
    label: u8,
    marks: Marks,
    pub(crate) readers: Readers,
    /// Learned averages, in nanoseconds per turn and per event. Only the holder writes them.
    turn_nanos: AtomicU32,
    event_nanos: AtomicU32,
    grave: Header,
    /// The learned average of the events that a turn exchanges with other colors, in thousandths.
    /// Only the holder writes it.
    traffic: AtomicU32,
    /// The number of sets of each higher class that wait for the color. Touched under `set_lock`.
    boosts: Boosts,
    /// The lock that posters of sets hold while they take their places.
    pub(crate) set_lock: Flag,
    pub(crate) watcher: Watcher,
    /// The color's number in its runtime. A set takes its colors in the order of these numbers.
    serial: u64,
    retire: Option<Box<dyn Retire>>,
    bound: Option<Box<Bound>>,
    #[cfg(debug_assertions)]
    holder: AtomicU32,
}

/// The fields that every turn reads are in the first cache line.
#[cfg(not(debug_assertions))]
const _: () = assert!(std::mem::offset_of!(ColorCell, grave) == 64);

/// The properties of a new color.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) label: u32,
    pub(crate) priority: Priority,
    pub(crate) capacity: Option<usize>,
    pub(crate) retire: Option<Box<dyn Retire>>,
    pub(crate) affinity: Affinity,
    /// Whether the color is the default color of its runtime.
    pub(crate) default: bool,
}

/// The memory, the home and the number of a new color. It comes with one reference count of the
/// core, which the color owns.
pub(crate) struct Birth {
    pub(crate) memory: CellMemory,
    pub(crate) home: usize,
    pub(crate) serial: u64,
}

impl ColorCell {
    /// Creates a color with one handle.
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
        // SAFETY: the caller owns `memory`, which is a free slot of the slab of cells.
        unsafe { memory.0.write(cell) };
        // For `me`, which recovers this pointer from an address.
        memory.0.as_ptr().expose_provenance();
        let address = memory.0.as_ptr().addr();
        sync::color_made(address, affinity.worker(), || core.labels.name(label));
        CellRef(memory.0)
    }

    /// Returns the pointer to the cell's slot, with the provenance that the slab gave it: a pointer
    /// made from a reference must not be used to write to the slot or to free it.
    #[inline]
    pub(in crate::color) fn me(&self) -> NonNull<ColorCell> {
        let address = std::ptr::from_ref(self).addr();
        // SAFETY: the address of a reference is not null. `create` exposed the provenance of the
        // pointer to the whole slot.
        unsafe { NonNull::new_unchecked(std::ptr::with_exposed_provenance_mut(address)) }
    }

    /// Returns the address of the cell, which identifies the color.
    #[inline]
    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    #[inline]
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    #[inline]
    pub(crate) fn core(&self) -> &Core {
        // SAFETY: a color, or for the default color each of its handles, owns a count of the core.
        unsafe { self.core.as_ref() }
    }

    pub(crate) fn is_default(&self) -> bool {
        self.marks.is_default()
    }

    #[inline]
    pub(crate) fn is_bounded(&self) -> bool {
        self.marks.is_bounded()
    }

    /// Returns `true` if the color is bounded or bound to the user's thread, with a single load.
    #[inline]
    pub(crate) fn is_special(&self) -> bool {
        self.marks.is_special()
    }

    /// Returns `true` if the color is bound to its home worker (E17).
    #[inline]
    pub(crate) fn is_affine(&self) -> bool {
        self.marks.is_affine()
    }

    /// Returns the worker to which the color is bound.
    pub(crate) fn bound_to(&self) -> Option<usize> {
        self.is_affine().then(|| self.home())
    }

    /// Returns `true` if the color is bound to the user's thread (E18). Its events leave the queue
    /// before they run.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        self.marks.is_here()
    }

    /// Returns `true` if the color runs in the normal class and is neither bounded nor bound.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.marks.is_plain()
    }

    pub(crate) fn bound(&self) -> Option<&Bound> {
        self.bound.as_deref()
    }

    /// Returns the class in which the color runs now.
    pub(crate) fn priority(&self) -> Priority {
        self.marks.priority()
    }

    /// Returns the class and the affinity of the color as the tag of a run-queue entry.
    #[inline]
    pub(crate) fn entry_tag(&self) -> usize {
        self.marks.entry_tag()
    }

    /// Counts one more set that waits for the color. Returns `true` if that raised the color's
    /// class.
    ///
    /// The caller holds `set_lock`.
    pub(crate) fn boost(&self, class: Priority) -> bool {
        self.boosts.add(class);
        self.marks.raise(class)
    }

    /// Counts one set of this class less, as that set no longer waits for the color.
    pub(crate) fn unboost(&self, class: Priority) {
        self.set_lock.acquire();
        self.boosts.remove(class);
        self.marks.set(self.boosts.highest().or_higher(self.marks.own_priority()));
        self.set_lock.release();
    }

    /// Returns the class that the color was created with.
    pub(crate) fn own_priority(&self) -> Priority {
        self.marks.own_priority()
    }

    /// Returns the number of the color's label, or 0 if it has none.
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

    /// Returns what another worker would gain by running the color: the time of a turn, in
    /// nanoseconds, or 1 if moving it costs more, as it exchanges many events with others.
    /// [`UNKNOWN`] at first.
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

    /// Updates the averages after a turn of `turn` nanoseconds and `events` events, which exchanged
    /// `traffic` thousandths of an event with other colors. Called by the holder.
    pub(crate) fn learn(&self, turn: u64, events: u32, traffic: u64) {
        let traffic = traffic.min(u64::from(u32::MAX / 8)) as u32;
        let before = if self.turn_nanos() == UNKNOWN { traffic } else { self.traffic() };
        let traffic = blend_thousandths(before, traffic);
        self.traffic.store(traffic, Ordering::Relaxed);
        let per_event = turn / u64::from(events.max(1));
        self.turn_nanos.store(blend(self.turn_nanos(), turn), Ordering::Relaxed);
        self.event_nanos.store(blend(self.event_nanos(), per_event), Ordering::Relaxed);
    }

    /// Counts an event that is about to be appended without a check for room. For bounded colors.
    #[cold]
    pub(crate) fn enter_bound(&self, event: &Owned) {
        if event.is_counted() {
            self.enter_bound_by_set();
        }
    }

    /// Counts a set's request, as [`enter_bound`](Self::enter_bound) counts an event.
    #[cold]
    pub(crate) fn enter_bound_by_set(&self) {
        if let Some(bound) = self.bound()
            && !bound.enter()
        {
            self.core().count_over_limit(1);
        }
    }

    /// Subtracts an event that has ended from the count. For bounded colors.
    #[cold]
    pub(crate) fn leave_bound(&self) {
        if let Some(bound) = self.bound() {
            bound.leave();
        }
    }

    /// Appends an event. If the color was idle, the caller becomes its holder.
    #[inline]
    pub(crate) fn push(&self, event: Owned) -> Option<Held> {
        sync::event_posted(event.address(), self.address(), || match event.kind() {
            Kind::Shared => Access::Shared,
            _ => Access::Exclusive,
        });
        // SAFETY: the caller owns the event; the queue owns it until the holder passes it.
        unsafe { self.push_link(event.into_link()) }
    }

    /// Appends the link of an event or of a set's request. If the color was idle, the caller
    /// becomes its holder.
    ///
    /// # Safety
    ///
    /// The link is in no queue, and belongs to the queue until the holder passes it.
    #[inline]
    pub(super) unsafe fn push_link(&self, link: NonNull<Link>) -> Option<Held> {
        // SAFETY: the caller gives the link away. The thread that makes an idle color runnable
        // holds it.
        unsafe {
            let posted = self.queue.push(link);
            (posted == Posted::BecameRunnable).then(|| Held::of(self.me()))
        }
    }

    /// Keeps an event that the color's own event posts, or returns it; see [`Queue::keep`].
    ///
    /// # Safety
    ///
    /// An exclusive event of the color runs on this thread.
    #[inline]
    pub(crate) unsafe fn keep(&self, event: Owned) -> Option<Owned> {
        let event_address = event.address();
        let link = event.into_link();
        // SAFETY: the worker of the event that runs holds the color. The pointer to the grave is
        // only compared. A link that was not kept still belongs to the caller.
        unsafe {
            let kept = self.queue.keep(link, (&raw const self.grave).cast());
            if kept {
                sync::event_posted(event_address, self.address(), || Access::Exclusive);
            }
            (!kept).then(|| Owned::of_link(link))
        }
    }

    /// Returns `true` if the color is dead. If a palette contains it, that palette decides.
    pub(super) fn retire(&self, dead: &dyn Fn() -> bool) -> bool {
        match &self.retire {
            None => dead(),
            Some(retire) => retire.retire(self.serial, dead),
        }
    }

    /// Debug builds: records that this worker holds the color. Panics if another one does (C1).
    #[inline]
    pub(crate) fn debug_hold(&self, _worker: usize) {
        #[cfg(debug_assertions)]
        {
            let other = self.holder.swap(_worker as u32 + 1, Ordering::Relaxed);
            assert_eq!(other, 0, "C1: two workers are about to run events of one color");
        }
    }

    /// Debug builds: records that nobody holds the color.
    #[inline]
    pub(crate) fn debug_let_go(&self) {
        #[cfg(debug_assertions)]
        self.holder.store(0, Ordering::Relaxed);
    }
}

/// The memory of one color. Only its owner uses it.
#[must_use = "memory that is not given back is lost to its slab"]
pub(crate) struct CellMemory(NonNull<ColorCell>);

impl CellMemory {
    /// # Safety
    ///
    /// The slot is a free slot of a slab of cells, and the caller owns it.
    pub(crate) unsafe fn of(slot: Slot) -> CellMemory {
        CellMemory(slot.cast())
    }

    pub(crate) fn into_slot(self) -> Slot {
        self.0.cast()
    }
}

/// A color that has died: nothing else can reach it.
#[must_use = "its memory has to be given back"]
pub(crate) struct DeadCell(NonNull<ColorCell>);

impl DeadCell {
    /// # Safety
    ///
    /// The color has neither a handle nor an event, and nothing else can reach it.
    pub(super) unsafe fn of(cell: NonNull<ColorCell>) -> DeadCell {
        DeadCell(cell)
    }

    /// Drops the contents of the cell and returns its memory.
    #[inline]
    pub(crate) fn into_memory(self) -> CellMemory {
        // SAFETY: nothing else can reach the color, and `self` is consumed, so it is dropped once.
        unsafe { std::ptr::drop_in_place(self.0.as_ptr()) };
        CellMemory(self.0)
    }
}

/// One reference count of a color. Each handle owns one, and so does the grave.
#[derive(Debug)]
pub(crate) struct CellRef(NonNull<ColorCell>);

// SAFETY: any thread may use a cell: its fields are atomic, constant, or the holder's.
unsafe impl Send for CellRef {}
// SAFETY: a shared `CellRef` only gives access to `&ColorCell`, which any thread may have.
unsafe impl Sync for CellRef {}

impl CellRef {
    /// Takes one more count of a color that something keeps alive during the call: a handle, a
    /// running event of the color, or the lock of its palette.
    pub(crate) fn of(cell: &ColorCell) -> CellRef {
        if cell.is_default() {
            // The default color lives as long as the core.
            cell.core().acquire(1);
        } else {
            cell.life.retain();
        }
        CellRef(cell.me())
    }

    /// Returns the count of the grave, whose link has left the queue.
    ///
    /// # Safety
    ///
    /// The caller took the grave out of the queue as the color's holder. So it owns the grave's
    /// count, and gives it up here.
    pub(super) unsafe fn of_the_grave(cell: NonNull<ColorCell>) -> CellRef {
        CellRef(cell)
    }

    /// Returns a weak reference, for a table that is told before the color dies.
    pub(super) fn downgrade(&self) -> WeakCell {
        WeakCell(self.0, self.serial)
    }

    /// Hands this count over to the core that owns its default color.
    pub(crate) fn into_default(self) -> DefaultCell {
        let cell = self.0;
        std::mem::forget(self);
        DefaultCell(cell)
    }

    /// Posts the grave, which inherits this last count. If the color was idle, the caller becomes
    /// its holder.
    fn post_grave(&self) -> Option<Held> {
        // SAFETY: the pointer to the grave is made from the pointer to the whole cell, so it is
        // valid for the whole header. This is the only count left, so the grave is in no queue and
        // nobody else posts it. The grave lives as long as the cell.
        let posted = unsafe {
            let grave = NonNull::new_unchecked(&raw mut (*self.0.as_ptr()).grave);
            (*self.0.as_ptr()).queue.push(grave.cast())
        };
        // SAFETY: the color was idle, so the caller is its only holder, and the cell is alive.
        (posted == Posted::BecameRunnable).then(|| unsafe { Held::of(self.0) })
    }
}

impl Deref for CellRef {
    type Target = ColorCell;
    #[inline]
    fn deref(&self) -> &ColorCell {
        // SAFETY: this count keeps the cell alive.
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
            // SAFETY: each handle of the default color owns a count of the core, released here.
            return unsafe { Core::release(self.core, 1) };
        }
        if Local::is_on(self.core()) {
            // The worker keeps the core alive.
            Local::with(self.core(), |local| {
                if let Some(local) = local
                    && self.life.release()
                {
                    // A palette may revive the color, and other threads may then post behind the
                    // grave before the color is queued. So this worker must not count as idle (see
                    // `quiesce`).
                    local.before_post();
                    if let Some(held) = self.post_grave() {
                        local.schedule(held, GRAVE_WORTH);
                    }
                }
            });
        } else if self.life.release() {
            // The color's count of the core keeps the core alive until the grave has run. After
            // that, the `CoreRef` below does.
            let core = CoreRef::of(self.core());
            core.quiesce.enter();
            if let Some(held) = self.post_grave() {
                core.inject_color(held, GRAVE_WORTH);
            }
            core.quiesce.leave();
        }
    }
}

/// A weak reference to a color, which may be dead.
pub(super) struct WeakCell(NonNull<ColorCell>, u64);

// SAFETY: only `revive` reaches the cell, and any thread may use a cell (see `CellRef`).
unsafe impl Send for WeakCell {}

impl WeakCell {
    pub(super) fn serial(&self) -> u64 {
        self.1
    }

    /// # Safety
    ///
    /// The color is not dead, and cannot die during the call: the caller holds the palette's lock.
    pub(super) unsafe fn revive(&self) -> CellRef {
        // SAFETY: the caller guarantees that the color is not dead, so its cell is alive.
        CellRef::of(unsafe { self.0.as_ref() })
    }
}

/// The default color of a core, which keeps no handle of it.
pub(crate) struct DefaultCell(NonNull<ColorCell>);

impl DefaultCell {
    /// Returns the color, which lives as long as the core.
    #[inline]
    pub(crate) fn get(&self) -> &ColorCell {
        // SAFETY: the core owns this value, and frees the cell only when it is dropped itself.
        unsafe { self.0.as_ref() }
    }

    /// Ends the color together with its core.
    ///
    /// # Safety
    ///
    /// The color has no event, and no handle, as a handle would own a count of the core.
    pub(crate) unsafe fn end(self) -> DeadCell {
        DeadCell(self.0)
    }
}
