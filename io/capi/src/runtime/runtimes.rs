//! The exported functions of runtimes, whose first worker may be a thread of the program.

#![allow(clippy::missing_safety_doc, reason = "`runtime/mod.rs` states the safety rules")]

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

/// A flag of a runtime: the calling thread becomes its first worker, and the default color is bound
/// to that thread.
///
/// The thread runs callbacks while it is in dapple_runtime_run, dapple_runtime_turn,
/// dapple_runtime_wait_idle or dapple_runtime_free.
pub const DAPPLE_HERE: u32 = 1;
/// A flag of a runtime: its workers may run on any core, instead of each on its own core.
pub const DAPPLE_UNPINNED: u32 = 2;

/// The maximum number of workers of a runtime.
pub const DAPPLE_MOST_WORKERS: u32 = 1024;

/// The options of a runtime. If all fields but size are zero, the runtime has the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Options {
    /// sizeof(dapple_options).
    pub size: usize,
    /// The number of workers that run callbacks, including the calling thread with DAPPLE_HERE, up
    /// to DAPPLE_MOST_WORKERS. 0 for the number in the environment variable DAPPLE_WORKERS, or one
    /// per core.
    pub workers: u32,
    /// DAPPLE_HERE, DAPPLE_UNPINNED, both, or 0.
    pub flags: u32,
    /// The maximum number of threads for dapple_offload; 0 for four per worker, and at least eight.
    pub offload_threads: u32,
    /// The start of the names of the threads, or NULL.
    pub thread_name: *const c_char,
    /// The time in nanoseconds after which a callback that still runs is reported on standard
    /// error, with the label of its color and the place that posted it; 0 for no reports. With one
    /// worker, only some of these callbacks are noticed, and only after they have ended.
    pub stall_ns: u64,
}

/// Options from C, which begin with their size: by that, a later library recognizes an older form.
pub(super) trait Versioned {
    /// The defaults: all fields are zero but the size.
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

/// Returns the options at a pointer, or the defaults if it is null.
///
/// # Errors
///
/// EINVAL if the size is not that of these options.
///
/// # Safety
///
/// The pointer is null, or leads to options.
pub(super) unsafe fn read_options<T: Versioned + Copy>(options: *const T) -> Result<T, c_int> {
    // SAFETY: the caller guarantees that `options` is null or leads to options.
    let Some(options) = (unsafe { options.as_ref() }) else { return Ok(T::DEFAULT) };
    match options.size() == size_of::<T>() {
        true => Ok(*options),
        false => Err(libc::EINVAL),
    }
}

/// A runtime: workers that run callbacks on all cores.
pub struct Runtime {
    pub(super) owner: Arc<Owner>,
    pub(super) default_color: Arc<Color>,
    workers: Workers,
    stop: Arc<Stop>,
}

/// The threads that run the callbacks.
///
/// `None` stands for workers that have ended, while callbacks may still use the rest of the
/// runtime.
enum Workers {
    /// The first worker is a thread of the program.
    Here(Box<OnThread<RefCell<Option<Here>>>>),
    /// All workers are threads of their own.
    Threads(Mutex<Option<dapple::Runtime>>),
    /// The workers belong to an `event_base`, whose loop runs them.
    Base,
}

/// A value that is used and dropped only on the thread that made it.
struct OnThread<T> {
    thread: ThreadId,
    value: T,
}

// SAFETY: only `get` reaches the value, and only on the thread that made it. The value is dropped
// with its `Runtime` by `dapple_runtime_free`, which calls `get` before.
unsafe impl<T> Send for OnThread<T> {}
// SAFETY: see `Send`: other threads never reach the value.
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

/// The request to end `dapple_runtime_run`.
///
/// It is shared, because the runtime may be freed as soon as `dapple_runtime_run` has returned,
/// while the thread that has sent the request still uses it.
#[derive(Default)]
struct Stop {
    is_asked: Mutex<bool>,
    told: Condvar,
}

impl Stop {
    fn is_asked(&self) -> MutexGuard<'_, bool> {
        self.is_asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns `true` if there is a request, and removes it.
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

