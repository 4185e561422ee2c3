//! The figures of each of the last 600 s: the differences between readings.

use std::collections::{HashMap, VecDeque};
use std::time::SystemTime;

use dapple::sync::Arc;
use dapple::{Measure, Metrics, Site, SiteFigures};
use hdrhistogram::Histogram;

/// The number of seconds that are kept.
pub(super) const SECONDS: usize = 600;

/// The name of a counter, and the function that reads it.
type Counter = (&'static str, fn(&Metrics) -> u64);

/// The counters that the page shows.
pub(super) const COUNTERS: [Counter; 10] = [
    ("events", Metrics::events),
    ("turns", Metrics::turns),
    ("steals", Metrics::steals),
    ("colors_stolen", Metrics::colors_stolen),
    ("wakeups", Metrics::wakeups),
    ("parks", Metrics::parks),
    ("panics", Metrics::panics),
    ("dropped", Metrics::dropped),
    ("stalls", Metrics::stalls),
    ("ticket_stalls", Metrics::ticket_stalls),
];

/// The runtime's own durations that the page shows.
const MEASURES: [Measure; 2] = [Measure::QueueDelay, Measure::RunTime];

/// The number of times that each value was recorded, in nanoseconds, in the order of the values. A
/// value stands for all values that its histogram cannot tell apart, of which it is the greatest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts(Vec<(u64, u64)>);

impl Counts {
    /// Returns what was recorded in a histogram between two readings of it.
    fn between(before: Option<&Histogram<u64>>, now: &Histogram<u64>) -> Counts {
        let before = |value| before.map_or(0, |before| before.count_at(value));
        let all = now.iter_recorded().map(|step| {
            let value = step.value_iterated_to();
            (value, step.count_at_value().saturating_sub(before(value)))
        });
        Counts(all.filter(|(_, count)| *count > 0).collect())
    }

    /// Returns the sum of several counts.
    pub(super) fn sum<'a>(all: impl Iterator<Item = &'a Counts>) -> Counts {
        let mut values: Vec<(u64, u64)> = all.flat_map(|counts| &counts.0).copied().collect();
        values.sort_unstable_by_key(|(value, _)| *value);
        values.dedup_by(|later, kept| {
            let is_same = later.0 == kept.0;
            kept.1 += if is_same { later.1 } else { 0 };
            is_same
        });
        Counts(values)
    }

    pub(super) fn len(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().copied()
    }

    /// Returns, for each share, the least value that this share of all values does not exceed, or 0
    /// if there are no values. The shares are in ascending order.
    pub(super) fn quantiles<const N: usize>(&self, shares: [f64; N]) -> [u64; N] {
        let len = self.len();
        let (mut below, mut values) = (0, self.0.iter().peekable());
        shares.map(|share| {
            // This is the rank that HdrHistogram takes. The subtraction keeps a rounding error of
            // the product from raising the rank.
            let rank = ((share * len as f64 - 1e-6).ceil() as u64).clamp(1, len.max(1));
            while let Some((value, count)) = values.peek() {
                if below + count >= rank {
                    return *value;
                }
                below += count;
                values.next();
            }
            0
        })
    }
}

/// The costs of the sampled events of one posting site, over some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) sampled: u64,
    /// The time that the events ran, in nanoseconds, like the fields below.
    pub(super) run: u64,
    pub(super) delay: u64,
    pub(super) idle: u64,
}

impl Sums {
    fn of(figures: &SiteFigures) -> Sums {
        let nanos = |duration: std::time::Duration| duration.as_nanos() as u64;
        Sums {
            sampled: figures.sampled,
            run: nanos(figures.run_time),
            delay: nanos(figures.queue_delay),
            idle: nanos(figures.idle_delay),
        }
    }

    fn since(self, before: Sums) -> Sums {
        Sums {
            sampled: self.sampled.saturating_sub(before.sampled),
            run: self.run.saturating_sub(before.run),
            delay: self.delay.saturating_sub(before.delay),
            idle: self.idle.saturating_sub(before.idle),
        }
    }

    pub(super) fn add(&mut self, other: Sums) {
        self.sampled += other.sampled;
        self.run += other.run;
        self.delay += other.delay;
        self.idle += other.idle;
    }
}

/// A posting site, and the label of the color or domain that it posts to.
pub(super) type Origin = (Site, Option<Arc<str>>);

/// The figures of the time between two readings, which are 1 s apart, or more if the machine was
/// busy.
#[derive(Debug)]
pub(super) struct Interval {
    /// The number of the interval, counted from 0 since the start of the dashboard.
    pub(super) number: u64,
    pub(super) end: SystemTime,
    pub(super) seconds: f64,
    /// The share of the interval in which each worker had a core.
    pub(super) busy: Vec<f64>,
    /// The increase of each counter, in the order of [`COUNTERS`].
    pub(super) counters: [u64; COUNTERS.len()],
    /// The increase of the program's own counters, and its gauges as they are at the end.
    pub(super) own: Vec<u64>,
    /// The durations by number of the series. Series that are missing at the end have no values.
    pub(super) series: Vec<Counts>,
    /// The costs by number of the posting site.
    pub(super) places: Vec<(usize, Sums)>,
}

/// The kind of one of the program's own figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows. Its growth in an interval is shown.
    Counter,
    /// It is shown as it is.
    Gauge,
}

/// Returns the histogram of a series, which is named by its number and its name.
fn histogram<'m>(
    metrics: &'m Metrics,
    (number, name): (usize, &String),
) -> Option<&'m Histogram<u64>> {
    match MEASURES.get(number) {
        Some(measure) => metrics.histogram(*measure),
        None => metrics.own_histogram(name),
    }
}

