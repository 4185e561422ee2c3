//! What belongs to a worker's place in a runtime, and is there for others while that worker is
//! stuck, or has left.

use crossbeam_utils::CachePadded;

use crate::clock::CpuTime;
use crate::metrics::Histograms;
use crate::park::Park;
use crate::site::Site;
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, Mutex, Ordering};
use crate::timer::timers::Timers;

/// See the module.
pub(crate) struct Seat {
    /// The poller. Locked while it is polled, which ends with the posting of the batch.
    pub(crate) park: CachePadded<Mutex<Box<dyn Park>>>,
    pub(crate) timers: CachePadded<Mutex<Timers>>,
    pub(crate) histograms: CachePadded<Mutex<Histograms>>,
    pub(crate) event: CachePadded<EventCell>,
    pub(crate) cpu_time: CpuTime,
}

impl Seat {
    pub(crate) fn new(park: Box<dyn Park>) -> Self {
        Seat {
            park: Mutex::new(park).into(),
            timers: Mutex::new(Timers::default()).into(),
            histograms: Mutex::new(Histograms::default()).into(),
            event: CachePadded::default(),
            cpu_time: CpuTime::default(),
        }
    }
}

/// The event that a worker is in, for those that watch it. Plain stores to a line of the worker's
/// own; who reads them while they change may see the site of one event and the label of the next.
#[derive(Default)]
pub(crate) struct EventCell {
    /// Where it was posted; null: none runs.
    site: AtomicPtr<()>,
    /// The label of its color; 0: none.
    label: AtomicU32,
    /// The progress, plus one, at which a stall was last reported; written by the worker that
    /// reports.
    stall_reported: AtomicU64,
}

impl EventCell {
    /// What runs from now on was posted here.
    #[inline]
    pub(crate) fn set_site(&self, site: Site) {
        // Release, and Acquire in `site`: a site may point to memory that was made at run time.
        self.site.store(site.into_raw(), Ordering::Release);
    }

    #[inline]
    pub(crate) fn set_label(&self, label: u32) {
        self.label.store(label, Ordering::Relaxed);
    }

    /// Says that nothing runs.
    pub(super) fn clear(&self) {
        self.site.store(std::ptr::null_mut(), Ordering::Relaxed);
    }

    /// Where what runs was posted; `None`: nothing runs.
    pub(crate) fn site(&self) -> Option<Site> {
        // SAFETY: it is null, or was stored by `set_site`.
        unsafe { Site::of_raw(self.site.load(Ordering::Acquire)) }
    }

    pub(super) fn label(&self) -> u32 {
        self.label.load(Ordering::Relaxed)
    }

    /// Says whether this is the first report of a stall at this progress of the worker.
    pub(super) fn is_first_report(&self, progress: u64) -> bool {
        self.stall_reported.swap(progress + 1, Ordering::Relaxed) != progress + 1
    }
}
