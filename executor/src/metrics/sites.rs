//! What the events of each place in the program have taken: by the site that posted them, and the
//! label.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use super::labels::Labels;
use super::sampling::Ran;
use crate::site::Site;
use crate::sync::Arc;

/// Sites that a worker keeps apart. A program has as many as there are posts in its source; those
/// of further ones are counted in the figures of their label only.
const MOST: usize = 4_096;

/// What was sampled of the events that one place in the program has posted; see
/// [`Metrics::sites`](crate::Metrics::sites).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SiteFigures {
    /// Where they were posted.
    pub site: Site,
    /// The label of their color or domain; `None`: it has none, or they have no color.
    pub label: Option<Arc<str>>,
    /// How many were sampled.
    pub sampled: u64,
    /// How long these have run, together.
    pub run_time: Duration,
    /// The longest of these runs.
    pub longest_run: Duration,
    /// How long these have waited from their post to their begin, together.
    pub queue_delay: Duration,
    /// The longest of these waits.
    pub longest_delay: Duration,
    /// The part of these waits in which a worker was idle; see
    /// [`Measure::IdleDelay`](crate::Measure::IdleDelay).
    pub idle_delay: Duration,
}

impl SiteFigures {
    /// How long one of them has run, on average.
    pub fn mean_run(&self) -> Duration {
        mean(self.run_time, self.sampled)
    }

    /// How long one of them has waited, on average.
    pub fn mean_delay(&self) -> Duration {
        mean(self.queue_delay, self.sampled)
    }
}

fn mean(sum: Duration, of: u64) -> Duration {
    Duration::from_nanos((sum.as_nanos() / u128::from(of.max(1))) as u64)
}

/// Sums of one site and label, in nanoseconds.
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

/// The sums of one worker, by the site's word, which is cheaper to compare than what it stands for,
/// and the label.
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

/// The sums of several workers.
#[derive(Default)]
pub(super) struct Merged(BTreeMap<(SiteKey, u32), (Site, Sums)>);

/// File, line and column.
type SiteKey = (&'static str, u32, Option<u32>);

impl Merged {
    pub(super) fn add(&mut self, sites: &Sites) {
        for ((_, label), (site, sums)) in &sites.0 {
            let (_, all) = self.0.entry((site.parts(), *label)).or_insert((*site, Sums::default()));
            all.add(*sums);
        }
    }

    /// The figures, the greatest run time first.
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
