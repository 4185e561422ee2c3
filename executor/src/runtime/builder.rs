//! The builder of a runtime: its settings, with their defaults.

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

/// The default size of a worker's stack, in bytes.
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
    /// Sets the number of workers.
    ///
    /// By default there is one per core that the process may use, and no more than the CPU quota of
    /// its control group allows. A runtime has 1 to 65,535 workers.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Sets whether each worker is pinned to a core of its own, which is the default.
    ///
    /// If there are more workers than cores, none is pinned.
    pub fn pin_cores(mut self, pin: bool) -> Self {
        self.pin_cores = pin;
        self
    }

    /// Sets the cores to use, by the numbers of the operating system.
    ///
    /// By default these are the cores that the process may use, and of them the ones with the
    /// fewest workers of other runtimes of the process. If cores are set and
    /// [`workers`](Self::workers) is not called, there is one worker per core.
    pub fn cores(mut self, cores: impl IntoIterator<Item = usize>) -> Self {
        self.cores = Some(cores.into_iter().collect());
        self
    }

    /// Sets the name of the workers' threads, to which `-` and the worker's number are added;
    /// `dapple` by default.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::builder().thread_name("mail").build()?;
    /// let name = || std::thread::current().name().map(str::to_owned);
    /// let name = rt.handle().new_color().call(move |cx| (name(), cx.worker()));
    /// let (name, worker) = name.join().expect("it does not panic");
    /// assert_eq!(name, Some(format!("mail-{worker}")));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn thread_name(mut self, name: &str) -> Self {
        self.thread_name = name.to_owned();
        self
    }

    /// Sets the size of the stack of each worker's thread, in bytes; 8 MiB by default.
    ///
    /// The threads of the blocking pool have stacks of this size, too, unless
    /// [`offload_stack_size`](Self::offload_stack_size) is called. The system rounds the size up,
    /// and commits memory only for the part that is used.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = bytes;
        self
    }

    /// Sets the maximum number of threads for [blocking work](crate::Handle::offload), which must
    /// not be 0. The default is four per worker, and at least eight.
    pub fn offload_threads(mut self, threads: usize) -> Self {
        self.pool.limit = Some(threads);
        self
    }

    /// Sets the name of the threads for [blocking work](crate::Handle::offload). The default is the
    /// name of the workers' threads followed by `-offload`. Linux shows the first 15 bytes.
    pub fn offload_thread_name(mut self, name: &str) -> Self {
        self.pool.name = Some(name.to_owned());
        self
    }

    /// Sets the size of the stack of each thread for [blocking work](crate::Handle::offload), in
    /// bytes. The default is the size of the [workers' stacks](Self::stack_size).
    pub fn offload_stack_size(mut self, bytes: usize) -> Self {
        self.pool.stack_size = Some(bytes);
        self
    }

    /// Sets the niceness of the threads for [blocking work](crate::Handle::offload), from -20
    /// (preferred) to 19 (runs when no other thread wants to).
    ///
    /// The default is the niceness of the process. A number outside this range counts as the
    /// nearest one in it. A lower niceness than that of the process requires a privilege; if the
    /// system refuses it, a warning is logged. Only Linux has a niceness per thread; on other
    /// systems the setting has no effect.
    ///
    /// # Examples
    ///
    /// Blocking work that yields the cores to the workers:
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

    /// Sets a hook that each thread of the runtime, worker or not, calls when it starts, before it
    /// runs anything else.
    ///
    /// A worker's thread has been pinned by then. A panic of `hook` is caught and ends nothing.
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

    /// Sets a hook that each thread of the runtime calls when it ends.
    ///
    /// A thread for blocking work may end after the runtime. See
    /// [`on_thread_start`](Self::on_thread_start).
    pub fn on_thread_stop(self, hook: impl Fn(ThreadKind) + Send + Sync + 'static) -> Self {
        self.settings.thread_hooks.set_stop(hook);
        self
    }

    /// Sets what idle workers may steal from others; [`StealPolicy::CostAware`] by default.
    pub fn steal_policy(mut self, policy: StealPolicy) -> Self {
        self.settings.rules.policy = policy;
        self
    }

    /// Sets the time after which another worker takes the work that waits behind one event,
    /// whatever the move costs; 1 ms by default.
    ///
    /// It is also the interval at which one idle worker checks the others while they are busy, so a
    /// shorter delay costs CPU time. Less than 10 us counts as 10 us.
    pub fn steal_delay(mut self, delay: Duration) -> Self {
        self.settings.rules.steal_delay = delay.max(Duration::from_micros(10));
        self
    }

    /// Sets when the turn of a color on a worker ends: by default after 64 events, 64 posts or 200
    /// us, whichever is first.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple::{Runtime, TurnBudget};
    /// // Colors take turns after each event, and a turn ends after 50 us.
    /// let budget = TurnBudget { events: 1, nanos: 50_000, ..TurnBudget::default() };
    /// let rt = Runtime::builder().turn_budget(budget).build()?;
    /// for _ in 0..3 {
    ///     rt.handle().post_default(|_| ());
    /// }
    /// rt.wait_idle();
    /// assert!(rt.metrics().turns() >= 3);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn turn_budget(mut self, budget: TurnBudget) -> Self {
        self.settings.turn_budget = budget;
        self
    }

    /// Sets how many events are measured; [`Histogramming::Sampled`] by default.
    pub fn histograms(mut self, histograms: Histogramming) -> Self {
        self.settings.histograms = histograms;
        self
    }

    /// Sets how long an idle worker looks for work before it sleeps; by default it sleeps at once.
    /// Spinning lowers latency and burns CPU time.
    pub fn spin(mut self, time: Duration) -> Self {
        self.settings.rules.spin = time;
        self
    }

    /// Sets how long a shutdown, once its deadline has passed, waits for an event that still runs
    /// before it gives up on the event's worker; 1 s by default.
    ///
    /// Less than 10 ms counts as 10 ms. The drop of each closure that was not run is granted this
    /// time, too, if it may be the last thing that delays the shutdown.
    pub fn stuck_after(mut self, time: Duration) -> Self {
        self.settings.stuck_after = time.max(Duration::from_millis(10));
        self
    }

    /// Sets the seed of all random numbers that the runtime draws; 0 by default.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// Sets a hook that is called for each panic of a callback, on the thread that caught it, which
    /// is usually a worker. The process's panic hook has printed the message before.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// let (tx, rx) = mpsc::channel();
    /// let rt = dapple::Runtime::builder()
    ///     .on_panic(move |report| tx.send(report.message().map(str::to_owned)).unwrap())
    ///     .build()?;
    /// rt.handle().post_default(|_| panic!("no such page"));
    /// rt.handle().post_default(|_| println!("runs all the same"));
    /// assert_eq!(rx.recv().unwrap().as_deref(), Some("no such page"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_panic(mut self, hook: impl Fn(&PanicReport<'_>) + Send + Sync + 'static) -> Self {
        self.settings.on_panic = Mutex::new(Some(Arc::new(hook)));
        self
    }

    /// Sets the time after which an event that still runs counts as a stall, and is reported; 100
    /// ms by default.
    ///
    /// With one worker, or without stealing, no other worker watches. A stall is then noticed when
    /// the event has ended, and only if the event was timed by itself: the first event after a
    /// sleep is, and so are events of colors that are known to be long.
    ///
    /// See [`on_stall`](Self::on_stall) for an example.
    pub fn stall_after(mut self, time: Duration) -> Self {
        self.settings.rules.stall_after = time;
        self
    }

    /// Sets a hook that is called once for each event that stalls: on another worker while the
    /// event runs, or on the event's own worker when it has ended.
    ///
    /// By default a stall is reported as a warning of `tracing`, or as a line on standard error if
    /// the program has set no subscriber.
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

    /// Sets a hook that is called once for each ticket that has been the oldest uncommitted one of
    /// its [`Domain`](crate::Domain) for longer than [`stall_after`](Self::stall_after).
    ///
    /// Either its event runs long, or its token is kept somewhere, and every later ticket waits. By
    /// default it is reported in the way that [`on_stall`](Self::on_stall) describes.
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
    ///     *place.lock().unwrap() = Some(a);                       // kept instead of committed
    ///     std::panic::resume_unwind(Box::new("no Done"))
    /// });
    /// assert_eq!(rx.recv().unwrap(), 1);
    /// kept.lock().unwrap().take();                                // dropped: the order goes on
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_ticket_stall(
        mut self,
        hook: impl Fn(&TicketStall<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.settings.on_ticket_stall = Mutex::new(Some(Arc::new(hook)));
        self
    }

    /// Sets the driver whose pollers the workers sleep on; by default they wait for their queues
    /// only.
    ///
    /// `dapple_io::runtime()` sets its reactor here. The driver lives as long as the runtime's last
    /// handle, so it must not own a handle itself.
    ///
    /// See the example of [`park`](crate::park).
    pub fn driver(mut self, driver: Arc<dyn Driver>) -> Self {
        self.driver = Some(driver);
        self
    }

    /// Sets whether the default color is bound to the thread of [`build_here`](Self::build_here),
    /// as by [`ColorBuilder::on_worker`](crate::ColorBuilder::on_worker); by default it is not.
    ///
    /// A program in which nothing has a color yet then runs everything that uses the default color
    /// on that thread.
    pub fn default_here(mut self, default_here: bool) -> Self {
        self.settings.default_here = default_here;
        self
    }

    /// Starts the runtime, with a thread for each worker.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` for no workers or more than 65,535, for no threads for blocking work,
    /// for an empty list of cores, for a core that is named twice or that the process may not use,
    /// for a thread name that contains NUL, and for a stack of more than 2^40 bytes. Returns
    /// `Unsupported` for a driver in a simulation. Otherwise returns the operating system's error
    /// if it refuses a thread or a poller.
    pub fn build(self) -> io::Result<Runtime> {
        Ok(Runtime { owned: self.start(First::Thread)?.0 })
    }

    /// Makes the calling thread worker 0, and starts the other workers, if there are any: see
    /// [`Here`].
    ///
    /// With one [worker](Self::workers) no thread is started for a worker. The calling thread is
    /// not pinned, and keeps its stack.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` and `Unsupported` for the settings that [`build`](Self::build)
    /// refuses. Otherwise returns the operating system's error if it refuses a thread or a poller.
    ///
    /// # Examples
    ///
    /// ```
    /// let here = dapple::Runtime::builder().workers(1).build_here()?;
    /// let own = std::thread::current().id();
    /// let call = here.handle().new_color().call(|_| std::thread::current().id());
    /// assert_eq!(here.block_on(call), Ok(own));       // it ran on this thread
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