    /// Makes the runtime of an `event_base`, in the form of `dapple.h`.
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
            // SAFETY: the caller of `dapple_runtime_new` guarantees a string that ends with a zero
            // (see `runtime/mod.rs`).
            let name = unsafe { CStr::from_ptr(options.thread_name) };
            builder = builder.thread_name(&name.to_string_lossy());
        }
        builder = match options.stall_ns {
            0 => silent(builder),
            // The default report goes to standard error, because the process has no subscriber of
            // tracing.
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

    /// Returns `true` if the first worker is a thread of the program.
    pub(super) fn has_thread(&self) -> bool {
        !matches!(self.workers, Workers::Threads(_))
    }

    /// Calls `f` with the workers, on the thread that is the first of them.
    ///
    /// # Errors
    ///
    /// EINVAL if no thread of the program is a worker, EPERM on another thread, ESHUTDOWN after the
    /// end.
    fn with_here<R>(&self, f: impl FnOnce(&Here) -> Result<R, c_int>) -> Result<R, c_int> {
        let Workers::Here(here) = &self.workers else { return Err(libc::EINVAL) };
        match &*here.get()?.borrow() {
            Some(here) => f(here),
            None => Err(libc::ESHUTDOWN),
        }
    }

    /// Calls `f` with the workers, if their thread may run callbacks now.
    ///
    /// # Errors
    ///
    /// ECHILD in a forked child, EDEADLK in a callback that cannot be suspended, and those of
    /// `with_here`.
    fn in_turn<R>(&self, f: impl FnOnce(&Here) -> R) -> Result<R, c_int> {
        self.owner.check_process()?;
        self.with_here(|here| match here.can_turn() {
            true => Ok(f(here)),
            false => Err(libc::EDEADLK),
        })
    }

    /// Checks that the calling thread is outside of callbacks and of offloaded work, which would
    /// wait for themselves.
    ///
    /// # Errors
    ///
    /// EDEADLK inside of them.
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
        // As soon as `run` has seen the request, the runtime may be freed.
        let (stop, handle) = (Arc::clone(&self.stop), self.owner.handle().clone());
        match &self.workers {
            Workers::Base => return Err(libc::EINVAL),
            Workers::Threads(_) => {
                *stop.is_asked() = true;
                stop.told.notify_all();
            }
            Workers::Here(_) => {
                *stop.is_asked() = true;
                // `run` looks for a request before each turn, and this post causes a turn.
                handle.post_default(|_| {});
            }
        }
        Ok(())
    }

    /// Waits until the runtime is idle, or returns the handle by which the caller can wait: another
    /// thread may free the runtime during that wait.
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

    /// Ends the workers. Returns `true` if everything has run.
    fn end(&self, limit: Duration) -> Result<bool, c_int> {
        self.check_outside()?;
        // The copy in a forked child has nothing to end.
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

/// Turns off the reports of callbacks that run long, because standard error is the program's.
pub(crate) fn silent(builder: Builder) -> Builder {
    builder.on_stall(|_| ()).on_ticket_stall(|_| ())
}

/// Returns the number of workers for a program that does not ask for one.
pub(crate) fn default_workers() -> usize {
    let asked = || std::env::var("DAPPLE_WORKERS").ok()?.parse().ok();
    let is_possible = |n: &usize| (1..=DAPPLE_MOST_WORKERS as usize).contains(n);
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    asked().filter(is_possible).unwrap_or_else(cores)
}

/// Makes a runtime, and starts its threads.
///
/// The options may be NULL, for the defaults.
///
/// Returns NULL with errno set on failure: EINVAL if the options contain a size, number or flag
/// that dapple.h does not have, or the system's error if a thread or a descriptor cannot be made.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_new(options: *const Options) -> *mut Runtime {
    pointer("dapple_runtime_new", || {
        // SAFETY: the caller guarantees that the pointer is null or live (see `runtime/mod.rs`).
        let options = unsafe { read_options(options) }?;
        Ok(Box::into_raw(Box::new(Runtime::start(&options)?)))
    })
}

/// Ends a runtime, and frees it.
///
/// From this call on, timers, descriptors and signals call nothing. What is queued runs for at most
/// limit_ns nanoseconds; what is left after that is dropped. If a callback runs at that time, the
/// function waits about 1 s more for it. The function that frees the argument of a watch may be
/// called here while a callback of its color runs. Colors, and the handles of timers, watches and
/// domains, stay valid, and are freed as usual.
///
/// Returns 0 if everything has run. Returns 1 if something was dropped, or if a callback still
/// runs, which must not use the runtime any longer. Returns -1 with errno set, and then does
/// nothing: EINVAL if the runtime is NULL or that of an event_base, EDEADLK in a callback or in
/// offloaded work, EPERM on another thread than the one that made the runtime with DAPPLE_HERE. In
/// a forked child it only frees the child's copy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_free(runtime: *mut Runtime, limit_ns: u64) -> c_int {
    // SAFETY: the caller guarantees that the pointer is null or live, and does not use it again
    // after a success (see `runtime/mod.rs`). `dapple_runtime_new` made the box.
    number("dapple_runtime_free", || unsafe {
        let limit = Duration::from_nanos(limit_ns);
        let all_has_run = runtime.as_ref().ok_or(libc::EINVAL)?.end(limit)?;
        drop(Box::from_raw(runtime));
        Ok(c_int::from(!all_has_run))
    })
}

