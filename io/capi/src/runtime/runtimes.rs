//! Runtimes: workers, of which one may be a thread of the program's.

#![allow(clippy::missing_safety_doc, reason = "`runtime` says what all of them rely on")]

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use dapple::{Builder, Handle, Here, ShutdownReport, Turn};

use super::colors::{Color, is_in_callback};
use super::offload::is_in_work;
use super::owner::Owner;
use crate::door::{answer, door, number, number_of, pointer};

/// The calling thread becomes the first worker of the runtime, and the default color is bound to
/// it. It works while it is in dapple_runtime_run, _turn, _wait_idle or _free.
pub const DAPPLE_HERE: u32 = 1;
/// The workers may run on any core, instead of one each.
pub const DAPPLE_UNPINNED: u32 = 2;

/// The most workers of a runtime.
pub const DAPPLE_MOST_WORKERS: u32 = 1024;

/// What a runtime is to be. All zeroes but for the size: what it is by default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Options {
    /// sizeof(dapple_options).
    pub size: usize,
    /// How many workers run callbacks, the calling thread included if it is one: up to
    /// DAPPLE_MOST_WORKERS. 0: as many as the environment's DAPPLE_WORKERS says, or one per core.
    pub workers: u32,
    /// DAPPLE_HERE, DAPPLE_UNPINNED, or 0.
    pub flags: u32,
    /// How many threads there are for dapple_offload at most; 0: as many as by default.
    pub offload_threads: u32,
    /// What the names of the threads begin with, or NULL.
    pub thread_name: *const c_char,
    /// After how many nanoseconds a callback that still runs is written to standard error, with its
    /// color's label and the place that posted it; 0: never. Of a runtime with one worker, only
    /// some are noticed, and when they have ended.
    pub stall_ns: u64,
}

/// Options of C begin with their size, by which a later library can tell that they are older.
pub(super) trait Versioned {
    /// All zeroes but for the size.
    const DEFAULT: Self;
    fn size(&self) -> usize;
}

impl Versioned for Options {
    const DEFAULT: Options = Options {
        size: size_of::<Options>(),
        workers: 0,
        flags: 0,
        offload_threads: 0,
        thread_name: std::ptr::null(),
        stall_ns: 0,
    };
    fn size(&self) -> usize {
        self.size
    }
}

impl Versioned for super::colors::ColorOptions {
    const DEFAULT: super::colors::ColorOptions = super::colors::ColorOptions {
        size: size_of::<super::colors::ColorOptions>(),
        label: std::ptr::null(),
        priority: 0,
        flags: 0,
        capacity: 0,
    };
    fn size(&self) -> usize {
        self.size
    }
}

/// The options that a pointer leads to; by default if it is null.
///
/// # Safety
///
/// It is null, or leads to options.
pub(super) unsafe fn read_options<T: Versioned + Copy>(options: *const T) -> Result<T, c_int> {
    // SAFETY: the caller says so.
    let Some(options) = (unsafe { options.as_ref() }) else { return Ok(T::DEFAULT) };
    match options.size() == size_of::<T>() {
        true => Ok(*options),
        false => Err(libc::EINVAL),
    }
}

/// Workers that run callbacks on all cores.
pub struct Runtime {
    pub(super) owner: Arc<Owner>,
    pub(super) default_color: Arc<Color>,
    workers: Workers,
    stop: Arc<Stop>,
}

/// Who runs the callbacks. What is `None` has been ended, while callbacks may still use the rest.
enum Workers {
    /// A thread of the program's is the first one.
    Here(Box<OnThread<RefCell<Option<Here>>>>),
    /// All are threads of their own.
    Threads(Mutex<Option<dapple::Runtime>>),
    /// They are those of an `event_base`, whose loop runs them.
    Base,
}

/// What is used, and dropped, on one thread.
struct OnThread<T> {
    thread: ThreadId,
    value: T,
}

