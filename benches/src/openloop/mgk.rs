//! The reference: a queue that k servers serve in the order of arrival, without any overhead.
//!
//! It is computed over the same schedule. Each request is served by the server that is free first,
//! from that moment or from the request's arrival, whichever is later (Kiefer and Wolfowitz, 1955).
//! The queue knows no keys, so two requests of one key may be served at once. It is no lower bound
//! for each percentile: a system with another order can be better in the median and pay in the
//! tail.

use super::schedule::Request;

/// Returns the time of each request from its arrival to the end of its service, in nanoseconds.
///
/// # Panics
///
/// Panics if `servers` is 0 and there is a request.
pub fn sojourns(schedule: &[Request], servers: usize) -> Vec<u64> {
    let mut free_at = vec![0; servers];
    let sojourn = |request: &Request| {
        let first = free_at.iter_mut().min().expect("at least one server");
        *first = (*first).max(request.at) + u64::from(request.service);
        *first - request.at
    };
    schedule.iter().map(sojourn).collect()
}

#[cfg(test)]
mod tests {
    use super::super::schedule::{Distribution, Keys, Spec};
    use super::*;

    const SERVICE: f64 = 10_000.0;

    /// Returns the mean sojourn of 400,000 requests, in mean service times.
    fn mean_sojourn(distribution: Distribution, load: f64, servers: usize) -> f64 {
        let (keys, requests) = (Keys::Uniform, 400_000);
        let rate = load * servers as f64 / SERVICE;
        let spec = Spec { seed: 3, distribution, mean: SERVICE, keys, rate, requests };
        let all = sojourns(&spec.schedule(), servers);
        all.iter().map(|s| *s as f64).sum::<f64>() / all.len() as f64 / SERVICE
    }

    fn assert_near(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 0.03, "{found} instead of {expected}");
    }

    #[test]
    fn exponential_service_is_as_computed_for_one_server() {
        // The mean sojourn is 1 / (mu - lambda).
        for load in [0.3, 0.5, 0.7] {
            assert_near(mean_sojourn(Distribution::Exponential, load, 1), 1.0 / (1.0 - load));
        }
    }

    #[test]
    fn fixed_service_is_as_computed_for_one_server() {
        // The formula of Pollaczek and Khinchine.
        for load in [0.3, 0.5, 0.7] {
            let expected = 1.0 + load / (2.0 * (1.0 - load));
            assert_near(mean_sojourn(Distribution::Fixed, load, 1), expected);
        }
    }

    #[test]
    fn exponential_service_is_as_computed_for_two_servers() {
        // Erlang's C at half load is 1/3.
        assert_near(mean_sojourn(Distribution::Exponential, 0.5, 2), 1.0 + 1.0 / 3.0);
    }

    #[test]
    fn a_request_waits_for_the_first_free_server() {
        let at = |at, service| Request { at, service, key: 0 };
        let all = [at(0, 10), at(1, 3), at(2, 5), at(20, 1)];
        assert_eq!(sojourns(&all, 1), [10, 12, 16, 1]);
        assert_eq!(sojourns(&all, 2), [10, 3, 7, 1]);
    }
}
