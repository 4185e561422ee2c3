//! The end of what a callback panicked with.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Drops a payload, which may panic again, and again.
pub(crate) fn bury(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // A payload whose drop panics with a payload whose drop may panic: let it leak.
        std::mem::forget(second);
    }
}
