//! What becomes of a panic in a callback: it is counted, reported and dropped (C11).

use std::any::Any;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};

use crate::report::PanicReport;
use crate::runtime::core::Core;

/// Tells the hook, which may itself panic, and drops the payload.
pub(crate) fn report(
    core: &Core,
    payload: Box<dyn Any + Send>,
    site: Option<&'static Location<'static>>,
    label: u32,
) {
    if let Some(hook) = core.settings.panic_hook() {
        let label = core.labels.name(label);
        let report = PanicReport { payload: &*payload, site, label: label.as_deref() };
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| hook(&report))) {
            bury(second);
        }
    }
    bury(payload);
}

/// Drops a payload, which may panic again, and again.
pub(crate) fn bury(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // A payload whose drop panics with a payload whose drop may panic: let it leak.
        std::mem::forget(second);
    }
}
