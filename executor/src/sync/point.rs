//! Marked places of the code, where a simulation may have another thread go on.

/// Where a thread is, inside of a protocol. What stands here is between two steps that another
/// thread can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Point {
    /// An event begins.
    Begins,
    /// An event has ended, and what follows it has not begun.
    Ended,
    /// An event was appended to a color, or queued without one.
    Posted,
    /// The tail of a color's queue was swapped, and the link to what comes next is not written.
    Swapped,
    /// Something was put into the inbox of a worker that may sleep, and nobody has been woken.
    Injected,
    /// A worker is about to say that it sleeps.
    Announces,
    /// A worker has said so, and has not looked once more.
    Announced,
    /// A worker is about to sleep.
    Parks,
    /// A worker was woken.
    Woken,
    /// Something was taken from another worker, and is not queued yet.
    Stolen,
    /// A lock of a color of a set was taken, and others are to follow.
    SetLocked,
    /// A place of a set was taken, and others are to follow.
    SetPlaced,
    /// A reader was counted, and has not begun.
    ReaderEnters,
    /// A reader has ended, and is still counted.
    ReaderLeaves,
    /// An event of a domain has committed, and what waited for it goes on next.
    Committed,
    /// A worker has taken over the timers, or the poller, of another one.
    StandsIn,
    /// A timer was armed, or cancelled.
    Timer,
    /// A task was woken.
    TaskWoken,
    /// A thread for blocking work takes what is queued for it.
    Offloaded,
}

impl Point {
    /// All of them, in order.
    pub const ALL: [Point; 19] = [
        Point::Begins,
        Point::Ended,
        Point::Posted,
        Point::Swapped,
        Point::Injected,
        Point::Announces,
        Point::Announced,
        Point::Parks,
        Point::Woken,
        Point::Stolen,
        Point::SetLocked,
        Point::SetPlaced,
        Point::ReaderEnters,
        Point::ReaderLeaves,
        Point::Committed,
        Point::StandsIn,
        Point::Timer,
        Point::TaskWoken,
        Point::Offloaded,
    ];

    /// Its name in a story.
    pub fn name(self) -> &'static str {
        match self {
            Point::Begins => "begins",
            Point::Ended => "ended",
            Point::Posted => "posted",
            Point::Swapped => "swapped",
            Point::Injected => "injected",
            Point::Announces => "announces",
            Point::Announced => "announced",
            Point::Parks => "parks",
            Point::Woken => "woken",
            Point::Stolen => "stolen",
            Point::SetLocked => "set-locked",
            Point::SetPlaced => "set-placed",
            Point::ReaderEnters => "reader-enters",
            Point::ReaderLeaves => "reader-leaves",
            Point::Committed => "committed",
            Point::StandsIn => "stands-in",
            Point::Timer => "timer",
            Point::TaskWoken => "task-woken",
            Point::Offloaded => "offloaded",
        }
    }
}

/// Says that this thread has come to a marked place. It does nothing but in a fiber of a
/// simulation.
#[inline(always)]
pub fn point(point: Point) {
    #[cfg(all(feature = "sim", not(loom)))]
    super::seam::with(|simulation| simulation.point(point));
    #[cfg(not(all(feature = "sim", not(loom))))]
    let _ = point;
}

#[cfg(not(loom))]
pub(crate) use told::{color_made, event_begins, event_made, event_panicked, event_posted};

/// What a simulation is told, so that it has names for things; otherwise nothing is done.
#[cfg(not(loom))]
mod told {
    use std::any::Any;

    #[cfg(feature = "sim")]
    use crate::sync::seam;

    /// A color was made at this address.
    #[inline(always)]
    pub(crate) fn color_made(address: usize, label: impl FnOnce() -> Option<std::sync::Arc<str>>) {
        #[cfg(feature = "sim")]
        seam::with(|simulation| simulation.color_made(address, label()));
        #[cfg(not(feature = "sim"))]
        let _ = (address, label);
    }

    /// An event was made at this address, at this `Site`.
    #[inline(always)]
    pub(crate) fn event_made(address: usize, site: &dyn Any) {
        #[cfg(feature = "sim")]
        seam::with(|simulation| simulation.event_made(address, site));
        #[cfg(not(feature = "sim"))]
        let _ = (address, site);
    }

    /// The event at this address goes to the color at that one.
    #[inline(always)]
    pub(crate) fn event_posted(address: usize, color: usize) {
        #[cfg(feature = "sim")]
        seam::with(|simulation| simulation.event_posted(address, color));
        #[cfg(not(feature = "sim"))]
        let _ = (address, color);
    }

    /// The event at this address begins.
    #[inline(always)]
    pub(crate) fn event_begins(address: usize) {
        #[cfg(feature = "sim")]
        seam::with(|simulation| simulation.event_begins(address));
        #[cfg(not(feature = "sim"))]
        let _ = address;
    }

    /// An event has panicked.
    #[inline(always)]
    pub(crate) fn event_panicked(message: impl FnOnce() -> String) {
        #[cfg(feature = "sim")]
        seam::with(|simulation| simulation.event_panicked(message()));
        #[cfg(not(feature = "sim"))]
        let _ = message;
    }
}
