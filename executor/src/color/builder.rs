//! The builder of colors with options.

use std::hash::Hash;

use dapple_colors::Priority;

use super::cell::{Plan, Retire};
use super::handle::Color;
use super::marks::Affinity;
use super::palette::Palette;
use crate::Handle;
use crate::runtime::core::Core;

/// Creates colors with a label, a priority, a capacity or a fixed worker; see
/// [`Handle::color_builder`].
#[derive(Debug)]
#[must_use = "a builder makes nothing until `build` is called"]
pub struct ColorBuilder {
    handle: Handle,
    options: ColorOptions,
}

/// The options of a color, which the colors of a palette have in common.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ColorOptions {
    label: u32,
    priority: Priority,
    capacity: Option<usize>,
    worker: Option<usize>,
}

impl ColorOptions {
    pub(super) fn color(self, core: &Core, retire: Option<Box<dyn Retire>>) -> Color {
        let ColorOptions { label, priority, capacity, worker } = self;
        let affinity = worker.map_or(Affinity::None, |worker| core.affinity_to(worker));
        let plan = Plan { label, priority, capacity, retire, affinity, ..Plan::default() };
        Color::create(core, plan)
    }
}

impl ColorBuilder {
    pub(crate) fn new(handle: Handle) -> Self {
        ColorBuilder { handle, options: ColorOptions::default() }
    }

    /// Sets the name of the color in figures and reports.
    ///
    /// Colors with the same label share their histograms, so a label names a kind of work
    /// (`"connection"`), not one color. A runtime keeps 255 labels, and `default` is one of them.
    /// Colors with any further label, and colors with an empty one, are counted without a label.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple::{Histogramming, Measure, Runtime};
    /// let rt = Runtime::builder().histograms(Histogramming::Exact).build()?;
    /// let mail = rt.handle().color_builder().label("mail").build();
    /// mail.post(|_| println!("a letter"));
    /// rt.wait_idle();
    /// let metrics = rt.metrics();
    /// let run_times = metrics.histogram_of(Measure::RunTime, "mail");
    /// assert_eq!(run_times.map(|times| times.len()), Some(1));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn label(mut self, label: &str) -> Self {
        self.options.label = self.handle.core().labels.intern(label);
        self
    }

    /// Sets the class of the color, [`Priority::Normal`] unless set.
    ///
    /// A worker serves colors of the high class before normal ones, and normal ones before low
    /// ones. A lower class ages while it is passed over, so it still gets its share of turns.
    ///
    /// The class decides between colors. It never changes the order of the events of one color
    /// (C2). A turn is not interrupted: a color of the high class waits until the current turn
    /// ends. An event of several colors, and the colors that it waits for, run in the highest class
    /// among these colors. Events without a color run in the normal class.
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
        self.options.priority = priority;
        self
    }

    /// Sets the number of events that the color may have before [`Handle::try_post`] returns
    /// `Full`.
    ///
    /// Events count while they are queued or running, and so does each [permit](crate::Permit). All
    /// other kinds of posts are accepted beyond this number, and are then counted in the metric
    /// `dapple_over_limit_total`. Without a capacity there is no limit.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let mail = rt.handle().color_builder().capacity(2).build();
    /// let also_mail = mail.clone();
    /// mail.post(move |cx| {
    ///     // This event is running, and counts. There is room for one more.
    ///     assert!(cx.try_post(&also_mail, |_| println!("a letter")).is_ok());
    ///     assert!(cx.try_post(&also_mail, |_| println!("one too many")).unwrap_err().is_full());
    /// });
    /// rt.wait_idle();
    /// # assert_eq!((rt.metrics().panics(), rt.metrics().events()), (0, 2));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn capacity(mut self, events: usize) -> Self {
        self.options.capacity = Some(events);
        self
    }

    /// Binds the color to a worker: its events run on that worker's thread only.
    ///
    /// Workers are numbered from 0. A bound color suits libraries that must be called on one
    /// thread, and thread-local state.
    ///
    /// The events are never stolen, and no other worker takes them over while theirs is stuck in
    /// another event. They wait, and the [stall](crate::Builder::on_stall) is reported. An event of
    /// several colors runs on the worker to which one of them is bound. Colors that are bound to
    /// different workers cannot be in one set. In all other respects the color behaves as any
    /// color.
    ///
    /// # Panics
    ///
    /// Panics if the runtime has no worker with this number.
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
        self.options.worker = Some(worker);
        self
    }

    /// Returns a [`Palette`] whose colors all have these options.
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
        let (handle, options) = self.plan();
        Palette::with_options(&handle, options)
    }

    fn plan(self) -> (Handle, ColorOptions) {
        if self.options.priority != Priority::Normal {
            self.handle.core().fleet.use_classes();
        }
        if self.options.worker.is_some() {
            self.handle.core().fleet.use_affine();
        }
        (self.handle, self.options)
    }

    /// Creates the color.
    ///
    /// See [`Handle::color_builder`] for an example.
    pub fn build(self) -> Color {
        let (handle, options) = self.plan();
        options.color(handle.core(), None)
    }
}
