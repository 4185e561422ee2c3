//! The metrics as a table for people.

use std::cmp::Reverse;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::Measure;
use super::sites::SiteFigures;
use super::snapshot::Metrics;

/// The number of sites in each list, unless the format's precision says otherwise.
const SITES: usize = 10;

/// The width of the column of labels. A longer label pushes the other columns to the right.
const LABEL: usize = 20;

/// Writes a table for people. It shows the run times and delays of events, by label and by the site
/// that posted them, and how much of the delays passed while a worker was idle. Each list of sites
/// has at most ten, or as many as the precision says: `{metrics:.20}`.
///
/// If a long delay passes while a worker is idle, a finer color would shorten it. If all workers
/// are busy, only less work would. Percentiles are not kept for events without a label.
///
/// # Examples
///
/// ```
/// use dapple::{Histogramming, Runtime};
/// let rt = Runtime::builder().histograms(Histogramming::Exact).build()?;
/// let disk = rt.handle().color_builder().label("disk").build();
/// disk.post(|_| println!("reads the disk"));
/// rt.wait_idle();
/// let table = format!("{:.3}", rt.metrics());             // three sites in each list
/// assert!(table.contains("1 events in 1 turns") && table.contains("\ndisk "));
/// # Ok::<(), std::io::Error>(())
/// ```
impl Display for Metrics {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let most = f.precision().unwrap_or(SITES);
        writeln!(
            f,
            "{} workers, up {}; {} events in {} turns, {} steals, {} stalls, {} panics, {} dropped",
            self.workers(),
            Short(self.uptime),
            self.events(),
            self.turns(),
            self.steals(),
            self.stalls(),
            self.panics(),
            self.dropped(),
        )?;
        let all = Sums::of(&self.sites);
        if all.sampled == 0 {
            return write!(f, "no event was sampled");
        }
        write!(f, "{} of the queue delay passed", Share(all.idle, all.delay))?;
        writeln!(f, " while a worker was idle")?;
        self.labels(f, &all)?;
        let mut by_delay: Vec<&SiteFigures> = self.sites.iter().collect();
        by_delay.sort_by_key(|site| Reverse(site.queue_delay));
        writeln!(f, "\nsites with the longest total run time, of {}", self.sites.len())?;
        list(f, &all, self.sites.iter().take(most))?;
        writeln!(f, "\nsites with the longest total delay")?;
        list(f, &all, by_delay.into_iter().take(most))
    }
}

impl Metrics {
    /// Writes a row for each label.
    fn labels(&self, f: &mut Formatter<'_>, all: &Sums) -> fmt::Result {
        let mut labels: Vec<Option<&str>> = Vec::new();
        for site in &self.sites {
            let label = site.label.as_deref();
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
        let of = |label: Option<&str>| {
            Sums::of(self.sites.iter().filter(|site| site.label.as_deref() == label))
        };
        let mut rows: Vec<_> = labels.into_iter().map(|label| (label, of(label))).collect();
        rows.sort_by_key(|(_, sums)| Reverse(sums.run));
        writeln!(
            f,
            "\n{:<LABEL$} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "label", "run time", "p50", "p99", "delay p50", "p99", "idle"
        )?;
        for (label, sums) in rows {
            let at = |measure, percent| {
                let histogram = label.and_then(|label| self.histogram_of(measure, label));
                let nanos = histogram.map(|h| h.value_at_percentile(percent));
                nanos.map_or_else(String::new, |nanos| {
                    Short(Duration::from_nanos(nanos)).to_string()
                })
            };
            writeln!(
                f,
                "{:<LABEL$} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
                label.unwrap_or("(none)").escape_debug().to_string(),
                Share(sums.run, all.run).to_string(),
                at(Measure::RunTime, 50.0),
                at(Measure::RunTime, 99.0),
                at(Measure::QueueDelay, 50.0),
                at(Measure::QueueDelay, 99.0),
                Share(sums.idle, sums.delay).to_string(),
            )?;
        }
        Ok(())
    }
}

fn list<'a>(
    f: &mut Formatter<'_>,
    all: &Sums,
    sites: impl Iterator<Item = &'a SiteFigures>,
) -> fmt::Result {
    writeln!(
        f,
        "{:>9} {:>9} {:>9} {:>10} {:>9} {:>9}  posted at",
        "run time", "mean", "longest", "delay mean", "longest", "idle"
    )?;
    for site in sites {
        write!(
            f,
            "{:>9} {:>9} {:>9} {:>10} {:>9} {:>9}  {}",
            Share(site.run_time, all.run).to_string(),
            Short(site.mean_run()).to_string(),
            Short(site.longest_run).to_string(),
            Short(site.mean_delay()).to_string(),
            Short(site.longest_delay).to_string(),
            Share(site.idle_delay, site.queue_delay).to_string(),
            site.site,
        )?;
        match &site.label {
            Some(label) => writeln!(f, " ({})", label.escape_debug())?,
            None => writeln!(f)?,
        }
    }
    Ok(())
}

#[derive(Default)]
struct Sums {
    sampled: u64,
    run: Duration,
    delay: Duration,
    idle: Duration,
}

impl Sums {
    fn of<'a>(sites: impl IntoIterator<Item = &'a SiteFigures>) -> Sums {
        let mut sums = Sums::default();
        for site in sites {
            sums.sampled += site.sampled;
            sums.run += site.run_time;
            sums.delay += site.queue_delay;
            sums.idle += site.idle_delay;
        }
        sums
    }
}

/// A part and the whole, shown as a percentage.
struct Share(Duration, Duration);

impl Display for Share {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let percent = 100.0 * self.0.as_secs_f64() / self.1.as_secs_f64().max(1e-9);
        write!(f, "{percent:.1} %")
    }
}

/// A duration, shown with three digits.
struct Short(Duration);

impl Display for Short {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos() as f64;
        let (value, unit) = match nanos {
            n if n < 999.5 => return write!(f, "{n} ns"),
            n if n < 999.5e3 => (n / 1e3, "us"),
            n if n < 999.5e6 => (n / 1e6, "ms"),
            n => (n / 1e9, "s"),
        };
        let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
        write!(f, "{value:.digits$} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        let short = |nanos| Short(Duration::from_nanos(nanos)).to_string();
        for (nanos, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 us"),
            (9_994, "9.99 us"),
            (9_996, "10.0 us"),
            (99_960, "100 us"),
            (999_600, "1.00 ms"),
            (12_345_678, "12.3 ms"),
            (61_000_000_000, "61.0 s"),
        ] {
            assert_eq!(short(nanos), text);
        }
    }

    #[test]
    fn a_part_of_nothing_is_nothing() {
        assert_eq!(Share(Duration::ZERO, Duration::ZERO).to_string(), "0.0 %");
    }
}
