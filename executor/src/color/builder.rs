//! Colors with more than the defaults.

use std::hash::Hash;

use dapple_colors::Priority;

use super::cell::{Plan, Retire};
use super::handle::Color;
use super::marks::Affinity;
use super::palette::Palette;
use crate::Handle;
use crate::runtime::core::Core;

/// Makes a color with more than the defaults; see [`Handle::color_builder`].
#[derive(Debug)]
#[must_use = "a builder makes nothing until `build` is called"]
pub struct ColorBuilder {
    handle: Handle,
    looks: Looks,
}

/// What many colors may have in common.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Looks {
    label: u32,
    priority: Priority,
    capacity: Option<usize>,
    worker: Option<usize>,
}

impl Looks {
    pub(super) fn color(self, core: &Core, retire: Option<Box<dyn Retire>>) -> Color {
        let Looks { label, priority, capacity, worker } = self;
        let affinity = worker.map_or(Affinity::None, |worker| core.affinity_to(worker));
        let plan = Plan { label, priority, capacity, retire, affinity, ..Plan::default() };
        Color::create(core, plan)
    }
}

impl ColorBuilder {
    pub(crate) fn new(handle: Handle) -> Self {
        ColorBuilder { handle, looks: Looks::default() }
    }

    /// Names the color in figures and reports. Colors of one label share their histograms, so a
    /// label stands for a kind of work (`"connection"`), not for one color.
    ///
    /// A runtime keeps 255 labels, of which `default` is one; the colors of any further one are
    /// counted without label, and so are those of an empty one.
    pub fn label(mut self, label: &str) -> Self {
        self.looks.label = self.handle.core().labels.intern(label);
        self
    }

    /// The class of the color: a worker serves high colors before normal ones, and those before low
    /// ones. A lower class ages while it is passed over, so it still gets its share of turns.
    ///
    /// It decides between colors, never between the events of one, whose order stays (C2). A turn
    /// is not interrupted: what is high waits for the turn that is under way. An event of several
    /// colors, and the colors that it waits for, run in the highest class among them. What has no
    /// color is normal.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple::Priority;
    /// let rt = dapple::Runtime::new()?;
    /// let alarms = rt.handle().color_builder().priority(Priority::High).build();
    /// let cleaning = rt.handle().color_builder().priority(Priority::Low).build();
    /// cleaning.post(|_| println!("when there is nothing else to do"));
    /// alarms.post(|_| println!("at once"));
    /// rt.wait_idle();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn priority(mut self, priority: Priority) -> Self {
        self.looks.priority = priority;
        self
    }

    /// How many events the color may have, queued or running, before [`Handle::try_post`] answers
    /// `Full`. Posts of all other kinds are accepted beyond it, and counted
    /// (`dapple_over_limit_total`). Without it there is no limit.
    pub fn capacity(mut self, events: usize) -> Self {
        self.looks.capacity = Some(events);
        self
    }

    /// Binds the color to a worker, counted from 0: its events run on that worker's thread only,
    /// for what belongs to a thread (a library that insists on it, thread-local state).
    ///
    /// They are never stolen, nor taken over while the worker is stuck in another event: they wait,
    /// and the [stall](crate::Builder::on_stall) is reported. An event of several colors runs on
    /// the worker to which one of them is bound; two that are bound to different workers cannot be
    /// in one set. All else is as for any color.
    ///
    /// # Panics
    ///
    /// When the runtime has no such worker.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::builder().workers(2).build()?;
    /// let painter = rt.handle().color_builder().label("painter").on_worker(1).build();
    /// painter.post(|cx| assert_eq!(cx.worker(), 1));
    /// rt.wait_idle();
    /// # assert_eq!(rt.metrics().panics(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "affinity")]
    #[doc(alias = "main thread")]
    #[track_caller]
    pub fn on_worker(mut self, worker: usize) -> Self {
        let workers = self.handle.workers();
        assert!(worker < workers, "there is no worker {worker}: the runtime has {workers}");
        self.looks.worker = Some(worker);
        self
    }

    /// Colors by key, all of them like this one.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let users = rt.handle().color_builder().label("user").capacity(8).palette::<String>();
    /// assert_eq!(users.color("ada").capacity(), Some(8));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn palette<K: Eq + Hash + Send + 'static>(self) -> Palette<K> {
        let (handle, looks) = self.plan();
        Palette::with_looks(&handle, looks)
    }

    fn plan(self) -> (Handle, Looks) {
        if self.looks.priority != Priority::Normal {
            self.handle.core().fleet.use_classes();
        }
        if self.looks.worker.is_some() {
            self.handle.core().fleet.use_affine();
        }
        (self.handle, self.looks)
    }

    /// The color.
    pub fn build(self) -> Color {
        let (handle, looks) = self.plan();
        looks.color(handle.core(), None)
    }
}
