//! Recording into histograms of the program's own; see `metrics::own`.

use std::time::Duration;

use super::handle::Handle;
use crate::clock::saturating_nanos;
use crate::metrics::OwnHistogram;
use crate::sync::Arc;

/// Records durations of the program's own, such as those of its requests, into a histogram that
/// [`Metrics`](crate::Metrics) has beside the runtime's: see
/// [`Handle::histogram`](crate::Handle::histogram).
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

    /// The name of the histogram.
    pub fn name(&self) -> &str {
        self.histogram.name()
    }

    /// Records a duration, of up to an hour: a longer one counts as that, and none as one
    /// nanosecond.
    ///
    /// In a callback it takes a few nanoseconds; on other threads, which share a part, an atomic
    /// addition.
    #[inline]
    pub fn record(&self, duration: Duration) {
        self.record_nanos(saturating_nanos(duration));
    }

    /// Records a duration, in nanoseconds; see [`record`](Self::record).
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
