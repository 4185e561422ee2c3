//! E4: a worker's private run queue, and somebody who takes from it.

use loom::sync::Arc;
use loom::thread;

use super::model;
use crate::worker::private::Private;

/// E4: what a worker keeps to itself can be taken while the worker uses it: each entry once, none
/// lost, and never two in the queue at a time (which loom's cell would report).
#[test]
fn e4_a_private_queue_is_shared_with_a_taker() {
    model(|| {
        let queue = Arc::new(Private::new());
        let taker = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.take(1))
        };
        let mut got = Vec::new();
        for i in 0..2 {
            // SAFETY: this thread is the owner.
            got.extend(unsafe { queue.push(i) }.err());
        }
        // SAFETY: as above.
        got.extend(unsafe { queue.pop() });
        got.extend(taker.join().unwrap());
        got.extend(queue.take(2));
        got.sort_unstable();
        assert_eq!(got, [0, 1]);
    });
}