/// The last reading.
#[derive(Debug)]
struct Before {
    metrics: Metrics,
    own: Vec<u64>,
    places: HashMap<Origin, (usize, Sums)>,
}

/// The recorded intervals, and the last reading.
#[derive(Debug)]
pub(super) struct History {
    before: Before,
    /// The names of the series. The runtime's own come first.
    pub(super) series: Vec<String>,
    pub(super) places: Vec<Origin>,
    pub(super) intervals: VecDeque<Interval>,
    pub(super) next: u64,
}

impl History {
    /// Creates a history that begins with a reading. `own` has the program's own figures.
    pub(super) fn new(metrics: Metrics, own: Vec<u64>) -> History {
        let mut history = History {
            before: Before { metrics, own, places: HashMap::new() },
            series: MEASURES.iter().map(|measure| measure.name().to_owned()).collect(),
            places: Vec::new(),
            intervals: VecDeque::new(),
            next: 0,
        };
        history.see_places();
        history
    }

    /// Returns the last reading.
    pub(super) fn latest(&self) -> &Metrics {
        &self.before.metrics
    }

    /// Returns the tag of a series in an interval log. It is that of [`Metrics::write_hlog`],
    /// except that names which differ only in characters that no tag has get the same tag.
    pub(super) fn tag(&self, series: usize) -> String {
        let own = if series < MEASURES.len() { "" } else { "own/" };
        let fits = |c: char| c != ',' && !c.is_whitespace() && !c.is_control();
        let name = self.series[series].chars().map(|c| if fits(c) { c } else { '_' });
        own.chars().chain(name).collect()
    }

    /// Adds the interval from the last reading to this one. `kinds` says which of the program's
    /// own figures are gauges.
    pub(super) fn add(&mut self, metrics: Metrics, own: Vec<u64>, kinds: &[Kind]) {
        let earlier = std::mem::replace(&mut self.before.metrics, metrics);
        let now = &self.before.metrics;
        let seconds = now.uptime().saturating_sub(earlier.uptime()).as_secs_f64().max(1e-3);
        let workers = earlier.by_worker().iter().zip(now.by_worker());
        let busy = workers.map(|(before, now)| {
            now.cpu_time.saturating_sub(before.cpu_time).as_secs_f64() / seconds
        });
        let own_since = own.iter().zip(&self.before.own).zip(kinds);
        let own_since = own_since.map(|((now, before), kind)| match kind {
            Kind::Gauge => *now,
            Kind::Counter => now.saturating_sub(*before),
        });
        let mut interval = Interval {
            number: self.next,
            end: now.taken(),
            seconds,
            busy: busy.map(|share| share.min(1.0)).collect(),
            counters: COUNTERS.map(|(_, read)| read(now).saturating_sub(read(&earlier))),
            own: own_since.collect(),
            series: Vec::new(),
            places: Vec::new(),
        };
        let names = now.own_histograms().map(|(name, _)| name);
        for name in names {
            if !self.series[MEASURES.len()..].iter().any(|known| known == name) {
                self.series.push(name.to_owned());
            }
        }
        let counts = self.series.iter().enumerate().map(|series| {
            let before = histogram(&earlier, series);
            histogram(now, series).map(|now| Counts::between(before, now)).unwrap_or_default()
        });
        interval.series = counts.collect();
        self.before.own = own;
        interval.places = self.see_places();
        if self.intervals.len() == SECONDS {
            self.intervals.pop_front();
        }
        self.intervals.push_back(interval);
        self.next += 1;
    }

    /// Returns what each posting site has done since the last reading.
    fn see_places(&mut self) -> Vec<(usize, Sums)> {
        let Before { metrics, places, .. } = &mut self.before;
        let mut done = Vec::new();
        for figures in metrics.sites() {
            let sums = Sums::of(figures);
            let place = (figures.site, figures.label.clone());
            let (number, before) = places.entry(place).or_insert_with_key(|place| {
                self.places.push(place.clone());
                (self.places.len() - 1, Sums::default())
            });
            let since = sums.since(std::mem::replace(before, sums));
            if since.sampled > 0 {
                done.push((*number, since));
            }
        }
        done
    }

    /// Returns the intervals of the last `seconds`. `until` is the number of the first interval
    /// after them, if they do not end now.
    pub(super) fn last(
        &self,
        seconds: usize,
        until: Option<u64>,
    ) -> impl Iterator<Item = &Interval> + Clone {
        let until = until.unwrap_or(self.next).min(self.next);
        let first = until.saturating_sub(seconds as u64);
        self.intervals.iter().filter(move |one| (first..until).contains(&one.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[u64]) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000_000, 2).unwrap();
        values.iter().for_each(|value| histogram.record(*value).unwrap());
        histogram
    }

    #[test]
    fn counts_have_the_quantiles_of_their_histogram() {
        let values: Vec<u64> = (0..10_000).map(|n: u64| n * n % 1_000_003 + 1).collect();
        let (before, now) = (histogram(&values[..4_000]), histogram(&values));
        let later = histogram(&values[4_000..]);
        let counts = Counts::between(Some(&before), &now);
        assert_eq!(counts, Counts::between(None, &later));
        assert_eq!(counts.len(), 6_000);
        let shares = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0];
        let expected = shares.map(|share| later.value_at_quantile(share));
        assert_eq!(counts.quantiles(shares), expected);
        let all = [Counts::between(None, &before), counts];
        assert_eq!(Counts::sum(all.iter()), Counts::between(None, &now));
        assert_eq!(Counts::default().quantiles([0.5]), [0]);
        // The log has the same values.
        let far = Counts::between(None, &histogram(&[3, 300, 70_000, 3_000_000_000_000]));
        let logged = super::super::log::histogram(&far);
        assert_eq!((logged.len(), Counts::between(None, &logged)), (4, far));
    }
}
