//! A runtime whose first worker is a thread of the user's (E18).
//!
//! The thread is with the runtime inside of the methods of [`Here`], and *away* otherwise: what is
//! queued for it then waits, or is served by other workers, and a thread that queues something
//! wakes its poller (`worker::sleep`). An event of a color that is bound to the thread may call
//! these methods itself: such events leave their queue before they run (`turn::apart`), so the
//! outer one can be suspended while others run.

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

/// How often a thread that waits for other workers looks at them.
const LOOK: Duration = Duration::from_millis(1);

/// How long a [turn](Here::turn) may wait when there is nothing to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Until there is something.
    Block,
    /// Not at all.
    Poll,
    /// Until then at most.
    Until(Instant),
}

/// A runtime of which the calling thread is worker 0; from [`Builder::build_here`] and
/// [`Runtime::here`](crate::Runtime::here).
///
/// The thread runs events while it is inside of one of the methods here, and is the program's
/// otherwise. So the runtime can be the main loop of a program ([`run`](Self::run)), a part of
/// another one's ([`turn`](Self::turn), with [`poll_fd`](Self::poll_fd) and
/// [`next_deadline`](Self::next_deadline)), or both by turns. With
/// [one worker](Builder::workers) there is no other thread.
///
/// Colors that are bound to worker 0 ([`ColorBuilder::on_worker`](crate::ColorBuilder::on_worker))
/// run on this thread only, and wait for it. What is bound to no worker is also run by the others,
/// if there are any, while the thread is away. What waits for its next turn are timers that were
/// armed on it, descriptors of colors that are bound to worker 0, and, without stealing
/// ([`StealPolicy::Off`](crate::StealPolicy)), what is at home there. Posts wake the thread when it
/// waits in here, and make [`poll_fd`](Self::poll_fd) readable when it does not.
///
/// Several threads may have a runtime each; one thread may have several, and be inside of one of
/// them at a time, or of one in an event of another.
///
/// Dropping it is [`shutdown`](Self::shutdown) with no time.
///
/// # Forked processes
///
/// A child that was made by `fork` may drop its copy, which then does nothing, and build a runtime
/// of its own. See [`Runtime`](crate::Runtime#forked-processes).
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
/// // Not Send, so it stays on this thread.
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
    /// `None`: it has ended.
    worker: Option<Worker>,
    owned: Owned,
    /// A copy of the poller's descriptor.
    poll_fd: Option<OwnedFd>,
    /// What [`next_deadline`](Self::next_deadline) answers, in nanoseconds of the runtime's clock.
    deadline: Cell<Option<u64>>,
    /// Dropped when the thread is no longer a worker.
    running: Option<Running>,
    /// The core that is left to this thread.
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

    /// Calls `f` with the worker, which the thread is meanwhile.
    #[track_caller]
    fn inside<R>(&self, what: &str, f: impl FnOnce(&mut Inside<'_>) -> R) -> R {
        /// The thread leaves, also if `f` panics.
        struct Away<'a, 'b>(&'a Here, &'a mut Inside<'b>, IsNested);
        impl Drop for Away<'_, '_> {
            fn drop(&mut self) {
                if self.2 == IsNested::No {
                    self.0.deadline.set(self.1.goes_away());
                }
            }
        }
        assert!(!self.owned.was_forked(), "{what}: the runtime is of the process that forked");
        let worker = self.worker.as_ref().expect("it is there until it has ended");
        let is_nested = if worker.is_entered() { IsNested::Yes } else { IsNested::No };
        let entered = worker.enter(|inside| {
            inside.comes_back();
            let away = Away(self, inside, is_nested);
            f(&mut *away.1)
        });
        match entered {
            Ok(result) => result,
            Err(_) => panic!(
                "{what}: the event that calls it cannot be suspended, as it is of a color that is \
                 not bound to this thread, or of several"
            ),
        }
    }

    /// A handle, from which everything is posted.
    pub fn handle(&self) -> Handle {
        Handle::new(self.owned.core.clone())
    }

    /// The figures of the runtime.
    pub fn metrics(&self) -> Metrics {
        Metrics::read(self.core())
    }

    /// Runs events, and sleeps when there are none, until `until` says yes. It is asked before each
    /// turn of a color, and after each sleep: a thread that changes what it says posts something.
    /// When it has said yes it is not asked again.
    ///
    /// # Panics
    ///
    /// In an event that cannot be suspended: see [`turn`](Self::turn). If `until` panics.
    #[track_caller]
    pub fn run(&self, until: impl Fn() -> bool) {
        // It is asked on the way to sleep, too, and its answer counts when that is over.
        let is_over = Cell::new(false);
        let asks = || {
            is_over.set(is_over.get() || until());
            is_over.get()
        };
        self.inside("run", |inside| inside.run_until(asks));
    }

    /// One turn: looks once at descriptors and timers, waits for them as `turn` says if there is
    /// nothing to run, and then runs what there is, up to `limit` turns of colors and uncolored
    /// events. It ends earlier when the descriptors should be looked at again, which is after about
    /// 100 us. Answers how many it ran.
    ///
    /// It switches to no other thread, and waits in the poller once at most. It may have waited,
    /// and run nothing, when something else than an event woke it.
    ///
    /// In an event of a color that is bound to this thread the event counts as suspended: other
    /// events of its color may run before it goes on.
    ///
    /// # Panics
    ///
    /// In an event that cannot be suspended, as it holds a color that is not bound to this thread,
    /// more than one color, or shares one. An event that runs meanwhile panics if it would get the
    /// value of a [`Colored`](crate::Colored) that the suspended one has by reference.
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

    /// Says whether [`run`](Self::run), [`turn`](Self::turn) and the like may be called here: no
    /// event of this runtime runs on this thread, or one that can be suspended.
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

    /// Calls `f` with what a callback gets, on this thread as the worker that it is: posts in it
    /// are as cheap as those of an event, and wake nobody for what this thread is to run.
    ///
    /// # Panics
    ///
    /// In an event that cannot be suspended: see [`turn`](Self::turn). If `f` panics.
    #[track_caller]
    pub fn enter<R>(&self, f: impl FnOnce(&mut Cx) -> R) -> R {
        self.inside("enter", |inside| inside.with_cx(f))
    }

    /// Runs a future that need not be `Send` on a color that is bound to this thread; see
    /// [`Cx::spawn_local`].
    ///
    /// # Panics
    ///
    /// When the color is not bound to worker 0 of this runtime; in an event that cannot be
    /// suspended: see [`turn`](Self::turn).
    #[track_caller]
    pub fn spawn_local<F>(&self, color: &Color, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let site = Site::caller();
        self.enter(|cx| spawn_local(cx.local(), color, future, site))
    }

    /// Runs a future on this thread, and events between its polls. The future need not be `Send`.
    ///
    /// # Panics
    ///
    /// In an event that cannot be suspended: see [`turn`](Self::turn). If the future panics, or if
    /// the runtime stops before it is ready.
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
            assert!(self.core().phase() < Phase::Stopping, "the runtime stops before its future");
            self.run(|| signal.is_set.load(Ordering::Acquire));
        }
    }

    /// Runs events until none is running or queued on any worker; see
    /// [`Runtime::wait_idle`](crate::Runtime::wait_idle) for what counts.
    ///
    /// # Panics
    ///
    /// In an event: it would wait for itself.
    #[track_caller]
    pub fn wait_idle(&self) {
        self.check_outside("wait_idle");
        self.run_to_rest(None);
    }

    /// Runs events until the runtime is at rest, has been stopped, or the time is over. True: one
    /// of the first two.
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
            // What other workers still run is not told to this one.
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

    /// When the next [turn](Self::turn) is due at the latest, unless [`poll_fd`](Self::poll_fd)
    /// becomes readable before: a time that has come if there is something to run; otherwise that
    /// of the first timer, or an earlier one, and up to 0.6 ms later; `None` if there is none.
    ///
    /// A program that waits elsewhere asks after each turn, and after whatever else it did in here.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadline = self.deadline.get()?;
        let left = deadline.saturating_sub(self.core().clock().now());
        Some(clock::now() + Duration::from_nanos(left))
    }

    /// The descriptor that is readable when a [turn](Self::turn) is due because of a descriptor, or
    /// of a post from elsewhere: for `poll`, another event loop, or a toolkit. `None`: the runtime
    /// has no reactor (`dapple_io::runtime()` has one).
    ///
    /// Do nothing with it but wait until it is readable: what is read or changed there is the
    /// reactor's.
    #[doc(alias = "as_fd")]
    pub fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.poll_fd.as_ref().map(AsFd::as_fd)
    }

    /// Ends the runtime; see [`Runtime::shutdown`](crate::Runtime::shutdown). The calling thread
    /// runs what is left for it.
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
            // What the worker has counted, and what is queued for it, is the parent's.
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

/// Whether the thread is in the worker already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IsNested {
    Yes,
    No,
}

/// Says that the future of [`Here::block_on`] is to be polled again.
struct Signal {
    is_set: AtomicBool,
    unpark: Arc<dyn Unpark>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release, and acquire in `block_on`: what was done before the wake is seen by the poll.
        if !self.is_set.swap(true, Ordering::AcqRel) {
            self.unpark.unpark();
        }
    }
}