/// Runs callbacks until dapple_runtime_stop is called.
///
/// It is for the thread that made the runtime with DAPPLE_HERE. In a runtime whose workers are all
/// threads of their own, it only waits until then.
///
/// Returns 0 after it was stopped, or -1 with errno set: EINVAL if the runtime is NULL or that of
/// an event_base, EPERM on another thread, EDEADLK in a callback that cannot be suspended (see
/// dapple_runtime_turn), and in a runtime without DAPPLE_HERE in every callback and in offloaded
/// work, ECHILD in a forked child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_run(runtime: *mut Runtime) -> c_int {
    // SAFETY: the caller guarantees that the pointer is null or live (see `runtime/mod.rs`).
    answer("dapple_runtime_run", || unsafe { runtime.as_ref().ok_or(libc::EINVAL)?.run() })
}

/// Makes dapple_runtime_run return.
///
/// If dapple_runtime_run is not running, its next call returns at once. This function may be called
/// in callbacks and on every thread, but not in a signal handler.
///
/// Returns 0, or -1 with errno set to EINVAL if the runtime is NULL or that of an event_base.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_stop(runtime: *mut Runtime) -> c_int {
    answer("dapple_runtime_stop", || {
        // SAFETY: the caller guarantees that the pointer is null or live (see `runtime/mod.rs`).
        unsafe { runtime.as_ref() }.ok_or(libc::EINVAL)?.stop()
    })
}

/// Checks descriptors and timers, and runs callbacks for about 100 us.
///
/// If there is nothing to run, it first waits for at most timeout_ns nanoseconds: 0 does not wait,
/// and -1 waits without a limit. It is for the thread that made the runtime with DAPPLE_HERE, in
/// programs that have a loop of their own.
///
/// A callback of a color that is bound to the thread may call it. The callback is suspended
/// meanwhile, and others of its color may run.
///
/// Returns 0 if nothing has run, otherwise the number of turns of colors plus the number of
/// functions without a color that it ran. Returns -1 with errno set on failure: EINVAL if the
/// runtime is NULL or was made without DAPPLE_HERE, EPERM on another thread, EDEADLK in any other
/// callback, ECHILD in a forked child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_turn(runtime: *mut Runtime, timeout_ns: i64) -> c_int {
    number("dapple_runtime_turn", || {
        // SAFETY: the caller guarantees that the pointer is null or live (see `runtime/mod.rs`).
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

/// Waits until no callback runs or is queued.
///
/// Armed timers and idle descriptors do not count. The thread that made a runtime with DAPPLE_HERE
/// runs callbacks meanwhile.
///
/// Returns 0, or -1 with errno set: EINVAL if the runtime is NULL or that of an event_base, EDEADLK
/// in a callback or in offloaded work, EPERM on another thread than the one that made the runtime
/// with DAPPLE_HERE, ECHILD in a forked child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_wait_idle(runtime: *mut Runtime) -> c_int {
    // SAFETY: the caller guarantees that the pointer is null or live (see `runtime/mod.rs`).
    answer("dapple_runtime_wait_idle", || unsafe {
        if let Some(handle) = runtime.as_ref().ok_or(libc::EINVAL)?.wait_idle()? {
            handle.wait_idle();
        }
        Ok(())
    })
}

/// Returns a descriptor that is readable when dapple_runtime_turn has something to do.
///
/// Another loop can wait for it, level-triggered, and for the time of dapple_runtime_deadline_ns.
/// The descriptor belongs to the runtime: neither read nor close it.
///
/// Returns -1 with errno set on failure: EINVAL if the runtime is NULL or was made without
/// DAPPLE_HERE, EPERM on another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_poll_fd(runtime: *mut Runtime) -> c_int {
    number("dapple_runtime_poll_fd", || {
        // SAFETY: the caller guarantees that the pointer is null or live (see `runtime/mod.rs`).
        let runtime = unsafe { runtime.as_ref() }.ok_or(libc::EINVAL)?;
        runtime.with_here(|here| here.poll_fd().map(|fd| fd.as_raw_fd()).ok_or(libc::EINVAL))
    })
}

