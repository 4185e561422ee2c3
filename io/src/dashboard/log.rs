//! The history as an HdrHistogram interval log.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::history::{Counts, History};

/// Returns a log with a histogram for each second and series that has values. See [`History::tag`]
/// for the tags.
pub(super) fn write(history: &History, seconds: usize, until: Option<u64>) -> io::Result<Vec<u8>> {
    let failed = |error: &dyn std::fmt::Debug| io::Error::other(format!("{error:?}"));
    let (mut log, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
    let mut all = history.last(seconds, until).peekable();
    let begin = |end: std::time::SystemTime, seconds: f64| {
        end.checked_sub(Duration::from_secs_f64(seconds)).unwrap_or(UNIX_EPOCH)
    };
    let start = all.peek().map_or(UNIX_EPOCH, |first| begin(first.end, first.seconds));
    let mut writer = IntervalLogWriterBuilder::new()
        .with_start_time(start)
        .begin_log_with(&mut log, &mut serializer)?;
    let tags: Vec<String> = (0..history.series.len()).map(|series| history.tag(series)).collect();
    for interval in all {
        let from = begin(interval.end, interval.seconds).duration_since(start).unwrap_or_default();
        for (tag, counts) in tags.iter().zip(&interval.series) {
            if counts.len() == 0 {
                continue;
            }
            let lasts = Duration::from_secs_f64(interval.seconds);
            writer
                .write_histogram(&histogram(counts), from, lasts, Tag::new(tag))
                .map_err(|error| failed(&error))?;
        }
    }
    Ok(log)
}

/// Returns the histogram of these counts, with two significant digits.
pub(super) fn histogram(counts: &Counts) -> Histogram<u64> {
    let mut histogram = Histogram::new(2).expect("two digits are valid");
    for (value, count) in counts.iter() {
        histogram.record_n(value, count).expect("the histogram grows");
    }
    histogram
}
