//! Running one event: it is said where it was posted, measured if it is sampled, and its panic told.

use std::panic::Location;
use std::ptr::NonNull;

use super::local::Local;
use super::shared::add;
use crate::color::queue::Link;
use crate::cx::Cx;
use crate::event::{Event, Header, Kind};
use crate::metrics::{Measure, Sample};
use crate::panic;
use crate::sync::Ordering;

impl Local {
    /// # Safety
    ///
    /// The event is the caller's, and has not run.
    #[inline]
    pub(super) unsafe fn run_event(&self, event: NonNull<Event>, label: u32, cx: &mut Cx) {
        // SAFETY: by contract.
        let (posted, site) = unsafe { (Event::posted(event), Event::site(event)) };
        self.publish_site(site);
        if posted == 0 {
            self.time_passes();
            // SAFETY: by contract.
            unsafe { Event::run(event, cx) }
        } else {
            // SAFETY: by contract.
            unsafe { self.run_measured(event, posted, label, cx) }
        }
    }

    /// Says where what runs now was posted, for whoever watches; see `watch`.
    #[inline]
    pub(crate) fn publish_site(&self, site: &'static Location<'static>) {
        let published = &self.shared().published;
        published.site.store(std::ptr::from_ref(site).cast_mut(), Ordering::Relaxed);
    }

    /// # Safety
    ///
    /// As [`run_event`](Self::run_event).
    #[cold]
    #[inline(never)]
    unsafe fn run_measured(&self, event: NonNull<Event>, posted: u64, label: u32, cx: &mut Cx) {
        struct Stop<'a>(&'a Local, u64, u32);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                let took = self.0.now().saturating_sub(self.1);
                self.0.sample(Sample::new(Measure::RunTime, self.2, took));
            }
        }
        let now = self.now();
        self.sample(Sample::new(Measure::QueueDelay, label, now.saturating_sub(posted)));
        let _stop = Stop(self, now, label);
        self.time_passes();
        // SAFETY: by contract.
        unsafe { Event::run(event, cx) }
    }

    #[cold]
    pub(super) fn event_panicked(
        &self,
        payload: Box<dyn std::any::Any + Send>,
        link: NonNull<Link>,
        label: u32,
    ) {
        add(&self.shared().counters.panics, 1);
        let header = Header::of(link);
        // SAFETY: what stands at the head of a color that we hold is ours; only a grave is no event.
        let site = unsafe {
            (header.as_ref().kind() != Kind::Grave).then(|| Event::site(Event::of(header)))
        };
        panic::report(&self.core, payload, site, label);
        self.time_passes();
    }
}
