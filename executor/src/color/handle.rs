//! The handle of a color.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;

use dapple_colors::{Access, Posted};

use super::cell::{ColorCell, GRAVE_WORTH, Plan};
use super::set::Request;
use crate::Handle;
use crate::cx::Cx;
use crate::event::large::{Boxed, is_large};
use crate::event::{Kind, Owned};
use crate::runtime::core::{Core, CoreRef};
use crate::runtime::quiesce::Outside;
use crate::sync::Ordering;
use crate::worker::local::Local;

/// The serial identity of callbacks: two callbacks of one color never run at once, and they run in
/// the order in which they were posted. Callbacks of different colors run on all cores.
///
/// A color is an identity and nothing else: cheap to make by the million, cloned and compared by
/// identity, gone with its last handle and its last event. Elsewhere it is called a strand, a serial
/// queue or an actor's mailbox.
///
/// # Examples
///
/// ```
/// let rt = dapple::Runtime::new()?;
/// let h = rt.handle();
/// let account = h.new_color();
/// h.post(&account, |_| println!("first"));
/// h.post(&account, |_| println!("second, after the first has ended"));
/// rt.wait_idle();
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "strand")]
#[doc(alias = "serial queue")]
#[doc(alias = "cown")]
pub struct Color(NonNull<ColorCell>);

// SAFETY: a cell is used from any thread by its protocol (see `cell` and `queue`).
unsafe impl Send for Color {}
// SAFETY: as above.
unsafe impl Sync for Color {}

// A panic in a callback ends the callback only; the color goes on.
impl UnwindSafe for Color {}
impl RefUnwindSafe for Color {}

impl Color {
    /// A new color of `core`, whose first handle this is.
    pub(crate) fn create(core: &Core, plan: Plan) -> Color {
        let pinned = core.settings.rules.is_pinned();
        let (home, memory) = match Local::current(core) {
            Some(local) => {
                local.take_credit();
                (if pinned { core.place() } else { local.index }, local.take_cell())
            }
            None => {
                core.acquire(1);
                (core.place(), core.cells.take_outside().cast())
            }
        };
        // SAFETY: the memory is fresh, and ours.
        Color(unsafe { ColorCell::write(memory, core.as_ptr(), home, plan) })
    }

    /// A handle of a color that may have none.
    ///
    /// # Safety
    ///
    /// The color is not dead, and cannot die meanwhile: the caller holds it, or the lock of its
    /// palette.
    pub(crate) unsafe fn revive(cell: NonNull<ColorCell>) -> Color {
        // SAFETY: by contract.
        let color = unsafe { cell.as_ref() };
        if color.is_default() {
            // SAFETY: the core outlives its default color.
            unsafe { color.core().as_ref() }.acquire(1);
        } else {
            color.life.retain();
        }
        Color(cell)
    }

