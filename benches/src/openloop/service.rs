//! Work that takes a given time: a number of arithmetic steps that was calibrated before.
//!
//! The work does not read the clock. A reading costs 30 to 45 ns. Also, work that waits for a point
//! in time is shorter than it should be when it was preempted, so the delay would not show.

use std::hint::black_box;
use std::time::Instant;

/// Runs `steps` steps of xorshift64, each of which needs the result of the previous one.
///
/// The function is not inlined, so every caller runs the same code.
#[inline(never)]
pub fn spin(steps: u64) {
    let mut x = black_box(steps);
    for _ in 0..steps {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    black_box(x);
}

/// The speed at which this machine runs [`spin`].
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    steps_per_nano: f64,
}

impl Speed {
    /// Measures the speed, which takes about 5 ms.
    ///
    /// The result is the best of 60 short trials, because interrupts spare some of them.
    pub fn measure() -> Self {
        const STEPS: u64 = 50_000;
        let trial = || {
            let start = Instant::now();
            spin(STEPS);
            STEPS as f64 / start.elapsed().as_nanos() as f64
        };
        Speed { steps_per_nano: (0..60).map(|_| trial()).fold(0.0, f64::max) }
    }

    /// Returns this speed divided by `other`.
    pub fn over(self, other: Speed) -> f64 {
        self.steps_per_nano / other.steps_per_nano
    }

    /// Returns the number of steps that take `nanos` nanoseconds.
    pub fn steps(self, nanos: u64) -> u64 {
        (nanos as f64 * self.steps_per_nano) as u64
    }

    /// Returns the number of steps per nanosecond.
    pub fn steps_per_nano(self) -> f64 {
        self.steps_per_nano
    }
}
