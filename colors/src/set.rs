//! Color sets: an event that needs several colors at once (rule C6).
//!
//! A set has a *request* in the queue of each of its colors. A request that has reached the front
//! of its queue has *arrived*. An exclusive request stays there and so reserves the color; a shared
//! one is let through as a reader. When the last request has arrived, the set's event runs. Then
//! the set releases all its colors. Nobody waits in a thread.
//!
//! # Why nobody waits for ever
//!
//! A set waits for what stands before its requests. That wait ends, unless sets wait for each other
//! in a circle, which takes two sets that stand in different orders in two queues. So two sets that
//! meet have to stand in the same order in every queue that they share. Two-phase locking achieves
//! that, with one lock per color. Only posters of sets take the locks (and, one lock at a time, a
//! thread that changes the class of a color). A poster first takes the locks of all its colors, in
//! one order of all colors, so that posters do not wait in a circle either. Then it takes a place
//! in every queue, and then it releases the locks. Two sets that share a color hold its lock one
//! after the other. The set that holds it first has taken *all* its places before the other one
//! takes its first.
//!
//! A plain post needs no lock. It stands in one queue only, so it adds no order between two queues.
//! If a request waits for an earlier one through a plain post between them, then it stands behind
//! the earlier one even without that post.
//!
//! (Verona's runtime holds no locks. Instead, a poster waits until the place before its own is
//! complete, and a plain post behind an incomplete set is itself incomplete: "When Concurrency
//! Matters: Behaviour-Oriented Concurrency", OOPSLA '23. Here that would add a read of the place
//! before to every plain post.)

use crate::access::Access;

/// A color that an event wants, and the access to it.
///
/// [`arrange`] has an example, in which a pair of a key and an access is one.
pub trait Want {
    /// The identity of a color, with the one order of all colors.
    type Key: Ord;
    /// Returns the key of the color.
    fn key(&self) -> Self::Key;
    /// Returns the access that the event wants.
    fn access(&self) -> Access;
    /// Changes the access that the event wants.
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

/// Sorts the wants of a set into the one order of all colors, and merges those of the same color.
///
/// A color that is named twice gets its stronger access. Returns the number of different colors:
/// that many wants stand at the front afterwards, and those behind them are left over.
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

/// The outcome of an arrival: whether the set is complete.
#[must_use = "a complete set has to be run"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arrived {
    /// Other requests have not arrived yet. After an exclusive request the caller has let the color
    /// go, into no run queue.
    Waits,
    /// The request was the last one: the caller has all colors of the set, and runs its event.
    Complete,
}

/// The number of requests of a set that have not arrived.
///
/// # Examples
///
/// ```
/// use dapple_colors::{Arrived, Gathering};
/// let mut set = Gathering::new(3);
/// assert_eq!(set.arrive_at_once(1), Arrived::Waits);    // one of the colors was idle
/// assert_eq!(set.arrive(), Arrived::Waits);
/// assert_eq!(set.arrive(), Arrived::Complete);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gathering(usize);

impl Gathering {
    /// Returns the count for a set of this many colors.
    pub fn new(colors: usize) -> Self {
        Gathering(colors)
    }

    /// Counts the arrival of one request.
    ///
    /// # Panics
    ///
    /// Panics if all requests have arrived.
    pub fn arrive(&mut self) -> Arrived {
        self.arrive_at_once(1)
    }

    /// Counts the arrival of `n` requests, whose colors were idle when the poster came to them.
    ///
    /// The poster counts them in one step, after it has been at all its colors. For `n` = 0 there
    /// is nothing to count, and the set waits.
    ///
    /// # Panics
    ///
    /// Panics if fewer than `n` requests have not arrived.
    pub fn arrive_at_once(&mut self, n: usize) -> Arrived {
        self.0 = self.0.checked_sub(n).expect("a request arrives once");
        match n {
            0 => Arrived::Waits,
            _ => Self::after(self.0),
        }
    }

    /// Returns what it means that this many requests are left.
    #[inline]
    pub fn after(left: usize) -> Arrived {
        match left {
            0 => Arrived::Complete,
            _ => Arrived::Waits,
        }
    }
}
