//! Color sets: an event that needs several colors at once (C6).
//!
//! See [`dapple_colors::set`] for the algorithm, and why sets that meet do not wait for each other
//! in a circle. A set has its closure's event, which stands in no color's queue, and a *request* in
//! the queue of each of its colors. The memory of the set holds its requests, its colors, and what
//! is counted: [`block`]. What is still to come, and how long the memory is there: [`count`].
//!
//! # Who may touch what
//!
//! The set is written by the poster before the first request is in a queue. After that its requests
//! are links of the queues, and each is marked as spent by the holder of its color; `missing` is
//! counted down by the same holders; the rest, but for who keeps the memory, is immutable. Who
//! counts it down to none has the set, its event and, by the requests, all the colors: an exclusive
//! one is held, with the request, which is spent, at its head; of a shared one it is a reader.
//!
//! A poster that finds some of its colors idle holds them, and does what their holder would do.
//! What arrives in this way is counted once, when the poster has been at all its colors; if that is
//! all of them, nobody else has come to the set, and nothing is counted at all.
//!
//! A color cannot die while a request is in its queue, or a reader in it, as its grave waits for
//! both. So a set needs no handles.
//!
//! The locks of the posters order their places; what they order is argued in `dapple_colors::set`.

#[cfg(not(loom))]
mod block;
pub(crate) mod count;
#[cfg(not(loom))]
pub(crate) mod gathered;
#[cfg(not(loom))]
pub(crate) mod named;
#[cfg(not(loom))]
pub(crate) mod place;
