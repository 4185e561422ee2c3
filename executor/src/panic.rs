//! What becomes of a panic in a callback: it is counted, reported and dropped (C11).

use std::any::Any;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};

use crate::runtime::core::Core;

/// A panic of a callback, as the hook of
/// [`Builder::on_panic`](crate::Builder::on_panic) gets it.
#[non_exhaustive]
pub struct PanicReport<'a> {
    /// What the callback panicked with.
    pub payload: &'a (dyn Any + Send),
    /// Where the callback was posted; `None` if it was no callback that panicked, but the drop of
    /// something at the end of the runtime.
    pub site: Option<&'static Location<'static>>,
    /// The label of its color, if it has one.
    pub label: Option<&'a str>,
}

impl PanicReport<'_> {
    /// The message, if it is text, as that of `panic!` is.
    pub fn message(&self) -> Option<&str> {
        let text = self.payload.downcast_ref::<&'static str>().copied();
        text.or_else(|| self.payload.downcast_ref::<String>().map(String::as_str))
    }
}

impl std::fmt::Debug for PanicReport<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PanicReport")
            .field("message", &self.message())
            .field("site", &self.site)
            .field("label", &self.label)
            .finish()
    }
}

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
