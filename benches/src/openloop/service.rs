//! Work that takes so many nanoseconds: steps of arithmetic, as many as took so long when measured.
//!
//! It does not look at the clock: a reading costs 30 to 45 ns, and work that waits for a time is
//! done sooner than it should be when it was preempted meanwhile, so that the delay would not show.

use std::hint::black_box;
use std::time::Instant;

/// So many steps of xorshift64, each of which needs the one before. Not inlined, so that it is the
/// same code for everybody.
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

/// How fast this machine does them.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    steps_per_nano: f64,
}

impl Speed {
    /// Measures it: the best of many short trials, which interrupts spare some of. Takes about 5
    /// ms.
    pub fn measure() -> Self {
        const STEPS: u64 = 50_000;
        let trial = || {
            let start = Instant::now();
            spin(STEPS);
            STEPS as f64 / start.elapsed().as_nanos() as f64
        };
        Speed { steps_per_nano: (0..60).map(|_| trial()).fold(0.0, f64::max) }
    }

    /// How many times faster this is than `other`.
    pub fn over(self, other: Speed) -> f64 {
        self.steps_per_nano / other.steps_per_nano
    }

    /// How many steps take so long.
    pub fn steps(self, nanos: u64) -> u64 {
        (nanos as f64 * self.steps_per_nano) as u64
    }

    /// Steps in a nanosecond.
    pub fn steps_per_nano(self) -> f64 {
        self.steps_per_nano
    }
}
