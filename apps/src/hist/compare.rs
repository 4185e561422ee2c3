//! Compares two histograms at a percentile, with a confidence interval.
//!
//! The interval comes from the bootstrap (Efron 1979), in its Poisson form. In a resample, each
//! value occurs as often as a Poisson variable with mean 1 says, so the count of each bucket is a
//! Poisson variable whose mean is the bucket's own count. The interval contains the true ratio in
//! 95 of 100 cases. It is too narrow if values depend on each other, as latencies from one
//! overloaded moment do.

use hdrhistogram::Histogram;

/// The number of pairs of resamples.
const DRAWN: usize = 400;

/// How a percentile differs between two runs.
#[derive(Debug)]
pub(super) struct Change {
    /// The value in the first run, in nanoseconds; `after` is that in the second run.
    pub(super) before: f64,
    pub(super) after: f64,
    /// `after` divided by `before`.
    pub(super) ratio: f64,
    /// The start of the confidence interval of the ratio; `to` is its end.
    pub(super) from: f64,
    pub(super) to: f64,
}

pub(super) fn compare(one: &Histogram<u64>, other: &Histogram<u64>, percent: f64) -> Change {
    let (before, after) =
        (one.value_at_percentile(percent) as f64, other.value_at_percentile(percent) as f64);
    // A fixed seed, so that the same files always give the same interval.
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (first, second) = (buckets(one), buckets(other));
    let mut draw = || {
        let quantile = percent / 100.0;
        let one = drawn_quantile(&first, quantile, &mut random);
        let other = drawn_quantile(&second, quantile, &mut random);
        other / one.max(1.0)
    };
    let mut ratios: Vec<f64> = (0..DRAWN).map(|_| draw()).collect();
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| ratios[((DRAWN - 1) as f64 * share).round() as usize];
    Change { before, after, ratio: after / before.max(1.0), from: at(0.025), to: at(0.975) }
}

/// Returns the value and the count of each bucket.
fn buckets(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let recorded = histogram.iter_recorded();
    recorded.map(|b| (b.value_iterated_to() as f64, b.count_at_value() as f64)).collect()
}

/// Draws a Poisson resample of the buckets, and returns its quantile.
fn drawn_quantile(buckets: &[(f64, f64)], quantile: f64, random: &mut Random) -> f64 {
    let drawn: Vec<f64> = buckets.iter().map(|(_, count)| random.poisson(*count)).collect();
    let wanted = (drawn.iter().sum::<f64>() * quantile).ceil().max(1.0);
    let mut below = 0.0;
    let found = buckets.iter().zip(&drawn).find(|(_, count)| {
        below += **count;
        below >= wanted
    });
    found.or(buckets.iter().zip(&drawn).next_back()).map_or(0.0, |((value, _), _)| *value)
}

/// The generator SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number above 0 and at most 1.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Draws a Poisson variable: by its definition up to a mean of 50, and above that by the normal
    /// distribution that approximates it.
    fn poisson(&mut self, mean: f64) -> f64 {
        if mean > 50.0 {
            let radius = (-2.0 * self.unit().ln()).sqrt();
            let normal = radius * (std::f64::consts::TAU * self.unit()).cos();
            return (mean + mean.sqrt() * normal).round().max(0.0);
        }
        let (limit, mut product, mut count) = ((-mean).exp(), self.unit(), 0.0);
        while product > limit {
            product *= self.unit();
            count += 1.0;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(count: u64, scale: f64, random: &mut Random) -> Histogram<u64> {
        let mut histogram = Histogram::new(2).unwrap();
        for _ in 0..count {
            let exponential = -random.unit().ln() * 1e5 * scale;
            histogram.record(exponential as u64 + 1).unwrap();
        }
        histogram
    }

    #[test]
    fn the_mean_and_the_spread_are_those_of_poisson() {
        let mut random = Random(1);
        for mean in [0.5, 5.0, 49.0, 51.0, 1_000.0] {
            let all: Vec<f64> = (0..20_000).map(|_| random.poisson(mean)).collect();
            let found = all.iter().sum::<f64>() / all.len() as f64;
            let variance = all.iter().map(|n| (n - found).powi(2)).sum::<f64>() / all.len() as f64;
            assert!((found / mean - 1.0).abs() < 0.03, "{found} for {mean}");
            assert!((variance / mean - 1.0).abs() < 0.06, "{variance} for {mean}");
        }
    }

    #[test]
    fn the_interval_has_the_truth_in_it_in_nearly_all_cases() {
        let mut random = Random(2);
        let (mut same, mut twice) = (0, 0);
        for _ in 0..40 {
            let one = sample(2_000, 1.0, &mut random);
            let change = compare(&one, &sample(2_000, 1.0, &mut random), 90.0);
            same += u32::from(change.from <= 1.0 && 1.0 <= change.to);
            let change = compare(&one, &sample(2_000, 2.0, &mut random), 90.0);
            twice += u32::from(change.from <= 2.0 && 2.0 <= change.to);
            assert!(change.from > 1.5 && change.to < 2.6, "{change:?}");
        }
        // 38 of 40 are expected. The sequence is the same in each run, so the test is not flaky.
        assert!(same >= 34 && twice >= 34, "{same}, {twice}");
    }

    #[test]
    fn an_empty_histogram_and_one_value_have_their_quantiles() {
        let mut one = Histogram::new(3).unwrap();
        let change = compare(&one, &one, 99.0);
        assert!(change.ratio == 0.0 && change.from.is_finite());
        one.record(1_000).unwrap();
        let change = compare(&one, &one, 99.0);
        assert_eq!((change.ratio, change.before), (1.0, 1_000.0));
    }
}
