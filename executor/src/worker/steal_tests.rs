//! E3: the verdicts about typical programs.
use super::*;

/// The traffic that an uncolored event counts for, in thousandths.
const UNCOLORED_TRAFFIC: u32 = 250;

/// The prices of a move in nanoseconds, from a good machine to a bad one.
const PRICES: [u32; 3] = [150, 700, 1_900];

#[test]
fn e3_colors_that_others_feed_with_tiny_events_stay() {
    for price in PRICES {
        // 64 generators feed 1,000 colors, which run four events of 30 ns per turn. The second line
        // is the generators themselves.
        assert_eq!(verdict(120, 4_000, price), Verdict::No, "{price}");
        assert_eq!(verdict(2_400, 64_000, price), Verdict::No, "{price}");
        // Two colors post to each other.
        assert_eq!(verdict(40, 2_000, price), Verdict::No, "{price}");
    }
    // A fan-out of tiny events, on a machine with expensive cache lines and on one with cheap ones.
    assert_eq!(verdict(50, UNCOLORED_TRAFFIC, 700), Verdict::No);
    assert_eq!(verdict(50, UNCOLORED_TRAFFIC, 100), Verdict::Perhaps);
}

#[test]
fn e3_chains_may_move() {
    for price in PRICES {
        // 64 events of 20 ns per turn, all posted by the color itself.
        assert_ne!(verdict(1_300, 0, price), Verdict::No, "{price}");
        assert_eq!(verdict(10_000, 0, price), Verdict::Yes, "{price}");
    }
}

#[test]
fn e3_long_events_move() {
    for price in PRICES {
        assert_eq!(verdict(20_000, 1_000, price), Verdict::Yes, "{price}");
        assert_eq!(verdict(10_000, UNCOLORED_TRAFFIC, price), Verdict::Yes, "{price}");
        assert_ne!(verdict(10_000, 2_000, price), Verdict::No, "{price}");
    }
}

#[test]
fn e3_nothing_is_known_of_what_was_never_timed() {
    assert_eq!(verdict(UNKNOWN, 0, 700), Verdict::No);
}
