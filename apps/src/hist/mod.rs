//! `dapple hist FILE [FILE]`: prints the histograms of a `.hlog` file, or compares those of two
//! files.
//!
//! * [`read`](self::read) reads a file. [`compare`] compares two histograms, with a confidence
//!   interval.

mod compare;
mod read;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command, value_parser};
use hdrhistogram::Histogram;

use self::compare::{Change, compare};
use crate::common::chart::{Chart, Lines, Plot, Series};
use crate::common::columns::columns;

/// The percentiles that are printed by default.
const PERCENTILES: &str = "50,90,99,99.9,99.99";

/// Histograms by tag; the tag of an untagged histogram is empty.
type Tagged = BTreeMap<String, Histogram<u64>>;

pub(crate) fn command() -> Command {
    Command::new("hist")
        .about("Prints percentiles of a .hlog file, or compares two")
        .long_about(
            "Prints percentiles of the histograms in FILE, an HdrHistogram interval log (.hlog), \
             by tag. Intervals with the same tag are added up. With a second FILE, prints the \
             ratio of each percentile and its 95 % confidence interval, for independent \
             samples.\n\nPercentiles measured by a client that waits for each answer before its \
             next request are too low, because they miss the requests that would have come \
             meanwhile (coordinated omission). dapple's own histograms count from the time of the \
             post, or the time that a timer was due.",
        )
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .required(true)
                .num_args(1..=2)
                .value_parser(value_parser!(PathBuf))
                .help("One file, or two to compare"),
        )
        .arg(
            Arg::new("tag")
                .long("tag")
                .value_name("TEXT")
                .help("Only histograms whose tag contains this text"),
        )
        .arg(
            Arg::new("percentiles")
                .long("percentiles")
                .value_name("LIST")
                .value_delimiter(',')
                .value_parser(percentile)
                .default_value(PERCENTILES)
                .help("The percentiles to print, between 0 and 100"),
        )
        .arg(
            Arg::new("svg")
                .long("svg")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Draw the percentiles as curves into this file"),
        )
}

fn percentile(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("a number between 0 and 100".to_owned()),
    }
}

pub(crate) fn main(args: &ArgMatches) -> Result<(), String> {
    let files: Vec<&PathBuf> = args.get_many("file").expect("required").collect();
    let wanted = args.get_one::<String>("tag").map_or("", String::as_str);
    let percentiles: Vec<f64> =
        args.get_many("percentiles").expect("it has a default").copied().collect();
    let all = files.iter().map(|file| read_wanted(file, wanted));
    let all = all.collect::<Result<Vec<Tagged>, String>>()?;
    let table = match &all[..] {
        [one, other] => difference(one, other, &percentiles, (files[0], files[1]))?,
        all => summary(&all[0], &percentiles),
    };
    if let Some(file) = args.get_one::<PathBuf>("svg") {
        std::fs::write(file, curves(&files, &all).to_svg())
            .map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    }
    // An error only means that the reader has closed the pipe, as `head` does.
    let _ = io::stdout().write_all(table.as_bytes());
    Ok(())
}

