//! The part of a worker that other threads use while the worker is stuck, or after it has exited.

use crossbeam_utils::CachePadded;

use crate::clock::CpuTime;
use crate::metrics::Histograms;
use crate::park::Park;
use crate::site::Site;
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, Mutex, Ordering};
use crate::timer::timers::Timers;

/// A worker's place in a runtime; see the module.
pub(crate) struct Seat {
    /// The poller. It is locked while it is polled, until the batch of ready descriptors has been
    /// posted.
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

/// The current event of a worker, for the threads that watch it. The worker writes it by plain
/// stores to a cache line of its own. A thread that reads while it changes may see the site of one
/// event and the label of the next.
#[derive(Default)]
pub(crate) struct EventCell {
    /// The site that posted the event, or null if none runs.
    site: AtomicPtr<()>,
    /// The label of the event's color, or 0.
    label: AtomicU32,
    /// The worker's progress at the last report of a stall, plus one. The worker that reports
    /// writes it.
    stall_reported: AtomicU64,
}

impl EventCell {
    /// Sets the site of the event, or part of one, that runs from now on.
    #[inline]
    pub(crate) fn set_site(&self, site: Site) {
        // Release. Partner: the Acquire in `site`, because a site may point to memory that was
        // written at run time.
        self.site.store(site.into_raw(), Ordering::Release);
    }

    #[inline]
    pub(crate) fn set_label(&self, label: u32) {
        self.label.store(label, Ordering::Relaxed);
    }

    /// Clears the site, as nothing runs.
    pub(super) fn clear(&self) {
        self.site.store(std::ptr::null_mut(), Ordering::Relaxed);
    }

    /// Returns the site of the event that runs, or `None` if none does.
    pub(crate) fn site(&self) -> Option<Site> {
        // SAFETY: the pointer is null, or `set_site` stored it from a `Site`.
        unsafe { Site::of_raw(self.site.load(Ordering::Acquire)) }
    }

    pub(super) fn label(&self) -> u32 {
        self.label.load(Ordering::Relaxed)
    }

    /// Returns `true` if this is the first report of a stall at this progress of the worker.
    pub(super) fn is_first_report(&self, progress: u64) -> bool {
        self.stall_reported.swap(progress + 1, Ordering::Relaxed) != progress + 1
    }
}
