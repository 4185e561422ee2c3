//! Exact percentiles of a run, taken from all of its values in sorted order.

/// The percentiles of the latencies of a run, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentiles {
    /// The mean.
    pub mean: f64,
    /// The median: half of the values are at most this.
    pub p50: u64,
    /// The 99th percentile: 99 % of the values are at most this.
    pub p99: u64,
    /// The 99.9th percentile: 99.9 % of the values are at most this.
    pub p999: u64,
    /// The largest value.
    pub max: u64,
}

impl Percentiles {
    /// Computes the percentiles of these values.
    ///
    /// # Panics
    ///
    /// Panics if there is no value.
    pub fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let mean = values.iter().map(|v| *v as f64).sum::<f64>() / values.len() as f64;
        let at = |per_mille| rank(&values, per_mille);
        Percentiles { mean, p50: at(500), p99: at(990), p999: at(999), max: at(1000) }
    }
}

/// Returns the smallest value that is not exceeded by `per_mille` thousandths of the values.
fn rank(sorted: &[u64], per_mille: usize) -> u64 {
    sorted[(sorted.len() * per_mille).div_ceil(1000).max(1) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_thousand_values() {
        let found = Percentiles::of((1..=1_000).rev().collect());
        let expected = Percentiles { mean: 500.5, p50: 500, p99: 990, p999: 999, max: 1_000 };
        assert_eq!(found, expected);
    }

    #[test]
    fn of_few_values() {
        let found = Percentiles::of(vec![7]);
        assert_eq!(found, Percentiles { mean: 7.0, p50: 7, p99: 7, p999: 7, max: 7 });
        let found = Percentiles::of(vec![3, 1, 2]);
        assert_eq!(found, Percentiles { mean: 2.0, p50: 2, p99: 3, p999: 3, max: 3 });
    }
}
