//! Async tasks, and waiting for work that runs elsewhere.
//!
//! * [`spawn`]: tasks on colors (C12); [`local`]: tasks that stay on one thread; [`polled`]: the
//!   task that this thread polls; [`register`]: the tasks that have not ended.
//! * [`join`]: the handle of work that runs elsewhere; [`packet`]: how its outcome gets there;
//!   [`error`]: why there is none.
//! * [`call`]: posts that return a result.
//! * [`time`]: sleeping, and time limits; [`late`]: those that outlive their runtime.
//! * [`yields`]: letting other events run first.
//! * [`block_on`]: waiting on a thread.

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
