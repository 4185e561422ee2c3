//! Schedules of requests, made from a seed before the run, so that every system gets the same
//! requests.
//!
//! Arrivals are a Poisson process: the gaps are drawn from an exponential distribution. Each
//! request has a service time and a key, which are drawn independently. A schedule has a fixed
//! number of requests, even if they are more than the system can serve, so every run ends.

use crate::random::SplitMix64;

/// The number of keys.
pub const KEYS: usize = 1_000;
/// The exponent of the Zipf distribution of keys. The first key gets 13 % of the requests, the
/// second one 6.5 %.
pub const ZIPF_EXPONENT: f64 = 0.99;
/// The share of long services in the bimodal distribution.
pub const LONG_SHARE: f64 = 0.005;
/// The duration of a long service divided by that of a short one. With a mean of 10 us, short
/// services take 6.7 us and long ones 669 us, so a third of all work is in one request of 200.
pub const LONG_RATIO: f64 = 100.0;

/// The distribution of the service times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// All service times are equal.
    Fixed,
    /// An exponential distribution.
    Exponential,
    /// Short service times, and a few that are [`LONG_RATIO`] times as long.
    Bimodal,
}

impl Distribution {
    /// All distributions.
    pub const ALL: [Self; 3] = [Self::Fixed, Self::Exponential, Self::Bimodal];

    /// Returns the name of the distribution on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Exponential => "exponential",
            Self::Bimodal => "bimodal",
        }
    }

    /// Draws a service time of at least 1 ns from the distribution with this mean, in nanoseconds.
    fn draw(self, mean: f64, random: &mut SplitMix64) -> u32 {
        let nanos = match self {
            Self::Fixed => mean,
            Self::Exponential => -random.unit().ln() * mean,
            Self::Bimodal => {
                let short = mean / (1.0 - LONG_SHARE + LONG_SHARE * LONG_RATIO);
                if random.unit() <= LONG_SHARE { short * LONG_RATIO } else { short }
            }
        };
        nanos.round().max(1.0) as u32
    }
}

/// The distribution of the requests over the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Each key gets the same share.
    Uniform,
    /// A Zipf distribution: the share of the n-th key is proportional to 1 / n ^ [`ZIPF_EXPONENT`].
    Zipf,
}

impl Keys {
    /// All distributions over the keys.
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Zipf];

    /// Returns the name of the distribution on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
        }
    }

    /// Returns for each key the share of the requests that go to this key or an earlier one.
    fn shares(self) -> Vec<f64> {
        let weight = |rank: usize| match self {
            Self::Uniform => 1.0,
            Self::Zipf => (rank as f64).powf(-ZIPF_EXPONENT),
        };
        let total: f64 = (1..=KEYS).map(weight).sum();
        let mut below = 0.0;
        let mut share = |rank| {
            below += weight(rank) / total;
            below
        };
        (1..=KEYS).map(&mut share).collect()
    }
}

/// One request of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The time of the arrival, in nanoseconds from the start.
    pub at: u64,
    /// The duration of the service, in nanoseconds.
    pub service: u32,
    /// The key, which is below [`KEYS`].
    pub key: u32,
}

/// The parameters of a schedule.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The seed. Different seeds give different schedules.
    pub seed: u64,
    /// The distribution of the service times.
    pub distribution: Distribution,
    /// The mean service time, in nanoseconds.
    pub mean: f64,
    /// The distribution of the requests over the keys.
    pub keys: Keys,
    /// The arrivals per nanosecond.
    pub rate: f64,
    /// The number of requests.
    pub requests: usize,
}

impl Spec {
    /// Draws all requests, in the order of their arrival.
    pub fn schedule(&self) -> Vec<Request> {
        let mut random = SplitMix64::new(self.seed);
        let shares = self.keys.shares();
        let mut at = 0.0;
        let mut next = || {
            at += -random.unit().ln() / self.rate;
            let service = self.distribution.draw(self.mean, &mut random);
            let unit = random.unit();
            // A rounding error may leave the last share slightly below 1.
            let key = shares.partition_point(|share| *share < unit).min(KEYS - 1) as u32;
            Request { at: at as u64, service, key }
        };
        (0..self.requests).map(|_| next()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEAN: f64 = 10_000.0;

    fn schedule(distribution: Distribution, keys: Keys) -> Vec<Request> {
        let rate = 0.5 / MEAN;
        Spec { seed: 42, distribution, mean: MEAN, keys, rate, requests: 200_000 }.schedule()
    }

    fn mean(values: impl Iterator<Item = f64>) -> f64 {
        let (sum, n) = values.fold((0.0, 0.0), |(sum, n), v| (sum + v, n + 1.0));
        sum / n
    }

    #[test]
    fn services_have_the_mean_that_was_asked_for() {
        for (distribution, tolerance) in Distribution::ALL.into_iter().zip([0.0, 0.01, 0.03]) {
            let all = schedule(distribution, Keys::Uniform);
            let mean = mean(all.iter().map(|r| f64::from(r.service)));
            assert!((mean / MEAN - 1.0).abs() <= tolerance, "{}: {mean}", distribution.name());
        }
    }

    #[test]
    fn arrivals_have_the_rate_that_was_asked_for_and_exponential_gaps() {
        let all = schedule(Distribution::Fixed, Keys::Uniform);
        assert!(all.is_sorted_by_key(|r| r.at));
        let gaps: Vec<f64> = all.windows(2).map(|w| (w[1].at - w[0].at) as f64).collect();
        let gap = mean(gaps.iter().copied());
        assert!((gap / (2.0 * MEAN) - 1.0).abs() < 0.01, "{gap}");
        let deviation = mean(gaps.iter().map(|g| (g - gap).powi(2))).sqrt();
        assert!((deviation / gap - 1.0).abs() < 0.02, "{deviation}");
    }

    #[test]
    fn bimodal_services_are_of_two_lengths() {
        let all = schedule(Distribution::Bimodal, Keys::Uniform);
        let long = all.iter().filter(|r| f64::from(r.service) > MEAN).count() as f64;
        assert!((long / all.len() as f64 / LONG_SHARE - 1.0).abs() < 0.1, "{long}");
        let longest = all.iter().map(|r| r.service).max().unwrap();
        let shortest = all.iter().map(|r| r.service).min().unwrap();
        assert!((f64::from(longest) / f64::from(shortest) / LONG_RATIO - 1.0).abs() < 0.001);
    }

    #[test]
    fn keys_are_spread_as_they_are_named() {
        let share = |keys, key| {
            let all = schedule(Distribution::Fixed, keys);
            assert!(all.iter().all(|r| (r.key as usize) < KEYS));
            all.iter().filter(|r| r.key == key).count() as f64 / all.len() as f64
        };
        assert!((share(Keys::Uniform, 0) - 0.001).abs() < 0.0003);
        assert!((share(Keys::Uniform, 999) - 0.001).abs() < 0.0003);
        let (first, second) = (share(Keys::Zipf, 0), share(Keys::Zipf, 1));
        assert!((first - 0.13).abs() < 0.01, "{first}");
        assert!((first / second / 2f64.powf(ZIPF_EXPONENT) - 1.0).abs() < 0.05, "{second}");
    }

    #[test]
    fn the_same_seed_makes_the_same_schedule() {
        let once = schedule(Distribution::Exponential, Keys::Zipf);
        assert_eq!(once, schedule(Distribution::Exponential, Keys::Zipf));
    }
}