// SAFETY: the value is reached by `get` only, on the thread that made it. It is dropped with its
// `Runtime` by `dapple_runtime_free`, which asks `get` before.
unsafe impl<T> Send for OnThread<T> {}
// SAFETY: see above.
unsafe impl<T> Sync for OnThread<T> {}

impl<T> OnThread<T> {
    fn new(value: T) -> OnThread<T> {
        OnThread { thread: std::thread::current().id(), value }
    }

    fn get(&self) -> Result<&T, c_int> {
        match self.thread == std::thread::current().id() {
            true => Ok(&self.value),
            false => Err(libc::EPERM),
        }
    }
}

/// What ends `dapple_runtime_run`. Shared, as the runtime may be freed as soon as that has
/// returned, while the one who has asked is still here.
#[derive(Default)]
struct Stop {
    is_asked: Mutex<bool>,
    told: Condvar,
}

impl Stop {
    fn is_asked(&self) -> MutexGuard<'_, bool> {
        self.is_asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether it was asked for, once.
    fn take(&self) -> bool {
        std::mem::take(&mut *self.is_asked())
    }

    fn wait(&self) {
        let mut is_asked = self.is_asked();
        while !std::mem::take(&mut *is_asked) {
            is_asked = self.told.wait(is_asked).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Runtime {
    fn new(owner: &Arc<Owner>, workers: Workers) -> Runtime {
        let default_color = Color::new(owner.handle().default_color(), owner);
        Runtime { owner: Arc::clone(owner), default_color, workers, stop: Arc::default() }
    }

    /// The runtime of an `event_base`, as `dapple.h` has it.
    pub(crate) fn of_base(owner: &Arc<Owner>) -> Runtime {
        Runtime::new(owner, Workers::Base)
    }

    fn start(options: &Options) -> Result<Runtime, c_int> {
        if options.flags & !(DAPPLE_HERE | DAPPLE_UNPINNED) != 0
            || options.workers > DAPPLE_MOST_WORKERS
        {
            return Err(libc::EINVAL);
        }
        let workers = match options.workers {
            0 => default_workers(),
            workers => workers as usize,
        };
        let mut builder = dapple_io::runtime().workers(workers);
        if options.flags & DAPPLE_UNPINNED != 0 {
            builder = builder.pin_cores(false);
        }
        if options.offload_threads > 0 {
            builder = builder.offload_threads(options.offload_threads as usize);
        }
        if !options.thread_name.is_null() {
            // SAFETY: it is a string: see `runtime`.
            let name = unsafe { CStr::from_ptr(options.thread_name) };
            builder = builder.thread_name(&name.to_string_lossy());
        }
        builder = match options.stall_ns {
            0 => silent(builder),
            // Told on standard error, as the process has no subscriber of tracing.
            nanos => builder.stall_after(Duration::from_nanos(nanos)),
        };
        let failed = |error: std::io::Error| number_of(&error);
        if options.flags & DAPPLE_HERE == 0 {
            let runtime = builder.build().map_err(failed)?;
            let owner = Owner::new(&runtime.handle(), None);
            return Ok(Runtime::new(&owner, Workers::Threads(Mutex::new(Some(runtime)))));
        }
        let here = builder.default_here(true).build_here().map_err(failed)?;
        let owner = Owner::new(&here.handle(), None);
        let here = Box::new(OnThread::new(RefCell::new(Some(here))));
        Ok(Runtime::new(&owner, Workers::Here(here)))
    }

    /// Says whether a thread of the program's is its first worker.
    pub(super) fn has_thread(&self) -> bool {
        !matches!(self.workers, Workers::Threads(_))
    }

    /// Calls `f` with the workers, on the thread that is the first one.
    fn with_here<R>(&self, f: impl FnOnce(&Here) -> Result<R, c_int>) -> Result<R, c_int> {
        let Workers::Here(here) = &self.workers else { return Err(libc::EINVAL) };
        match &*here.get()?.borrow() {
            Some(here) => f(here),
            None => Err(libc::ESHUTDOWN),
        }
    }

    /// Calls `f` with the workers, where their thread may run callbacks.
    fn in_turn<R>(&self, f: impl FnOnce(&Here) -> R) -> Result<R, c_int> {
        self.owner.check_process()?;
        self.with_here(|here| match here.can_turn() {
            true => Ok(f(here)),
            false => Err(libc::EDEADLK),
        })
    }

    /// An error in a callback, and in offloaded work, which would wait for itself.
    fn check_outside(&self) -> Result<(), c_int> {
        let is_outside = !is_in_callback() && !is_in_work();
        if is_outside { Ok(()) } else { Err(libc::EDEADLK) }
    }

    fn run(&self) -> Result<(), c_int> {
        match &self.workers {
            Workers::Here(_) => self.in_turn(|here| here.run(|| self.stop.take())),
            Workers::Base => Err(libc::EINVAL),
            Workers::Threads(_) => {
                self.owner.check_process()?;
                self.check_outside()?;
                self.stop.wait();
                Ok(())
            }
        }
    }

    fn stop(&self) -> Result<(), c_int> {
        // When `run` has seen it, the runtime may be gone.
        let (stop, handle) = (Arc::clone(&self.stop), self.owner.handle().clone());
        match &self.workers {
            Workers::Base => return Err(libc::EINVAL),
            Workers::Threads(_) => {
                *stop.is_asked() = true;
                stop.told.notify_all();
            }
            Workers::Here(_) => {
                *stop.is_asked() = true;
                // Its thread looks before each turn: this is one.
                handle.post_default(|_| {});
            }
        }
        Ok(())
    }

    /// Waits until it is idle, or answers what to wait by: another thread may free it meanwhile.
    fn wait_idle(&self) -> Result<Option<Handle>, c_int> {
        self.owner.check_process()?;
        self.check_outside()?;
        match &self.workers {
            Workers::Here(_) => self.with_here(|here| {
                here.wait_idle();
                Ok(None)
            }),
            Workers::Base => Err(libc::EINVAL),
            Workers::Threads(_) => Ok(Some(self.owner.handle().clone())),
        }
    }

    /// Ends the workers. True: all has run.
    fn end(&self, limit: Duration) -> Result<bool, c_int> {
        self.check_outside()?;
        // The copy of a forked child has nothing to end.
        let is_copy = self.owner.check_process().is_err();
        let report = match &self.workers {
            Workers::Here(here) => {
                let here = here.get()?.borrow_mut().take();
                here.map(|here| here.shutdown(limit))
            }
            Workers::Threads(runtime) => {
                let runtime = runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
                runtime.map(|runtime| runtime.shutdown(limit))
            }
            Workers::Base => return Err(libc::EINVAL),
        };
        let has_all_run = |report: ShutdownReport| report.drained && report.dropped_events == 0;
        Ok(is_copy || report.is_none_or(has_all_run))
    }
}

/// Nothing is told of callbacks that run long: standard error is the program's.
pub(crate) fn silent(builder: Builder) -> Builder {
    builder.on_stall(|_| ()).on_ticket_stall(|_| ())
}

/// How many workers there are if a program does not say.
pub(crate) fn default_workers() -> usize {
    let asked = || std::env::var("DAPPLE_WORKERS").ok()?.parse().ok();
    let is_possible = |n: &usize| (1..=DAPPLE_MOST_WORKERS as usize).contains(n);
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    asked().filter(is_possible).unwrap_or_else(cores)
}

/// Makes a runtime, as options say, which may be NULL, and starts its threads.
///
/// NULL: errno is EINVAL for a size, number or flag that dapple.h does not have, or what the system
/// says of a thread or a descriptor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_new(options: *const Options) -> *mut Runtime {
    pointer("dapple_runtime_new", || {
        // SAFETY: see `runtime`.
        let options = unsafe { read_options(options) }?;
        Ok(Box::into_raw(Box::new(Runtime::start(&options)?)))
    })
}

/// Ends a runtime, and frees it. Timers, descriptors and signals call nothing any more. What is
/// queued runs within a limit of nanoseconds; what is left then is dropped. A callback that runs
/// then is waited for, for about a second more. What frees the argument of a watch may be called
/// beside a callback of its color here. Colors, and the handles of timers, watches and domains, are
/// still there, and are freed as before.
///
/// 0: all has run. 1: something was dropped, or a callback still runs, which must not use the
/// runtime any more. -1: nothing has been done; errno is EINVAL for the runtime of an event_base,
/// EDEADLK in a callback or in offloaded work, EPERM on another thread than the one that made the
/// runtime with DAPPLE_HERE. A forked child may free its copy, which does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_free(runtime: *mut Runtime, limit_ns: u64) -> c_int {
    // SAFETY: see `runtime`.
    number("dapple_runtime_free", || unsafe {
        let limit = Duration::from_nanos(limit_ns);
        let all_has_run = runtime.as_ref().ok_or(libc::EINVAL)?.end(limit)?;
        drop(Box::from_raw(runtime));
        Ok(c_int::from(!all_has_run))
    })
}

/// Runs callbacks until dapple_runtime_stop is called, on the thread that made the runtime with
/// DAPPLE_HERE; in other runtimes, whose workers are threads of their own, waits until then.
///
/// 0: it was stopped. -1: errno is EINVAL for the runtime of an event_base, EPERM on another
/// thread, EDEADLK in a callback that cannot be suspended (see dapple_runtime_turn), ECHILD in a
/// forked child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_run(runtime: *mut Runtime) -> c_int {
    // SAFETY: see `runtime`.
    answer("dapple_runtime_run", || unsafe { runtime.as_ref().ok_or(libc::EINVAL)?.run() })
}

