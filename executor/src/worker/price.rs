//! Measuring the cost of moving work to another core.
//!
//! To move a color, and each event that is posted to it from its old core, takes cache lines to the
//! other core and back. That costs about 100 ns per line between two cores of one chip, and up to 2
//! us on a loaded virtual machine. Two threads, on two of the cores that the runtime uses, bounce a
//! line back and forth, and the median of up to 9 batches counts. The measurement is made once per
//! pair of cores. It takes 100 us. If the machine is so loaded that the two threads do not run at
//! the same time, it gives up after 3 ms. The default counts if fewer than 3 batches were done.

#![allow(clippy::disallowed_methods, reason = "this measures the machine, not the runtime's time")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::cores::{self, CoreId};
use crate::sync::{AtomicU32, Mutex, Ordering, lock, spin_loop};

/// The price if it could not be measured, and the bounds of a measured one, in nanoseconds.
const DEFAULT_NANOS: u32 = 700;
const LEAST_NANOS: u32 = 30;
const MOST_NANOS: u32 = 4_000;

const BATCHES: u32 = 9;
const TRIPS: u32 = 32;

/// The time after which the whole measurement gives up.
const PATIENCE: Duration = Duration::from_millis(3);

/// Returns the time that a cache line takes from one of these cores to another one and back, in
/// nanoseconds.
pub(crate) fn among(cores: &[CoreId]) -> u32 {
    // With one core there is nothing to measure. If there are more workers than cores, the system
    // may still move them, so the default counts.
    match *cores {
        [a, b, ..] => of_a_move(a, b),
        _ => DEFAULT_NANOS,
    }
}

/// Returns the time that a cache line takes from one core to the other and back, in nanoseconds.
pub(crate) fn of_a_move(a: CoreId, b: CoreId) -> u32 {
    static MEASURED: Mutex<BTreeMap<(usize, usize), u32>> = Mutex::new(BTreeMap::new());
    let mut measured = lock(&MEASURED);
    if let Some(nanos) = measured.get(&(a.id, b.id)) {
        return *nanos;
    }
    // A failure is not stored: the next runtime may have better luck.
    let Some(nanos) = measure(a, b) else { return DEFAULT_NANOS };
    measured.insert((a.id, b.id), nanos);
    nanos
}

fn measure(a: CoreId, b: CoreId) -> Option<u32> {
    let line = crossbeam_utils::CachePadded::new(AtomicU32::new(0));
    let give_up = Instant::now() + PATIENCE;
    std::thread::scope(|scope| {
        let other = std::thread::Builder::new();
        let spawn = |side: u32, core| {
            let line = &line;
            move || {
                cores::pin(core);
                bounce(line, side, give_up)
            }
        };
        let other = other.spawn_scoped(scope, spawn(1, b)).ok()?;
        let this = std::thread::Builder::new().spawn_scoped(scope, spawn(0, a));
        let mut batches = this.ok().and_then(|t| t.join().ok()).unwrap_or_default();
        // If the partner could not be started, the other thread gives up.
        other.join().ok()?;
        if batches.len() < 3 {
            return None;
        }
        batches.sort_unstable();
        Some(batches[batches.len() / 2].clamp(LEAST_NANOS, MOST_NANOS))
    })
}

/// Waits until the line has a number of the own parity, and writes the next one. Returns the time
/// of each batch, in nanoseconds per round trip.
fn bounce(line: &AtomicU32, side: u32, give_up: Instant) -> Vec<u32> {
    let mut batches = Vec::new();
    let mut at = side;
    for _ in 0..BATCHES {
        let start = Instant::now();
        for _ in 0..TRIPS {
            let mut spins = 0u32;
            // Relaxed: only the number itself matters.
            while line.load(Ordering::Relaxed) != at {
                spins += 1;
                if spins.is_multiple_of(256) && Instant::now() > give_up {
                    return batches;
                }
                spin_loop();
            }
            line.store(at + 1, Ordering::Relaxed);
            at += 2;
        }
        batches.push((start.elapsed().as_nanos() / u128::from(TRIPS)) as u32);
    }
    batches
}
