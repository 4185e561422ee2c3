//! The points that are measured, and the measurement of one point.

use super::Setup;
use super::generator::{Bench, Failure};
use super::mgk;
use super::percentiles::Percentiles;
use super::record::{Figures, Point, REFERENCE, Record};
use super::schedule::{Distribution, Keys, Request, Spec};
use super::systems::Start;
use crate::random::{seed_of, shuffled};

/// All combinations of the given values.
#[derive(Clone, Debug)]
pub struct Grid {
    /// The setups of workers and generator.
    pub setups: Vec<Setup>,
    /// The distributions of the service times.
    pub distributions: Vec<Distribution>,
    /// The distributions of the requests over the keys.
    pub keys: Vec<Keys>,
    /// The mean service times, in microseconds.
    pub means_us: Vec<u32>,
    /// The loads, in percent of what the workers can serve.
    pub loads: Vec<u32>,
    /// The factor by which runs are longer than at 1.
    pub scale: f64,
}

impl Grid {
    /// Returns the points. Those of one drawing are next to each other.
    pub fn points(&self) -> Vec<Point> {
        let mut points = Vec::new();
        for &setup in &self.setups {
            for &distribution in &self.distributions {
                for &keys in &self.keys {
                    for &mean_us in &self.means_us {
                        for &load in &self.loads {
                            points.push(Point { setup, distribution, keys, mean_us, load });
                        }
                    }
                }
            }
        }
        points
    }

    /// Returns the number of requests of a run at this point.
    ///
    /// At scale 1, these are the requests of about 0.3 s if the mean service time is at most 10 us,
    /// of 0.4 s if it is at most 25 us, and of 0.8 s otherwise.
    pub fn requests(&self, point: &Point) -> usize {
        let seconds = match point.mean_us {
            0..=10 => 0.3,
            11..=25 => 0.4,
            _ => 0.8,
        };
        ((rate(point) * 1e9 * seconds * self.scale) as usize).max(1)
    }

    /// Returns the number of requests of the longest run.
    pub fn most_requests(&self) -> usize {
        self.points().iter().map(|point| self.requests(point)).max().unwrap_or(0)
    }

    fn schedule(&self, point: &Point, round: u32) -> Vec<Request> {
        let spec = Spec {
            seed: seed(point, round),
            distribution: point.distribution,
            mean: mean_nanos(point),
            keys: point.keys,
            rate: rate(point),
            requests: self.requests(point),
        };
        spec.schedule()
    }

    /// Measures the systems at a point, in another order in each round.
    ///
    /// The first of the returned records is the computed reference. A disturbed run is repeated at
    /// most `retries` times.
    ///
    /// # Errors
    ///
    /// Returns the error of a failed run, with the name of the system.
    pub fn measure(
        &self,
        bench: &Bench,
        point: Point,
        systems: &[(&'static str, Start)],
        rounds: u32,
        retries: u32,
    ) -> Result<Vec<Record>, (&'static str, Failure)> {
        let requests = self.requests(&point);
        let names = std::iter::once(REFERENCE).chain(systems.iter().map(|(name, _)| *name));
        let record = |system| Record { point, system, requests, runs: Vec::new() };
        let mut records: Vec<Record> = names.map(record).collect();
        for round in 0..rounds {
            let schedule = self.schedule(&point, round);
            let ideal = mgk::sojourns(&schedule, point.setup.workers());
            records[0].runs.push(Figures { latency: Percentiles::of(ideal), cost: None });
            for index in shuffled(systems.len(), seed(&point, round)) {
                let (name, start) = systems[index];
                let run = undisturbed(retries, || bench.run(point.setup, start, &schedule));
                records[index + 1].runs.push(run.map_err(|error| (name, error))?);
            }
        }
        Ok(records)
    }
}

/// Repeats a run until it was not disturbed, or until the retries are used up.
fn undisturbed(
    retries: u32,
    mut run: impl FnMut() -> Result<Figures, Failure>,
) -> Result<Figures, Failure> {
    let mut figures = run()?;
    for _ in 0..retries {
        if !figures.cost.is_some_and(|cost| cost.is_disturbed()) {
            break;
        }
        figures = run()?;
    }
    Ok(figures)
}

fn mean_nanos(point: &Point) -> f64 {
    f64::from(point.mean_us) * 1e3
}

/// Returns the arrivals per nanosecond.
fn rate(point: &Point) -> f64 {
    f64::from(point.load) / 100.0 * point.setup.workers() as f64 / mean_nanos(point)
}

fn seed(point: &Point, round: u32) -> u64 {
    seed_of(&[
        point.setup as u64,
        point.distribution as u64,
        point.keys as u64,
        u64::from(point.mean_us),
        u64::from(point.load),
        u64::from(round),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        Grid {
            setups: Setup::ALL.to_vec(),
            distributions: vec![Distribution::Fixed],
            keys: vec![Keys::Uniform],
            means_us: vec![10, 100],
            loads: vec![50, 110],
            scale: 1.0,
        }
    }

    #[test]
    fn a_run_has_as_many_requests_as_arrive_in_its_time() {
        let grid = grid();
        let requests: Vec<usize> = grid.points().iter().map(|p| grid.requests(p)).collect();
        assert_eq!(requests, [15_000, 33_000, 4_000, 8_800, 30_000, 66_000, 8_000, 17_600]);
        assert_eq!(grid.most_requests(), 66_000);
    }

    #[test]
    fn each_round_of_a_point_has_its_own_schedule() {
        let grid = grid();
        let [first, .., last] = grid.points()[..] else { unreachable!() };
        assert_eq!(grid.schedule(&first, 0), grid.schedule(&first, 0));
        assert_ne!(grid.schedule(&first, 0), grid.schedule(&first, 1));
        assert_ne!(seed(&first, 0), seed(&last, 0));
    }
}
