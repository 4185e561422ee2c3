//! Settings, and how a runtime starts.

use std::io;
use std::time::Duration;

use dapple_colors::TurnBudget;

use super::here::Here;
use super::owner::Runtime;
use super::settings::Settings;
use super::start::First;
use super::thread_hooks::ThreadKind;
use crate::blocking::pool::PoolSettings;
use crate::metrics::Histogramming;
use crate::park::Driver;
use crate::report::{PanicReport, StallReport, TicketStall};
use crate::sync::{Arc, Mutex};
use crate::worker::rules::StealPolicy;

/// Bytes of a stack without a setting.
const DEFAULT_STACK: usize = 8 << 20;

/// Configures and starts a [`Runtime`].
///
/// # Examples
///
/// ```
/// use dapple::{Runtime, StealPolicy};
/// let rt = Runtime::builder().workers(2).steal_policy(StealPolicy::Eager).build()?;
/// assert_eq!(rt.workers(), 2);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "a builder starts nothing until `build` is called"]
pub struct Builder {
    pub(super) workers: Option<usize>,
    pub(super) pin_cores: bool,
    pub(super) cores: Option<Vec<usize>>,
    pub(super) thread_name: String,
    pub(super) stack_size: usize,
    pub(super) pool: PoolSettings,
    pub(super) driver: Option<Arc<dyn Driver>>,
    pub(super) settings: Settings,
}

impl Default for Builder {
    fn default() -> Self {
        Builder {
            workers: None,
            pin_cores: true,
            cores: None,
            thread_name: "dapple".to_owned(),
            stack_size: DEFAULT_STACK,
            pool: PoolSettings::default(),
            driver: None,
            settings: Settings { stuck_after: Duration::from_secs(1), ..Settings::default() },
        }
    }
}

impl Builder {
    /// How many workers; by default one per core that the process may use, and no more than its
    /// control group's quota.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Whether each worker is pinned to a core; by default it is. When there are more workers than
    /// cores, none is.
    pub fn pin_cores(mut self, pin: bool) -> Self {
        self.pin_cores = pin;
        self
    }

    /// The cores to use, by the numbers of the operating system; by default those that the process
    /// may use, and of these the ones that have the fewest workers of other runtimes of the
    /// process. Unless told otherwise there are as many workers as cores.
    pub fn cores(mut self, cores: impl IntoIterator<Item = usize>) -> Self {
        self.cores = Some(cores.into_iter().collect());
        self
    }

    /// Name of the workers' threads, to which their number is added; by default `dapple`.
    pub fn thread_name(mut self, name: &str) -> Self {
        self.thread_name = name.to_owned();
        self
    }

