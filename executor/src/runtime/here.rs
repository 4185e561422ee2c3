//! A runtime whose worker 0 runs on the user's thread (E18).
//!
//! The thread is with the runtime inside the methods of [`Here`], and *away* otherwise. While it is
//! away, work that is queued for it waits or is served by other workers, and a thread that queues
//! work for it wakes its poller (`worker::sleep`). An event of a color that is bound to the thread
//! may call these methods itself. Such an event leaves its color's queue before it runs
//! (`turn::apart`), so it can be suspended while others run.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use super::builder::Builder;
use super::core::{Core, HERE, Phase};
use super::owner::Owned;
use super::shutdown::{self, Ending, ShutdownReport};
use super::start::{First, FirstWorker};
use super::thread_hooks::{Running, ThreadKind};
use crate::clock;
use crate::park::Unpark;
use crate::site::Site;
use crate::sync::{Arc, AtomicBool, Ordering, lock};
use crate::task::local::spawn_local;
use crate::turn::worker::{Inside, Worker};
use crate::worker::cores::Pin;
use crate::{Color, Cx, Handle, JoinHandle, Metrics};

/// The interval at which a thread that waits for other workers checks whether they are idle.
const LOOK: Duration = Duration::from_millis(1);

/// The time that a [turn](Here::turn) may wait when there is nothing to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The turn waits until there is something to run.
    Block,
    /// The turn does not wait.
    Poll,
    /// The turn waits until this time at most.
    Until(Instant),
}

/// A runtime whose worker 0 is the calling thread; from [`Builder::build_here`] and
/// [`Runtime::here`](crate::Runtime::here).
///
/// The thread runs events while it is inside one of these methods, and belongs to the program
/// otherwise. So the runtime can be the main loop of a program ([`run`](Self::run)), a part of
/// another main loop ([`turn`](Self::turn), with [`poll_fd`](Self::poll_fd) and
/// [`next_deadline`](Self::next_deadline)), or both by turns. With [one worker](Builder::workers)
/// there is no other worker thread.
///
/// Colors that are bound to worker 0 ([`ColorBuilder::on_worker`](crate::ColorBuilder::on_worker))
/// run on this thread only, and wait for it. While it is away, the other workers, if there are any,
/// run everything that is not bound to a worker. Three things wait for the thread's next turn:
/// timers that were armed on it, descriptors of colors that are bound to worker 0, and, without
/// stealing ([`StealPolicy::Off`](crate::StealPolicy)), colors whose home is worker 0. A post wakes
/// the thread if it waits inside these methods, and makes [`poll_fd`](Self::poll_fd) readable
/// otherwise.
///
/// Several threads may own a runtime each. One thread may own several, and be inside one of them at
/// a time, or enter one from an event of another.
///
/// Dropping a `Here` is a [`shutdown`](Self::shutdown) with a limit of zero.
///
/// # Forked processes
///
/// A child process that was made by `fork` may drop its copy, which then does nothing, and build a
/// runtime of its own. See [`Runtime`](crate::Runtime#forked-processes).
///
/// # Examples
///
/// ```
/// use std::{cell::Cell, rc::Rc};
/// let here = dapple::Runtime::builder().workers(1).default_here(true).build_here()?;
/// let h = here.handle();
/// let thread = std::thread::current().id();
/// let done = Rc::new(Cell::new(false));
/// h.post_default(move |_| assert_eq!(std::thread::current().id(), thread));
/// // The task is not `Send`, so it stays on this thread.
/// let also_done = Rc::clone(&done);
/// here.spawn_local(&h.default_color(), async move { also_done.set(true) });
/// here.run(|| done.get());
/// # assert_eq!(here.metrics().panics(), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "current_thread")]
#[doc(alias = "LocalSet")]
#[doc(alias = "main loop")]
pub struct Here {
    /// The worker, or `None` after the end of the runtime.
    worker: Option<Worker>,
    owned: Owned,
    /// A copy of the poller's descriptor.
    poll_fd: Option<OwnedFd>,
    /// The time that [`next_deadline`](Self::next_deadline) returns, in nanoseconds of the
    /// runtime's clock.
    deadline: Cell<Option<u64>>,
    /// Calls the stop hook when it is dropped, once the thread is no longer a worker.
    running: Option<Running>,
    /// The CPU core that other workers leave to this thread.
    _pin: Option<Pin>,
    _not_send: PhantomData<*mut ()>,
}

