//! The checks of the text formats of [`Metrics`], with labels of arbitrary bytes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use super::snapshot::COUNTERS;
use super::{Distribution, Measure, Metrics};

/// Checks that both text formats can be read back and contain each of these labels. The input has
/// one label per line.
pub fn labels(input: &[u8]) {
    // An empty label does not exist: a color without a label has `None`.
    let lines = input.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let labels: BTreeSet<String> =
        lines.map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    let mut histogram = Histogram::new(3).unwrap();
    histogram.record(input.len() as u64).unwrap();
    let distribution = |label: Option<&String>| Distribution {
        measure: Measure::RunTime,
        label: label.map(|label| Arc::from(label.as_str())),
        histogram: histogram.clone(),
    };
    let metrics = Metrics {
        counters: [0; COUNTERS.len()],
        distributions: std::iter::once(None)
            .chain(labels.iter().map(Some))
            .map(distribution)
            .collect(),
        own: Vec::new(),
        workers: Vec::new(),
        stalls: Vec::new(),
        sites: Vec::new(),
        taken: UNIX_EPOCH,
        uptime: Duration::from_secs(1),
    };
    log_is_read(&metrics);
    exposition_is_read(&metrics, &labels);
}

fn log_is_read(metrics: &Metrics) {
    let mut log = Vec::new();
    metrics.write_hlog(&mut log).expect("writing to memory cannot fail");
    let mut tags = BTreeSet::new();
    let mut labels = metrics.distributions.iter().map(|d| d.label.as_deref());
    for entry in IntervalLogIterator::new(&log) {
        if let LogEntry::Interval(entry) = entry.expect("the log can be read") {
            let tag = entry.tag().expect("each histogram has a tag").as_str().to_owned();
            let fits = |c: char| c != ',' && !c.is_whitespace() && !c.is_control();
            let expected = match labels.next().expect("there is a label for each tag") {
                None => "run_time".to_owned(),
                Some(label) => format!("run_time/{}", label.replace(|c| !fits(c), "_")),
            };
            let number =
                tag.strip_prefix(&expected).map(|end| end.strip_prefix('~').unwrap_or(end));
            let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
            assert!(number.is_some_and(is_number), "{tag:?} is not {expected:?}");
            assert!(tags.insert(tag), "a tag stands for one label");
        }
    }
    assert_eq!(tags.len(), metrics.distributions.len());
}

fn exposition_is_read(metrics: &Metrics, labels: &BTreeSet<String>) {
    let text = metrics.to_prometheus();
    let mut told = BTreeSet::new();
    for line in text.split('\n') {
        let count = "dapple_run_time_seconds_count{label=\"";
        let Some(rest) = line.strip_prefix(count) else { continue };
        let (mut label, mut rest) = (String::new(), rest.chars());
        loop {
            match rest.next().expect("the label ends") {
                '"' => break,
                '\\' => label.push(match rest.next() {
                    Some('n') => '\n',
                    Some(escaped @ ('\\' | '"')) => escaped,
                    other => panic!("{other:?} is no escape"),
                }),
                plain => label.push(plain),
            }
        }
        assert_eq!(rest.as_str().split_once(' ').map(|(end, _)| end), Some("}"), "{line}");
        assert!(told.insert(label), "there is one series for a label");
    }
    // The series of the events without a label has an empty label.
    let mut expected = labels.clone();
    expected.insert(String::new());
    assert_eq!(told, expected);
}
