//! I14: commit order alone, step by step.
use dapple_colors::{Completed, Sequence};

#[test]
fn i14_places_are_released_in_order() {
    let mut sequence = Sequence::default();
    let places = [(); 4].map(|()| sequence.reserve());
    assert!(places.is_sorted() && !sequence.is_empty());
    assert_eq!(sequence.complete(places[2], Some(3)), Completed::Wait);
    assert_eq!(sequence.complete(places[1], None), Completed::Wait, "a dropped place is empty");
    assert_eq!(sequence.release(), None);
    assert_eq!(sequence.complete(places[0], Some(1)), Completed::Release);
    assert_eq!(sequence.release(), Some(Some(1)));
    assert_eq!(sequence.release(), Some(None), "nothing to release, but it takes its turn");
    assert_eq!(sequence.complete(places[3], Some(4)), Completed::Wait, "one releaser at a time");
    assert_eq!([(); 3].map(|()| sequence.release()), [Some(Some(3)), Some(Some(4)), None]);
    assert!(sequence.is_empty());
    let next = sequence.reserve();
    assert_eq!(sequence.complete(next, None), Completed::Release);
    assert_eq!((sequence.release(), sequence.release()), (Some(None), None));
    assert_eq!(sequence.len(), 0);
}

#[test]
#[should_panic(expected = "a place is completed once")]
fn i14_a_place_is_completed_once() {
    let mut sequence = Sequence::new();
    let _first = sequence.reserve();
    let second = sequence.reserve();
    let _ = sequence.complete(second, Some(1));
    let _ = sequence.complete(second, Some(2));
}