impl Here {
    pub(super) fn start(builder: Builder) -> io::Result<Here> {
        let (owned, first) = builder.start(First::Here)?;
        let FirstWorker { scheduler, pin } = first.expect("the first worker is the caller's");
        let core = &owned.core;
        let poll_fd = lock(&core.seats[HERE].park).poll_fd();
        let running = core.settings.thread_hooks.thread_starts(ThreadKind::Worker(HERE));
        let worker = Worker::new(core.clone(), scheduler);
        let mut here = Here {
            worker: Some(worker),
            owned,
            poll_fd: None,
            deadline: Cell::new(None),
            running: Some(running),
            _pin: pin,
            _not_send: PhantomData,
        };
        here.inside("start", |_| {});
        here.poll_fd = poll_fd?;
        Ok(here)
    }

    fn core(&self) -> &Core {
        &self.owned.core
    }

    /// Calls `f` with the worker, as which the thread acts meanwhile.
    #[track_caller]
    fn inside<R>(&self, what: &str, f: impl FnOnce(&mut Inside<'_>) -> R) -> R {
        /// Marks the thread as away when it is dropped, also if `f` panics.
        struct Away<'a, 'b>(&'a Here, &'a mut Inside<'b>, IsNested);
        impl Drop for Away<'_, '_> {
            fn drop(&mut self) {
                if self.2 == IsNested::No {
                    self.0.deadline.set(self.1.goes_away());
                }
            }
        }
        assert!(!self.owned.was_forked(), "{what}: this runtime belongs to the parent process");
        let worker = self.worker.as_ref().expect("the worker is present until the shutdown");
        let is_nested = if worker.is_entered() { IsNested::Yes } else { IsNested::No };
        let entered = worker.enter(|inside| {
            inside.comes_back();
            let away = Away(self, inside, is_nested);
            f(&mut *away.1)
        });
        match entered {
            Ok(result) => result,
            Err(_) => panic!(
                "{what}: the event that calls it cannot be suspended, because it has a color that \
                 is not bound to this thread, shares its color, has several colors, or is a step \
                 of a domain"
            ),
        }
    }

    /// Returns a handle of the runtime, which makes colors and posts callbacks.
    pub fn handle(&self) -> Handle {
        Handle::new(self.owned.core.clone())
    }

    /// Reads the metrics of the runtime.
    pub fn metrics(&self) -> Metrics {
        Metrics::read(self.core())
    }

    /// Runs events, and sleeps when there are none, until `until` returns `true`.
    ///
    /// `until` is called before each turn of a color and after each sleep, so a thread that changes
    /// its answer has to post something to wake this one. Once it has returned `true`, it is not
    /// called again.
    ///
    /// # Panics
    ///
    /// In an event that cannot be suspended (see [`turn`](Self::turn)), or if `until` panics.
    #[track_caller]
    pub fn run(&self, until: impl Fn() -> bool) {
        // The loop also asks on its way to sleep. A yes that was given there still counts after the
        // sleep.
        let is_over = Cell::new(false);
        let asks = || {
            is_over.set(is_over.get() || until());
            is_over.get()
        };
        self.inside("run", |inside| inside.run_until(asks));
    }

    /// Runs one turn of the loop, and returns the number of entries that it ran: turns of colors
    /// and uncolored events.
    ///
    /// The turn checks descriptors and timers once, waits for them as `turn` says if there is
    /// nothing to run, and then runs up to `limit` entries. It ends earlier when the descriptors
    /// are due for another check, which is after about 100 us.
    ///
    /// A turn switches to no other thread, and waits in the poller at most once. It may have waited
    /// and run nothing if something other than an event woke it.
    ///
    /// If an event of a color that is bound to this thread calls this method, the event counts as
    /// suspended: other events of its color may run before it goes on.
    ///
    /// # Panics
    ///
    /// In an event that cannot be suspended, because it has a color that is not bound to this
    /// thread, has more than one color, shares its color, or is a step of a domain. An event that
    /// runs in the turn panics if it borrows the value of a [`Colored`](crate::Colored) that the
    /// suspended event has borrowed.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple::Turn;
    /// let here = dapple::Runtime::builder().workers(1).build_here()?;
    /// let color = here.handle().new_color();
    /// color.post(|_| println!("runs in the turn"));
    /// assert_eq!(here.turn(Turn::Poll, usize::MAX), 1);
    /// assert_eq!(here.turn(Turn::Poll, usize::MAX), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn turn(&self, turn: Turn, limit: usize) -> usize {
        let wait = match turn {
            Turn::Block => None,
            Turn::Poll => Some(Duration::ZERO),
            Turn::Until(time) => Some(time.saturating_duration_since(clock::now())),
        };
        self.inside("turn", |inside| inside.turn(wait, limit as u64)) as usize
    }

    /// Returns `true` if [`run`](Self::run), [`turn`](Self::turn) and the like may be called here.
    ///
    /// They may if this thread runs no event of this runtime, or one that can be suspended.
    ///
    /// # Examples
    ///
    /// ```
    /// let here = dapple::Runtime::builder().workers(1).default_here(true).build_here()?;
    /// assert!(here.can_turn());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn can_turn(&self) -> bool {
        let worker = self.worker.as_ref();
        !self.owned.was_forked() && worker.is_some_and(|worker| worker.can_enter())
    }

