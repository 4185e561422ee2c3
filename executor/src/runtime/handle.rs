//! The way into a runtime, from any thread.

use std::fmt;
use std::panic::Location;

use super::core::{Core, CoreRef, Phase};
use crate::color::{outside_event, refuse};
use crate::metrics::Metrics;
use crate::worker::local::Local;
use crate::{Color, ColorBuilder, Cx};

/// A handle of a runtime: makes colors, and posts callbacks. Clone it and send it anywhere; a handle
/// does not keep the runtime running.
///
/// A post never blocks. It is refused once a shutdown has begun (by running work it is still accepted
/// until the runtime stops): the closure is then dropped at once, and counted.
#[derive(Clone)]
pub struct Handle {
    core: CoreRef,
}

impl Handle {
    pub(crate) fn new(core: CoreRef) -> Self {
        Handle { core }
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// A new color.
    pub fn new_color(&self) -> Color {
        Color::create(&self.core, 0, None)
    }

    /// Makes a color with a label.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let connection = rt.handle().color_builder().label("connection").build();
    /// assert_eq!(format!("{connection:?}"), "Color(\"connection\")");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn color_builder(&self) -> ColorBuilder {
        ColorBuilder::new(self.clone())
    }

    /// The color of everything that names none (C3). It is as serial as any other, so a program
    /// that never names a color runs as it would on one thread.
    pub fn default_color(&self) -> Color {
        // SAFETY: the default color lives as long as the core.
        unsafe { Color::revive(self.core.default_color()) }
    }

    /// Posts `f` to a color: it runs after everything that was posted to this color before, and
    /// not at the same time as anything else of it.
    ///
    /// The color may belong to another runtime; the callback then runs there.
    #[track_caller]
    #[inline]
    #[doc(alias = "spawn")]
    #[doc(alias = "cpucb")]
    pub fn post<F: FnOnce(&mut Cx) + Send + 'static>(&self, color: &Color, f: F) {
        color.post_from_anywhere(f, Location::caller());
    }

    /// Posts `f` to the default color.
    #[track_caller]
    #[inline]
    pub fn post_default<F: FnOnce(&mut Cx) + Send + 'static>(&self, f: F) {
        let site = Location::caller();
        match Local::current(&self.core) {
            // SAFETY: the default color lives as long as the core.
            Some(local) => unsafe { local.post(self.core.default_color(), f, site) },
            None => self.default_color().post_from_outside(f, site),
        }
    }

    /// Posts `f` without a color: it shares with nobody, so it may run at any time, on any worker,
    /// beside anything, and costs less than a color of its own (C14).
    #[track_caller]
    #[inline]
    pub fn post_uncolored<F: FnOnce(&mut Cx) + Send + 'static>(&self, f: F) {
        let site = Location::caller();
        match Local::current(&self.core) {
            Some(local) => local.post_uncolored(f, site),
            None if self.core.phase() == Phase::Running => {
                let event = outside_event(&self.core, f, site);
                self.core.queue_event(event);
            }
            None => refuse(&self.core, f, site),
        }
    }

    /// The figures of the runtime.
    pub fn metrics(&self) -> Metrics {
        Metrics::read(&self.core)
    }

    /// How many workers the runtime has.
    pub fn workers(&self) -> usize {
        self.core.workers.len()
    }

    /// The number of the worker that this thread is; `None` if it is none of this runtime.
    pub fn current_worker(&self) -> Option<usize> {
        Local::current(&self.core).map(|local| local.index)
    }

    /// Has no shutdown begun?
    pub fn is_running(&self) -> bool {
        self.core.phase() == Phase::Running
    }

    /// The driver that the runtime was built with, if it is a `D`. This is how a library on top of a
    /// reactor finds it.
    pub fn driver<D: crate::park::Driver>(&self) -> Option<&D> {
        let driver: &dyn std::any::Any = &**self.core.settings.driver.as_ref()?;
        driver.downcast_ref()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("workers", &self.workers())
            .field("phase", &self.core.phase())
            .finish_non_exhaustive()
    }
}
