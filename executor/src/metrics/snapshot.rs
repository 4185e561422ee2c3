//! A snapshot of all metrics of a runtime.

use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;

use super::sites::{Merged, SiteFigures};
use super::stalls::Stall;
use super::workers::{self, WorkerFigures};
use super::{Measure, new_histogram};
use crate::clock;
use crate::runtime::core::Core;
use crate::sync::{Arc, AtomicU64, Ordering, lock};
use crate::worker::counters::Counters;

/// The metrics of a runtime since its start, as [`Runtime::metrics`](crate::Runtime::metrics) reads
/// them.
///
/// Counters are exact while nothing runs. While events run, the counts of each worker's current
/// turn may be missing. Histograms contain only the sampled events; see
/// [`Histogramming`](crate::Histogramming).
///
/// # Examples
///
/// ```
/// let rt = dapple::Runtime::new()?;
/// for _ in 0..1_000 {
///     rt.handle().new_color().post(|_| ());
/// }
/// rt.wait_idle();
/// let metrics = rt.metrics();
/// assert_eq!((metrics.events(), metrics.panics(), metrics.dropped()), (1_000, 0, 0));
/// println!("{metrics}");              // a table for people
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) counters: [u64; 18],
    pub(super) distributions: Vec<Distribution>,
    pub(super) own: Vec<(Arc<str>, Histogram<u64>)>,
    pub(super) sites: Vec<SiteFigures>,
    pub(super) workers: Vec<WorkerFigures>,
    pub(super) stalls: Vec<Stall>,
    pub(super) taken: SystemTime,
    pub(super) uptime: Duration,
}

/// The histogram of one measure, for all events or for those of one label.
#[derive(Clone, Debug)]
pub struct Distribution {
    /// The measure.
    pub measure: Measure,
    /// The label of the events' color or domain. `None` for the histogram of all events, with and
    /// without a label.
    pub label: Option<Arc<str>>,
    /// The histogram, whose values are nanoseconds.
    pub histogram: Histogram<u64>,
}

macro_rules! counters {
    ($($index:literal $name:ident $doc:literal;)*) => {
        impl Metrics {
            $(
                #[doc = $doc]
                pub fn $name(&self) -> u64 {
                    self.counters[$index]
                }
            )*
        }

        pub(super) const COUNTERS: [(&str, &str); 18] = [$((stringify!($name), $doc)),*];
    };
}

counters! {
    0 events "Events that have run, including panicked and excluding dropped ones. An event of \
              several steps counts once for each step that waited.";
    1 turns "Visits of a worker to a color.";
    2 steals "Successful looks of an idle worker at another one's run queue.";
    3 colors_stolen "Run-queue entries taken by steals: colors and uncolored events.";
    4 wakeups "Sleeping workers woken by a post, a timer or another worker.";
    5 parks "Times that a worker went to sleep.";
    6 sentinel_looks "Sleeps of the sentinel, each followed by a look at the other workers.";
    7 panics "Panics caught, of events and of drops.";
    8 dropped "Events dropped: refused after a shutdown began, left at its end, or poisoned. An \
               event that poison covers counts only here, even if a part of it has run.";
    9 polls "Polls of the descriptors, including those in which a worker sleeps.";
    10 polls_for_others "Polls of a stuck worker's descriptors by another worker.";
    11 stalls "Events that ran longer than the stall threshold.";
    12 workers "Workers of the runtime.";
    13 steals_undone "Steals on trial that were undone because throughput did not rise.";
    14 sentinel_nanos "CPU time of sentinels whose looks found nothing to do, in nanoseconds.";
    15 move_nanos "The measured time to move a cache line to another core and back, in \
                   nanoseconds; 0 if the steal policy does not need it.";
    16 over_limit "Events of domains that were accepted although the domain had reached its \
                   limit: plain posts and sub-events.";
    17 ticket_stalls "Tickets that were the oldest of their domain for longer than the stall \
        threshold.";
}

impl Metrics {
    pub(crate) fn read(core: &Core) -> Metrics {
        let workers = workers::of(core);
        Metrics {
            counters: Metrics::counters(core, &workers),
            distributions: distributions(core),
            own: core.own_histograms.read(),
            sites: sites(core),
            workers,
            stalls: core.latest_stalls.read(),
            taken: clock::wall(),
            uptime: Duration::from_nanos(core.clock().now()),
        }
    }

