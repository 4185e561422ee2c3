//! Color sets: an event that needs several colors at once (rule C6).
//!
//! A set has a *request* in the queue of each of its colors. A request that has come to the front
//! of its queue has *arrived*: an exclusive one stays there and so reserves the color, a shared one
//! is let through as a reader. When the last one has arrived the set's event runs; then it gives
//! all its colors back. Nobody waits in a thread.
//!
//! # Why nobody waits for ever
//!
//! A set waits for what stands before its requests. That ends, unless sets wait for each other in a
//! circle, which takes two sets that stand in different orders in two queues. So two sets that meet
//! have to stand in the same order in every queue they share. That is achieved by two-phase
//! locking, one lock per color, for posters of sets (and, one at a time, for a thread that changes
//! the class of a color): a poster takes the locks of all its colors, in one order of all colors,
//! so that posters do not wait in a circle either; then takes a place in every queue; then gives
//! the locks back. Two sets that share a color hold its lock one after the other, and whichever
//! holds it first has taken *all* its places before the other one takes its first.
//!
//! A plain post needs no lock. It stands in one queue only, so it adds no order between two queues:
//! whatever waits through it, from a request in front of it to one behind it, stands in that queue
//! in the same order without it.
//!
//! (Verona's runtime hangs on to no locks but lets posters wait for the place before theirs to be
//! complete, and there a plain post behind an incomplete set is itself incomplete: "When
//! Concurrency Matters: Behaviour-Oriented Concurrency", OOPSLA '23. Here that would put a look at
//! the place before into every plain post.)

use crate::access::Access;

/// A color that an event wants, and what for.
pub trait Want {
    /// Which color, in the one order of all colors.
    type Key: Ord;
    /// Which color.
    fn key(&self) -> Self::Key;
    /// What for.
    fn access(&self) -> Access;
    /// Changes what for.
    fn set_access(&mut self, access: Access);
}

impl<K: Ord + Copy> Want for (K, Access) {
    type Key = K;
    fn key(&self) -> K {
        self.0
    }
    fn access(&self) -> Access {
        self.1
    }
    fn set_access(&mut self, access: Access) {
        self.1 = access;
    }
}

/// Puts what a set wants into the one order of all colors, each color once, with its stronger
/// access: that many stand at the front then, and what is behind them is left over.
///
/// # Examples
///
/// ```
/// use dapple_colors::{Access::*, set::arrange};
/// let mut wants = [('b', Shared), ('a', Exclusive), ('b', Exclusive)];
/// assert_eq!(arrange(&mut wants), 2);
/// assert_eq!(wants[..2], [('a', Exclusive), ('b', Exclusive)]);
/// ```
pub fn arrange<W: Want>(wants: &mut [W]) -> usize {
    wants.sort_unstable_by_key(W::key);
    let mut kept = 0;
    for at in 0..wants.len() {
        if kept > 0 && wants[kept - 1].key() == wants[at].key() {
            let access = wants[at].access().max(wants[kept - 1].access());
            wants[kept - 1].set_access(access);
        } else {
            wants.swap(kept, at);
            kept += 1;
        }
    }
    kept
}

/// What the arrival of a request means for its set.
#[must_use = "a complete set has to be run"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arrived {
    /// Others are still on their way. After an exclusive request the caller has let the color go,
    /// into no run queue.
    Waits,
    /// It was the last one: the caller has all colors of the set, and runs its event.
    Complete,
}

/// How many requests of a set have not arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gathering(usize);

impl Gathering {
    /// The count of a set of this many colors.
    pub fn new(colors: usize) -> Self {
        Gathering(colors)
    }

    /// One has.
    ///
    /// # Panics
    ///
    /// When all have.
    pub fn arrive(&mut self) -> Arrived {
        self.arrive_at_once(1)
    }

    /// So many have, which the poster has come to in colors that were idle. It counts them in one
    /// step, when it has been at all its colors; if there are none, it has nothing to count.
    ///
    /// # Panics
    ///
    /// When fewer are left.
    pub fn arrive_at_once(&mut self, n: usize) -> Arrived {
        self.0 = self.0.checked_sub(n).expect("a request arrives once");
        match n {
            0 => Arrived::Waits,
            _ => Self::after(self.0),
        }
    }

    /// Says what it means that this many are left.
    #[inline]
    pub fn after(left: usize) -> Arrived {
        match left {
            0 => Arrived::Complete,
            _ => Arrived::Waits,
        }
    }
}
