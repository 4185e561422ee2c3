//! Learned averages.

/// A learned figure that is not known yet.
pub(crate) const UNKNOWN: u32 = 0;

/// A moving average of thousandths.
pub(crate) fn blend_thousandths(old: u32, new: u32) -> u32 {
    old - old / 8 + new / 8
}

/// A moving average that starts with its first value, and is never [`UNKNOWN`] after it. One value
/// that is far above, such as that of the one long event among short ones, counts for four times
/// the average at most; if the average itself is far above, as after a first long event, it soon
/// comes down.
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
