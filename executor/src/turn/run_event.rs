//! Running one event: its site is published, a sampled event is measured, and a panic is reported.

use std::any::Any;

use super::local::Local;
use crate::cx::Cx;
use crate::event::{Kind, Owned};
use crate::metrics::Ran;
use crate::site::Site;
use crate::sync::{Point, event_begins, part_begins, point};
use crate::worker::counters::add;

impl Local {
    /// Runs an event, which is spent then, also if it panics.
    #[inline(always)]
    pub(super) fn run_event(&self, event: &mut Owned, label: u32, cx: &mut Cx) {
        self.seat.event.set_site(event.site());
        event_begins(event.address());
        if event.posted() == 0 {
            self.scheduler.time_passes();
            event.run(cx);
        } else {
            self.run_measured(event, label, cx);
        }
        point(Point::Ended);
    }

    /// Publishes the site of a part of the current event, which is about to run: a later step, or a
    /// deferred action.
    pub(crate) fn begin_part(&self, part: &Owned) {
        self.parts.set(self.parts.get() + 1);
        self.seat.event.set_site(part.site());
        part_begins(part.address());
    }

    /// Runs an event, or housekeeping, which does not count as an event.
    #[inline(always)]
    pub(super) fn run_any(&self, event: &mut Owned, label: u32, cx: &mut Cx) {
        match event.kind() {
            Kind::Housekeeping => self.run_housekeeping(event, label, cx),
            _ => self.run_event(event, label, cx),
        }
    }

    /// Runs housekeeping, such as the drop of a value. Afterwards the site of the event before it
    /// is published again: that is the one that people know, and it may have taken longer.
    fn run_housekeeping(&self, event: &mut Owned, label: u32, cx: &mut Cx) {
        struct Before<'a>(&'a Local, Option<Site>);
        impl Drop for Before<'_> {
            fn drop(&mut self) {
                if let Some(site) = self.1 {
                    self.0.seat.event.set_site(site);
                }
            }
        }
        self.parts.set(self.parts.get() + 1);
        let _before = Before(self, self.seat.event.site());
        self.run_event(event, label, cx);
    }

    #[cold]
    #[inline(never)]
    fn run_measured(&self, event: &mut Owned, label: u32, cx: &mut Cx) {
        struct Stop<'a>(&'a Local, u64, Ran);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                let Stop(local, began, mut ran) = *self;
                ran.run = local.scheduler.now().saturating_sub(began);
                // A step of a domain sets the label when it runs.
                ran.label = if ran.label == 0 { local.seat.event.label() } else { ran.label };
                local.sample_event(ran);
            }
        }
        let (now, posted) = (self.scheduler.now(), event.posted());
        let idle_delay = self.core.fleet.idle_between(posted, now);
        let delay = now.saturating_sub(posted);
        self.seat.event.set_label(label);
        let _stop = Stop(self, now, Ran { site: event.site(), label, delay, idle_delay, run: 0 });
        self.scheduler.time_passes();
        event.run(cx);
    }

    #[cold]
    pub(super) fn event_panicked(
        &self,
        payload: Box<dyn Any + Send>,
        site: Option<Site>,
        label: u32,
    ) {
        add(&self.scheduler.shared().counters.panics, 1);
        self.core.report_panic(payload, site, label);
        self.scheduler.time_passes();
        // The panic skipped the `point` at the event's end.
        point(Point::Ended);
    }
}
