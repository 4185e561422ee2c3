//! The results of an experiment: tables, charts, and expectations compared with measurements.

use std::fmt::{self, Display};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::machine;
use super::progress::{Ended, Progress};
use crate::common::chart::Chart;
use crate::common::columns::columns;

/// The results of one experiment.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The name of the experiment's command.
    pub(super) name: String,
    /// The size of the experiment.
    pub(super) setting: String,
    /// The machine, and its load before the experiment.
    pub(super) machine: String,
    pub(super) tables: Vec<Table>,
    pub(super) charts: Vec<Chart>,
    pub(super) verdicts: Vec<Verdict>,
    /// Notes that help to understand the figures.
    pub(super) remarks: Vec<String>,
    pub(super) end: End,
}

/// How an experiment ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    #[default]
    Complete,
    /// By Ctrl-C; the report has the results until then.
    Stopped,
    /// By an error, with this message.
    Failed(String),
}

/// Rows of text under a head that names the columns.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) caption: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// Whether an expectation holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Holds,
    Fails,
}

/// An expectation, and what was measured.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) expected: String,
    pub(super) measured: String,
    pub(super) outcome: Outcome,
}

impl Verdict {
    /// Makes a verdict that holds if `cond` returns `true`.
    pub(super) fn of(expected: &str, measured: String, cond: impl FnOnce() -> bool) -> Verdict {
        let outcome = if cond() { Outcome::Holds } else { Outcome::Fails };
        Verdict { expected: expected.to_owned(), measured, outcome }
    }
}

impl Table {
    pub(super) fn new(caption: &str, head: impl IntoIterator<Item: Into<String>>) -> Table {
        let head = head.into_iter().map(Into::into).collect();
        Table { caption: caption.to_owned(), head, rows: Vec::new() }
    }

    pub(super) fn add(&mut self, row: impl IntoIterator<Item = String>) {
        self.rows.push(row.into_iter().collect());
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.caption)?;
        let rows = std::iter::once(&self.head).chain(&self.rows);
        columns(rows.map(Vec::as_slice)).iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "dapple lab {}: {}\n{}", self.name, self.setting, self.machine)?;
        for table in &self.tables {
            write!(f, "\n{table}")?;
        }
        writeln!(f)?;
        for Verdict { expected, measured, outcome } in &self.verdicts {
            let outcome = match outcome {
                Outcome::Holds => "holds",
                Outcome::Fails => "DOES NOT HOLD",
            };
            writeln!(f, "expected: {expected}\n  measured: {measured}: {outcome}")?;
        }
        for remark in &self.remarks {
            writeln!(f, "note: {remark}")?;
        }
        match self.end() {
            Ok(()) => Ok(()),
            Err(message) => writeln!(f, "{message}"),
        }
    }
}

impl Report {
    /// Runs `run`, which adds results to the report, and returns the report with how it ended.
    pub(super) fn complete(
        mut self,
        progress: &mut Progress,
        run: impl FnOnce(&mut Report, &mut Progress) -> Result<(), Ended>,
    ) -> Report {
        self.machine = machine::describe();
        self.end = match run(&mut self, progress) {
            Ok(()) => End::Complete,
            Err(Ended::Stopped) => End::Stopped,
            Err(Ended::Failed(message)) => End::Failed(message),
        };
        progress.ends();
        self
    }

    /// Returns how the experiment ended.
    ///
    /// # Errors
    ///
    /// Returns a message if the experiment was stopped or failed.
    pub(super) fn end(&self) -> Result<(), String> {
        match &self.end {
            End::Complete => Ok(()),
            End::Stopped => Err("stopped before the end: this is what was done".to_owned()),
            End::Failed(message) => Err(format!("failed: {message}")),
        }
    }

    /// Prints the report, and writes its charts into `folder`, if there is one.
    ///
    /// # Errors
    ///
    /// Returns a message that names the file that could not be written, or says that the experiment
    /// did not complete.
    pub(super) fn publish(&self, folder: Option<&Path>) -> Result<(), String> {
        say(&format!("{self}"));
        if let Some(folder) = folder {
            for file in self.write_charts(folder)? {
                say(&format!("wrote {}\n", file.display()));
            }
        }
        self.end()
    }

    /// Writes the charts into a folder, and returns their files.
    ///
    /// # Errors
    ///
    /// Returns a message that names the file that could not be written.
    pub(super) fn write_charts(&self, folder: &Path) -> Result<Vec<PathBuf>, String> {
        let write = |chart: &Chart| {
            let file = folder.join(format!("{}-{}.svg", self.name, chart.name));
            replace(&file, &chart.to_svg())?;
            Ok(file)
        };
        self.charts.iter().map(write).collect()
    }
}

/// Makes a folder for results, if it does not exist, and checks that files can be written there.
///
/// # Errors
///
/// Returns a message that names the folder.
pub(super) fn prepare(folder: &Path) -> Result<(), String> {
    let probe = folder.join("lab.part");
    let write = || {
        fs::create_dir_all(folder)?;
        fs::write(&probe, "")?;
        fs::remove_file(&probe)
    };
    write().map_err(|e| format!("{}: {e}", folder.display()))
}

/// Writes to the standard output, and ignores errors.
pub(super) fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Replaces a file: after a crash there is the old text or the new text, and nothing in between.
///
/// # Errors
///
/// Returns a message that names the file.
pub(super) fn replace(file: &Path, text: &str) -> Result<(), String> {
    let half = file.with_extension("part");
    let write = || fs::write(&half, text).and_then(|()| fs::rename(&half, file));
    write().map_err(|e| format!("{}: {e}", file.display()))
}
