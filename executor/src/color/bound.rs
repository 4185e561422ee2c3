//! Bounded colors (C8): how many events a color may have, queued or running, and permits for them (E14).
//!
//! Every event of a bounded color counts from its post until it has ended or was dropped. Only the `try_` forms look at the
//! number; what ignores the bound is counted all the same, and so is that it exceeded it.
//!
//! The number is a plain counter. It orders nothing: an event that counts is passed on by the queue.

use std::fmt;
use std::panic::Location;

use super::cell::ColorCell;
use super::handle::Color;
use crate::TryPostError;
use crate::cx::Cx;
use crate::event::large::{Boxed, is_large};
use crate::event::{Kind, Owned};
use crate::sync::{AtomicUsize, Ordering};
use crate::worker::local::Local;

/// See the module.
pub(crate) struct Bound {
    capacity: usize,
    count: AtomicUsize,
}

impl Bound {
    pub(crate) fn new(capacity: usize) -> Self {
        Bound { capacity, count: AtomicUsize::new(0) }
    }

    /// One more event, if there is room.
    fn try_enter(&self) -> bool {
        let mut count = self.count.load(Ordering::Relaxed);
        while count < self.capacity {
            let more = count + 1;
            match self.count.compare_exchange_weak(
                count,
                more,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => count = now,
            }
        }
        false
    }

    /// One more event, in any case. False: it is one too many.
    fn enter(&self) -> bool {
        self.count.fetch_add(1, Ordering::Relaxed) < self.capacity
    }

    fn leave(&self) {
        let before = self.count.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "C8: what leaves has entered");
    }
}

impl ColorCell {
    /// An event is about to be appended that did not ask for room. For a color that is bounded.
    #[cold]
    pub(crate) fn enter_bound(&self, event: &Owned) {
        if event.is_counted()
            && let Some(bound) = self.bound()
            && !bound.enter()
        {
            // SAFETY: who posts has a handle, which counts on the core, or runs on the color.
            unsafe { self.core().as_ref() }.count_over_limit(1);
        }
    }

    /// An event of it has ended. For a color that is bounded.
    #[cold]
    pub(crate) fn leave_bound(&self) {
        if let Some(bound) = self.bound() {
            bound.leave();
        }
    }
}

/// Room for one event of a bounded color; from [`Color::try_reserve`].
///
/// It can be [used up](Self::post) by an event of the color, which gives it back when it has ended. Or it travels: whoever accepts
/// a request takes a permit, and the events that the request passes through hand it on, whatever their colors, until the last one drops
/// it. Then the capacity of the first color bounds what is under way in the whole program.
///
/// # Examples
///
/// ```
/// let rt = dapple::Runtime::new()?;
/// let h = rt.handle();
/// let (entrance, work) = (h.color_builder().capacity(2).build(), h.new_color());
/// for n in 0..3 {
///     match entrance.try_reserve() {
///         Ok(permit) => h.post(&work, move |cx| {
///             // The answer is an event of its own, and the request is over when it has been sent.
///             cx.post_here(move |_| drop(permit));
///         }),
///         Err(_) => println!("request {n} is refused at once, and costs nothing"),
///     }
/// }
/// rt.wait_idle();
/// assert!(entrance.try_reserve().is_ok());
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "semaphore")]
#[doc(alias = "admission")]
#[must_use = "a permit that is dropped gives the room back"]
pub struct Permit(Color);

impl Permit {
    /// Posts `f` to the permit's color, and gives the room back when it has ended.
    #[track_caller]
    pub fn post<F: FnOnce(&mut Cx) + Send + 'static>(self, f: F) {
        if is_large::<F>() {
            return self.post(Box::new(f) as Boxed);
        }
        let permit = std::mem::ManuallyDrop::new(self);
        // SAFETY: the permit is not used again, nor dropped.
        let color = unsafe { std::ptr::read(&permit.0) };
        color.post_counted(f, Location::caller());
    }

    /// The color whose room it is.
    pub fn color(&self) -> &Color {
        &self.0
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.as_cell().leave_bound();
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.0).finish()
    }
}

impl Color {
    /// Posts `f` if the color has room for one more event; see [`Handle::try_post`](crate::Handle::try_post).
    ///
    /// # Errors
    ///
    /// As there.
    #[track_caller]
    pub fn try_post<F: FnOnce(&mut Cx) + Send + 'static>(
        &self,
        f: F,
    ) -> Result<(), TryPostError<F>> {
        match self.admit() {
            Ok(()) if is_large::<F>() => {
                self.post_counted(Box::new(f) as Boxed, Location::caller());
                Ok(())
            }
            Ok(()) => {
                self.post_counted(f, Location::caller());
                Ok(())
            }
            Err(refused) => Err(refused.map(|()| f)),
        }
    }

    /// Takes the room of one event, for an event of this color or for a request that passes through several.
    ///
    /// A color without a [capacity](crate::ColorBuilder::capacity) always has room.
    ///
    /// # Errors
    ///
    /// `Full` if as many events as it may have are queued, running, or have permits; `Closed` when the runtime is shutting down, unless the caller
    /// is a worker.
    pub fn try_reserve(&self) -> Result<Permit, TryPostError<()>> {
        self.admit().map(|()| Permit(self.clone()))
    }

    /// How many events it may have; `None`: any number.
    pub fn capacity(&self) -> Option<usize> {
        self.as_cell().bound().map(|bound| bound.capacity)
    }

    /// How many events it has, queued or running, with the permits that are out; `None` if it has no capacity, and nobody counts.
    pub fn occupancy(&self) -> Option<usize> {
        self.as_cell().bound().map(|bound| bound.count.load(Ordering::Relaxed))
    }

    /// Is it open, and has it room? Then it is taken.
    pub(super) fn admit(&self) -> Result<(), TryPostError<()>> {
        let core = self.core();
        if !core.accepts(Local::current(core)) {
            return Err(TryPostError::Closed(()));
        }
        match self.as_cell().bound() {
            Some(bound) if !bound.try_enter() => Err(TryPostError::Full(())),
            _ => Ok(()),
        }
    }

    /// Posts what has been counted, whatever the phase: room was promised to it.
    pub(super) fn post_counted<F: FnOnce(&mut Cx) + Send + 'static>(
        &self,
        f: F,
        site: &'static Location<'static>,
    ) {
        let core = self.core();
        let local = Local::current(core);
        let posted = local.map_or_else(|| core.stamp_outside(), Local::stamp);
        let event = Owned::closure(Local::memory_for(core), f, Kind::Closure, site, posted);
        match local {
            // SAFETY: we are a handle.
            Some(local) => unsafe { local.append(self.cell(), event) },
            None => self.append_from_outside(event),
        }
    }
}
