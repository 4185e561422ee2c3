//! Domains: a state, and events that read and write it in contexts, in the order of their tickets
//! (rules I1-I13, I15, I16).
//!
//! * `builder`, `handle`: opening a domain, and the handle of a domain.
//! * `store`: the versions of the state and the order, which the domain's lock guards.
//! * `inner`: the data that all handles and tickets share, and how long it lives.
//! * `engine`: carries out what the order decides.
//! * `commit`: the end of an event, and what it leaves behind.
//! * `post`: posting to a domain.
//! * `token`: the right to a place in the order and to a context, and the ends of steps.
//! * `done`: how one step leads to the next.
//! * `part`: the user's closures, and the events in which they wait.
//! * `task`: events as async tasks; `reach`: how their tokens get to a context and back; `fate`:
//!   what becomes of them; `held`, `event_id`: what they must not wait for.
//! * `actions`: deferred actions.
//! * `contexts`, `dynamic`: the contexts that are passed to the closures.
//! * `stretch`: how long a worker stays with one domain.
//! * `register`, `watch`: the domains of a runtime, and tickets that do not commit.

#[cfg(not(loom))]
mod actions;
#[cfg(not(loom))]
mod builder;
#[cfg(not(loom))]
mod commit;
#[cfg(not(loom))]
mod contexts;
#[cfg(not(loom))]
pub(crate) mod done;
#[cfg(not(loom))]
mod dynamic;
#[cfg(not(loom))]
mod engine;
#[cfg(not(loom))]
pub(crate) mod event_id;
#[cfg(not(loom))]
mod fate;
#[cfg(not(loom))]
mod handle;
#[cfg(not(loom))]
pub(crate) mod held;
#[cfg(not(loom))]
mod inner;
#[cfg(not(loom))]
mod part;
#[cfg(not(loom))]
mod post;
#[cfg(not(loom))]
mod reach;
#[cfg(not(loom))]
pub(crate) mod register;
pub(crate) mod store;
#[cfg(not(loom))]
mod stretch;
#[cfg(not(loom))]
mod task;
#[cfg(not(loom))]
mod token;
#[cfg(not(loom))]
mod watch;

#[cfg(not(loom))]
pub use self::{
    builder::{DomainBuilder, Plain, Transactional},
    contexts::{
        AnonCx, GlobalCx, InAnon, InGlobal, InNone, MayAnon, MayGlobal, NoneCx, NoneOnly,
        ReachesAnon, Rights,
    },
    done::Done,
    dynamic::{ContextError, DynCx, Refused},
    handle::Domain,
    reach::{Committing, Reaching},
};
