//! Domains: a state, and events that read and write it in contexts, in the order of their tickets
//! (rules I1-I13, I15, I16).
//!
//! * `store`: the state's versions and the order, which the domain's lock guards.
//! * `inner`: what all handles and tickets share, and how long it lives.
//! * `engine`: what the order decides is carried out.
//! * `commit`: the end of an event, and what it leaves.
//! * `post`: posting to a domain.
//! * `token`: the right to a place and a context, and what a step does with it.
//! * `done`: how one step leads to the next.
//! * `part`: the user's closures, and the events in which they wait.
//! * `task`: events as async tasks; `reach`: how their tokens get to a context and back; `held`:
//!   what they must not wait for.
//! * `actions`: what is deferred.
//! * `contexts`, `dynamic`: what the closures get.
//! * `stretch`: how long a worker stays with one domain.
//! * `builder`: how a domain is opened.
//! * `watch`: tickets that do not commit.

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
