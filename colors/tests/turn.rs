//! C9: a turn ends after a number of events, a number of posts or a time.
use dapple_colors::{Pace, Turn, TurnBudget, TurnStep};

const BUDGET: TurnBudget = TurnBudget { events: 64, posts: 32, nanos: 10_000 };

#[test]
fn c9_events_end_a_turn() {
    let mut turn = Turn::new(BUDGET, Pace::Unknown);
    let mut events = 0;
    loop {
        events += 1;
        match turn.after_event(0) {
            TurnStep::Continue => {}
            TurnStep::ReadClock => assert_eq!(turn.at(0), TurnStep::Continue),
            TurnStep::End => break,
        }
    }
    assert_eq!(events, 64);
    assert_eq!(turn.events(), 64);
}

#[test]
fn c9_posts_end_a_turn() {
    let mut turn = Turn::new(BUDGET, Pace::Unknown);
    assert_eq!(turn.after_event(31), TurnStep::Continue);
    assert_eq!(turn.after_event(32), TurnStep::End);
}

#[test]
fn c9_time_ends_a_turn() {
    let mut turn = Turn::new(BUDGET, Pace::Unknown);
    for _ in 0..3 {
        assert_eq!(turn.after_event(0), TurnStep::Continue);
    }
    assert_eq!(turn.after_event(0), TurnStep::ReadClock);
    assert_eq!(turn.at(10_000), TurnStep::End);
}

#[test]
fn c9_short_events_have_the_clock_read_rarely() {
    let mut turn = Turn::new(TurnBudget { events: 1000, ..BUDGET }, Pace::Unknown);
    let mut looks = 0;
    for _ in 0..160 {
        if turn.after_event(0) == TurnStep::ReadClock {
            looks += 1;
            assert_eq!(turn.at(100), TurnStep::Continue);
        }
    }
    assert_eq!(looks, 11, "after the 4th event, then after every 16th");
}

#[test]
fn c9_long_events_have_the_clock_read_after_each_one() {
    for known in [true, false] {
        let pace = if known { Pace::Long } else { Pace::Unknown };
        let mut turn = Turn::new(BUDGET, pace);
        let mut first = true;
        let mut elapsed = 0;
        loop {
            elapsed += 2_500;
            match turn.after_event(0) {
                TurnStep::Continue => {
                    assert!(first && !known, "once known, every event is looked at")
                }
                TurnStep::ReadClock => {
                    first = false;
                    if turn.at(elapsed) == TurnStep::End {
                        break;
                    }
                }
                TurnStep::End => panic!("time ends this turn"),
            }
        }
        assert_eq!(turn.events(), 4);
    }
}

#[test]
fn c9_a_turn_that_is_timed_late_still_notices_long_events_at_once() {
    let mut turn = Turn::new(BUDGET, Pace::Unknown);
    let mut events = 0;
    let mut since = None;
    loop {
        events += 1;
        match (turn.after_event(0), since) {
            (TurnStep::Continue, _) => {}
            (TurnStep::ReadClock, None) => {
                since = Some(events);
                assert_eq!(turn.start_timing(), TurnStep::Continue);
            }
            (TurnStep::ReadClock, Some(since)) => {
                if turn.at((events - since) * 50_000_000) == TurnStep::End {
                    break;
                }
            }
            (TurnStep::End, _) => panic!("time ends this turn"),
        }
    }
    assert_eq!(events, 5, "the 4th starts the clock, the 5th ends the turn");
    assert!(turn.is_long());
}

#[test]
fn c9_known_short_events_have_the_clock_read_more_rarely_and_may_change() {
    assert_eq!([0, 1, 499, 500, 2_000].map(Pace::of), {
        use Pace::*;
        [Unknown, Short, Short, Unknown, Long]
    });
    let looks = |nanos: u64| {
        let mut turn = Turn::new(BUDGET, Pace::Short);
        let (mut looks, mut since) = (Vec::new(), None);
        loop {
            match (turn.after_event(0), since) {
                (TurnStep::Continue, _) => continue,
                (TurnStep::ReadClock, None) => {
                    since = Some(turn.events());
                    assert_eq!(turn.start_timing(), TurnStep::Continue);
                }
                (TurnStep::ReadClock, Some(since)) => {
                    if turn.at(u64::from(turn.events() - since) * nanos) == TurnStep::End {
                        break looks;
                    }
                }
                (TurnStep::End, _) => break looks,
            }
            looks.push(turn.events());
        }
    };
    assert_eq!(looks(20), [8, 9, 36]);
    // The events have become long.
    assert_eq!(looks(2_500), [8, 9, 10, 11]);
    assert_eq!(looks(10_000), [8], "the first one that was timed ends the turn");
}
