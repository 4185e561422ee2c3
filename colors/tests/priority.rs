//! C7: which class is served next.
use dapple_colors::priority::{Aging, PATIENCE, Priority::*};

#[test]
fn c7_a_higher_class_goes_first() {
    let mut aging = Aging::default();
    assert_eq!(aging.next(|_| true), Some(High));
    assert_eq!(aging.next(|class| class != High), Some(Normal));
    assert_eq!(aging.next(|class| class == Low), Some(Low));
    assert_eq!(aging.next(|_| false), None);
}

#[test]
fn c7_a_lower_class_is_never_passed_over_for_long() {
    // Tries all patterns of the two other classes, while one class always has something to run.
    for kept in [High, Normal, Low] {
        for pattern in 0..1u32 << 12 {
            let mut aging = Aging::default();
            let mut passed_over = 0;
            for step in 0..200 {
                let others = (pattern >> (2 * (step % 6))) & 3;
                let waits = |class| match class {
                    _ if class == kept => true,
                    High => others & 1 != 0,
                    Normal => (if kept == High { others & 1 } else { others & 2 }) != 0,
                    Low => others & 2 != 0,
                };
                let next = aging.next(waits).expect("something waits");
                assert!(waits(next), "what is served has something to run");
                passed_over = if next == kept { 0 } else { passed_over + 1 };
                assert!(passed_over <= PATIENCE + 1, "{kept:?} starves");
            }
        }
    }
}

#[test]
fn c7_what_had_nothing_to_run_has_not_aged() {
    let mut aging = Aging::default();
    for _ in 0..10 * PATIENCE {
        assert_eq!(aging.next(|class| class == High), Some(High));
    }
    assert_eq!(aging.next(|_| true), Some(High));
}

#[test]
fn c7_the_higher_one_of_two() {
    assert_eq!(Low.or_higher(High), High);
    assert_eq!(Normal.or_higher(Low), Normal);
    assert_eq!(Normal.or_higher(Normal), Normal);
}
