//! Histograms of the program's own: found by name, with a part per worker, merged when they are
//! read.
//!
//! A worker's part has one writer, so recording is a load and a store. All threads outside the
//! runtime share one part, which they change by atomic additions. The counts have the layout of an
//! hdrhistogram with two significant digits and a range of up to one hour. Reading adds them to
//! such a histogram one by one, so each value lands in the bucket where direct recording would have
//! put it.

use std::sync::OnceLock;

use crossbeam_utils::CachePadded;
use hdrhistogram::Histogram;

use super::{HIGHEST, new_histogram};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, lock};

/// The number of values, from 0 on, that have a bucket each. Above them, each doubling has half as
/// many buckets.
const EXACT: u64 = 256;

/// Returns the number of low bits of a value that its bucket does not tell apart.
fn shift_of(value: u64) -> u32 {
    64 - (value | (EXACT - 1)).leading_zeros() - EXACT.trailing_zeros()
}

fn index_of(value: u64) -> usize {
    let shift = shift_of(value);
    (shift as usize) * (EXACT as usize / 2) + (value >> shift) as usize
}

/// Returns the least value of a bucket.
fn value_of(index: usize) -> u64 {
    let half = EXACT as usize / 2;
    match index < EXACT as usize {
        true => index as u64,
        false => {
            let shift = index / half - 1;
            ((index - shift * half) as u64) << shift
        }
    }
}

/// The counts of one writer, allocated when it first records a value.
type Part = OnceLock<Box<[AtomicU64]>>;

/// A histogram of the program's own; see the module.
pub(crate) struct OwnHistogram {
    name: Box<str>,
    parts: Box<[CachePadded<Part>]>,
    /// The part of the threads that are not workers.
    outside: Part,
}

impl OwnHistogram {
    fn new(name: &str, workers: usize) -> Self {
        let parts = (0..workers).map(|_| CachePadded::default()).collect();
        OwnHistogram { name: name.into(), parts, outside: Part::new() }
    }

    /// Returns the counter of a value's bucket.
    fn count(part: &Part, value: u64) -> &AtomicU64 {
        let make = || (0..=index_of(HIGHEST)).map(|_| AtomicU64::new(0)).collect();
        &part.get_or_init(make)[index_of(value.clamp(1, HIGHEST))]
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Records a value. `worker` is the number of the worker that runs on this thread, if there is
    /// one.
    #[inline]
    pub(crate) fn record(&self, worker: Option<usize>, value: u64) {
        match worker {
            // No other thread writes to a worker's part, and a reader need not see the new count at
            // once.
            Some(worker) => {
                let count = Self::count(&self.parts[worker], value);
                count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
            None => {
                Self::count(&self.outside, value).fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn merged(&self) -> Histogram<u64> {
        let mut merged = new_histogram();
        let parts = self.parts.iter().map(|part| &**part).chain([&self.outside]);
        for counts in parts.filter_map(OnceLock::get) {
            for (index, count) in counts.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    merged.record_n(value_of(index), count).expect("it is within the bounds");
                }
            }
        }
        merged
    }
}

/// All histograms of the program's own that a runtime has.
#[derive(Default)]
pub(crate) struct OwnHistograms(Mutex<Vec<Arc<OwnHistogram>>>);

impl OwnHistograms {
    /// Returns the histogram of this name, and creates it if it does not exist.
    pub(crate) fn get(&self, name: &str, workers: usize) -> Arc<OwnHistogram> {
        let mut all = lock(&self.0);
        if let Some(known) = all.iter().find(|one| &*one.name == name) {
            return Arc::clone(known);
        }
        let new = Arc::new(OwnHistogram::new(name, workers));
        all.push(Arc::clone(&new));
        new
    }

    /// Returns the merged histograms that have values, with their names.
    pub(super) fn read(&self) -> Vec<(Arc<str>, Histogram<u64>)> {
        let all = lock(&self.0).clone();
        let read = all.iter().map(|one| (Arc::from(&*one.name), one.merged()));
        read.filter(|(_, histogram)| !histogram.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_comes_where_hdrhistogram_has_it() {
        let near = |value: u64| [value.saturating_sub(1), value, value + 1];
        let values = (0..42).flat_map(|bit| near(1 << bit).into_iter().chain(near(3 << bit)));
        for value in values.chain(0..2_000).filter(|value| *value <= HIGHEST) {
            let own = OwnHistogram::new("x", 1);
            own.record(Some(0), value);
            own.record(None, value);
            let mut other = new_histogram();
            other.record_n(value.max(1), 2).unwrap();
            assert_eq!(own.merged(), other, "{value}");
            let index = index_of(value);
            assert_eq!(index_of(value_of(index)), index);
            assert!(value_of(index) <= value);
        }
        let own = OwnHistogram::new("x", 1);
        own.record(Some(0), u64::MAX);
        assert_eq!(own.merged().len(), 1);
    }
}
