//! Color sets: events that need several colors at once (C6).
//!
//! See [`dapple_colors::set`] for the algorithm, and why sets that meet do not wait for each other
//! in a circle. The closure of a set is an event that stands in no color's queue. In the queue of
//! each of its colors the set has a *request*. The memory of the set contains its requests, its
//! colors and its counts, see [`block`]. The requests that are still to arrive, and the lifetime of
//! the memory, are counted in [`count`].
//!
//! # Who may touch what
//!
//! The poster writes the set before the first request is in a queue. After that the requests are
//! links of the queues, and the holder of each color marks its request as spent. The same holders
//! count down `missing`. The rest is immutable, except for the count of the keepers. The thread
//! that counts `missing` down to zero has the set, its event and all the colors. It holds each
//! exclusive color, with the spent request at its head, and it is a reader of each shared one.
//!
//! A poster that finds some of its colors idle holds them, and does what their holder would do. It
//! counts all the requests that arrive in this way in one step, after it has been at all its
//! colors. If these are all the requests of the set, nobody else has come to the set, and nothing
//! needs to be counted.
//!
//! A color cannot die while it has a request in its queue or a reader, because its grave waits for
//! both. So a set needs no handles.
//!
//! Posters order their places by locks. `dapple_colors::set` argues what that order achieves.

#[cfg(not(loom))]
mod block;
pub(crate) mod count;
#[cfg(not(loom))]
pub(crate) mod gathered;
#[cfg(not(loom))]
pub(crate) mod named;
#[cfg(not(loom))]
pub(crate) mod place;
