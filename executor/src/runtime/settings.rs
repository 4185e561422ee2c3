//! The settings of a runtime, as its builder made them.

use std::time::Duration;

use dapple_colors::TurnBudget;

use super::thread_hooks::ThreadHooks;
use crate::metrics::Histogramming;
use crate::report::{PanicReport, StallReport, TicketStall};
use crate::sync::{Arc, Mutex, lock};
use crate::worker::rules::Rules;

type PanicHook = dyn Fn(&PanicReport<'_>) + Send + Sync;
type StallHook = dyn Fn(&StallReport<'_>) + Send + Sync;
type TicketHook = dyn Fn(&TicketStall<'_>) + Send + Sync;

/// The settings of a runtime; see the module.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) rules: Rules,
    pub(crate) turn_budget: TurnBudget,
    pub(crate) histograms: Histogramming,
    /// Whether the default color is bound to worker 0, if that runs on the user's thread.
    pub(crate) default_here: bool,
    pub(crate) stuck_after: Duration,
    pub(crate) seed: u64,
    pub(crate) thread_hooks: Arc<ThreadHooks>,
    /// The user's hooks. They are dropped at the end of the runtime, because they may own a handle.
    pub(crate) on_panic: Mutex<Option<Arc<PanicHook>>>,
    pub(crate) on_stall: Mutex<Option<Arc<StallHook>>>,
    pub(crate) on_ticket_stall: Mutex<Option<Arc<TicketHook>>>,
}

impl Settings {
    pub(crate) fn panic_hook(&self) -> Option<Arc<PanicHook>> {
        lock(&self.on_panic).clone()
    }

    pub(crate) fn stall_hook(&self) -> Option<Arc<StallHook>> {
        lock(&self.on_stall).clone()
    }

    pub(crate) fn ticket_hook(&self) -> Option<Arc<TicketHook>> {
        lock(&self.on_ticket_stall).clone()
    }

    /// Drops the user's hooks, once the runtime is closed.
    pub(crate) fn drop_hooks(&self) {
        let hooks = (lock(&self.on_panic).take(), lock(&self.on_stall).take());
        self.thread_hooks.drop_all();
        let ticket_hook = lock(&self.on_ticket_stall).take();
        drop((hooks, ticket_hook));
    }
}
