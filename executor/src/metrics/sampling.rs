//! Which events are stamped, and what a stamp brings.

use std::cell::{Cell, RefCell};

use super::{Histogramming, Histograms, Measure};
use crate::site::Site;
use crate::sync::{Mutex, lock};

/// Mean distance of sampled events.
const MEAN: u32 = 64;

/// A measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(super) measure: Measure,
    pub(super) label: u32,
    pub(super) nanos: u64,
}

impl Sample {
    pub(crate) fn new(measure: Measure, label: u32, nanos: u64) -> Self {
        Sample { measure, label, nanos }
    }
}

/// What was measured of one event, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ran {
    pub(crate) site: Site,
    pub(crate) label: u32,
    /// From its post to its start.
    pub(crate) delay: u64,
    /// The part of that in which a worker was idle.
    pub(crate) idle_delay: u64,
    /// From its start to its end.
    pub(crate) run: u64,
}

/// Draws the events that are stamped. Distances are random from a seed, uniform from 1 to twice the
/// mean.
pub(crate) struct Sampler {
    left: Cell<u32>,
    random: Cell<u64>,
    mode: Histogramming,
}

impl Sampler {
    pub(crate) fn new(mode: Histogramming, seed: u64) -> Self {
        // SplitMix64's increment spreads neighbouring seeds.
        let random = Cell::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        Sampler { left: Cell::new(0), random, mode }
    }

    /// Says whether this event is one of them.
    #[inline]
    pub(crate) fn hit(&self) -> bool {
        let left = self.left.get();
        if left > 0 {
            self.left.set(left - 1);
            return false;
        }
        self.draw()
    }

    #[cold]
    fn draw(&self) -> bool {
        match self.mode {
            Histogramming::Off => {
                self.left.set(u32::MAX);
                false
            }
            Histogramming::Exact => true,
            Histogramming::Sampled => {
                // xorshift64.
                let mut x = self.random.get();
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                self.random.set(x);
                self.left.set((x >> 32) as u32 % (2 * MEAN));
                true
            }
        }
    }

    /// Creates the sampling of a thread that is not a worker.
    pub(crate) const fn outside() -> Self {
        let (left, random) = (Cell::new(0), Cell::new(0x9E37_79B9_7F4A_7C15));
        Sampler { left, random, mode: Histogramming::Sampled }
    }
}

/// Samples that gather before the histograms are locked.
const BATCH: usize = 128;

/// What a worker has measured, and not put into its histograms.
pub(crate) struct Samples {
    sampler: Sampler,
    gathered: RefCell<Vec<Sample>>,
    events: RefCell<Vec<Ran>>,
}

impl Samples {
    pub(crate) fn new(mode: Histogramming, seed: u64) -> Self {
        let (gathered, events) = (RefCell::default(), RefCell::default());
        Samples { sampler: Sampler::new(mode, seed), gathered, events }
    }

    /// Says whether the event that is posted now is one of those that are measured.
    #[inline]
    pub(crate) fn hit(&self) -> bool {
        self.sampler.hit()
    }

    /// Keeps a sample, unless nothing is measured.
    pub(crate) fn keep(&self, sample: Sample, histograms: &Mutex<Histograms>) {
        if self.sampler.mode == Histogramming::Off {
            return;
        }
        self.gathered.borrow_mut().push(sample);
        if self.gathered.borrow().len() >= 2 * BATCH {
            self.flush(true, histograms);
        }
    }

    /// Keeps what was measured of an event that was sampled.
    pub(crate) fn keep_event(&self, ran: Ran, histograms: &Mutex<Histograms>) {
        self.events.borrow_mut().push(ran);
        if self.events.borrow().len() >= BATCH {
            self.flush(true, histograms);
        }
    }

    /// Moves the samples to the histograms; `all`, or only if there are enough to be worth a lock.
    pub(crate) fn flush(&self, all: bool, histograms: &Mutex<Histograms>) {
        let (mut gathered, mut events) = (self.gathered.borrow_mut(), self.events.borrow_mut());
        if gathered.len() + events.len() >= if all { 1 } else { BATCH } {
            let mut histograms = lock(histograms);
            gathered.drain(..).for_each(|sample| histograms.record(sample));
            events.drain(..).for_each(|ran| histograms.record_event(ran));
        }
    }
}
