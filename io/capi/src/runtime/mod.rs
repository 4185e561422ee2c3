//! The functions of `include/dapple.h`.
//!
//! * [`owner`]: what colors, timers and the rest know of the runtime that they belong to.
//! * [`callee`]: a function of the program's, with its argument; [`site`]: where it was posted.
//! * [`runtimes`], [`colors`], [`posts`], [`timers`], [`watches`] (descriptors and signals),
//!   [`offload`], [`domains`]: the exported functions.
//!
//! The comments of what is exported are those of the header, which a test compares with what
//! cbindgen makes of these files.
//!
//! # What the exported functions rely on
//!
//! A pointer is null, which is an error, or from the function that makes such a thing, and has not
//! been given to the one that frees it; strings end with a zero; a function of the program's may be
//! called, with its argument, on the threads that its comment names.

pub(crate) mod callee;
pub(crate) mod colors;
mod domains;
mod offload;
pub(crate) mod owner;
mod posts;
pub(crate) mod runtimes;
mod site;
mod timers;
mod watches;
