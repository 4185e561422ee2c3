//! Times in the future.

use std::time::{Duration, Instant};

/// A delay that is as good as forever: 30 years.
const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 3_600);

/// Returns the time `delay` after `at`, or 30 years after `at` if an `Instant` cannot represent it.
pub(crate) fn later(at: Instant, delay: Duration) -> Instant {
    at.checked_add(delay).unwrap_or_else(|| at + NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_cannot_be_told_is_far_away() {
        let now = Instant::now();
        assert_eq!(later(now, NEVER), now + NEVER);
        assert_eq!(later(now, Duration::MAX), now + NEVER);
    }
}
