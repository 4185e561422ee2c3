//! Posting: how closures enter queues, from callbacks and from any other thread.
//!
//! * [`color`], [`set`] and [`uncolored`] post to one color, to several, and to none.
//! * [`permit`] posts to a bounded color in which room was reserved before.
//! * [`handle`] and [`cx`] offer all of these through a handle of the runtime and inside a
//!   callback.
//!
//! The next stage is in `turn::enqueue` for a worker, and in `turn::inject` for any other thread.

mod color;
mod cx;
mod handle;
pub(crate) mod permit;
pub(crate) mod set;
mod uncolored;

use dapple_colors::Access;

use crate::color::cell::ColorCell;
use crate::cx::Cx;
use crate::event::Kind;
use crate::runtime::core::Core;
use crate::site::Site;
use crate::sync::{Ordering, Point, point};
use crate::turn::local::Local;

/// The reason why a post is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// The runtime is open: it runs, or the poster is running work of the runtime. A bounded color
    /// accepts the event even if it is full, and counts the excess.
    Open,
    /// Room in a bounded color was reserved for the event. It is accepted in every phase.
    Counted,
    /// The event is the answer to something that was accepted. It is accepted in every phase.
    Promised,
}

/// The terms under which a closure is posted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Posting {
    pub(crate) admission: Admission,
    /// The place that posts, as figures and reports name it.
    pub(crate) site: Site,
}

impl Posting {
    #[inline]
    pub(crate) fn open(site: Site) -> Self {
        Posting { admission: Admission::Open, site }
    }

    #[inline]
    pub(crate) fn counted(site: Site) -> Self {
        Posting { admission: Admission::Counted, site }
    }

    #[inline]
    pub(crate) fn promised(site: Site) -> Self {
        Posting { admission: Admission::Promised, site }
    }

    /// Returns `true` if the calling thread may post on these terms. `local` is the worker of
    /// `core` that runs on this thread, if there is one.
    #[inline]
    fn is_accepted(self, core: &Core, local: Option<&Local>) -> bool {
        self.admission != Admission::Open || core.accepts(local)
    }

    #[inline]
    fn is_counted(self) -> bool {
        self.admission == Admission::Counted
    }
}

#[inline]
fn kind_of(access: Access) -> Kind {
    match access {
        Access::Exclusive => Kind::Closure,
        Access::Shared => Kind::Shared,
    }
}

impl Local {
    /// Posts to a color. A worker's post is never refused, so that no closure is dropped inside a
    /// post (C16). Events that are posted while the runtime stops are dropped when the worker exits
    /// its loop.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn post<F>(&self, cell: &ColorCell, access: Access, f: F, posting: Posting)
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        let event = self.core.make_event(Some(self), f, kind_of(access), posting.site);
        match access {
            Access::Shared => self.enqueue_shared(cell, event),
            Access::Exclusive if posting.is_counted() => self.append(cell, event),
            Access::Exclusive => self.enqueue(cell, event),
        }
        point(Point::Posted);
    }
}

/// Drops, and counts, a closure that a thread outside the runtime posted too late.
#[cold]
pub(crate) fn refuse<F>(core: &Core, f: F, site: Site) {
    core.outside.dropped.fetch_add(1, Ordering::Relaxed);
    core.guard(Some(site), || drop(f));
}