/// Makes dapple_runtime_run return. If it does not run at the moment, its next call returns at
/// once. This may be called in callbacks and on every thread, but not in the handler of a signal.
///
/// 0: done. -1: errno is EINVAL for NULL and for the runtime of an event_base.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_stop(runtime: *mut Runtime) -> c_int {
    answer("dapple_runtime_stop", || {
        // SAFETY: see `runtime`.
        unsafe { runtime.as_ref() }.ok_or(libc::EINVAL)?.stop()
    })
}

/// Looks at descriptors and timers, and runs callbacks for about 100 us. If there is nothing to
/// run, it first waits for timeout_ns nanoseconds at most (0: not at all; -1: without limit). It is
/// for the thread that made the runtime with DAPPLE_HERE, in programs that have a loop of their
/// own.
///
/// A callback of a color that is bound to the thread may call it: the callback is suspended
/// meanwhile, and others of its color may run.
///
/// The answer is a measure of what has run, 0 for nothing. -1: errno is EINVAL for a runtime
/// without DAPPLE_HERE, EPERM on another thread, EDEADLK in another callback, ECHILD in a forked
/// child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_turn(runtime: *mut Runtime, timeout_ns: i64) -> c_int {
    number("dapple_runtime_turn", || {
        // SAFETY: see `runtime`.
        let runtime = unsafe { runtime.as_ref() }.ok_or(libc::EINVAL)?;
        let until = |ns| Instant::now().checked_add(Duration::from_nanos(ns)).map(Turn::Until);
        let turn = match u64::try_from(timeout_ns) {
            Ok(0) => Turn::Poll,
            Ok(ns) => until(ns).unwrap_or(Turn::Block),
            Err(_) => Turn::Block,
        };
        let ran = runtime.in_turn(|here| here.turn(turn, usize::MAX))?;
        Ok(c_int::try_from(ran).unwrap_or(c_int::MAX))
    })
}

