//! E4: other threads can take what a worker keeps to itself, each entry once and in order.
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::thread;

use super::*;

#[test]
fn first_in_first_out_and_it_shrinks() {
    let (owner, queue) = pair();
    assert!(queue.fences.available(), "Linux has had it since 4.14");
    (0..100_000).for_each(|i| owner.push(i).unwrap());
    let first: Vec<_> = (0..10).map(|_| owner.pop().unwrap()).collect();
    assert_eq!(first, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(queue.take(3), [10, 11, 12]);
    assert_eq!(queue.len(), 99_987);
    assert_eq!(queue.take(usize::MAX).len(), 99_987);
    assert_eq!((owner.pop(), queue.take(1)), (None, vec![]));
    owner.shrink();
    // SAFETY: this thread has both sides of the queue, so no other thread touches the entries.
    queue.entries.with_mut(|entries| assert!(unsafe { (*entries).capacity() } <= 2 * KEPT));
    owner.push(7).unwrap();
    assert_eq!(owner.pop(), Some(7));
}

#[test]
fn an_owner_and_two_takers_get_each_entry_once_and_in_order() {
    const N: u32 = 400_000;
    let ((owner, queue), over) = (pair(), AtomicBool::new(false));
    let (mut own, taken) = thread::scope(|s| {
        let takers: Vec<_> = (0..2)
            .map(|_| {
                let (queue, over) = (&queue, &over);
                s.spawn(move || {
                    let mut taken = Vec::new();
                    while !over.load(Acquire) {
                        let batch = queue.take(5);
                        assert!(batch.is_sorted());
                        taken.extend(batch);
                        // Takers come rarely, as rescuers do. Otherwise the owner could put nothing
                        // in.
                        thread::yield_now();
                    }
                    taken
                })
            })
            .collect();
        let mut own = Vec::new();
        for i in 0..N {
            if let Err(refused) = owner.push(i) {
                own.push(refused);
            }
            if i % 3 != 0 {
                own.extend(owner.pop());
            }
        }
        over.store(true, Release);
        let taken: Vec<u32> = takers.into_iter().flat_map(|t| t.join().unwrap()).collect();
        (own, taken)
    });
    own.extend(queue.take(usize::MAX));
    own.extend(taken);
    own.sort_unstable();
    assert!(own.into_iter().eq(0..N), "each once");
}