    /// Posts `f` to this color; see [`Handle::post`].
    #[track_caller]
    #[inline]
    pub fn post<F: FnOnce(&mut Cx) + Send + 'static>(&self, f: F) {
        if is_large::<F>() {
            return self.post(Box::new(f) as Boxed);
        }
        self.post_from_anywhere(f, Location::caller());
    }

    /// Posts `f` with shared access; see [`Handle::post_shared`].
    #[track_caller]
    pub fn post_shared<F: FnOnce(&mut Cx) + Send + 'static>(&self, f: F) {
        if is_large::<F>() {
            return self.post_shared(Box::new(f) as Boxed);
        }
        self.post_shared_from_anywhere(f, Location::caller());
    }

    /// This color for itself, as a part of a set; see [`Handle::post_set`].
    pub fn exclusive(&self) -> Request<'_> {
        Request { color: self, access: Access::Exclusive }
    }

    /// This color beside other events that share it, as a part of a set; see [`Handle::post_set`].
    pub fn shared(&self) -> Request<'_> {
        Request { color: self, access: Access::Shared }
    }

    /// A handle of the runtime that the color belongs to.
    pub fn runtime(&self) -> Handle {
        Handle::new(CoreRef::of(self.core()))
    }

    #[inline]
    pub(crate) fn cell(&self) -> NonNull<ColorCell> {
        self.0
    }

    pub(super) fn as_cell(&self) -> &ColorCell {
        // SAFETY: a handle keeps the cell.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(crate) fn core_ptr(&self) -> NonNull<Core> {
        // SAFETY: a handle keeps the cell.
        unsafe { self.0.as_ref() }.core()
    }

    #[inline]
    pub(crate) fn core(&self) -> &Core {
        // SAFETY: the color counts on the core.
        unsafe { self.core_ptr().as_ref() }
    }

    /// The worker that last ran it, or where it was placed.
    pub(crate) fn home(&self) -> usize {
        // SAFETY: a handle keeps the cell.
        unsafe { self.0.as_ref() }.home()
    }

    /// Posts from whatever thread this is.
    #[inline]
    pub(crate) fn post_from_anywhere<F: FnOnce(&mut Cx) + Send + 'static>(
        &self,
        f: F,
        site: &'static Location<'static>,
    ) {
        match Local::current(self.core()) {
            // SAFETY: we are a handle.
            Some(local) => unsafe { local.post(self.0, f, site) },
            None => self.post_from_outside(f, site),
        }
    }

    /// Posts from a thread that is no worker of the color's runtime.
    pub(crate) fn post_from_outside<F: FnOnce(&mut Cx) + Send + 'static>(
        &self,
        f: F,
        site: &'static Location<'static>,
    ) {
        let core = self.core();
        if !core.accepts(None) {
            return refuse(core, f, site);
        }
        self.enqueue_from_outside(outside_event(core, f, site));
    }

    /// Posts whatever the phase: what somebody has been promised.
    pub(crate) fn post_always<F: FnOnce(&mut Cx) + Send + 'static>(
        &self,
        f: F,
        site: &'static Location<'static>,
    ) {
        let core = self.core();
        let posted = Local::current(core).map_or_else(|| core.stamp_outside(), Local::stamp);
        self.enqueue_from_anywhere(Owned::closure(
            Local::memory_for(core),
            f,
            Kind::Closure,
            site,
            posted,
        ));
    }

    /// Which label it has; 0: none.
    pub(crate) fn label(&self) -> u32 {
        self.as_cell().label()
    }

    /// Posts a shared event from whatever thread this is.
    pub(crate) fn post_shared_from_anywhere<F: FnOnce(&mut Cx) + Send + 'static>(
        &self,
        f: F,
        site: &'static Location<'static>,
    ) {
        let core = self.core();
        let local = Local::current(core);
        if !core.accepts(local) {
            return refuse(core, f, site);
        }
        let posted = local.map_or_else(|| core.stamp_outside(), Local::stamp);
        let event = Owned::closure(Local::memory_for(core), f, Kind::Shared, site, posted);
        match local {
            // SAFETY: we are a handle.
            Some(local) => unsafe { local.enqueue_shared(self.0, event) },
            None => self.enqueue_from_outside(event),
        }
    }

    /// Appends an event, whatever the phase.
    pub(crate) fn enqueue_from_anywhere(&self, event: Owned) {
        match Local::current(self.core()) {
            // SAFETY: we are a handle.
            Some(local) => unsafe { local.enqueue(self.0, event) },
            None => self.enqueue_from_outside(event),
        }
    }

    fn enqueue_from_outside(&self, event: Owned) {
        if self.as_cell().is_bounded() {
            self.as_cell().enter_bound(&event);
        }
        self.append_from_outside(event);
    }

    /// Appends an event that needs no room, or has it already.
    pub(super) fn append_from_outside(&self, event: Owned) {
        // Behind its place others may post, and be done, before the color is queued.
        let _outside = Outside::from_outside(self.core());
        let cell = self.as_cell();
        // SAFETY: we are a handle.
        if unsafe { cell.push(event) } == Posted::BecameRunnable {
            self.core().inject(cell.home(), cell.entry(), cell.worth());
        }
    }

    /// Drops the last handle from a thread that is no worker of the runtime.
    fn drop_outside(&self) {
        // SAFETY: our count keeps the cell until the grave is run, and the color's count of the
        // core keeps the core as long; after that our own count of the core does.
        unsafe {
            let cell = self.0.as_ref();
            if cell.life.release() {
                let core = CoreRef::of(self.core());
                let _outside = Outside::from_outside(&core);
                let (home, entry) = (cell.home(), cell.entry());
                if ColorCell::dig(self.0) == Posted::BecameRunnable {
                    core.inject(home, entry, GRAVE_WORTH);
                }
            }
        }
    }
}

/// An event made by a thread that is no worker.
pub(crate) fn outside_event<F: FnOnce(&mut Cx) + Send + 'static>(
    core: &Core,
    f: F,
    site: &'static Location<'static>,
) -> Owned {
    let posted = core.stamp_outside();
    Owned::closure(core.take_memory_outside(), f, Kind::Closure, site, posted)
}

/// Posts without a color, from whatever thread this is.
#[inline]
pub(crate) fn post_uncolored<F: FnOnce(&mut Cx) + Send + 'static>(
    core: &Core,
    f: F,
    site: &'static Location<'static>,
) {
    match Local::current(core) {
        Some(local) => local.post_uncolored(f, site),
        None if core.accepts(None) => core.queue_event(outside_event(core, f, site)),
        None => refuse(core, f, site),
    }
}

/// Drops what came too late, from outside.
#[cold]
pub(crate) fn refuse<F>(core: &Core, f: F, site: &'static Location<'static>) {
    core.dropped_outside.fetch_add(1, Ordering::Relaxed);
    core.guard(Some(site), || drop(f));
}

impl Clone for Color {
    fn clone(&self) -> Self {
        // SAFETY: we are a handle, so the color cannot die.
        unsafe { Color::revive(self.0) }
    }
}

impl Drop for Color {
    fn drop(&mut self) {
        // SAFETY: a handle keeps the cell; its count is given back once.
        unsafe {
            if self.0.as_ref().is_default() {
                Core::release(self.core_ptr(), 1);
            } else {
                match Local::current(self.core()) {
                    Some(local) => local.drop_handle(self.0),
                    None => self.drop_outside(),
                }
            }
        }
    }
}

impl PartialEq for Color {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Color {}

impl Hash for Color {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: a handle keeps the cell.
        let label = unsafe { self.0.as_ref() }.label();
        let mut out = f.debug_tuple("Color");
        match self.core().labels.name(label) {
            Some(name) => out.field(&name),
            None => out.field(&self.0),
        };
        out.finish()
    }
}
