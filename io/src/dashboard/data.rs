//! The data that the page asks for, as JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use dapple::{DomainFigures, Stall};
use serde::Serialize;

use super::history::{COUNTERS, Counts, History, Interval, Sums};

/// The quantiles of the durations that the page shows.
const SHARES: [f64; 6] = [0.5, 0.9, 0.99, 0.999, 0.9999, 1.0];

/// The number of rows of the heat map for each doubling of time.
const ROWS: f64 = 4.0;

/// The maximum number of posting sites that the page lists.
const MOST_PLACES: usize = 30;

/// The parameters of a request for the data.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Query {
    /// The number of the first interval that the page does not have.
    pub(super) after: u64,
    /// The range of the page, in seconds. Sums are made over it.
    pub(super) last: usize,
    /// The number of the first interval after the range; `None` if the range ends now.
    pub(super) until: Option<u64>,
}

/// The facts about the program that are not in the history.
pub(super) struct About<'a> {
    pub(super) title: &'a str,
    pub(super) own: Vec<OwnName<'a>>,
    pub(super) domains: Vec<DomainFigures>,
    pub(super) stalls: &'a [Stall],
    pub(super) started: SystemTime,
    pub(super) now: SystemTime,
}

/// The name of one of the program's own figures.
#[derive(Clone, Debug, Serialize)]
pub(super) struct OwnName<'a> {
    pub(super) group: &'a str,
    pub(super) name: &'a str,
    pub(super) is_gauge: bool,
}

#[derive(Serialize)]
struct Data<'a> {
    title: &'a str,
    /// The start of the program, in milliseconds since 1970, like all times. The page tells by it
    /// that the program has been started again.
    started: u64,
    now: u64,
    counters: [&'static str; COUNTERS.len()],
    series: &'a [String],
    own: &'a [OwnName<'a>],
    next: u64,
    rows: Vec<Row<'a>>,
    range: Range<'a>,
    domains: Vec<DomainRow<'a>>,
    stalls: Vec<StallRow<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    number: u64,
    end: u64,
    seconds: f64,
    busy: Vec<f64>,
    counters: &'a [u64],
    own: &'a [u64],
    series: Vec<Figures>,
}

/// Figures of durations, in nanoseconds.
#[derive(Serialize)]
struct Figures {
    count: u64,
    quantiles: [u64; SHARES.len()],
    /// Pairs of a row of the heat map and its count, one after the other. Row 0 begins at 1 ns, and
    /// each doubling of time has four rows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cells: Vec<u64>,
}

#[derive(Serialize)]
struct Range<'a> {
    seconds: f64,
    series: Vec<Figures>,
    places: Vec<PlaceRow<'a>>,
    /// The run time of the events of all posting sites, in nanoseconds.
    run: u64,
}

#[derive(Serialize)]
struct PlaceRow<'a> {
    site: String,
    label: Option<&'a str>,
    sampled: u64,
    run: u64,
    delay: u64,
    idle: u64,
}

#[derive(Serialize)]
struct DomainRow<'a> {
    label: Option<&'a str>,
    uncommitted: usize,
    ticket: String,
    doing: String,
    site: String,
    waiting: u64,
}

#[derive(Serialize)]
struct StallRow<'a> {
    at: u64,
    worker: usize,
    site: String,
    label: Option<&'a str>,
    running: u64,
    ended: bool,
}

fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

impl Figures {
    fn of(counts: &Counts) -> Figures {
        Figures { count: counts.len(), quantiles: counts.quantiles(SHARES), cells: Vec::new() }
    }

    fn with_cells(counts: &Counts) -> Figures {
        let mut cells: Vec<u64> = Vec::new();
        for (value, count) in counts.iter() {
            let row = ((value.max(1) as f64).log2() * ROWS) as u64;
            match &mut cells[..] {
                [.., last, sum] if *last == row => *sum += count,
                _ => cells.extend([row, count]),
            }
        }
        Figures { cells, ..Figures::of(counts) }
    }
}

impl<'a> Row<'a> {
    fn of(interval: &'a Interval) -> Row<'a> {
        let thousandths = |share: &f64| (share * 1e3).round() / 1e3;
        Row {
            number: interval.number,
            end: millis(interval.end),
            seconds: thousandths(&interval.seconds),
            busy: interval.busy.iter().map(thousandths).collect(),
            counters: &interval.counters,
            own: &interval.own,
            series: interval.series.iter().map(Figures::with_cells).collect(),
        }
    }
}

fn range<'a>(history: &'a History, query: Query) -> Range<'a> {
    let all = history.last(query.last, query.until);
    let series = (0..history.series.len()).map(|number| {
        Figures::of(&Counts::sum(all.clone().filter_map(|one| one.series.get(number))))
    });
    let mut sums = vec![Sums::default(); history.places.len()];
    for (number, of_place) in all.clone().flat_map(|one| &one.places) {
        sums[*number].add(*of_place);
    }
    let mut places: Vec<_> = history.places.iter().zip(sums).collect();
    places.retain(|(_, sums)| sums.sampled > 0);
    places.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.run));
    Range {
        seconds: all.clone().map(|one| one.seconds).sum(),
        series: series.collect(),
        run: places.iter().map(|(_, sums)| sums.run).sum(),
        places: places
            .into_iter()
            .take(MOST_PLACES)
            .map(|((site, label), sums)| PlaceRow {
                site: site.to_string(),
                label: label.as_deref(),
                sampled: sums.sampled,
                run: sums.run,
                delay: sums.delay,
                idle: sums.idle,
            })
            .collect(),
    }
}

/// Returns the answer to a request for the data.
pub(super) fn json(history: &History, query: Query, about: &About<'_>) -> String {
    let rows = history.intervals.iter().filter(|one| one.number >= query.after);
    let domains = about.domains.iter().map(|domain| DomainRow {
        label: domain.label.as_deref(),
        uncommitted: domain.uncommitted,
        ticket: domain.ticket.to_string(),
        doing: domain.doing.to_string(),
        site: domain.site.to_string(),
        waiting: domain.waiting.as_nanos() as u64,
    });
    let stalls = about.stalls.iter().rev().map(|stall| StallRow {
        at: millis(stall.at),
        worker: stall.worker,
        site: stall.site.to_string(),
        label: stall.label.as_deref(),
        running: stall.running.as_nanos() as u64,
        ended: stall.ended,
    });
    let data = Data {
        title: about.title,
        started: millis(about.started),
        now: millis(about.now),
        counters: COUNTERS.map(|(name, _)| name),
        series: &history.series,
        own: &about.own,
        next: history.next,
        rows: rows.map(Row::of).collect(),
        range: range(history, query),
        domains: domains.collect(),
        stalls: stalls.collect(),
    };
    serde_json::to_string(&data).expect("all values can be written as JSON")
}