/// Waits until no callback runs or is queued; armed timers and quiet descriptors do not count. The
/// thread that made a runtime with DAPPLE_HERE runs callbacks meanwhile.
///
/// 0: done. -1: errno is EINVAL for the runtime of an event_base, EDEADLK in a callback or in
/// offloaded work, EPERM on another thread, ECHILD in a forked child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_wait_idle(runtime: *mut Runtime) -> c_int {
    // SAFETY: see `runtime`.
    answer("dapple_runtime_wait_idle", || unsafe {
        if let Some(handle) = runtime.as_ref().ok_or(libc::EINVAL)?.wait_idle()? {
            handle.wait_idle();
        }
        Ok(())
    })
}

/// Answers the descriptor that is readable when dapple_runtime_turn has something to do, for
/// another loop to wait for beside dapple_runtime_deadline_ns: until it is readable, not for an
/// edge. It is the runtime's: neither read nor close it.
///
/// -1: errno is EINVAL for a runtime without DAPPLE_HERE, EPERM on another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_poll_fd(runtime: *mut Runtime) -> c_int {
    number("dapple_runtime_poll_fd", || {
        // SAFETY: see `runtime`.
        let runtime = unsafe { runtime.as_ref() }.ok_or(libc::EINVAL)?;
        runtime.with_here(|here| here.poll_fd().map(|fd| fd.as_raw_fd()).ok_or(libc::EINVAL))
    })
}

