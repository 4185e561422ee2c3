//! E4: a worker's private run queue, and somebody who takes from it.

use crossbeam_utils::CachePadded;
use loom::sync::Arc;
use loom::thread;

use super::model;
use crate::worker::fences::Fences;
use crate::worker::private::{Owner, Private, pair, pair_with};

/// An owner that puts two entries in and takes one out, and a taker. What they have got, and what
/// is left.
fn shared_with_a_taker(
    (owner, queue): (Owner<usize>, Arc<CachePadded<Private<usize>>>),
) -> Vec<usize> {
    let owner = thread::spawn(move || {
        let mut got = Vec::new();
        for i in 0..2 {
            got.extend(owner.push(i).err());
        }
        got.extend(owner.pop());
        owner.stops();
        (owner, got)
    });
    let mut got = queue.take(1);
    let (owner, more) = owner.join().unwrap();
    got.extend(more);
    // Nobody else is there; what the taker could not take the owner could.
    got.extend(std::iter::from_fn(|| owner.pop()));
    got.sort_unstable();
    got
}

/// E4: what a worker keeps to itself can be taken while the worker uses it: each entry once, none
/// lost, and never two in the queue at a time (which loom's cell would report).
#[test]
fn e4_a_private_queue_is_shared_with_a_taker() {
    model(|| assert_eq!(shared_with_a_taker(pair()), [0, 1]));
}

/// The same where the system refuses the heavy fence when it is needed: the taker gets nothing, and
/// the owner loses nothing.
#[test]
fn e4_a_private_queue_without_membarrier_is_the_owners() {
    model(|| assert_eq!(shared_with_a_taker(pair_with(Fences::failing())), [0, 1]));
}
