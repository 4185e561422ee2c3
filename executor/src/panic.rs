//! Dropping the payload of a panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Drops a payload. Its drop may panic, with a payload whose drop may panic as well.
pub(crate) fn bury(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // The second payload leaks, as its drop may panic again.
        std::mem::forget(second);
    }
}
