//! The table and the JSON file.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::generator::Bench;
use super::record::{Cost, Figures, Record, distinct};
use super::schedule::{KEYS, LONG_RATIO, LONG_SHARE, ZIPF_EXPONENT};

/// The loads in the table, if they were measured.
const LOADS: [u32; 3] = [50, 70, 90];
/// If fewer requests than this lie beyond a percentile, the percentile is a matter of chance.
const FEW: usize = 10;

/// Prints a Markdown table for each setup, distribution, spread of keys and mean service time.
///
/// # Errors
///
/// Returns the errors of `out`.
pub fn table(records: &[Record], out: &mut impl Write) -> io::Result<()> {
    let chosen: Vec<&Record> = records.iter().filter(|r| LOADS.contains(&r.point.load)).collect();
    let chosen = if chosen.is_empty() { records.iter().collect() } else { chosen };
    let heading = |r: &Record| {
        let p = r.point;
        let workers = if p.setup.workers() == 1 { "1 worker" } else { "2 workers" };
        let (setup, service, keys) = (p.setup.name(), p.distribution.name(), p.keys.name());
        format!("Setup {setup} ({workers}), {service} service of {} us, {keys} keys", p.mean_us)
    };
    for title in distinct(chosen.iter().copied(), heading) {
        writeln!(out, "\n### {title}\n")?;
        writeln!(
            out,
            "| {:>4} | {:<17} | {:>9} | {:>9} | {:>10} | {:>11} | {:>9} | {:>13} |",
            "load",
            "system",
            "p50 us",
            "p99 us",
            "p99.9 us",
            "gen late us",
            "gen CPU %",
            "CPU us/request",
        )?;
        writeln!(out, "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |")?;
        for record in chosen.iter().filter(|r| heading(r) == title) {
            row(record, out)?;
        }
    }
    let costs = || records.iter().flat_map(|r| &r.runs).filter_map(|run| run.cost);
    writeln!(
        out,
        "\nMedians over the rounds. `~`: fewer than {FEW} requests of a run are beyond this \
         percentile. gen late: by how much a request was posted later than intended, p99. gen CPU: \
         CPU time of the generator, by wall time. CPU us/request: of all threads but the generator, \
         service included.\n\n\
         {} of these {} runs were disturbed: other programs took more than a tenth of a core, or the \
         machine became faster or slower by more than a twentieth.",
        costs().filter(Cost::is_disturbed).count(),
        costs().count()
    )
}

fn row(record: &Record, out: &mut impl Write) -> io::Result<()> {
    let percentile = |per_mille: usize, figure: fn(&Figures) -> u64| {
        let few = record.requests * (1000 - per_mille) / 1000 < FEW;
        let value = record.median(|f| figure(f) as f64) / 1e3;
        format!("{}{value:.1}", if few { "~" } else { "" })
    };
    let cost = |figure: fn(&Cost) -> f64| {
        record.median_cost(figure).map_or_else(|| "-".to_owned(), |v| format!("{v:.1}"))
    };
    writeln!(
        out,
        "| {:>4} | {:<17} | {:>9} | {:>9} | {:>10} | {:>11} | {:>9} | {:>13} |",
        record.point.load,
        record.system,
        percentile(500, |f| f.latency.p50),
        percentile(990, |f| f.latency.p99),
        percentile(999, |f| f.latency.p999),
        cost(|c| c.generator_late_p99 as f64 / 1e3),
        cost(|c| c.generator_cpu_share * 100.0),
        cost(|c| c.system_cpu_per_request / 1e3),
    )
}

/// Returns all runs and their medians as JSON. Times are in nanoseconds.
pub fn json(records: &[Record], scale: f64, bench: &Bench) -> String {
    let document = json!({
        "scale": scale,
        "least_nap_us": bench.naps.least.as_micros() as u64,
        "realtime_generator": bench.naps.realtime,
        "number_of_keys": KEYS,
        "zipf_exponent": ZIPF_EXPONENT,
        "bimodal": { "long_share": LONG_SHARE, "long_ratio": LONG_RATIO },
        "records": records.iter().map(record_json).collect::<Vec<Value>>(),
    });
    serde_json::to_string_pretty(&document).expect("plain values")
}

fn record_json(record: &Record) -> Value {
    let point = record.point;
    json!({
        "setup": point.setup.name(),
        "workers": point.setup.workers(),
        "distribution": point.distribution.name(),
        "keys": point.keys.name(),
        "mean_us": point.mean_us,
        "load_percent": point.load,
        "system": record.system,
        "requests": record.requests,
        "median": {
            "mean": record.median(|f| f.latency.mean),
            "p50": record.median(|f| f.latency.p50 as f64),
            "p99": record.median(|f| f.latency.p99 as f64),
            "p99.9": record.median(|f| f.latency.p999 as f64),
            "max": record.median(|f| f.latency.max as f64),
            "generator_late_p99": record.median_cost(|c| c.generator_late_p99 as f64),
            "generator_cpu_share": record.median_cost(|c| c.generator_cpu_share),
            "system_cpu_per_request": record.median_cost(|c| c.system_cpu_per_request),
            "others_cpu_share": record.median_cost(|c| c.others_cpu_share.unwrap_or(0.0)),
        },
        "runs": record.runs.iter().map(run_json).collect::<Vec<Value>>(),
    })
}

fn run_json(run: &Figures) -> Value {
    json!({
        "mean": run.latency.mean,
        "p50": run.latency.p50,
        "p99": run.latency.p99,
        "p99.9": run.latency.p999,
        "max": run.latency.max,
        "generator_late_p99": run.cost.map(|c| c.generator_late_p99),
        "generator_cpu_share": run.cost.map(|c| c.generator_cpu_share),
        "system_cpu_per_request": run.cost.map(|c| c.system_cpu_per_request),
        "others_cpu_share": run.cost.and_then(|c| c.others_cpu_share),
        "speed_drift": run.cost.map(|c| c.speed_drift),
        "steps_per_nanosecond": run.cost.map(|c| c.steps_per_nano),
    })
}
