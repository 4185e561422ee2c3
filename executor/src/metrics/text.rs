//! The metrics as text: Prometheus' exposition format, and HdrHistogram's interval log.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::snapshot::{COUNTERS, Distribution, Metrics};

/// The upper bounds of the buckets, in nanoseconds, from 1 us to 10 s. One more bucket has no
/// bound.
const BUCKETS: [u64; 22] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

impl Metrics {
    /// Returns all metrics in the text format of Prometheus (OpenMetrics 1.0), with durations in
    /// seconds.
    ///
    /// To serve them together with other metrics of the program, register the `Metrics` as a
    /// collector instead.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// rt.handle().post_default(|_| ());
    /// rt.wait_idle();
    /// let text = rt.metrics().to_prometheus();
    /// assert!(text.contains("\ndapple_events_total 1\n"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn to_prometheus(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)
            .expect("writing to a string does not fail");
        text
    }

    /// Writes the histograms as an HdrHistogram interval log (`.hlog`), which the HdrHistogram
    /// tools read.
    ///
    /// There is a tag for each measure and label, and a tag `own/NAME` for each of the program's
    /// own histograms. Values are in nanoseconds. A character that a tag cannot contain (a comma,
    /// white space, control characters) is written as `_`. If two tags become equal in this way,
    /// the later ones get `~2`, `~3` and so on at the end.
    ///
    /// # Errors
    ///
    /// Returns the error of `out` if writing to it fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple::{Histogramming, Runtime};
    /// let rt = Runtime::builder().histograms(Histogramming::Exact).build()?;
    /// rt.handle().post_default(|_| ());
    /// rt.wait_idle();
    /// let mut log = Vec::new();               // or `std::fs::File::create("run.hlog")?`
    /// rt.metrics().write_hlog(&mut log)?;
    /// assert!(String::from_utf8_lossy(&log).contains("\nTag=queue_delay/default,"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn write_hlog(&self, out: &mut impl Write) -> io::Result<()> {
        let mut serializer = V2DeflateSerializer::new();
        let start = self.taken.checked_sub(self.uptime).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut log = IntervalLogWriterBuilder::new()
            .with_start_time(start)
            .begin_log_with(out, &mut serializer)?;
        let mut tags = BTreeSet::new();
        let runtimes =
            self.distributions.iter().map(|Distribution { measure, label, histogram }| {
                let name = match label {
                    None => measure.name().to_owned(),
                    Some(label) => format!("{}/{label}", measure.name()),
                };
                (name, histogram)
            });
        let own = self.own.iter().map(|(name, histogram)| (format!("own/{name}"), histogram));
        for (name, histogram) in runtimes.chain(own) {
            let name = tag(&name, &mut tags);
            log.write_histogram(histogram, Duration::ZERO, self.uptime, Tag::new(&name))
                .map_err(|error| io::Error::other(format!("{error:?}")))?;
        }
        Ok(())
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for ((name, help), value) in COUNTERS.into_iter().zip(self.counters) {
            // In this format durations are in seconds.
            let (name, unit) = match name.strip_suffix("_nanos") {
                Some(name) => (name, Some(Unit::Seconds)),
                None => (name, None),
            };
            let kind = match name {
                "workers" | "move" => MetricType::Gauge,
                _ => MetricType::Counter,
            };
            let help = help.trim_end_matches('.').replace(", in nanoseconds", "");
            let value = value as f64 / if unit.is_some() { 1e9 } else { 1.0 };
            let name = format!("dapple_{name}");
            let to = encoder.encode_descriptor(&name, &help, unit.as_ref(), kind)?;
            match (kind, &unit) {
                (MetricType::Gauge, Some(_)) => ConstGauge::new(value).encode(to)?,
                (MetricType::Gauge, None) => ConstGauge::new(value as i64).encode(to)?,
                (_, Some(_)) => ConstCounter::new(value).encode(to)?,
                (_, None) => ConstCounter::new(value as u64).encode(to)?,
            }
        }
        for measure in super::Measure::ALL {
            let all = self.distributions.iter().filter(|d| d.measure == measure);
            let mut all = all.peekable();
            if all.peek().is_none() {
                continue;
            }
            let name = format!("dapple_{}", measure.name());
            let mut family = encoder.encode_descriptor(
                &name,
                "Sampled, by label of the color or domain; an empty label stands for events \
                 without one",
                Some(&Unit::Seconds),
                MetricType::Histogram,
            )?;
            // The tools that read a family add up its series. So the events with a label are taken
            // out of the series of all events.
            let all: Vec<&Distribution> = all.collect();
            for distribution in &all {
                let mut histogram = distribution.histogram.clone();
                if distribution.label.is_none() {
                    for labelled in all.iter().filter(|d| d.label.is_some()) {
                        // Subtracting fails only if `labelled` has more values than the histogram
                        // of all events.
                        let _ = histogram.subtract(&labelled.histogram);
                    }
                }
                let label = escaped(distribution.label.as_deref().unwrap_or(""));
                let label = [("label", &*label)];
                encode_histogram(&mut family.encode_family(&label)?, &histogram)?;
            }
        }
        if self.own.is_empty() {
            return Ok(());
        }
        let mut family = encoder.encode_descriptor(
            "dapple_own",
            "Recorded by the program, by histogram name",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for (name, histogram) in &self.own {
            let label = [("name", &*escaped(name))];
            encode_histogram(&mut family.encode_family(&label)?, histogram)?;
        }
        Ok(())
    }
}

/// Returns a label escaped for the quotes of the text format, whose encoder escapes nothing.
fn escaped(label: &str) -> Cow<'_, str> {
    if !label.contains(['\\', '"', '\n']) {
        return label.into();
    }
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").into()
}

/// Returns a name as a tag of an interval log that is not in `used`, and adds it there.
fn tag(name: &str, used: &mut BTreeSet<String>) -> String {
    let fits = |c: char| c != ',' && !c.is_whitespace() && !c.is_control();
    let plain: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    let numbered = (2..).map(|n| format!("{plain}~{n}"));
    let mut all = std::iter::once(plain.clone()).chain(numbered);
    let tag = all.find(|tag| !used.contains(tag)).unwrap_or(plain);
    used.insert(tag.clone());
    tag
}

fn encode_histogram(
    encoder: &mut MetricEncoder<'_>,
    h: &Histogram<u64>,
) -> Result<(), std::fmt::Error> {
    let mut buckets = Vec::with_capacity(BUCKETS.len() + 1);
    let mut below = 0;
    for bound in BUCKETS {
        let upto = h.count_between(0, bound);
        buckets.push((bound as f64 / 1e9, upto - below));
        below = upto;
    }
    buckets.push((f64::MAX, h.len() - below));
    let sum = h.mean() * h.len() as f64 / 1e9;
    encoder.encode_histogram::<prometheus_client::encoding::NoLabelSet>(
        sum,
        h.len(),
        &buckets,
        None,
    )
}
