//! Statistics of several runs.

/// Returns the median, which is the mean of the two middle values if their number is even.
///
/// # Panics
///
/// Panics if there are no values.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

/// Returns the median of the ratios of the first values to the second ones, round by round.
///
/// # Panics
///
/// Panics if there are no rounds.
pub(super) fn ratio(first: &[f64], second: &[f64]) -> f64 {
    median(first.iter().zip(second).map(|(first, second)| first / second).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![7.0]), 7.0);
    }

    #[test]
    fn both_sides_of_a_ratio_are_of_one_round() {
        // The machine was twice as slow in the second round.
        assert_eq!(ratio(&[2.0, 4.0, 2.2], &[1.0, 2.0, 1.0]), 2.0);
    }
}
