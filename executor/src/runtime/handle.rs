//! The handle of a runtime: the way in, from any thread.

use std::fmt;
use std::time::{Instant, SystemTime};

use super::core::{Core, CoreRef, Phase};
use super::recorder::Recorder;
use crate::clock;
use crate::color::cell::Plan;
use crate::metrics::Metrics;
use crate::turn::local::Local;
use crate::{Color, ColorBuilder, DomainFigures};

/// A handle of a runtime, which makes colors and posts callbacks.
///
/// A handle can be cloned and sent to any thread. It does not keep the runtime running.
///
/// A post never blocks. Once a shutdown has begun, posts from outside are refused: the closure is
/// dropped at once, and counted. Posts of running work are accepted until the runtime stops.
///
/// # Examples
///
/// ```
/// use std::thread;
/// let rt = dapple::Runtime::new()?;
/// let h = rt.handle();
/// let reader = thread::spawn(move || {
///     let color = h.new_color();
///     for n in 0..10 {
///         h.post(&color, move |_| println!("line {n}"));
///     }
/// });
/// reader.join().expect("it does not panic");
/// rt.wait_idle();
/// assert_eq!(rt.metrics().events(), 10);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Handle {
    core: CoreRef,
}

impl Handle {
    pub(crate) fn new(core: CoreRef) -> Self {
        Handle { core }
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// Creates a color without a label, a bound or a binding to a worker.
    pub fn new_color(&self) -> Color {
        Color::create(&self.core, Plan::default())
    }

    /// Returns a builder for a color with a label, a class, a capacity or a binding to a worker.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let connection = rt.handle().color_builder().label("connection").build();
    /// assert_eq!(format!("{connection:?}"), "Color(\"connection\")");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn color_builder(&self) -> ColorBuilder {
        ColorBuilder::new(self.clone())
    }

