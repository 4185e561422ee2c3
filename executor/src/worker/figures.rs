//! Learned averages.

/// The value of a learned figure that is not known yet.
pub(crate) const UNKNOWN: u32 = 0;

/// Returns the moving average of a figure in thousandths, after a new value.
pub(crate) fn blend_thousandths(old: u32, new: u32) -> u32 {
    old - old / 8 + new / 8
}

/// Returns the moving average after a new value.
///
/// The average starts with its first value, and is never [`UNKNOWN`] after that. A single value
/// that is far above the average, such as a long event among short ones, counts for at most four
/// times the average, or 1,000 if that is more. A value of less than a quarter halves the average,
/// so an average that is far too high, as after a long first event, comes down within a few values.
pub(crate) fn blend(old: u32, new: u64) -> u32 {
    let new = new.clamp(1, u64::from(u32::MAX / 8)) as u32;
    if old == UNKNOWN {
        return new;
    }
    if new < old / 4 {
        return old / 2;
    }
    let new = new.min(old.saturating_mul(4).max(1_000));
    (old - old / 8 + new / 8).max(1)
}
