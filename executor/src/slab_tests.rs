//! Slots are disjoint, stay what they were, and leave nothing behind.
use std::collections::HashSet;

use super::*;

struct Value(#[allow(dead_code)] [u64; 9]);

fn chunks(slab: &Slab) -> (usize, usize) {
    let inner = lock(&slab.inner);
    let mut open = 0;
    let mut at = inner.open;
    while !at.is_null() {
        open += 1;
        // SAFETY: the lock is held, and what is in the list are chunks.
        at = unsafe { (*at).next };
    }
    (open, inner.spare.len())
}

#[test]
#[cfg_attr(dapple_single_slots, ignore = "there is no chunk")]
fn slots_are_disjoint_and_come_back() {
    let slab = Slab::of::<Value>();
    let mut magazine = slab.magazine();
    for round in 0..3 {
        let slots: Vec<Slot> = (0..50_000)
            .map(|i| if i % 7 == 0 { slab.take_outside() } else { magazine.take(&slab) })
            .collect();
        let starts: HashSet<usize> = slots.iter().map(|s| s.addr().get()).collect();
        assert_eq!(starts.len(), slots.len(), "no slot twice");
        for (i, slot) in slots.iter().enumerate() {
            assert_eq!((slot.addr().get() % CHUNK) % size_of::<Value>(), 0);
            assert_ne!(slot.addr().get() % CHUNK, 0, "the header is not handed out");
            // SAFETY: the slot is ours.
            unsafe { slot.cast::<[usize; 9]>().write([i; 9]) };
        }
        for (i, slot) in slots.iter().enumerate() {
            // SAFETY: the slot is ours, written above.
            assert_eq!(unsafe { slot.cast::<[usize; 9]>().read() }, [i; 9]);
        }
        // In another order each round; a part of it on another thread.
        let step = [1, 7, 49_999][round];
        let order = (0..slots.len()).map(|i| slots[i * step % slots.len()]);
        let (here, there): (Vec<_>, Vec<_>) = order.enumerate().partition(|(i, _)| i % 3 > 0);
        // SAFETY: each was taken from this slab, and is given back once.
        unsafe {
            here.into_iter().for_each(|(_, slot)| magazine.free(slot, &slab));
            there.into_iter().for_each(|(_, slot)| Slab::free(slot));
        }
    }
    // SAFETY: its slots are this slab's.
    unsafe { magazine.empty_into(&slab) };
    for magazine in &slab.outside {
        // SAFETY: as above.
        unsafe { lock(magazine).empty_into(&slab) };
    }
    assert_eq!(chunks(&slab), (0, SPARE), "all chunks are back, and but a few are kept");
}

#[test]
fn workers_hand_slots_to_each_other() {
    let slab = Slab::of::<Value>();
    let (tx, rx) = std::sync::mpsc::channel::<usize>();
    std::thread::scope(|s| {
        for t in 0..2 {
            let (slab, tx) = (&slab, tx.clone());
            s.spawn(move || {
                let mut magazine = slab.magazine();
                for i in 0..20_000 {
                    let slot = if t == 0 { magazine.take(slab) } else { slab.take_outside() };
                    // SAFETY: the slot is ours.
                    unsafe { slot.cast::<usize>().write(i) };
                    tx.send(slot.as_ptr().expose_provenance()).unwrap();
                }
                // SAFETY: its slots are this slab's.
                unsafe { magazine.empty_into(slab) };
            });
        }
        drop(tx);
        let mut magazine = slab.magazine();
        for slot in rx {
            let slot = NonNull::new(ptr::with_exposed_provenance_mut::<u8>(slot)).unwrap();
            // SAFETY: it was taken from this slab by the other threads, and sent once.
            unsafe {
                assert!(slot.cast::<usize>().read() < 20_000);
                magazine.free(slot, &slab);
            }
        }
        // SAFETY: its slots are this slab's.
        unsafe { magazine.empty_into(&slab) };
    });
}
