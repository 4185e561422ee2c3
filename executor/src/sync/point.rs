//! Marked places in the code, where a simulation may switch to another thread.

/// A place inside of a protocol, between two steps that another thread can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Point {
    /// An event begins.
    Begins,
    /// An event or blocking work has ended, and its thread has not gone on.
    Ended,
    /// An event was appended to a color, or queued without one.
    Posted,
    /// The tail of a color's queue was swapped, and the link to the new event is not written.
    Swapped,
    /// Something was put into the inbox of a worker that may sleep, and no worker has been woken
    /// for it.
    Injected,
    /// A worker is about to announce that it sleeps.
    Announces,
    /// A worker has announced that it sleeps, and has not checked its queues once more.
    Announced,
    /// A worker is about to sleep.
    Parks,
    /// A worker was woken.
    Woken,
    /// Entries were moved from another worker's queue to the own one, and none of them has run.
    Stolen,
    /// The lock of one color of a set was taken, and others follow.
    SetLocked,
    /// The place of a set in the queue of one color was taken, and others follow.
    SetPlaced,
    /// A reader was counted, and has not begun.
    ReaderEnters,
    /// A reader has ended, and is still counted.
    ReaderLeaves,
    /// An event of a domain has committed, and the events that waited for it go on next.
    Committed,
    /// A worker has begun to stand in for a stuck one, and is about to take over its work.
    StandsIn,
    /// A timer was armed, or marked as cancelled.
    Timer,
    /// A task was woken, and is about to be queued.
    TaskWoken,
    /// A thread of the blocking pool has taken work from its queue.
    Offloaded,
    /// A thread of the blocking pool has begun.
    Started,
}

impl Point {
    /// All points, in the order of their declaration.
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

    /// Returns the name of the point in a story.
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

/// Tells the simulation that this thread has come to a marked place. Outside of a simulation it
/// does nothing.
#[inline(always)]
pub fn point(point: Point) {
    #[cfg(all(feature = "sim", not(loom)))]
    super::seam::with(|simulation| simulation.point(point));
    #[cfg(not(all(feature = "sim", not(loom))))]
    let _ = point;
}
