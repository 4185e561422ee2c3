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
    /// A thread has begun.
    Started,
}

impl Point {
    /// All points, in order.
    pub const ALL: [Point; 20] = [
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
        Point::Started,
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
            Point::Started => "started",
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