/// Returns the number of nanoseconds after which dapple_runtime_turn is due at the latest.
///
/// 0 means that it is due now. -1 means that it is not due before the descriptor of
/// dapple_runtime_poll_fd becomes readable, that the runtime is NULL or was made without
/// DAPPLE_HERE, or that this is not the thread that made it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_deadline_ns(runtime: *mut Runtime) -> i64 {
    door("dapple_runtime_deadline_ns", || {
        // SAFETY: the caller guarantees that the pointer is null or live (see `runtime/mod.rs`).
        let Some(runtime) = (unsafe { runtime.as_ref() }) else { return -1 };
        let deadline = runtime.with_here(|here| Ok(here.next_deadline())).ok().flatten();
        deadline.map_or(-1, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            i64::try_from(left.as_nanos()).unwrap_or(i64::MAX)
        })
    })
}

/// Returns the number of workers of a runtime.
///
/// Returns -1 with errno set to EINVAL if the runtime is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_workers(runtime: *mut Runtime) -> c_int {
    number("dapple_runtime_workers", || {
        // SAFETY: the caller guarantees that the pointer is null or live (see `runtime/mod.rs`).
        let runtime = unsafe { runtime.as_ref() }.ok_or(libc::EINVAL)?;
        Ok(runtime.owner.handle().workers() as c_int)
    })
}

/// Returns the metrics of a runtime in the text format of Prometheus.
///
/// The caller frees the string with free(). Returns NULL with errno set on failure: EINVAL if the
/// runtime is NULL, ENOMEM if there is no memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_metrics(runtime: *mut Runtime) -> *mut c_char {
    pointer("dapple_runtime_metrics", || {
        // SAFETY: the caller guarantees that the pointer is null or live (see `runtime/mod.rs`).
        let runtime = unsafe { runtime.as_ref() }.ok_or(libc::EINVAL)?;
        malloc_text(&runtime.owner.handle().metrics().to_prometheus())
    })
}

/// Returns the metrics of a runtime as a table for people.
///
/// The table says what runs and what waits, by label and by the place that posted it. The caller
/// frees the string with free(). Returns NULL with errno set on failure: EINVAL if the runtime is
/// NULL, ENOMEM if there is no memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_report(runtime: *mut Runtime) -> *mut c_char {
    pointer("dapple_runtime_report", || {
        // SAFETY: the caller guarantees that the pointer is null or live (see `runtime/mod.rs`).
        let runtime = unsafe { runtime.as_ref() }.ok_or(libc::EINVAL)?;
        malloc_text(&runtime.owner.handle().metrics().to_string())
    })
}

/// Copies a text into memory from malloc, with a zero at its end.
///
/// # Errors
///
/// ENOMEM if there is no memory.
pub(crate) fn malloc_text(text: &str) -> Result<*mut c_char, c_int> {
    // SAFETY: `text.len()` bytes and a zero are written to memory of `text.len() + 1` bytes.
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
