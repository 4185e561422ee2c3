//! What the order keeps of one event.

use crate::Context;

/// Where an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// In none; it may still go up to this context.
    Free(Context),
    /// In none, waiting to enter this context; it will go no higher.
    Wants(Context),
    Anon,
    Global,
    /// In global, waiting until it is the oldest.
    ToBeAlone,
    /// It found the state poisoned, and goes nowhere.
    Covered,
    /// It has ended, and waits for its commit; what comes after it may go up to this context.
    Ready(Option<Context>),
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slot<W, D> {
    pub(super) stage: Stage,
    /// It has been alone: what it did cannot be undone.
    pub(super) was_alone: bool,
    /// It came to repair the state, so poison does not cover it; and it has done so.
    pub(super) is_exempt: bool,
    pub(super) repaired: bool,
    /// It panicked in global, and left the state as it was then.
    pub(super) poisons: bool,
    /// How it goes on, if it waits for something; or what comes after it.
    pub(super) held: Option<W>,
    pub(super) data: D,
}

impl<W, D> Slot<W, D> {
    pub(super) fn new(highest: Context, data: D) -> Self {
        Slot {
            stage: Stage::Free(highest),
            was_alone: false,
            is_exempt: false,
            repaired: false,
            poisons: false,
            held: None,
            data,
        }
    }

    /// Says whether nobody behind it enters anon.
    #[inline]
    pub(super) fn blocks_anon(&self) -> bool {
        use Stage::*;
        matches!(
            self.stage,
            Free(Context::Global) | Wants(Context::Global) | Stage::Global | ToBeAlone
        )
    }

    /// Says whether nobody behind it enters global.
    #[inline]
    pub(super) fn blocks_global(&self) -> bool {
        use Stage::*;
        self.blocks_anon() || matches!(self.stage, Free(Context::Anon) | Wants(Context::Anon))
    }
}
