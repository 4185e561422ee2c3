//! Recording into the program's own histograms; see `metrics::own`.

use std::time::Duration;

use super::handle::Handle;
use crate::clock::saturating_nanos;
use crate::metrics::OwnHistogram;
use crate::sync::Arc;

/// A recorder of the program's own durations, such as those of its requests; from
/// [`Handle::histogram`](crate::Handle::histogram).
///
/// It records into a histogram that [`Metrics`](crate::Metrics) shows with the runtime's own.
///
/// See [`Handle::histogram`](crate::Handle::histogram) for an example.
#[derive(Clone)]
pub struct Recorder {
    histogram: Arc<OwnHistogram>,
    handle: Handle,
}

impl Recorder {
    pub(crate) fn new(handle: &Handle, name: &str) -> Recorder {
        let core = handle.core();
        let histogram = core.own_histograms.get(name, core.fleet.workers.len());
        Recorder { histogram, handle: handle.clone() }
    }

    /// Returns the name of the histogram.
    pub fn name(&self) -> &str {
        self.histogram.name()
    }

    /// Records a duration. A duration of more than an hour counts as an hour, and zero as 1 ns.
    ///
    /// In a callback this takes a few nanoseconds. On threads outside the runtime, which share one
    /// part of the histogram, it takes an atomic addition.
    #[inline]
    pub fn record(&self, duration: Duration) {
        self.record_nanos(saturating_nanos(duration));
    }

    /// Records a duration in nanoseconds. See [`record`](Self::record) for its limits.
    #[inline]
    pub fn record_nanos(&self, nanos: u64) {
        self.histogram.record(self.handle.current_worker(), nanos);
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("name", &self.name()).finish_non_exhaustive()
    }
}
