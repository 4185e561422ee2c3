//! Async tasks, and waiting for what runs elsewhere.
//!
//! * [`spawn`]: tasks on colors (C12); [`local`]: those that stay on one thread; [`polled`]: the
//!   one that this thread is at; [`register`]: those that have not ended.
//! * [`join`]: the handle of what runs elsewhere; [`packet`]: how its outcome gets there;
//!   [`error`]: why it does not.
//! * [`call`]: posts that answer.
//! * [`time`]: sleeping, and limits of time; [`late`]: those that outlive their runtime.
//! * [`yields`]: letting others go first.
//! * [`block_on`]: waiting in a thread.

#[cfg(not(loom))]
pub(crate) mod block_on;
#[cfg(not(loom))]
pub(crate) mod call;
pub(crate) mod error;
#[cfg(not(loom))]
pub(crate) mod join;
#[cfg(not(loom))]
mod late;
#[cfg(not(loom))]
pub(crate) mod local;
pub(crate) mod packet;
#[cfg(not(loom))]
pub(crate) mod polled;
#[cfg(not(loom))]
pub(crate) mod register;
#[cfg(not(loom))]
pub(crate) mod spawn;
#[cfg(not(loom))]
pub(crate) mod time;
#[cfg(not(loom))]
pub(crate) mod yields;
