//! Measures the simulation: events per second with 1 to 8 workers, and seeds per second.
//!
//! `cargo run --release -p dapple --features sim --example sim-speed`

use std::sync::Arc;
use std::time::Instant;

use dapple::sim::{self, Config};
use dapple::{Color, Handle, Runtime};

/// Starts this many generators. Each runs `rounds` + 1 times, on a color of its own, and posts 64
/// events each time, to random ones of 1,000 colors.
fn keyed(h: &Handle, generators: usize, rounds: u32) {
    let colors: Arc<Vec<Color>> = Arc::new((0..1_000).map(|_| h.new_color()).collect());
    fn generate(own: &Color, colors: Arc<Vec<Color>>, mut x: u64, left: u32) {
        let again = own.clone();
        own.post(move |_| {
            for _ in 0..64 {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                colors[(x >> 33) as usize % colors.len()].post(|_| ());
            }
            if left > 0 {
                generate(&again, colors, x, left - 1);
            }
        });
    }
    for n in 0..generators {
        generate(&h.new_color(), Arc::clone(&colors), n as u64, rounds);
    }
}

fn main() {
    println!("workers  events/s  steps per event");
    for workers in [1, 2, 4, 8] {
        // Once without pauses, and three times with the pauses of a seed.
        for seed in [None, Some(1), Some(2), Some(3)] {
            let body = move |_: &sim::Sim| {
                let rt = Runtime::builder().workers(workers).build().expect("fibers");
                keyed(&rt.handle(), 64, 100);
                rt.wait_idle();
            };
            let began = Instant::now();
            let report = match seed {
                None => sim::replay(&Config::new(), &"".parse().expect("no pauses"), body),
                Some(seed) => sim::run(&Config::new().most_steps(u64::MAX), seed, body),
            };
            let rate = report.events as f64 / began.elapsed().as_secs_f64();
            let steps = report.steps as f64 / report.events as f64;
            let seed = seed.map_or("no pauses".to_owned(), |seed| format!("seed {seed}"));
            println!("{workers:7}  {:8.2}M  {steps:7.3}  {seed}", rate / 1e6);
        }
    }
    let began = Instant::now();
    let seeds = 2_000;
    sim::check(&Config::new().seeds(0..seeds), |_| {
        let rt = Runtime::builder().workers(2).build().expect("fibers");
        let h = rt.handle();
        let colors: Vec<Color> = (0..10).map(|_| h.new_color()).collect();
        for n in 0..125 {
            let next = colors[(n * 7 + 3) % 10].clone();
            colors[n % 10].post(move |_| next.post(|_| ()));
        }
        rt.wait_idle();
    });
    println!("{:.0} seeds of 250 events/s", seeds as f64 / began.elapsed().as_secs_f64());
}
