//! The table and the JSON file of `versus`.

use std::io::{self, Write};

use crate::workloads::Workload;

/// Medians of one system, on one workload, with so many workers.
#[derive(Clone, Debug)]
pub struct Record {
    /// What was done.
    pub workload: Workload,
    /// By which system.
    pub system: &'static str,
    /// With which steal policy; dapple only.
    pub policy: Option<&'static str>,
    /// With how many workers.
    pub workers: usize,
    /// Median wall time per event.
    pub ns_per_event: f64,
    /// Median CPU time of the process per event.
    pub cpu_ns_per_event: f64,
}

/// Systems that run closures on one thread and know no colors: the limit of what can be reached.
const LIMITS: [&str; 2] = ["plain-loop", "stakker"];

/// Prints the records by workload, with ratios: to the limit, to the best peer with as many
/// workers, and to the same system with one worker.
///
/// # Errors
///
/// Those of `out`.
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

/// The records as a JSON list.
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
