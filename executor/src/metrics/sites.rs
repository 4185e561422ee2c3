//! Run times and delays of events, summed by the site that posted them and by label.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use super::labels::Labels;
use super::sampling::Ran;
use crate::site::Site;
use crate::sync::Arc;

/// The number of pairs of site and label that a worker keeps apart. A program has as many sites as
/// there are posts in its source. Events of further pairs count only in the figures of their label.
const MOST: usize = 4_096;

/// The sums of the sampled events that one site has posted; see
/// [`Metrics::sites`](crate::Metrics::sites).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SiteFigures {
    /// The line of the source that posted the events.
    pub site: Site,
    /// The label of the events' color or domain. `None` if it has no label, or if the events have
    /// no color.
    pub label: Option<Arc<str>>,
    /// The number of sampled events.
    pub sampled: u64,
    /// The sum of the sampled events' run times.
    pub run_time: Duration,
    /// The longest run time of a sampled event.
    pub longest_run: Duration,
    /// The sum of the sampled events' queue delays, each from the post to the start.
    pub queue_delay: Duration,
    /// The longest queue delay of a sampled event.
    pub longest_delay: Duration,
    /// The part of `queue_delay` during which a worker was idle; see
    /// [`Measure::IdleDelay`](crate::Measure::IdleDelay).
    pub idle_delay: Duration,
}

impl SiteFigures {
    /// Returns the mean run time of the sampled events.
    pub fn mean_run(&self) -> Duration {
        mean(self.run_time, self.sampled)
    }

    /// Returns the mean queue delay of the sampled events.
    pub fn mean_delay(&self) -> Duration {
        mean(self.queue_delay, self.sampled)
    }
}

fn mean(sum: Duration, of: u64) -> Duration {
    Duration::from_nanos((sum.as_nanos() / u128::from(of.max(1))) as u64)
}

/// The sums of one site and label, in nanoseconds.
#[derive(Clone, Copy, Default)]
struct Sums {
    sampled: u64,
    run: u64,
    longest_run: u64,
    delay: u64,
    longest_delay: u64,
    idle_delay: u64,
}

impl Sums {
    fn add(&mut self, other: Sums) {
        self.sampled += other.sampled;
        self.run += other.run;
        self.longest_run = self.longest_run.max(other.longest_run);
        self.delay += other.delay;
        self.longest_delay = self.longest_delay.max(other.longest_delay);
        self.idle_delay += other.idle_delay;
    }
}

/// The sums of one worker, by site and label. The key is the address of the site, which is cheaper
/// to compare than its file, line and column.
#[derive(Default)]
pub(super) struct Sites(BTreeMap<(usize, u32), (Site, Sums)>);

impl Sites {
    pub(super) fn record(&mut self, ran: Ran) {
        let key = (ran.site.into_raw().addr(), ran.label);
        if self.0.len() >= MOST && !self.0.contains_key(&key) {
            return;
        }
        let (_, sums) = self.0.entry(key).or_insert((ran.site, Sums::default()));
        sums.add(Sums {
            sampled: 1,
            run: ran.run,
            longest_run: ran.run,
            delay: ran.delay,
            longest_delay: ran.delay,
            idle_delay: ran.idle_delay,
        });
    }
}

/// The sums of several workers, merged by file, line and column.
#[derive(Default)]
pub(super) struct Merged(BTreeMap<(SiteKey, u32), (Site, Sums)>);

/// The file, line and column of a site.
type SiteKey = (&'static str, u32, Option<u32>);

impl Merged {
    pub(super) fn add(&mut self, sites: &Sites) {
        for ((_, label), (site, sums)) in &sites.0 {
            let (_, all) = self.0.entry((site.parts(), *label)).or_insert((*site, Sums::default()));
            all.add(*sums);
        }
    }

    /// Returns the figures, sorted by run time, the longest first.
    pub(super) fn into_figures(self, labels: &Labels) -> Vec<SiteFigures> {
        let nanos = Duration::from_nanos;
        let figures = self.0.into_iter().map(|((_, label), (site, sums))| SiteFigures {
            site,
            label: labels.name(label),
            sampled: sums.sampled,
            run_time: nanos(sums.run),
            longest_run: nanos(sums.longest_run),
            queue_delay: nanos(sums.delay),
            longest_delay: nanos(sums.longest_delay),
            idle_delay: nanos(sums.idle_delay),
        });
        let mut figures: Vec<_> = figures.collect();
        figures.sort_by_key(|figures| Reverse(figures.run_time));
        figures
    }
}
