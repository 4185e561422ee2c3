//! The latest events that ran long.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use crate::clock;
use crate::report::StallReport;
use crate::site::Site;
use crate::sync::{Arc, Mutex, lock};

/// Stalls that are kept.
const MOST: usize = 32;

/// An event that ran longer than the stall threshold; see
/// [`Metrics::latest_stalls`](crate::Metrics::latest_stalls).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stall {
    /// When it was noticed.
    pub at: SystemTime,
    /// The worker that was in it, counted from 0.
    pub worker: usize,
    /// Where the event was posted.
    pub site: Site,
    /// The label of its color, if it has one.
    pub label: Option<Arc<str>>,
    /// For how long it had run by then.
    pub running: Duration,
    /// Whether it had ended by then.
    pub ended: bool,
}

/// See the module.
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

    /// The oldest one first.
    pub(super) fn read(&self) -> Vec<Stall> {
        lock(&self.0).iter().cloned().collect()
    }
}
