//! E8: the wheel agrees with a sorted list.
use proptest::prelude::*;

use super::*;

const TICK: u64 = 1 << TICK_SHIFT;

#[derive(Clone, Debug)]
enum Op {
    Insert(u64),
    Cancel(usize),
    Advance(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    // Exponents spread deadlines over all levels, and beyond the last one.
    let delay = (0u32..58, any::<u64>()).prop_map(|(e, r)| r % (1 << e).max(1));
    let op = prop_oneof![
        4 => delay.clone().prop_map(Op::Insert),
        1 => any::<usize>().prop_map(Op::Cancel),
        3 => delay.prop_map(Op::Advance),
    ];
    prop::collection::vec(op, 1..80)
}

proptest! {
    /// Timers fire in order, once each, never early, at most one tick late, and not if cancelled.
    #[test]
    fn e8_agrees_with_a_sorted_list(ops in ops()) {
        let mut wheel = Wheel::default();
        let mut list: Vec<(u64, usize)> = Vec::new();
        let mut keys = Vec::new();
        let mut now = 0u64;
        for op in ops {
            match op {
                Op::Insert(delay) => {
                    let deadline = now.saturating_add(delay);
                    keys.push(Some(wheel.insert(deadline, keys.len())));
                    list.push((deadline, keys.len() - 1));
                }
                Op::Cancel(i) if !keys.is_empty() => {
                    let i = i % keys.len();
                    let here = list.iter().position(|e| e.1 == i);
                    let expected = here.map(|at| list.remove(at).1);
                    let key: Key = keys[i].unwrap();
                    prop_assert_eq!(wheel.remove(key), expected);
                }
                Op::Cancel(_) => {}
                Op::Advance(by) => {
                    now = now.saturating_add(by).min(1 << 61);
                    let due = wheel.advance(now);
                    for d in &due {
                        prop_assert!(d.deadline <= now, "early: {} at {now}", d.deadline);
                    }
                    let mut expected = list.clone();
                    expected.retain(|e| tick_of(e.0) <= now >> TICK_SHIFT);
                    list.retain(|e| tick_of(e.0) > now >> TICK_SHIFT);
                    expected.sort_unstable();
                    let got: Vec<_> = due.iter().map(|d| (d.deadline, d.value)).collect();
                    prop_assert_eq!(got, expected);
                }
            }
            prop_assert_eq!(wheel.is_empty(), list.is_empty());
            let next = wheel.next_deadline();
            prop_assert_eq!(next.is_some(), !list.is_empty());
            if let (Some(next), Some(first)) = (next, list.iter().min()) {
                prop_assert!(next <= tick_of(first.0) * TICK, "sleeps past the first deadline");
            }
        }
    }
}

#[test]
fn e8_a_stale_key_cancels_nothing() {
    let mut wheel = Wheel::default();
    let key = wheel.insert(5, "a");
    assert_eq!(wheel.advance(2 * TICK).len(), 1);
    let _other = wheel.insert(3 * TICK, "b");
    assert_eq!(wheel.remove(key), None);
    assert_eq!(wheel.advance(4 * TICK).len(), 1);
}

#[test]
fn sleeping_from_deadline_to_deadline_reaches_each_entry() {
    let mut wheel = Wheel::default();
    for i in 1..2_000u64 {
        wheel.insert(i * i * i * TICK, i);
    }
    let mut fired = 0;
    while let Some(next) = wheel.next_deadline() {
        for due in wheel.advance(next) {
            fired += 1;
            assert_eq!(due.value, fired);
        }
    }
    assert_eq!(fired, 1_999);
}
