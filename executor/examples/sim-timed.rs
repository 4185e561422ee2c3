//! Compares what timed mode predicts for two workers with what the machine does.
//!
//! `cargo run --release -p dapple --features sim --example sim-timed`
//!
//! One program runs with one worker and with two, on the machine and in timed mode. It has 64
//! chains of events on 64 colors, and each event posts the next one to a random color. Only the
//! time that an event computes varies. The costs of an event and of a post are set from the run
//! with one worker and no work. The example compares the gain of the second worker.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dapple::sim::{self, Config, Costs};
use dapple::{Color, Cx, Runtime};

/// The number of events in one run.
const EVENTS: u32 = 20_000;
/// The number of events in flight at any time.
const CHAINS: u32 = 64;

/// Computes for this many rounds of a loop.
fn compute(rounds: u64) {
    let mut x = 1u64;
    for _ in 0..rounds {
        x = black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

fn hop(colors: Arc<Vec<Color>>, mut at: u64, left: u32, work: Arc<dyn Fn() + Send + Sync>) {
    at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
    let color = colors[(at >> 33) as usize % colors.len()].clone();
    color.post(move |_: &mut Cx| {
        work();
        if left > 0 {
            hop(colors, at, left - 1, work);
        }
    });
}

fn program(workers: usize, work: Arc<dyn Fn() + Send + Sync>) {
    let rt = Runtime::builder().workers(workers).build().expect("threads");
    let h = rt.handle();
    let colors: Arc<Vec<Color>> = Arc::new((0..64).map(|_| h.new_color()).collect());
    for chain in 0..CHAINS {
        hop(Arc::clone(&colors), chain.into(), EVENTS / CHAINS, Arc::clone(&work));
    }
    rt.wait_idle();
}

/// Returns the nanoseconds per event on the machine: the median of 15 runs.
fn measured(workers: usize, rounds: u64) -> f64 {
    let mut times: Vec<f64> = (0..15)
        .map(|_| {
            let began = Instant::now();
            program(workers, Arc::new(move || compute(rounds)));
            began.elapsed().as_nanos() as f64 / f64::from(EVENTS)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Returns the nanoseconds per event in timed mode.
fn predicted(workers: usize, costs: Costs, work: Duration) -> f64 {
    let config = Config::new().timed(costs);
    let report = sim::run(&config, 0, move |_| program(workers, Arc::new(move || sim::work(work))));
    assert_eq!(report.failure, None);
    report.time.as_nanos() as f64 / f64::from(EVENTS)
}

fn main() {
    let began = Instant::now();
    compute(10_000_000);
    let per_nano = 10_000_000.0 / began.elapsed().as_nanos() as f64;
    let mut costs = Costs::default();
    let empty = measured(1, 0);
    costs.event = (empty - costs.post as f64).max(1.0) as u64;
    println!("an event and its post take {empty:.0} ns on one worker");
    println!("work      measured 1 / 2 workers      gain  predicted 1 / 2         gain  error");
    for nanos in [100u64, 300, 1_000, 3_000, 10_000, 30_000] {
        let rounds = (nanos as f64 * per_nano) as u64;
        let (one, two) = (measured(1, rounds), measured(2, rounds));
        // The run with one worker shows how long the loop really takes.
        let work = Duration::from_nanos((one - empty).max(0.0) as u64);
        let (first, second) = (predicted(1, costs, work), predicted(2, costs, work));
        let (gain, foreseen) = (one / two, first / second);
        let error = (foreseen / gain - 1.0) * 100.0;
        println!(
            "{nanos:>6} ns {one:>9.0} / {two:>9.0} ns  {gain:>6.2} x {first:>9.0} / \
             {second:>9.0} ns {foreseen:>6.2} x  {error:>+4.0} %"
        );
    }
}
