//! E4: a worker's private run queue, and a thread that takes from it.

use crossbeam_utils::CachePadded;
use loom::sync::Arc;
use loom::thread;

use super::model;
use crate::worker::fences::Fences;
use crate::worker::private::{Owner, Private, pair, pair_with};

/// Runs an owner that puts two entries in and takes one out, and a taker. Returns the entries that
/// both have got, and those that were left.
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
    // The taker has ended, so the owner can take what is left.
    got.extend(std::iter::from_fn(|| owner.pop()));
    got.sort_unstable();
    got
}

/// E4: entries that a worker keeps to itself can be taken while the worker uses the queue. Each is
/// taken once, none is lost, and never are two threads in the queue at once (which loom's cell
/// would report).
#[test]
fn e4_a_private_queue_is_shared_with_a_taker() {
    model(|| assert_eq!(shared_with_a_taker(pair()), [0, 1]));
}

/// E4: if the system refuses the heavy fence when it is needed, the taker gets nothing, and the
/// owner loses nothing.
#[test]
fn e4_a_private_queue_without_membarrier_is_the_owners() {
    model(|| assert_eq!(shared_with_a_taker(pair_with(Fences::failing())), [0, 1]));
}