fn read_wanted(file: &Path, wanted: &str) -> Result<Tagged, String> {
    let bytes = std::fs::read(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    let mut all = read::read(&bytes).map_err(|why| format!("{}: {why}", file.display()))?;
    all.retain(|tag, _| tag.contains(wanted));
    match all.is_empty() {
        true if wanted.is_empty() => Err(format!("{} has no histogram", file.display())),
        true => Err(format!("{}: no tag contains {wanted:?}", file.display())),
        false => Ok(all),
    }
}

/// Formats a duration in nanoseconds for people.
fn told(nanos: f64) -> String {
    // The limits take into account that the value is rounded to three digits.
    let (value, unit) = match nanos {
        n if n < 999.5 => (n, "ns"),
        n if n < 999.5e3 => (n / 1e3, "us"),
        n if n < 999.5e6 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    match value {
        v if v < 9.995 => format!("{v:.2} {unit}"),
        v if v < 99.95 => format!("{v:.1} {unit}"),
        v => format!("{v:.0} {unit}"),
    }
}

fn shown(tag: &str) -> &str {
    if tag.is_empty() { "(no tag)" } else { tag }
}

fn name(percent: f64) -> String {
    format!("p{percent}")
}

fn summary(all: &Tagged, percentiles: &[f64]) -> String {
    let head = ["tag", "count", "mean"].map(str::to_owned).into_iter();
    let head = head.chain(percentiles.iter().map(|p| name(*p))).chain(["max".to_owned()]);
    let mut rows = vec![head.collect::<Vec<String>>()];
    for (tag, histogram) in all {
        let mut row =
            vec![shown(tag).to_owned(), histogram.len().to_string(), told(histogram.mean())];
        let at = |percent: &f64| told(histogram.value_at_percentile(*percent) as f64);
        row.extend(percentiles.iter().map(at));
        row.push(told(histogram.max() as f64));
        rows.push(row);
    }
    table(&rows)
}

fn difference(
    one: &Tagged,
    other: &Tagged,
    percentiles: &[f64],
    files: (&Path, &Path),
) -> Result<String, String> {
    let mut rows = vec![
        ["tag", "percentile", "first", "second", "second : first", "95 of 100", ""]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (tag, first) in one {
        let Some(second) = other.get(tag) else { continue };
        for percent in percentiles {
            let Change { before, after, ratio, from, to } = compare(first, second, *percent);
            let verdict = match (from, to) {
                (from, _) if from > 1.0 => "slower",
                (_, to) if to < 1.0 => "faster",
                _ => "",
            };
            rows.push(vec![
                shown(tag).to_owned(),
                name(*percent),
                told(before),
                told(after),
                format!("{ratio:.3}"),
                format!("{from:.3} to {to:.3}"),
                verdict.to_owned(),
            ]);
        }
    }
    match rows.len() {
        1 => Err(format!("{} and {} have no tag in common", files.0.display(), files.1.display())),
        _ => Ok(table(&rows)),
    }
}

/// Aligns the rows in columns.
fn table(rows: &[Vec<String>]) -> String {
    columns(rows.iter().map(Vec::as_slice)).iter().map(|line| format!("{line}\n")).collect()
}

/// Draws all percentiles: for each N, the time that one value in N reaches or exceeds.
fn curves(files: &[&PathBuf], all: &[Tagged]) -> Chart {
    let mut series = Vec::new();
    for (file, tagged) in files.iter().zip(all) {
        for (tag, histogram) in tagged {
            let most = histogram.len() as f64;
            let steps = (0..).map(|step| f64::from(step) / 8.0).map(|step| 10f64.powf(step));
            let points = steps.take_while(|one_in| *one_in <= most).map(|one_in| {
                let quantile = 1.0 - 1.0 / one_in;
                (one_in, histogram.value_at_quantile(quantile) as f64 / 1e3)
            });
            let name = match files.len() {
                1 => shown(tag).to_owned(),
                _ => format!("{}, {}", file.display(), shown(tag)),
            };
            series.push(Series { name, points: points.collect() });
        }
    }
    let across = "one in this number takes as long or longer".to_owned();
    let lines = Lines { across, series };
    Chart::new("percentiles", "Percentiles", "microseconds", Plot::Lines(lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: impl Iterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = Histogram::new(2).unwrap();
        values.for_each(|value| histogram.record(value).unwrap());
        histogram
    }

    #[test]
    fn durations_are_for_people() {
        for (nanos, text) in [
            (0.0, "0.00 ns"),
            (999.0, "999 ns"),
            (9_996.0, "10.0 us"),
            (999_600.0, "1.00 ms"),
            (1_500.0, "1.50 us"),
            (25_000_000.0, "25.0 ms"),
            (3e9, "3.00 s"),
        ] {
            assert_eq!(told(nanos), text);
        }
    }

    #[test]
    fn a_summary_and_a_difference_are_tables() {
        let one = Tagged::from([("a".to_owned(), histogram((1..=1_000).map(|n| n * 1_000)))]);
        let text = summary(&one, &[50.0, 99.9]);
        let lines: Vec<&str> = text.lines().collect();
        let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(cells(lines[0]), ["tag", "count", "mean", "p50", "p99.9", "max"]);
        assert_eq!(cells(lines[1])[..2], ["a", "1000"]);
        assert!(lines[0].len() == lines[1].len() && lines.len() == 2, "{text}");
        let other = Tagged::from([("a".to_owned(), histogram((1..=1_000).map(|n| n * 2_000)))]);
        let files = (Path::new("x"), Path::new("y"));
        let text = difference(&one, &other, &[50.0], files).unwrap();
        assert!(text.lines().nth(1).unwrap().ends_with("slower"), "{text}");
        let text = difference(&one, &one, &[50.0], files).unwrap();
        assert!(text.contains("1.000") && !text.contains("slower"), "{text}");
        let none = difference(&one, &Tagged::new(), &[50.0], files).unwrap_err();
        assert!(none.contains("no tag in common"));
    }

    #[test]
    fn curves_go_from_all_to_the_rarest() {
        let tagged = Tagged::from([(String::new(), histogram((1..=1_000).map(|n| n * 1_000)))]);
        let file = PathBuf::from("x");
        let svg = curves(&[&file], &[tagged]).to_svg();
        assert!(svg.starts_with("<svg") && svg.contains("(no tag)") && !svg.contains("NaN"));
    }
}