    /// Returns the default color, which everything uses that names no color (C3).
    ///
    /// It is as serial as any other color, so a program that never names a color runs as it would
    /// on one thread.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let h = rt.handle();
    /// let color = h.default_color();
    /// h.post_default(move |cx| assert!(cx.is_on(&color)));
    /// rt.wait_idle();
    /// assert_eq!(rt.metrics().panics(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn default_color(&self) -> Color {
        Color::of(self.core.default_color())
    }

    /// Returns the current time of the clock that drives the runtime's timers,
    /// [`post_at`](Self::post_at) and [`sleep_until`](Self::sleep_until).
    ///
    /// A program that reads this clock instead of the system's stays in step with its timers, even
    /// where the runtime's time is not the system's, as in a simulation.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let rt = dapple::Runtime::new()?;
    /// let h = rt.handle();
    /// let until = h.now() + Duration::from_millis(2);
    /// rt.block_on(h.sleep_until(until));
    /// assert!(h.now() >= until);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn now(&self) -> Instant {
        clock::now()
    }

    /// Returns the time of day, for what is shown or stored. It may go back. See
    /// [`now`](Self::now).
    pub fn wall_clock(&self) -> SystemTime {
        clock::wall()
    }

    /// Reads the metrics of the runtime.
    pub fn metrics(&self) -> Metrics {
        Metrics::read(&self.core)
    }

    /// Returns up to `most` domains that have uncommitted events, in no particular order.
    ///
    /// It locks one domain of the runtime after the other to look at it.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let h = rt.handle();
    /// let bank = dapple::Domain::builder().label("bank").read_write(&h, 0);
    /// let (enter, entered) = std::sync::mpsc::channel();
    /// let (leave, left) = std::sync::mpsc::channel();
    /// bank.global(move |_| {
    ///     enter.send(()).unwrap();
    ///     left.recv().unwrap();
    /// });
    /// entered.recv().unwrap();
    /// let open = h.open_domains(10);
    /// assert_eq!(open.len(), 1);
    /// println!("{:?}: ticket {} of {}", open[0].label, open[0].ticket, open[0].uncommitted);
    /// leave.send(()).unwrap();
    /// rt.wait_idle();
    /// assert!(h.open_domains(10).is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn open_domains(&self, most: usize) -> Vec<DomainFigures> {
        self.core.domains.open(self.core.clock().now(), most)
    }

    /// Returns the program's own histogram with this name, and creates it if there is none.
    ///
    /// It appears with the runtime's own figures in [`Metrics`], in the Prometheus text and in
    /// `.hlog` files. It is kept until the runtime ends. Each worker that records into it takes 36
    /// KiB for its part.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let rt = dapple::Runtime::new()?;
    /// let requests = rt.handle().histogram("request");
    /// rt.handle().post_default({
    ///     let requests = requests.clone();
    ///     move |_| requests.record(Duration::from_micros(250))
    /// });
    /// rt.wait_idle();
    /// let metrics = rt.metrics();
    /// let histogram = metrics.own_histogram("request").unwrap();
    /// assert_eq!(histogram.len(), 1);
    /// assert!((248_000..=252_000).contains(&histogram.max()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "metric")]
    #[doc(alias = "timer")]
    pub fn histogram(&self, name: &str) -> Recorder {
        Recorder::new(self, name)
    }

    /// Returns the number of workers.
    pub fn workers(&self) -> usize {
        self.core.fleet.workers.len()
    }

    /// Returns the maximum number of threads for [blocking work](Self::offload).
    pub fn offload_threads(&self) -> usize {
        self.core.blocking.limit()
    }

    /// Returns the number of the worker that runs on this thread, counted from 0, or `None` if the
    /// thread is not a worker of this runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let h = rt.handle();
    /// assert_eq!(h.current_worker(), None);
    /// let task = h.new_color().spawn(async move { h.current_worker() });
    /// assert!(task.join().unwrap().is_some());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn current_worker(&self) -> Option<usize> {
        Local::index_on(&self.core)
    }

    /// Returns the [`Cx::poll_count`](crate::Cx::poll_count) of the worker that runs on this
    /// thread, for code that has no `Cx`, such as a task.
    ///
    /// Returns `None` if the thread is not a worker of this runtime.
    ///
    /// See [`Cx::poll_count`](crate::Cx::poll_count) for an example.
    pub fn current_poll_count(&self) -> Option<u64> {
        Local::with(&self.core, |local| Some(local?.scheduler.polls.get()))
    }

    /// Returns `true` until a shutdown begins.
    pub fn is_running(&self) -> bool {
        self.core.phase() == Phase::Running
    }

    /// Returns `true` once the runtime starts no further event.
    ///
    /// From the start of a shutdown to this moment, the runtime runs the events that were posted
    /// before, and those that they post.
    pub fn has_ended(&self) -> bool {
        self.core.phase() >= Phase::Stopping
    }

    /// Returns `true` if worker 0 runs on the user's thread, that of a [`Here`](crate::Here), which
    /// may be away.
    pub fn has_here(&self) -> bool {
        self.core.has_here()
    }

    /// Returns the driver that the runtime was built with, if its type is `D`.
    ///
    /// A library on top of a reactor uses this to find the reactor. See the example of
    /// [`park`](crate::park).
    pub fn driver<D: crate::park::Driver>(&self) -> Option<&D> {
        let driver: &dyn std::any::Any = &**self.core.driver.as_ref()?;
        driver.downcast_ref()
    }
}

impl Color {
    /// Returns a handle of the runtime to which the color belongs.
    pub fn runtime(&self) -> Handle {
        Handle::new(CoreRef::of(self.core()))
    }

    /// Returns the worker whose [`Park`](crate::park::Park) watches for the callbacks of this
    /// color, for use by a [driver](crate::park).
    ///
    /// The first call settles the worker, and later calls return the same one. If several workers
    /// watched for one color, all of them would wake for events that run one after the other.
    ///
    /// A color that is bound to a worker, or that never moves because the runtime does not steal,
    /// is watched by its own worker. For any other color, `or_else` names the worker if none is
    /// settled yet. It should not name the thread of a [`Here`](crate::Here) that has other workers
    /// if the color is to be watched while that thread is away.
    ///
    /// # Panics
    ///
    /// If `or_else` is called and returns a number that no worker of the color's runtime has.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::builder().workers(2).build()?;
    /// let color = rt.handle().new_color();
    /// assert_eq!(color.settle_watcher(|| 1), 1);
    /// assert_eq!(color.settle_watcher(|| unreachable!("it is settled")), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn settle_watcher(&self, or_else: impl FnOnce() -> usize) -> usize {
        let (cell, fleet) = (self.as_cell(), &self.core().fleet);
        if cell.is_affine() || fleet.rules.is_pinned() {
            return cell.home();
        }
        if let Some(worker) = cell.watcher.settled() {
            return worker;
        }
        let (workers, worker) = (fleet.workers.len(), or_else());
        assert!(worker < workers, "there is no worker {worker}");
        cell.watcher.settle(worker)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("workers", &self.workers())
            .field("phase", &self.core.phase())
            .finish_non_exhaustive()
    }
}
