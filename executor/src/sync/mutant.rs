//! Faults that are planted in the runtime on purpose, one at a time, to show that its tests find
//! them.
//!
//! They exist only with `--cfg dapple_mutants`. Otherwise [`mutant`] is always false, and costs
//! nothing.

/// A fault that can be planted in the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A worker checks its queues only before it announces its sleep, and not again after that.
    LostWakeup,
    /// The check for quiescence looks at the queues only, and not at the workers and other threads
    /// that may be about to post.
    EarlyQuiescence,
    /// An exclusive event begins while shared events of its color run.
    ReaderBesideWriter,
    /// A set takes its colors in the order in which they were named, not in canonical order.
    UnorderedSet,
    /// An event's post to its own color overtakes the posts of others.
    OvertakingPost,
    /// The next event may commit before the actions of the one before it have run.
    TornCommits,
}

#[cfg(all(dapple_mutants, not(loom)))]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Returns `true` if `plant` has planted this fault.
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

/// Plants a fault in the runtimes that this thread simulates from now on; `None` removes it.
#[cfg(all(dapple_mutants, not(loom)))]
pub fn plant(which: Option<Mutant>) {
    PLANTED.set(which);
}
