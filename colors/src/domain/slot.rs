//! The slot of one event in its domain's order.

use crate::Context;

/// The stage that an event has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// The event is in none, and may still go up to this context.
    Free(Context),
    /// The event is in none and waits to enter this context. It cannot go higher afterwards.
    Wants(Context),
    Anon,
    Global,
    /// The event is in global and waits until it is the oldest.
    ToBeAlone,
    /// The event found the state poisoned, and enters no context.
    Covered,
    /// The event has ended and waits for its commit. A sub-event may go up to this context.
    Ready(Option<Context>),
}

/// The slot of one event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slot<W, D> {
    pub(super) stage: Stage,
    /// Whether the event has been alone, so that its actions cannot be undone.
    pub(super) was_alone: bool,
    /// Whether the event came to repair the state, so that poison does not cover it.
    pub(super) is_exempt: bool,
    /// Whether the event has repaired the state.
    pub(super) repaired: bool,
    /// Whether the event panicked in global without a restored state.
    pub(super) poisons: bool,
    /// The value to go on with: of the event if it waits, of its sub-event if it has ended.
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

    /// Returns `true` if no later event may enter anon.
    #[inline]
    pub(super) fn blocks_anon(&self) -> bool {
        use Stage::*;
        matches!(
            self.stage,
            Free(Context::Global) | Wants(Context::Global) | Stage::Global | ToBeAlone
        )
    }

    /// Returns `true` if no later event may enter global.
    #[inline]
    pub(super) fn blocks_global(&self) -> bool {
        use Stage::*;
        self.blocks_anon() || matches!(self.stage, Free(Context::Anon) | Wants(Context::Anon))
    }
}
