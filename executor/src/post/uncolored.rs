//! Posting without a color (C14).

use dapple_colors::Priority;

use super::{Posting, refuse};
use crate::cx::Cx;
use crate::event::Kind;
use crate::runtime::core::Core;
use crate::sync::{Point, point};
use crate::turn::entry::Entry;
use crate::turn::local::Local;
use crate::worker::figures::UNKNOWN;

impl Core {
    /// Posts `f` without a color, from any thread.
    #[inline]
    pub(crate) fn post_uncolored<F>(&self, f: F, posting: Posting)
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        Local::with(self, |local| match local {
            Some(local) => local.post_uncolored(f, posting),
            None if posting.is_accepted(self, None) => {
                let event = self.make_event(None, f, Kind::Closure, posting.site);
                let entry = Entry::event(event, Priority::Normal);
                self.inject(self.fleet.place(), entry, UNKNOWN);
                point(Point::Posted);
            }
            None => refuse(self, f, posting.site),
        });
    }
}

impl Local {
    /// Posts `f` without a color.
    #[inline]
    pub(crate) fn post_uncolored<F>(&self, f: F, posting: Posting)
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        self.queue_event(self.core.make_event(Some(self), f, Kind::Closure, posting.site));
        point(Point::Posted);
    }
}
