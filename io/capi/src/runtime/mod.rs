//! The functions of `include/dapple.h`.
//!
//! * [`owner`]: what colors, timers and the rest know of their runtime.
//! * [`callee`]: a function of the program with its argument. [`site`]: the place that posted it.
//! * The exported functions: [`runtimes`], [`colors`], [`posts`], [`timers`], [`watches`]
//!   (descriptors and signals), [`offload`], [`domains`].
//!
//! The comments of exported items are also those of the header: a test compares it with the output
//! of cbindgen for these files.
//!
//! # Safety of the exported functions
//!
//! All exported functions rely on their caller for the following:
//!
//! * A pointer to one of this library's objects is null, which is an error, or comes from the
//!   function that makes such an object. It has not been passed to the function that frees it.
//! * Other pointers are null where that is allowed, or lead to what the function's type and comment
//!   say. Strings end with a zero.
//! * A function of the program may be called, with its argument, on the threads that the comment of
//!   the exported function names.
//! * The state of a domain may be used on all threads, by several readers or one writer at a time,
//!   and its clone and free functions may be called on any thread.

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
