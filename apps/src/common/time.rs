//! Times to come.

use std::time::{Duration, Instant};

/// A time that is as good as never: 30 years.
const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 3_600);

/// The time `delay` after `at`; if it cannot be told, one that is as good as never.
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
