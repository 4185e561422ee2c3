//! Running code that may panic outside an event (C11), and counting what was dropped.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::local::Local;
use crate::panic::bury;
use crate::report::PanicReport;
use crate::runtime::core::Core;
use crate::site::Site;
use crate::sync::{AtomicU64, Ordering, event_panicked};
use crate::worker::counters::{Counters, add};

impl Core {
    /// Runs `f`, and catches, counts and reports its panic.
    pub(crate) fn guard(&self, site: Option<Site>, f: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
            self.count_panic();
            self.report_panic(payload, site, 0);
        }
    }

    /// Calls the panic hook, which may itself panic, and drops the payload.
    pub(crate) fn report_panic(
        &self,
        payload: Box<dyn Any + Send>,
        site: Option<Site>,
        label: u32,
    ) {
        let report = |label| PanicReport { payload: &*payload, site, label };
        event_panicked(|| {
            let message = report(None).message().unwrap_or("a panic").to_owned();
            let site = site.map_or_else(String::new, |site| format!(" (posted at {site})"));
            format!("an event panics{site}: {message}")
        });
        if let Some(hook) = self.settings.panic_hook() {
            let label = self.labels.name(label);
            let report = report(label.as_deref());
            if let Err(second) = catch_unwind(AssertUnwindSafe(|| hook(&report))) {
                bury(second);
            }
        }
        bury(payload);
    }

    /// Adds `n` to a counter of this thread's worker, or to `outside` if the thread is not a
    /// worker.
    fn count(&self, n: u64, of: fn(&Counters) -> &AtomicU64, outside: &AtomicU64) {
        Local::with(self, |local| match local.and_then(|local| local.scheduler.counters()) {
            Some(counters) => add(of(counters), n),
            None => drop(outside.fetch_add(n, Ordering::Relaxed)),
        });
    }

    /// Counts a panic, or what counts as one.
    pub(crate) fn count_panic(&self) {
        self.count(1, |counters| &counters.panics, &self.outside.panics);
    }

    /// Counts events that were dropped unrun.
    pub(crate) fn count_dropped(&self, n: u64) {
        self.count(n, |counters| &counters.dropped, &self.outside.dropped);
    }

    /// Counts events that have run in vain. The counter of events includes them, or will shortly.
    /// The metrics subtract them there, so that they count only as dropped.
    pub(crate) fn count_in_vain(&self, n: u64) {
        self.count(n, |counters| &counters.in_vain, &self.outside.in_vain);
    }

    /// Counts events of domains and of bounded colors that were accepted above the limit.
    pub(crate) fn count_over_limit(&self, n: u64) {
        self.count(n, |counters| &counters.over_limit, &self.outside.over_limit);
    }
}

impl Local {
    /// Runs `f` outside an event, and catches, counts and reports its panic.
    pub(crate) fn guard(&self, site: Option<Site>, f: impl FnOnce()) {
        self.core.guard(site, f);
    }

    /// Counts events that were dropped unrun.
    pub(crate) fn count_dropped(&self, n: u64) {
        self.core.count_dropped(n);
    }

    /// Counts the current event as dropped, not as run: poison covers it, so it does nothing.
    #[cold]
    pub(crate) fn count_skipped(&self) {
        self.count_dropped(1);
        self.core.count_in_vain(1);
    }
}
