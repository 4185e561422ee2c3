//! E4: a worker's private run queue, and somebody who takes from it.

use loom::sync::Arc;
use loom::thread;

use super::model;
use crate::worker::fences::Fences;
use crate::worker::private::Private;

/// An owner that puts two entries in and takes one out, and a taker. What they have got, and what
/// is left.
fn shared_with_a_taker(queue: Private<usize>) -> Vec<usize> {
    let queue = Arc::new(queue);
    let owner = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            let mut got = Vec::new();
            for i in 0..2 {
                // SAFETY: this thread is the owner.
                got.extend(unsafe { queue.push(i) }.err());
            }
            // SAFETY: as above.
            got.extend(unsafe { queue.pop() });
            queue.owner_stops();
            got
        })
    };
    let mut got = queue.take(1);
    got.extend(owner.join().unwrap());
    // Nobody else is there; what the taker could not take the owner could.
    // SAFETY: the owner has ended.
    got.extend(std::iter::from_fn(|| unsafe { queue.pop() }));
    got.sort_unstable();
    got
}

/// E4: what a worker keeps to itself can be taken while the worker uses it: each entry once, none
/// lost, and never two in the queue at a time (which loom's cell would report).
#[test]
fn e4_a_private_queue_is_shared_with_a_taker() {
    model(|| assert_eq!(shared_with_a_taker(Private::new()), [0, 1]));
}

/// The same where the system refuses the heavy fence when it is needed: the taker gets nothing, and
/// the owner loses nothing.
#[test]
fn e4_a_private_queue_without_membarrier_is_the_owners() {
    model(|| assert_eq!(shared_with_a_taker(Private::with(Fences::failing())), [0, 1]));
}
