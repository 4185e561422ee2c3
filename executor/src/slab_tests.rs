//! Slots are disjoint, keep what is written to them, and are all returned.
use std::collections::HashSet;

use super::*;

struct Value(#[allow(dead_code)] [u64; 9]);

fn chunks(slab: &Slab) -> (usize, usize) {
    let inner = lock(&slab.inner);
    let mut open = 0;
    let mut at = inner.open;
    while !at.is_null() {
        open += 1;
        // SAFETY: the lock is held, and all elements of the list are chunks of the slab.
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
            // SAFETY: the slot was taken above and is at least as large as the array.
            unsafe { slot.cast::<[usize; 9]>().write([i; 9]) };
        }
        for (i, slot) in slots.iter().enumerate() {
            // SAFETY: the slot was taken and written above.
            assert_eq!(unsafe { slot.cast::<[usize; 9]>().read() }, [i; 9]);
        }
        // The slots are freed in another order in each round, and a third of them through
        // `Slab::free`.
        let step = [1, 7, 49_999][round];
        let order = (0..slots.len()).map(|i| slots[i * step % slots.len()]);
        let (here, there): (Vec<_>, Vec<_>) = order.enumerate().partition(|(i, _)| i % 3 > 0);
        // SAFETY: each slot was taken from this slab, and is freed once.
        unsafe {
            here.into_iter().for_each(|(_, slot)| magazine.free(slot, &slab));
            there.into_iter().for_each(|(_, slot)| Slab::free(slot));
        }
    }
    // SAFETY: the slots of the magazine came from this slab.
    unsafe { magazine.empty_into(&slab) };
    for magazine in &slab.outside {
        // SAFETY: the slots of the shared magazines came from this slab.
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
                    // SAFETY: the slot was just taken, and is large enough for the number.
                    unsafe { slot.cast::<usize>().write(i) };
                    tx.send(slot.as_ptr().expose_provenance()).unwrap();
                }
                // SAFETY: the slots of the magazine came from this slab.
                unsafe { magazine.empty_into(slab) };
            });
        }
        drop(tx);
        let mut magazine = slab.magazine();
        for slot in rx {
            let slot = NonNull::new(ptr::with_exposed_provenance_mut::<u8>(slot)).unwrap();
            // SAFETY: another thread took the slot from this slab, wrote it, and sent it once.
            unsafe {
                assert!(slot.cast::<usize>().read() < 20_000);
                magazine.free(slot, &slab);
            }
        }
        // SAFETY: the slots of the magazine came from this slab.
        unsafe { magazine.empty_into(&slab) };
    });
}