/// Answers in how many nanoseconds the next dapple_runtime_turn is due at the latest; 0: now; -1:
/// not before the descriptor becomes readable, or the runtime has no DAPPLE_HERE or is another
/// thread's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_deadline_ns(runtime: *mut Runtime) -> i64 {
    door("dapple_runtime_deadline_ns", || {
        // SAFETY: see `runtime`.
        let Some(runtime) = (unsafe { runtime.as_ref() }) else { return -1 };
        let deadline = runtime.with_here(|here| Ok(here.next_deadline())).ok().flatten();
        deadline.map_or(-1, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            i64::try_from(left.as_nanos()).unwrap_or(i64::MAX)
        })
    })
}

/// Answers how many workers a runtime has. -1: errno is EINVAL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_workers(runtime: *mut Runtime) -> c_int {
    number("dapple_runtime_workers", || {
        // SAFETY: see `runtime`.
        let runtime = unsafe { runtime.as_ref() }.ok_or(libc::EINVAL)?;
        Ok(runtime.owner.handle().workers() as c_int)
    })
}

/// Answers the figures of a runtime as Prometheus reads them, a string to be freed with free().
/// NULL: errno is EINVAL for NULL, ENOMEM if there is no memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_metrics(runtime: *mut Runtime) -> *mut c_char {
    pointer("dapple_runtime_metrics", || {
        // SAFETY: see `runtime`.
        let runtime = unsafe { runtime.as_ref() }.ok_or(libc::EINVAL)?;
        malloc_text(&runtime.owner.handle().metrics().to_prometheus())
    })
}

/// Answers the figures of a runtime as a table for people: what runs and what waits, by label and
/// by the place that posted it. It is a string to be freed with free(). NULL: errno is EINVAL for
/// NULL, ENOMEM if there is no memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_report(runtime: *mut Runtime) -> *mut c_char {
    pointer("dapple_runtime_report", || {
        // SAFETY: see `runtime`.
        let runtime = unsafe { runtime.as_ref() }.ok_or(libc::EINVAL)?;
        malloc_text(&runtime.owner.handle().metrics().to_string())
    })
}

/// A text in memory for `free`.
pub(crate) fn malloc_text(text: &str) -> Result<*mut c_char, c_int> {
    // SAFETY: so many bytes are written, to memory that is one larger.
    unsafe {
        let memory = libc::malloc(text.len() + 1).cast::<u8>();
        if memory.is_null() {
            return Err(libc::ENOMEM);
        }
        memory.copy_from_nonoverlapping(text.as_ptr(), text.len());
        memory.add(text.len()).write(0);
        Ok(memory.cast())
    }
}