    /// Size of the stack of each worker, in bytes; by default 8 MiB. Threads for blocking work have
    /// stacks of this size, too, unless [`offload_stack_size`](Self::offload_stack_size) is called.
    /// The system rounds it up, and gives memory for what is used of it only.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = bytes;
        self
    }

    /// Most threads for [blocking work](crate::Handle::offload). Default: four per worker, and at
    /// least eight.
    pub fn offload_threads(mut self, threads: usize) -> Self {
        self.pool.limit = Some(threads);
        self
    }

    /// Name of the threads for [blocking work](crate::Handle::offload); by default that of the
    /// workers with `-offload` behind it. Linux shows the first 15 bytes.
    pub fn offload_thread_name(mut self, name: &str) -> Self {
        self.pool.name = Some(name.to_owned());
        self
    }

    /// Size of the stack of each thread for [blocking work](crate::Handle::offload), in bytes; by
    /// default that of the [workers](Self::stack_size).
    pub fn offload_stack_size(mut self, bytes: usize) -> Self {
        self.pool.stack_size = Some(bytes);
        self
    }

    /// Niceness of the threads for [blocking work](crate::Handle::offload), from -20 (preferred) to
    /// 19 (runs when nobody else wants to); by default that of the process. A number beyond these
    /// counts as the nearest one. Less than the process's own takes a right of the system; if it
    /// refuses, a warning is logged. Only Linux has it per thread; elsewhere nothing is done.
    ///
    /// # Examples
    ///
    /// Blocking work that leaves the cores to the workers:
    ///
    /// ```
    /// let rt = dapple::Runtime::builder().offload_nice(10).offload_thread_name("disk").build()?;
    /// # #[cfg(target_os = "linux")]
    /// let name = rt.handle().offload(|| std::fs::read_to_string("/proc/thread-self/comm"));
    /// # #[cfg(target_os = "linux")]
    /// assert_eq!(name.join().unwrap()?, "disk\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "priority")]
    pub fn offload_nice(mut self, nice: i32) -> Self {
        self.pool.nice = Some(nice.clamp(-20, 19));
        self
    }

    /// Called by each thread of the runtime when it starts, worker or not, before it runs anything
    /// else; a worker's thread has been pinned. A panic of `hook` ends nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple::ThreadKind;
    /// use std::sync::mpsc;
    /// let (tx, rx) = mpsc::channel();
    /// let also_tx = tx.clone();
    /// let rt = dapple::Runtime::builder()
    ///     .workers(1)
    ///     .on_thread_start(move |kind| tx.send((kind, "starts")).unwrap())
    ///     .on_thread_stop(move |kind| also_tx.send((kind, "ends")).unwrap())
    ///     .build()?;
    /// drop(rt);
    /// let worker = ThreadKind::Worker(0);
    /// assert_eq!(rx.iter().collect::<Vec<_>>(), [(worker, "starts"), (worker, "ends")]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_thread_start(self, hook: impl Fn(ThreadKind) + Send + Sync + 'static) -> Self {
        self.settings.thread_hooks.set_start(hook);
        self
    }

    /// Called by each thread of the runtime when it ends. A thread for blocking work may end after
    /// the runtime. See [`on_thread_start`](Self::on_thread_start).
    pub fn on_thread_stop(self, hook: impl Fn(ThreadKind) + Send + Sync + 'static) -> Self {
        self.settings.thread_hooks.set_stop(hook);
        self
    }

    /// What idle workers may take from others; by default [`StealPolicy::CostAware`].
    pub fn steal_policy(mut self, policy: StealPolicy) -> Self {
        self.settings.rules.policy = policy;
        self
    }

    /// After what time work that waits behind one event is taken by another worker, whatever it
    /// costs; also the interval at which one idle worker looks while others are busy. By default
    /// 1 ms; less costs CPU time. Less than 10 us counts as 10 us.
    pub fn steal_delay(mut self, delay: Duration) -> Self {
        self.settings.rules.steal_delay = delay.max(Duration::from_micros(10));
        self
    }

    /// When a worker's visit to a color ends; by default after 64 events, 64 posts or 200 us.
    pub fn turn_budget(mut self, budget: TurnBudget) -> Self {
        self.settings.turn_budget = budget;
        self
    }

    /// How much is measured; by default [`Histogramming::Sampled`].
    pub fn histograms(mut self, histograms: Histogramming) -> Self {
        self.settings.histograms = histograms;
        self
    }

    /// How long an idle worker looks for work before it sleeps; by default not at all. It lowers
    /// latency and burns CPU time.
    pub fn spin(mut self, time: Duration) -> Self {
        self.settings.rules.spin = time;
        self
    }

    /// How long a shutdown, once its deadline has passed, waits for an event that still runs before
    /// it gives up its worker; by default 1 s. Less than 10 ms counts as 10 ms.
    ///
    /// Each closure that is dropped unrun is granted this time, too, as long as its drop may be the
    /// last thing that holds up the shutdown.
    pub fn stuck_after(mut self, time: Duration) -> Self {
        self.settings.stuck_after = time.max(Duration::from_millis(10));
        self
    }

    /// Seed of everything that the runtime draws; by default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// Called with each panic of a callback, on the worker that caught it. The panic message has
    /// been printed by the process's panic hook before.
    pub fn on_panic(mut self, hook: impl Fn(&PanicReport<'_>) + Send + Sync + 'static) -> Self {
        self.settings.on_panic = Mutex::new(Some(Arc::new(hook)));
        self
    }

    /// After what time an event that still runs is a stall, which is counted and reported; by
    /// default 100 ms. With one worker, or without stealing, nobody watches: a stall is noticed
    /// when the event has ended, and only if it was looked at by itself, as the first event after a
    /// sleep is, and events of colors that are known to be long.
    pub fn stall_after(mut self, time: Duration) -> Self {
        self.settings.rules.stall_after = time;
        self
    }

    /// Called once for each event that stalls, on another worker while it runs, or on its own when
    /// it has ended. By default it is a warning of tracing, or a line on standard error if the
    /// program has set no subscriber.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{sync::mpsc, thread, time::Duration};
    /// let (tx, rx) = mpsc::channel();
    /// let rt = dapple::Runtime::builder()
    ///     .stall_after(Duration::from_millis(5))
    ///     .on_stall(move |stall| tx.send(stall.site.line()).unwrap())
    ///     .build()?;
    /// rt.handle().post_default(|_| thread::sleep(Duration::from_millis(20)));
    /// println!("an event that was posted in line {} blocks its worker", rx.recv().unwrap());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_stall(mut self, hook: impl Fn(&StallReport<'_>) + Send + Sync + 'static) -> Self {
        self.settings.on_stall = Mutex::new(Some(Arc::new(hook)));
        self
    }

    /// Called once for each ticket that has been the oldest uncommitted one of its
    /// [`Domain`](crate::Domain) for longer than [`stall_after`](Self::stall_after): its event runs
    /// long, or its token is kept somewhere, and everything behind it waits. By default it is
    /// told as [`on_stall`](Self::on_stall) says.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{sync::{Arc, Mutex, mpsc}, time::Duration};
    /// use dapple::Domain;
    /// let (tx, rx) = mpsc::channel();
    /// let rt = dapple::Runtime::builder()
    ///     .stall_after(Duration::from_millis(5))
    ///     .on_ticket_stall(move |stall| tx.send(stall.ticket.number()).unwrap())
    ///     .build()?;
    /// let d = Domain::snapshot(&rt.handle(), ());
    /// let kept = Arc::new(Mutex::new(None));
    /// let place = Arc::clone(&kept);
    /// d.anon_then(move |a| {
    ///     *place.lock().unwrap() = Some(a);                       // instead of a commit
    ///     std::panic::resume_unwind(Box::new("no Done"))
    /// });
    /// assert_eq!(rx.recv().unwrap(), 1);
    /// kept.lock().unwrap().take();                                // the order goes on
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_ticket_stall(
        mut self,
        hook: impl Fn(&TicketStall<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.settings.on_ticket_stall = Mutex::new(Some(Arc::new(hook)));
        self
    }

    /// What the workers sleep on; by default nothing but their queues. `dapple_io::runtime()` sets
    /// its reactor here. It lives as long as the runtime's last handle, so it must not hold one
    /// itself.
    pub fn driver(mut self, driver: Arc<dyn Driver>) -> Self {
        self.driver = Some(driver);
        self
    }

    /// Whether the default color is bound to the thread of [`build_here`](Self::build_here), as by
    /// [`ColorBuilder::on_worker`](crate::ColorBuilder::on_worker); by default it is not. A program
    /// of which no part has a color yet then keeps its thread.
    pub fn default_here(mut self, default_here: bool) -> Self {
        self.settings.default_here = default_here;
        self
    }

    /// Starts the workers.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for no workers, no cores, cores that the process may not use, a name of
    /// threads that holds a NUL, or a stack of more than 2^40 bytes; `Unsupported` for a driver in
    /// a simulation; otherwise what the operating system says when it refuses a thread or a poller.
    pub fn build(self) -> io::Result<Runtime> {
        Ok(Runtime { owned: self.start(First::Thread)?.0 })
    }

    /// Makes the calling thread the first worker, and starts the others, if there are any: see
    /// [`Here`]. With one [worker](Self::workers) no thread is started. The calling thread is not
    /// pinned, and its stack is what it is.
    ///
    /// # Errors
    ///
    /// `InvalidInput` and `Unsupported` for the settings that [`build`](Self::build) refuses;
    /// otherwise what the operating system says when it refuses a thread or a poller.
    pub fn build_here(self) -> io::Result<Here> {
        Here::start(self)
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("workers", &self.workers)
            .field("pin_cores", &self.pin_cores)
            .field("cores", &self.cores)
            .field("steal_policy", &self.settings.rules.policy)
            .finish_non_exhaustive()
    }
}
