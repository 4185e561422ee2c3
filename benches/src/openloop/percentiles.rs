//! Percentiles of a run, exact: of all its values, sorted.

/// Of latencies, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentiles {
    /// The mean.
    pub mean: f64,
    /// Half of the values are at most this.
    pub p50: u64,
    /// 99 % are.
    pub p99: u64,
    /// 99.9 % are.
    pub p999: u64,
    /// All are.
    pub max: u64,
}

impl Percentiles {
    /// Of these values.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let mean = values.iter().map(|v| *v as f64).sum::<f64>() / values.len() as f64;
        let at = |per_mille| rank(&values, per_mille);
        Percentiles { mean, p50: at(500), p99: at(990), p999: at(999), max: at(1000) }
    }
}

/// The smallest value that so many per mille of the values do not exceed.
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
