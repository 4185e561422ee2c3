//! The way into a runtime, from any thread.

use std::fmt;
use std::time::{Instant, SystemTime};

use super::core::{Core, CoreRef, Phase};
use super::recorder::Recorder;
use crate::clock;
use crate::color::cell::Plan;
use crate::metrics::Metrics;
use crate::turn::local::Local;
use crate::{Color, ColorBuilder, DomainFigures};

/// A handle of a runtime: makes colors, and posts callbacks. Clone it and send it anywhere; a
/// handle does not keep the runtime running.
///
/// A post never blocks. It is refused once a shutdown has begun (by running work it is still
/// accepted until the runtime stops): the closure is then dropped at once, and counted.
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

    /// A new color.
    pub fn new_color(&self) -> Color {
        Color::create(&self.core, Plan::default())
    }

    /// Makes a color with a label.
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

    /// The color of everything that names none (C3). It is as serial as any other, so a program
    /// that never names a color runs as it would on one thread.
    pub fn default_color(&self) -> Color {
        Color::of(self.core.default_color())
    }

    /// The time that the runtime's timers go by: what [`post_at`](Self::post_at) and
    /// [`sleep_until`](Self::sleep_until) compare with.
    ///
    /// A program that asks here, instead of the system, keeps the same time as its timers wherever
    /// the runtime gets that from.
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

    /// The time of day, for what is shown or stored; it may go back. See [`now`](Self::now).
    pub fn wall_clock(&self) -> SystemTime {
        clock::wall()
    }

    /// The figures of the runtime.
    pub fn metrics(&self) -> Metrics {
        Metrics::read(&self.core)
    }

    /// Domains that have events which have not committed: `most` of them at most, in no particular
    /// order. It looks at one domain of the runtime after the other, with its lock held.
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

    /// A histogram of the program's own, by its name: the one of this name, if there is one. It
    /// stands beside the runtime's own figures in [`Metrics`], in the text of Prometheus and in
    /// `.hlog` files. It is kept until the runtime ends; each worker that records takes 36 KiB for
    /// its part.
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

    /// How many workers the runtime has.
    pub fn workers(&self) -> usize {
        self.core.fleet.workers.len()
    }

    /// How many threads for [blocking work](Self::offload) there are at most.
    pub fn offload_threads(&self) -> usize {
        self.core.blocking.limit()
    }

    /// The number of the worker that this thread is; `None` if it is none of this runtime.
    pub fn current_worker(&self) -> Option<usize> {
        Local::index_on(&self.core)
    }

    /// What [`Cx::poll_count`](crate::Cx::poll_count) tells, for code that has no `Cx`, such as a
    /// task; `None` if this thread is no worker of this runtime.
    pub fn current_poll_count(&self) -> Option<u64> {
        Local::with(&self.core, |local| Some(local?.scheduler.polls.get()))
    }

    /// Says whether no shutdown has begun.
    pub fn is_running(&self) -> bool {
        self.core.phase() == Phase::Running
    }

    /// Says whether the runtime runs no further event. Between the start of a shutdown and this it
    /// runs what was posted before, and what that posts.
    pub fn has_ended(&self) -> bool {
        self.core.phase() >= Phase::Stopping
    }

    /// Says whether worker 0 is a thread of the user's, which may be away: that of a
    /// [`Here`](crate::Here).
    pub fn has_here(&self) -> bool {
        self.core.has_here()
    }

    /// The driver that the runtime was built with, if it is a `D`. This is how a library on top of
    /// a reactor finds it.
    pub fn driver<D: crate::park::Driver>(&self) -> Option<&D> {
        let driver: &dyn std::any::Any = &**self.core.driver.as_ref()?;
        driver.downcast_ref()
    }
}

impl Color {
    /// A handle of the runtime that the color belongs to.
    pub fn runtime(&self) -> Handle {
        Handle::new(CoreRef::of(self.core()))
    }

    /// For a [driver](crate::park): settles which worker's [`Park`](crate::park::Park) is to watch
    /// what calls back on the color. It is settled by the first call, and the same ever after:
    /// several workers that watch for one color all wake for events that run one after the other.
    ///
    /// A color that is bound to a worker, or that never moves as nothing is stolen, is watched
    /// there. For others `or_else` says who it is to be, if it is not settled yet; not the thread
    /// of a [`Here`](crate::Here) that has other workers, if it is to be watched while that is
    /// away.
    ///
    /// # Panics
    ///
    /// If `or_else` answers a number that no worker of the color's runtime has.
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
