//! The latest stalls.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use crate::clock;
use crate::report::StallReport;
use crate::site::Site;
use crate::sync::{Arc, Mutex, lock};

/// The number of stalls that are kept.
const MOST: usize = 32;

/// An event that ran longer than the stall threshold; see
/// [`Metrics::latest_stalls`](crate::Metrics::latest_stalls).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stall {
    /// The time at which the stall was noticed.
    pub at: SystemTime,
    /// The number of the worker that ran the event, counted from 0.
    pub worker: usize,
    /// The site that posted the event.
    pub site: Site,
    /// The label of the event's color or domain, if it has one.
    pub label: Option<Arc<str>>,
    /// The time that the event had run when the stall was noticed.
    pub running: Duration,
    /// Whether the event had ended when the stall was noticed.
    pub ended: bool,
}

/// The latest [`MOST`] stalls.
#[derive(Default)]
pub(crate) struct LatestStalls(Mutex<VecDeque<Stall>>);

impl LatestStalls {
    pub(crate) fn add(&self, report: &StallReport<'_>, label: Option<Arc<str>>) {
        let StallReport { worker, site, running, ended, .. } = *report;
        let mut all = lock(&self.0);
        if all.len() == MOST {
            all.pop_front();
        }
        all.push_back(Stall { at: clock::wall(), worker, site, label, running, ended });
    }

    /// Returns the stalls, the oldest first.
    pub(super) fn read(&self) -> Vec<Stall> {
        lock(&self.0).iter().cloned().collect()
    }
}
