//! Faults that are put into the runtime on purpose, one at a time, to show that its tests find
//! them. They are there only with `--cfg dapple_mutants`; otherwise [`mutant`] is false, and costs
//! nothing.

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A worker looks at its queues before it says that it sleeps, and not behind that.
    LostWakeup,
    /// Whether all is at rest is asked of the queues only, and not of who may be about to post.
    EarlyQuiescence,
    /// An exclusive event begins beside shared ones of its color.
    ReaderBesideWriter,
    /// A set takes its colors in the order in which they were named.
    UnorderedSet,
    /// What an event posts to its own color goes before what others have posted.
    OvertakingPost,
    /// It is the next event's turn to commit before the actions of the one before have run.
    TornCommits,
}

#[cfg(all(dapple_mutants, not(loom)))]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Says whether this fault was planted, by `plant`.
#[inline(always)]
pub fn mutant(which: Mutant) -> bool {
    #[cfg(all(dapple_mutants, not(loom)))]
    return PLANTED.get() == Some(which);
    #[cfg(not(all(dapple_mutants, not(loom))))]
    {
        let _ = which;
        false
    }
}

/// From now on the runtimes of this thread, which simulates them, have this fault; `None`: none.
#[cfg(all(dapple_mutants, not(loom)))]
pub fn plant(which: Option<Mutant>) {
    PLANTED.set(which);
}
