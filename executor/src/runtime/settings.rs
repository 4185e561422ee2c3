//! What a runtime was told by its builder.

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

/// See the module.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) rules: Rules,
    pub(crate) turn_budget: TurnBudget,
    pub(crate) histograms: Histogramming,
    /// In a runtime whose worker 0 is a thread of the user's, the default color is bound to that.
    pub(crate) default_here: bool,
    pub(crate) stuck_after: Duration,
    pub(crate) seed: u64,
    pub(crate) thread_hooks: Arc<ThreadHooks>,
    /// What the user is told by; taken at the end, as they may hold a handle.
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

    /// The runtime is closed: what the user gave it goes.
    pub(crate) fn drop_hooks(&self) {
        let hooks = (lock(&self.on_panic).take(), lock(&self.on_stall).take());
        self.thread_hooks.drop_all();
        let ticket_hook = lock(&self.on_ticket_stall).take();
        drop((hooks, ticket_hook));
    }
}
