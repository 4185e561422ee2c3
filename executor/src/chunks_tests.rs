use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Insert(u32),
    /// Removes a value that is there: the one at this position, modulo the number of values.
    Remove(usize),
    /// Removes the value under this number, which may not exist.
    Forget(usize),
    Drain,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => any::<u32>().prop_map(Op::Insert),
        6 => any::<usize>().prop_map(Op::Remove),
        1 => (0usize..1_000).prop_map(Op::Forget),
        1 => Just(Op::Drain),
    ]
}

proptest! {
    /// The table agrees with a map after each operation.
    #[test]
    fn it_is_a_map_that_chooses_its_keys(ops in prop::collection::vec(op(), 0..600)) {
        let mut map = BTreeMap::new();
        let mut chunks = Chunks::default();
        for op in ops {
            match op {
                Op::Insert(value) => {
                    let number = chunks.insert(value);
                    prop_assert_eq!(map.insert(number, value), None, "a number is given once");
                }
                Op::Remove(at) if !map.is_empty() => {
                    let number = *map.keys().nth(at % map.len()).unwrap();
                    prop_assert_eq!(chunks.remove(number), map.remove(&number));
                }
                Op::Remove(_) => {}
                Op::Forget(number) => prop_assert_eq!(chunks.remove(number), map.remove(&number)),
                Op::Drain => {
                    let all: Vec<u32> = chunks.drain().collect();
                    prop_assert_eq!(all, std::mem::take(&mut map).into_values().collect::<Vec<_>>());
                }
            }
            prop_assert_eq!((chunks.len(), chunks.is_empty()), (map.len(), map.is_empty()));
            for (number, value) in &map {
                prop_assert_eq!(chunks.get(*number), Some(value));
            }
            let first = map.keys().nth(map.len() / 2).copied().unwrap_or(5);
            let from: Vec<_> = chunks.iter_mut_from(first).map(|(n, v)| (n, *v)).collect();
            prop_assert_eq!(from, map.range(first..).map(|(n, v)| (*n, *v)).collect::<Vec<_>>());
        }
    }
}

/// A value that stays keeps its own chunk, and at most one other chunk stays with it.
#[test]
fn a_value_that_stays_keeps_one_chunk() {
    let mut chunks = Chunks::default();
    let numbers: Vec<usize> = (0..100_000).map(|value| chunks.insert(value)).collect();
    let (last, others) = numbers.split_last().unwrap();
    others.iter().for_each(|number| assert!(chunks.remove(*number).is_some()));
    assert!(chunks.chunks.iter().flatten().count() <= 2);
    chunks.remove(*last);
    assert!(chunks.is_empty() && chunks.chunks.len() + chunks.vacant.capacity() <= 2);
    // Room that was freed is reused.
    for _ in 0..10 {
        let some: Vec<usize> = (0..1_000).map(|value| chunks.insert(value)).collect();
        assert!(some.iter().all(|number| *number < 1_024));
        some.into_iter().for_each(|number| assert!(chunks.remove(number).is_some()));
    }
}