    /// Returns the counters. Those that [`WorkerFigures`] also has are sums over `workers`
    /// (`events` without those that ran in vain), so that the two agree even if a worker counts
    /// meanwhile.
    fn counters(core: &Core, workers: &[WorkerFigures]) -> [u64; 18] {
        let total = |pick: fn(&WorkerFigures) -> u64| -> u64 { workers.iter().map(pick).sum() };
        let sum = |pick: fn(&Counters) -> &AtomicU64| -> u64 {
            core.fleet.workers.iter().map(|w| pick(&w.counters).load(Ordering::Relaxed)).sum()
        };
        let outside = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            // An event may be counted in `in_vain` shortly before it is counted in `events`, so the
            // difference saturates.
            total(|w| w.events)
                .saturating_sub(sum(|c| &c.in_vain) + outside(&core.outside.in_vain)),
            total(|w| w.turns),
            total(|w| w.steals),
            total(|w| w.colors_stolen),
            outside(&core.fleet.wakeups),
            total(|w| w.parks),
            sum(|c| &c.sentinel_looks),
            sum(|c| &c.panics) + outside(&core.outside.panics),
            sum(|c| &c.dropped) + outside(&core.outside.dropped),
            sum(|c| &c.polls),
            sum(|c| &c.polls_for_others),
            sum(|c| &c.stalls),
            core.fleet.workers.len() as u64,
            sum(|c| &c.steals_undone),
            sum(|c| &c.sentinel_nanos),
            u64::from(core.fleet.machine.move_nanos),
            sum(|c| &c.over_limit) + outside(&core.outside.over_limit),
            sum(|c| &c.ticket_stalls),
        ]
    }

    /// Returns the histograms that have values: first one per measure, then one per label and
    /// measure.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple::{Histogramming, Runtime};
    /// let rt = Runtime::builder().histograms(Histogramming::Exact).build()?;
    /// rt.handle().post_default(|_| ());
    /// rt.wait_idle();
    /// let metrics = rt.metrics();
    /// for one in metrics.distributions() {
    ///     let label = one.label.as_deref().unwrap_or("all");
    ///     println!("{} of {label}: at most {} ns", one.measure.name(), one.histogram.max());
    /// }
    /// assert!(metrics.distributions().iter().any(|one| one.label.as_deref() == Some("default")));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn distributions(&self) -> &[Distribution] {
        &self.distributions
    }

    /// Returns the histogram of a measure over all events, in nanoseconds, or `None` if it has no
    /// value.
    ///
    /// See [`Measure`] for an example.
    pub fn histogram(&self, measure: Measure) -> Option<&Histogram<u64>> {
        let of = |d: &&Distribution| d.measure == measure && d.label.is_none();
        self.distributions.iter().find(of).map(|d| &d.histogram)
    }

    /// Returns the histogram of a measure over the events of one label, in nanoseconds. Returns
    /// `None` if it has no value, or if the measure is not kept by label.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple::{Histogramming, Measure, Runtime};
    /// let rt = Runtime::builder().histograms(Histogramming::Exact).build()?;
    /// let disk = rt.handle().color_builder().label("disk").build();
    /// disk.post(|_| println!("reads the disk"));
    /// rt.handle().post_default(|_| println!("does something else"));
    /// rt.wait_idle();
    /// let metrics = rt.metrics();
    /// let delays = metrics.histogram_of(Measure::QueueDelay, "disk").expect("it has a value");
    /// println!("99 in 100 waited {} ns or less", delays.value_at_quantile(0.99));
    /// assert_eq!(delays.len(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn histogram_of(&self, measure: Measure, label: &str) -> Option<&Histogram<u64>> {
        let of = |d: &&Distribution| d.measure == measure && d.label.as_deref() == Some(label);
        self.distributions.iter().find(of).map(|d| &d.histogram)
    }

    /// Returns the program's own histogram of this name, in nanoseconds, or `None` if it has no
    /// value. See [`Handle::histogram`](crate::Handle::histogram).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let rt = dapple::Runtime::new()?;
    /// let requests = rt.handle().histogram("request");
    /// assert!(rt.metrics().own_histogram("request").is_none());
    /// for micros in 1..=100 {
    ///     requests.record(Duration::from_micros(micros));
    /// }
    /// let metrics = rt.metrics();
    /// let histogram = metrics.own_histogram("request").expect("it has values");
    /// assert!((49_500..=50_500).contains(&histogram.value_at_quantile(0.5)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn own_histogram(&self, name: &str) -> Option<&Histogram<u64>> {
        self.own.iter().find(|(own, _)| **own == *name).map(|(_, histogram)| histogram)
    }

    /// Returns the program's own histograms that have values, in nanoseconds, with their names.
    ///
    /// See [`own_histogram`](Self::own_histogram) for an example.
    pub fn own_histograms(&self) -> impl Iterator<Item = (&str, &Histogram<u64>)> {
        self.own.iter().map(|(name, histogram)| (&**name, histogram))
    }

    /// Returns the sums of the sampled events by the site that posted them, the longest run time
    /// first.
    ///
    /// A site's share of the sum estimates its share of the run time of all events. A site whose
    /// events have long delays posts to a color that is busy. A worker keeps 4,096 pairs of site
    /// and label apart, and leaves out the events of further ones. If a worker runs several steps
    /// of a domain's event in one go, they count for the site of the first step. Deferred actions
    /// are not measured.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple::{Histogramming, Runtime};
    ///
    /// let rt = Runtime::builder().histograms(Histogramming::Exact).build()?;
    /// for _ in 0..3 {
    ///     rt.handle().post_default(|_| ());
    /// }
    /// rt.wait_idle();
    /// let metrics = rt.metrics();
    /// let first = &metrics.sites()[0];
    /// assert_eq!((first.sampled, first.label.as_deref()), (3, Some("default")));
    /// println!("{}: {:?} each", first.site, first.mean_run());
    /// # assert_eq!(first.site.line() > 0, true);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn sites(&self) -> &[SiteFigures] {
        &self.sites
    }

    /// Returns the figures of each worker, indexed by the worker's number.
    ///
    /// [`turns`](Self::turns), [`steals`](Self::steals), [`colors_stolen`](Self::colors_stolen) and
    /// [`parks`](Self::parks) are their sums. [`events`](Self::events) is less than its sum by the
    /// events that ran in vain.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::builder().workers(2).build()?;
    /// rt.handle().post_default(|_| println!("on one of the two"));
    /// rt.wait_idle();
    /// let metrics = rt.metrics();
    /// let workers = metrics.by_worker();
    /// assert_eq!(workers.len(), 2);
    /// assert_eq!(workers.iter().map(|worker| worker.events).sum::<u64>(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn by_worker(&self) -> &[WorkerFigures] {
        &self.workers
    }

    /// Returns the latest stalls, at most 32, the oldest first. A stall is an event that ran longer
    /// than the stall threshold; see [`Builder::stall_after`](crate::Builder::stall_after).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{sync::mpsc, time::Duration};
    /// let (tx, noticed) = mpsc::channel();
    /// let rt = dapple::Runtime::builder()
    ///     .workers(2)
    ///     .stall_after(Duration::from_millis(5))
    ///     .on_stall(move |_| tx.send(()).unwrap())
    ///     .build()?;
    /// // Blocks its worker until the other one has noticed that.
    /// rt.handle().post_default(move |_| noticed.recv().unwrap());
    /// rt.wait_idle();
    /// let metrics = rt.metrics();
    /// let [stall] = metrics.latest_stalls() else { panic!("there was one") };
    /// println!("{:?}: the event of {} ran for {:?}", stall.at, stall.site, stall.running);
    /// assert_eq!(stall.label.as_deref(), Some("default"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn latest_stalls(&self) -> &[Stall] {
        &self.stalls
    }

    /// Returns the time at which the metrics were read.
    pub fn taken(&self) -> SystemTime {
        self.taken
    }

    /// Returns the time from the start of the runtime to the reading.
    pub fn uptime(&self) -> Duration {
        self.uptime
    }
}

fn sites(core: &Core) -> Vec<SiteFigures> {
    let mut merged = Merged::default();
    core.seats.iter().for_each(|seat| merged.add(&lock(&seat.histograms).sites));
    merged.into_figures(&core.labels)
}

fn distributions(core: &Core) -> Vec<Distribution> {
    let labels = core.labels.names();
    let keys = std::iter::once(None).chain(labels.into_iter().map(Some)).enumerate();
    let keys: Vec<_> = keys.collect();
    let mut found = Vec::new();
    for (number, label) in keys {
        for measure in Measure::ALL {
            let mut merged: Option<Histogram<u64>> = None;
            for seat in &core.seats {
                let histograms = lock(&seat.histograms);
                if let Some(one) = histograms.get(measure, number as u32) {
                    let merged = merged.get_or_insert_with(new_histogram);
                    merged.add(one).expect("all histograms have the same bounds");
                }
            }
            if let Some(histogram) = merged {
                found.push(Distribution { measure, label: label.clone(), histogram });
            }
        }
    }
    found
}
