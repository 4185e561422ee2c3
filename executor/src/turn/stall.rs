//! Reporting events that run long (E12).

use std::time::Duration;

use super::local::Local;
use crate::report::{StallReport, has_subscriber, tell};
use crate::sync::Ordering;
use crate::worker::counters::add;

impl Local {
    /// Returns the number of events that this worker has run.
    pub(super) fn events_run(&self) -> u64 {
        self.scheduler.shared().counters.events.load(Ordering::Relaxed)
    }

    /// Reports that a worker has been in one event for `nanos`, if that is too long and has not
    /// been reported yet.
    pub(super) fn report_stall(&self, worker: usize, nanos: u64, ended: bool) {
        let settings = &self.core.settings;
        let running = Duration::from_nanos(nanos);
        if running < settings.rules.stall_after {
            return;
        }
        let event = &self.core.seats[worker].event;
        let Some(site) = event.site() else { return };
        let published = &self.core.fleet.workers[worker].published;
        if !event.is_first_report(published.progress.load(Ordering::Relaxed)) {
            return;
        }
        add(&self.scheduler.shared().counters.stalls, 1);
        let label = self.core.labels.name(event.label());
        let since_look = || self.events_run() - self.events_at_look.get() + self.parts.get();
        // Of another worker's event, only the site and the label are known.
        let events = ended.then(since_look);
        let report = StallReport { worker, site, label: label.as_deref(), running, ended, events };
        self.core.latest_stalls.add(&report, label.clone());
        match settings.stall_hook() {
            Some(hook) => self.guard(Some(site), || hook(&report)),
            None if has_subscriber() => tracing::warn!(
                worker,
                posted_at = %site,
                label = report.label,
                running_ms = running.as_millis() as u64,
                ended,
                events,
                "an event has run for longer than the stall threshold"
            ),
            None => tell(&report),
        }
    }
}