    /// Calls `f` with a [`Cx`], as a callback of worker 0 on this thread.
    ///
    /// Posts in `f` are as cheap as those of an event, and wake no other worker for events that
    /// this thread is to run.
    ///
    /// # Panics
    ///
    /// In an event that cannot be suspended (see [`turn`](Self::turn)), or if `f` panics.
    ///
    /// # Examples
    ///
    /// ```
    /// let here = dapple::Runtime::builder().workers(1).build_here()?;
    /// let color = here.handle().new_color();
    /// here.enter(|cx| {
    ///     assert_eq!(cx.worker(), 0);
    ///     cx.post(&color, |_| println!("runs in the next turn"));
    /// });
    /// here.wait_idle();
    /// assert_eq!(here.metrics().events(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn enter<R>(&self, f: impl FnOnce(&mut Cx) -> R) -> R {
        self.inside("enter", |inside| inside.with_cx(f))
    }

    /// Spawns a future that need not be `Send` on a color that is bound to this thread. See
    /// [`Cx::spawn_local`].
    ///
    /// # Panics
    ///
    /// If the color is not bound to worker 0 of this runtime, or in an event that cannot be
    /// suspended (see [`turn`](Self::turn)).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{cell::Cell, rc::Rc};
    /// let here = dapple::Runtime::builder().workers(1).build_here()?;
    /// let color = here.handle().color_builder().on_worker(0).build();
    /// let count = Rc::new(Cell::new(0));
    /// for _ in 0..3 {
    ///     let count = Rc::clone(&count);          // not `Send`, and without a lock
    ///     here.spawn_local(&color, async move { count.set(count.get() + 1) }).detach();
    /// }
    /// here.wait_idle();
    /// assert_eq!(count.get(), 3);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn spawn_local<F>(&self, color: &Color, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let site = Site::caller();
        self.enter(|cx| spawn_local(cx.local(), color, future, site))
    }

    /// Runs a future on this thread until it is ready, and events between its polls.
    ///
    /// The future need not be `Send`.
    ///
    /// # Panics
    ///
    /// In an event that cannot be suspended (see [`turn`](Self::turn)), if the future panics, or if
    /// the runtime stops before the future is ready.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{rc::Rc, time::Duration};
    /// let here = dapple::Runtime::builder().workers(1).build_here()?;
    /// let h = here.handle();
    /// let six = Rc::new(6);
    /// let answer = here.block_on(async {
    ///     h.sleep(Duration::from_millis(1)).await;
    ///     *six * h.new_color().call(|_| 7).await.unwrap()
    /// });
    /// assert_eq!(answer, 42);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let signal = Arc::new(Signal {
            is_set: AtomicBool::new(true),
            unpark: Arc::clone(&self.core().fleet.workers[HERE].unpark),
        });
        let waker = Waker::from(Arc::clone(&signal));
        let mut future = pin!(future);
        loop {
            let is_set = signal.is_set.swap(false, Ordering::AcqRel);
            if is_set {
                let mut cx = Context::from_waker(&waker);
                let polled = self.inside("block_on", |_| future.as_mut().poll(&mut cx));
                if let Poll::Ready(output) = polled {
                    return output;
                }
            }
            assert!(
                self.core().phase() < Phase::Stopping,
                "the runtime stopped before the future was ready"
            );
            self.run(|| signal.is_set.load(Ordering::Acquire));
        }
    }

    /// Runs events until none is running or queued on any worker. See
    /// [`Runtime::wait_idle`](crate::Runtime::wait_idle) for what counts.
    ///
    /// # Panics
    ///
    /// In an event, because it would wait for itself.
    #[track_caller]
    pub fn wait_idle(&self) {
        self.check_outside("wait_idle");
        self.run_to_rest(None);
    }

    /// Runs events until the runtime is at rest, the runtime has been stopped, or the time is over.
    /// Returns `true` in the first two cases.
    fn run_to_rest(&self, until: Option<Instant>) -> bool {
        let core = self.core();
        let mut turn = Turn::Poll;
        if until.is_some_and(|until| clock::now() >= until) {
            return core.is_at_rest();
        }
        loop {
            let ran = self.turn(turn, usize::MAX);
            if core.phase() >= Phase::Stopping || core.is_at_rest() {
                return true;
            }
            let now = clock::now();
            if until.is_some_and(|until| now >= until) {
                return false;
            }
            // Other workers do not notify this one when they go idle, so it checks again after 1
            // ms.
            let look = now + LOOK;
            turn = match ran {
                0 => Turn::Until(until.map_or(look, |until| until.min(look))),
                _ => Turn::Poll,
            };
        }
    }

    #[track_caller]
    fn check_outside(&self, what: &str) {
        let is_inside = self.worker.as_ref().is_none_or(Worker::is_entered);
        assert!(!is_inside, "{what} in an event would wait for itself");
    }

    /// Returns the latest time at which the next [turn](Self::turn) is due, unless
    /// [`poll_fd`](Self::poll_fd) becomes readable before.
    ///
    /// It is a time that has come if there is something to run. Otherwise it is the deadline of the
    /// first timer, or earlier, or up to 0.6 ms later. It is `None` if no timer is armed.
    ///
    /// A program that waits elsewhere calls this after each turn, and after each other method of
    /// this type that it called.
    ///
    /// See [`poll_fd`](Self::poll_fd) for an example.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadline = self.deadline.get()?;
        let left = deadline.saturating_sub(self.core().clock().now());
        Some(clock::now() + Duration::from_nanos(left))
    }

    /// Returns the descriptor that becomes readable when a [turn](Self::turn) is due because of a
    /// descriptor, or of a post from another thread.
    ///
    /// It is for use with `poll`, another event loop or a toolkit. It is `None` if the runtime has
    /// no reactor (`dapple_io::runtime()` has one).
    ///
    /// Only wait until it is readable: everything else about the descriptor belongs to the reactor.
    ///
    /// # Examples
    ///
    /// A loop of the program's own, with any reactor (for one, see [`park`](crate::park)):
    ///
    /// ```
    /// use std::{os::fd::BorrowedFd, time::{Duration, Instant}};
    /// use dapple::{Builder, Runtime, Turn};
    /// # use std::{io, os::fd::{AsRawFd, OwnedFd}, os::unix::net::UnixDatagram, sync::Arc};
    /// # use dapple::{Cx, park::{Driver, Park, Unpark}};
    /// # struct Reactor;
    /// # struct Bell(UnixDatagram);
    /// # struct Hears(UnixDatagram, Arc<Bell>);
    /// # impl Unpark for Bell {
    /// #     fn unpark(&self) {
    /// #         let _ = self.0.send(b"");
    /// #     }
    /// # }
    /// # impl Park for Hears {
    /// #     fn park(&mut self, timeout: Option<Duration>, _: &mut Cx) -> io::Result<()> {
    /// #         self.0.set_nonblocking(timeout == Some(Duration::ZERO))?;
    /// #         self.0.set_read_timeout(timeout.filter(|time| !time.is_zero()))?;
    /// #         let _ = self.0.recv(&mut [0]);
    /// #         Ok(())
    /// #     }
    /// #     fn poll_fd(&self) -> io::Result<Option<OwnedFd>> {
    /// #         Ok(Some(self.0.try_clone()?.into()))
    /// #     }
    /// #     fn unparker(&self) -> Arc<dyn Unpark> {
    /// #         self.1.clone()
    /// #     }
    /// # }
    /// # impl Driver for Reactor {
    /// #     fn park(&self, _: usize) -> io::Result<Box<dyn Park>> {
    /// #         let (hears, bell) = UnixDatagram::pair()?;
    /// #         bell.set_nonblocking(true)?;
    /// #         Ok(Box::new(Hears(hears, Arc::new(Bell(bell)))))
    /// #     }
    /// # }
    /// # fn runtime_with_a_reactor() -> Builder {
    /// #     Runtime::builder().driver(Arc::new(Reactor))
    /// # }
    ///
    /// /// Waits with poll(2), where the loop waits for its own descriptors as well.
    /// fn wait(fd: BorrowedFd<'_>, limit: Option<Duration>) {
    ///     // ..
    /// #     let limit = limit.map_or(-1, |limit| limit.as_millis() as i32 + 1);
    /// #     let mut fd = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    /// #     // SAFETY: the pointer is to one local variable.
    /// #     unsafe { libc::poll(&mut fd, 1, limit) };
    /// }
    ///
    /// let here = runtime_with_a_reactor().workers(1).build_here()?;
    /// let h = here.handle();
    /// h.post_after(Duration::from_millis(1), &h.new_color(), |_| println!("the time has come"));
    /// std::thread::spawn(move || h.post_default(|_| println!("the descriptor was readable")));
    /// let mut ran = 0;
    /// while ran < 2 {
    ///     let left = |due: Instant| due.saturating_duration_since(Instant::now());
    ///     wait(here.poll_fd().expect("there is a reactor"), here.next_deadline().map(left));
    ///     ran += here.turn(Turn::Poll, usize::MAX);
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "as_fd")]
    pub fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.poll_fd.as_ref().map(AsFd::as_fd)
    }

    /// Ends the runtime. The calling thread runs the work that is left for it.
    ///
    /// See [`Runtime::shutdown`](crate::Runtime::shutdown).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let here = dapple::Runtime::builder().workers(1).build_here()?;
    /// here.handle().post_default(|_| println!("runs before the end"));
    /// let report = here.shutdown(Duration::from_secs(5));
    /// assert!(report.drained && report.dropped_events == 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown(mut self, limit: Duration) -> ShutdownReport {
        self.end(limit)
    }

    fn end(&mut self, limit: Duration) -> ShutdownReport {
        if self.owned.was_forked() {
            // The worker's counters, and what is queued for it, belong to the parent process.
            std::mem::forget((self.worker.take(), self.running.take()));
            self.owned.forget();
            return ShutdownReport::default();
        }
        let ending = Ending::begin(&self.owned.core, limit);
        let is_at_rest = self.run_to_rest(ending.deadline);
        let (worker, running) = (self.worker.take(), self.running.take());
        let Owned { core, threads, .. } = &mut self.owned;
        ending.finish(core, threads, is_at_rest, || {
            if let Some(worker) = worker {
                worker.stop();
                drop(worker);
            }
            drop(running);
            shutdown::worker_leaves(core);
        })
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        if self.worker.is_some() {
            self.end(Duration::ZERO);
        }
    }
}

impl fmt::Debug for Here {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Here").field("core", &self.owned.core).finish_non_exhaustive()
    }
}

/// Whether the thread has entered the worker already, in an outer call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IsNested {
    Yes,
    No,
}

/// The waker of [`Here::block_on`], which notes that the future is to be polled again.
struct Signal {
    is_set: AtomicBool,
    unpark: Arc<dyn Unpark>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release. Partner: the acquiring swap in `block_on`, so that the poll sees what happened
        // before the wake.
        if !self.is_set.swap(true, Ordering::AcqRel) {
            self.unpark.unpark();
        }
    }
}
