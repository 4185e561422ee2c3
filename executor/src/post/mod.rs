//! Posting: how closures get into queues, from callbacks and from any thread.
//!
//! * [`color`]: to one color; [`set`]: to several; [`uncolored`]: to none.
//! * [`permit`]: with room that was asked for before.
//! * [`handle`], [`cx`]: the same, through a handle of the runtime and from within a callback.
//!
//! What happens on a worker from there on is in `turn::enqueue`, and on other threads in
//! `turn::inject`.

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

/// Why an event is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// The runtime is open: it runs, or the poster is running work of it. A bounded color takes it
    /// even if it is full, which is counted.
    Open,
    /// Room in a bounded color was taken for it; it is let in whatever the phase.
    Counted,
    /// It is the answer to something that was accepted; it is let in whatever the phase.
    Promised,
}

/// How a closure is posted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Posting {
    pub(crate) admission: Admission,
    /// Where: what figures and reports name.
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

    /// Says whether the calling thread may post so. `local`: the worker that it is.
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
    /// Posts to a color. Never refused, so that no drop of a closure runs inside of a post (C16):
    /// what is posted while the runtime stops is dropped when the worker leaves its loop.
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

/// Drops what came too late, from outside.
#[cold]
pub(crate) fn refuse<F>(core: &Core, f: F, site: Site) {
    core.outside.dropped.fetch_add(1, Ordering::Relaxed);
    core.guard(Some(site), || drop(f));
}
