//! Sampling: which events are stamped, and the buffer of what was measured.

use std::cell::{Cell, RefCell};

use super::{Histogramming, Histograms, Measure};
use crate::site::Site;
use crate::sync::{Mutex, lock};

/// The mean distance between two sampled events.
const MEAN: u32 = 64;

/// A single measurement.
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

/// The measurements of one event, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ran {
    pub(crate) site: Site,
    pub(crate) label: u32,
    /// The time from the event's post to its start.
    pub(crate) delay: u64,
    /// The part of `delay` during which a worker was idle.
    pub(crate) idle_delay: u64,
    /// The time from the event's start to its end.
    pub(crate) run: u64,
}

/// Draws the events that are stamped. The distances are pseudorandom, from a seed, and uniform from
/// 1 to twice the mean.
pub(crate) struct Sampler {
    left: Cell<u32>,
    random: Cell<u64>,
    mode: Histogramming,
}

impl Sampler {
    pub(crate) fn new(mode: Histogramming, seed: u64) -> Self {
        // SplitMix64's increment spreads neighboring seeds.
        let random = Cell::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        Sampler { left: Cell::new(0), random, mode }
    }

    /// Returns `true` if this event is to be stamped.
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

    /// Creates the sampler of a thread that is not a worker.
    pub(crate) const fn outside() -> Self {
        let (left, random) = (Cell::new(0), Cell::new(0x9E37_79B9_7F4A_7C15));
        Sampler { left, random, mode: Histogramming::Sampled }
    }
}

/// The number of samples that gather before the histograms are locked.
const BATCH: usize = 128;

/// The samples of a worker that are not in its histograms yet.
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

    /// Returns `true` if the event that is posted now is to be measured.
    #[inline]
    pub(crate) fn hit(&self) -> bool {
        self.sampler.hit()
    }

    /// Keeps a sample, unless histograms are off.
    pub(crate) fn keep(&self, sample: Sample, histograms: &Mutex<Histograms>) {
        if self.sampler.mode == Histogramming::Off {
            return;
        }
        self.gathered.borrow_mut().push(sample);
        if self.gathered.borrow().len() >= 2 * BATCH {
            self.flush(true, histograms);
        }
    }

    /// Keeps the measurements of a sampled event.
    pub(crate) fn keep_event(&self, ran: Ran, histograms: &Mutex<Histograms>) {
        self.events.borrow_mut().push(ran);
        if self.events.borrow().len() >= BATCH {
            self.flush(true, histograms);
        }
    }

    /// Moves the samples to the histograms. Unless `all` is set, it does so only if there are at
    /// least [`BATCH`] samples, enough to be worth a lock.
    pub(crate) fn flush(&self, all: bool, histograms: &Mutex<Histograms>) {
        let (mut gathered, mut events) = (self.gathered.borrow_mut(), self.events.borrow_mut());
        if gathered.len() + events.len() >= if all { 1 } else { BATCH } {
            let mut histograms = lock(histograms);
            gathered.drain(..).for_each(|sample| histograms.record(sample));
            events.drain(..).for_each(|ran| histograms.record_event(ran));
        }
    }
}
