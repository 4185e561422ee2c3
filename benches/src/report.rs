//! The table and the JSON file of `versus`.

use std::io::{self, Write};

use crate::workloads::Workload;

/// The medians of one system on one workload, with a number of workers.
#[derive(Clone, Debug)]
pub struct Record {
    /// The workload.
    pub workload: Workload,
    /// The name of the system.
    pub system: &'static str,
    /// The name of the steal policy, which only dapple has.
    pub policy: Option<&'static str>,
    /// The number of workers.
    pub workers: usize,
    /// The median wall time per event, in nanoseconds.
    pub ns_per_event: f64,
    /// The median CPU time of the process per event, in nanoseconds.
    pub cpu_ns_per_event: f64,
}

/// The systems that run closures on one thread without colors: the limit of what can be reached.
const LIMITS: [&str; 2] = ["plain-loop", "stakker"];

/// Prints the records by workload.
///
/// Ratios compare each record with the limit, with the best peer that has as many workers, and with
/// the same system with one worker.
///
/// # Errors
///
/// Returns the errors of `out`.
pub fn table(records: &[Record], out: &mut impl Write) -> io::Result<()> {
    for workload in Workload::ALL {
        let rows: Vec<&Record> = records.iter().filter(|r| r.workload == workload).collect();
        if rows.is_empty() {
            continue;
        }
        writeln!(out, "\n{}", workload.name())?;
        writeln!(
            out,
            "  {:<16} {:<11} {:>2} {:>10} {:>10} {:>12} {:>14} {:>12}",
            "system", "policy", "w", "ns/event", "cpu ns", "x limit", "best peer is x", "1w : this"
        )?;
        let limit = rows.iter().find(|r| LIMITS.contains(&r.system)).map(|r| r.ns_per_event);
        for r in &rows {
            let best_peer = rows
                .iter()
                .filter(|p| p.system != "dapple" && !LIMITS.contains(&p.system))
                .filter(|p| p.workers == r.workers)
                .map(|p| p.ns_per_event)
                .min_by(f64::total_cmp);
            let alone = rows
                .iter()
                .find(|p| p.system == r.system && p.policy == r.policy && p.workers == 1)
                .map(|p| p.ns_per_event);
            let ours = r.system == "dapple";
            writeln!(
                out,
                "  {:<16} {:<11} {:>2} {:>10.1} {:>10.1} {:>12} {:>14} {:>12}",
                r.system,
                r.policy.unwrap_or("-"),
                r.workers,
                r.ns_per_event,
                r.cpu_ns_per_event,
                ratio(limit.map(|l| r.ns_per_event / l)),
                ratio(best_peer.filter(|_| ours).map(|p| p / r.ns_per_event)),
                ratio(alone.filter(|_| r.workers > 1).map(|a| a / r.ns_per_event)),
            )?;
        }
    }
    Ok(())
}

fn ratio(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{v:.2}"))
}

/// Returns the records as a JSON list.
pub fn json(records: &[Record]) -> String {
    let list: Vec<serde_json::Value> = records
        .iter()
        .map(|r| {
            serde_json::json!({
                "workload": r.workload.name(),
                "system": r.system,
                "policy": r.policy,
                "workers": r.workers,
                "ns_per_event": r.ns_per_event,
                "cpu_ns_per_event": r.cpu_ns_per_event,
            })
        })
        .collect();
    serde_json::to_string_pretty(&list).expect("a list of plain values")
}
