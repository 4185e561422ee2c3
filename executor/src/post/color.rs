//! Posting to a color.

use dapple_colors::Access;

use super::set::Request;
use super::{Posting, kind_of};
use crate::Color;
use crate::cx::Cx;
use crate::event::Owned;
use crate::event::large::{Boxed, is_large};
use crate::site::Site;
use crate::sync::{Point, point};
use crate::turn::local::Local;

impl Color {
    /// Posts `f` to this color. See [`Handle::post`](crate::Handle::post).
    #[track_caller]
    #[inline]
    pub fn post<F: FnOnce(&mut Cx) + Send + 'static>(&self, f: F) {
        if is_large::<F>() {
            return self.post(Box::new(f) as Boxed);
        }
        self.post_as(Access::Exclusive, f, Posting::open(Site::caller()));
    }

    /// Posts `f` to this color with shared access. See
    /// [`Handle::post_shared`](crate::Handle::post_shared).
    #[track_caller]
    pub fn post_shared<F: FnOnce(&mut Cx) + Send + 'static>(&self, f: F) {
        if is_large::<F>() {
            return self.post_shared(Box::new(f) as Boxed);
        }
        self.post_as(Access::Shared, f, Posting::open(Site::caller()));
    }

    /// Names this color as an exclusive member of a set, for
    /// [`Handle::post_set`](crate::Handle::post_set).
    pub fn exclusive(&self) -> Request<'_> {
        Request { color: self, access: Access::Exclusive }
    }

    /// Names this color as a shared member of a set, for
    /// [`Handle::post_set`](crate::Handle::post_set). The event of the set may overlap other shared
    /// events of the color.
    pub fn shared(&self) -> Request<'_> {
        Request { color: self, access: Access::Shared }
    }

    /// Posts `f` from any thread.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn post_as<F>(&self, access: Access, f: F, posting: Posting)
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        Local::with(self.core(), |local| match local {
            Some(local) => local.post(self.as_cell(), access, f, posting),
            None => self.post_from_outside(access, f, posting),
        });
    }

    /// Posts `f` from a thread that is not a worker of the color's runtime.
    pub(crate) fn post_from_outside<F>(&self, access: Access, f: F, posting: Posting)
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        let core = self.core();
        if !posting.is_accepted(core, None) {
            return super::refuse(core, f, posting.site);
        }
        let event = core.make_event(None, f, kind_of(access), posting.site);
        if !posting.is_counted() {
            self.count(&event);
        }
        core.append_from_outside(self.as_cell(), event);
        point(Point::Posted);
    }

    /// Appends an event from any thread, in any phase of the runtime.
    pub(crate) fn enqueue(&self, event: Owned) {
        self.core().enqueue(self.as_cell(), event);
    }

    /// Counts the event against the color's bound, if it has one.
    fn count(&self, event: &Owned) {
        if self.as_cell().is_bounded() {
            self.as_cell().enter_bound(event);
        }
    }
}
