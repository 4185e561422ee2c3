//! Runtimes: workers, of which one may be a thread of the program's.

#![allow(clippy::missing_safety_doc, reason = "`runtime` says what all of them rely on")]

use std::ffi::{CStr, c_char, c_int};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use dapple::{Here, StallReport, TicketStall, Turn};

use super::colors::{Color, is_suspendable};
use super::owner::Owner;
use crate::door::{answer, door, number, number_of, pointer};

/// The calling thread becomes the first worker of the runtime, and the default color is bound to it.
/// It works while it is in dapple_runtime_run, _turn, _wait_idle or _free.
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
    /// color's label and the place that posted it; 0: never. Of a runtime with one worker, only some
    /// are noticed, and when they have ended.
    pub stall_ns: u64,
}

/// Options have a size, a C structure that the library knows in full or in part.
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
    stop: Stop,
}

enum Workers {
    /// The first one is a thread of the program's.
    Here(Box<OnThread<Here>>),
    /// All are threads of their own.
    Threads(dapple::Runtime),
    /// They are those of an `event_base`, whose loop runs them.
    Base,
}

/// What is used, and dropped, on one thread.
struct OnThread<T> {
    thread: ThreadId,
    value: T,
}

// SAFETY: the value is reached by `get`, and moved out by `Runtime::end`, only, on the thread that made it; what is
// never asked for there is never dropped elsewhere, as `Runtime` is dropped on that thread only.
unsafe impl<T> Send for OnThread<T> {}
// SAFETY: see above.
unsafe impl<T> Sync for OnThread<T> {}

impl<T> OnThread<T> {
    fn new(value: T) -> OnThread<T> {
        OnThread { thread: std::thread::current().id(), value }
    }

    fn is_here(&self) -> bool {
        self.thread == std::thread::current().id()
    }

    fn get(&self) -> Result<&T, c_int> {
        if self.is_here() { Ok(&self.value) } else { Err(libc::EPERM) }
    }
}

/// What ends `dapple_runtime_run`.
#[derive(Default)]
struct Stop {
    is_asked: AtomicBool,
    lock: Mutex<()>,
    told: Condvar,
}

impl Runtime {
    /// The runtime of an `event_base`, as `dapple.h` has it.
    pub(crate) fn of_base(owner: &Arc<Owner>) -> Runtime {
        let default_color = Color::new(owner.handle().default_color(), owner);
        let owner = Arc::clone(owner);
        Runtime { owner, default_color, workers: Workers::Base, stop: Stop::default() }
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
        if options.stall_ns > 0 {
            builder = builder
                .stall_after(Duration::from_nanos(options.stall_ns))
                .on_stall(tell_stall)
                .on_ticket_stall(tell_ticket);
        }
        let failed = |error: std::io::Error| number_of(&error);
        if options.flags & DAPPLE_HERE == 0 {
            let runtime = builder.build().map_err(failed)?;
            let owner = Owner::new(&runtime.handle(), None);
            let default_color = Color::new(runtime.handle().default_color(), &owner);
            let workers = Workers::Threads(runtime);
            return Ok(Runtime { owner, default_color, workers, stop: Stop::default() });
        }
        let here = builder.default_here(true).build_here().map_err(failed)?;
        let owner = Owner::new(&here.handle(), None);
        let default_color = Color::new_bound(here.handle().default_color(), &owner);
        let workers = Workers::Here(Box::new(OnThread::new(here)));
        Ok(Runtime { owner, default_color, workers, stop: Stop::default() })
    }

    /// Says whether a thread of the program's is its first worker.
    pub(super) fn has_thread(&self) -> bool {
        !matches!(self.workers, Workers::Threads(_))
    }

    /// The workers, for the thread that is the first one, outside of what cannot be suspended.
    fn here(&self) -> Result<&Here, c_int> {
        let Workers::Here(here) = &self.workers else { return Err(libc::EINVAL) };
        let here = here.get()?;
        match here.handle().current_worker().is_none() || is_suspendable() {
            true => Ok(here),
            false => Err(libc::EDEADLK),
        }
    }

    /// An error in a callback, which would wait for itself.
    fn check_outside(&self) -> Result<(), c_int> {
        match self.owner.handle().current_worker() {
            None => Ok(()),
            Some(_) => Err(libc::EDEADLK),
        }
    }

    fn run(&self) -> Result<(), c_int> {
        let is_asked = || self.stop.is_asked.swap(false, Ordering::Acquire);
        match &self.workers {
            Workers::Here(_) => self.here()?.run(is_asked),
            Workers::Base => return Err(libc::EINVAL),
            Workers::Threads(_) => {
                self.check_outside()?;
                let mut guard = self.stop.lock.lock().unwrap_or_else(PoisonError::into_inner);
                while !is_asked() {
                    let waited = self.stop.told.wait(guard);
                    guard = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        Ok(())
    }

    fn stop(&self) {
        self.stop.is_asked.store(true, Ordering::Release);
        match &self.workers {
            // Its thread looks before each turn: this is one.
            Workers::Here(_) => self.owner.handle().post_default(|_| {}),
            Workers::Base => {}
            Workers::Threads(_) => {
                let guard = self.stop.lock.lock().unwrap_or_else(PoisonError::into_inner);
                self.stop.told.notify_all();
                drop(guard);
            }
        }
    }

    fn wait_idle(&self) -> Result<(), c_int> {
        self.check_outside()?;
        match &self.workers {
            Workers::Here(here) => here.get()?.wait_idle(),
            Workers::Base => return Err(libc::EINVAL),
            Workers::Threads(runtime) => runtime.wait_idle(),
        }
        Ok(())
    }

    /// An error if it cannot be ended here.
    fn check_end(&self) -> Result<(), c_int> {
        self.check_outside()?;
        match &self.workers {
            Workers::Here(here) => here.get().map(|_| ()),
            Workers::Base => Err(libc::EINVAL),
            Workers::Threads(_) => Ok(()),
        }
    }

    /// Ends it, where [`check_end`](Self::check_end) has said that it may. True: all has run.
    fn end(self, limit: Duration) -> bool {
        let report = match self.workers {
            Workers::Here(here) => here.value.shutdown(limit),
            Workers::Threads(runtime) => runtime.shutdown(limit),
            Workers::Base => return true,
        };
        report.drained && report.dropped_events == 0
    }
}

/// Tells of a callback that runs too long.
fn tell_stall(stall: &StallReport<'_>) {
    let (label, time) = (stall.label.unwrap_or("none"), stall.running.as_millis());
    eprintln!("dapple: {}: a callback (label: {label}) takes more than {time} ms", stall.site);
}

/// Tells of an event of a domain for which others wait too long.
fn tell_ticket(stall: &TicketStall<'_>) {
    let (label, time) = (stall.label.unwrap_or("none"), stall.waiting.as_millis());
    let (site, ticket) = (stall.site, stall.ticket.number());
    eprintln!("dapple: {site}: ticket {ticket} (domain: {label}) has waited for {time} ms");
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
/// NULL: errno is EINVAL for options that do not exist, or what the system says of a thread or a
/// descriptor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_new(options: *const Options) -> *mut Runtime {
    pointer("dapple_runtime_new", || {
        // SAFETY: see `runtime`.
        let options = unsafe { read_options(options) }?;
        Ok(Box::into_raw(Box::new(Runtime::start(&options)?)))
    })
}

/// Ends a runtime, and frees it. What is queued runs, and what runs ends, for so many nanoseconds at
/// most; timers, descriptors and signals come no more. What is left is dropped.
///
/// 0: all has run. 1: something was dropped, or still runs. -1: it is as before; errno is EINVAL for
/// the runtime of an event_base, EDEADLK in a callback, EPERM on another thread than the one that
/// made it with DAPPLE_HERE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_free(runtime: *mut Runtime, limit_ns: u64) -> c_int {
    // SAFETY: see `runtime`.
    number("dapple_runtime_free", || unsafe {
        runtime.as_ref().ok_or(libc::EINVAL)?.check_end()?;
        let all_has_run = Box::from_raw(runtime).end(Duration::from_nanos(limit_ns));
        Ok(c_int::from(!all_has_run))
    })
}

/// Runs callbacks until dapple_runtime_stop is called, on the thread that made the runtime with
/// DAPPLE_HERE; in other runtimes, whose workers are threads of their own, waits until then.
///
/// 0: it was stopped. -1: errno is EINVAL for the runtime of an event_base, EPERM on another thread,
/// EDEADLK in a callback that cannot be suspended (see dapple_runtime_turn).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_run(runtime: *mut Runtime) -> c_int {
    // SAFETY: see `runtime`.
    answer("dapple_runtime_run", || unsafe { runtime.as_ref().ok_or(libc::EINVAL)?.run() })
}

/// Has dapple_runtime_run return, once; the next one if none runs. It may be called in callbacks and
/// on every thread, not in the handler of a signal.
///
/// 0: done. -1: errno is EINVAL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_stop(runtime: *mut Runtime) -> c_int {
    answer("dapple_runtime_stop", || {
        // SAFETY: see `runtime`.
        unsafe { runtime.as_ref() }.ok_or(libc::EINVAL)?.stop();
        Ok(())
    })
}

/// Looks at descriptors and timers, waits for them for so many nanoseconds if there is nothing to
/// run (0: not at all; -1: without limit), and runs what there is, for about 100 us. On the thread
/// that made the runtime with DAPPLE_HERE, for programs that have a loop of their own.
///
/// A callback of a color that is bound to the thread may call it: it is suspended meanwhile, and
/// other callbacks of that color may run.
///
/// How many callbacks, or turns of several of one color, have run; maybe none. -1: errno is EINVAL
/// for a runtime without DAPPLE_HERE, EPERM on another thread, EDEADLK in another callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_turn(runtime: *mut Runtime, timeout_ns: i64) -> c_int {
    number("dapple_runtime_turn", || {
        // SAFETY: see `runtime`.
        let here = unsafe { runtime.as_ref() }.ok_or(libc::EINVAL)?.here()?;
        let until = |ns| Instant::now().checked_add(Duration::from_nanos(ns)).map(Turn::Until);
        let turn = match u64::try_from(timeout_ns) {
            Ok(0) => Turn::Poll,
            Ok(ns) => until(ns).unwrap_or(Turn::Block),
            Err(_) => Turn::Block,
        };
        Ok(c_int::try_from(here.turn(turn, usize::MAX)).unwrap_or(c_int::MAX))
    })
}

/// Waits until no callback runs or is queued; armed timers and quiet descriptors do not count. The
/// thread that made a runtime with DAPPLE_HERE runs callbacks meanwhile.
///
/// 0: so it was. -1: errno is EINVAL for the runtime of an event_base, EDEADLK in a callback, EPERM
/// on another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_wait_idle(runtime: *mut Runtime) -> c_int {
    // SAFETY: see `runtime`.
    answer("dapple_runtime_wait_idle", || unsafe {
        runtime.as_ref().ok_or(libc::EINVAL)?.wait_idle()
    })
}

/// The descriptor that is readable when dapple_runtime_turn has something to do, for another loop to
/// wait for beside dapple_runtime_deadline_ns. It is the runtime's: neither read nor close it.
///
/// -1: errno is EINVAL for a runtime without DAPPLE_HERE, EPERM on another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_poll_fd(runtime: *mut Runtime) -> c_int {
    number("dapple_runtime_poll_fd", || {
        // SAFETY: see `runtime`.
        let runtime = unsafe { runtime.as_ref() }.ok_or(libc::EINVAL)?;
        let Workers::Here(here) = &runtime.workers else { return Err(libc::EINVAL) };
        here.get()?.poll_fd().map(|fd| fd.as_raw_fd()).ok_or(libc::EINVAL)
    })
}

/// In how many nanoseconds the next dapple_runtime_turn is due at the latest; 0: now; -1: when the
/// descriptor becomes readable, or the runtime has no DAPPLE_HERE or is another thread's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_deadline_ns(runtime: *mut Runtime) -> i64 {
    door("dapple_runtime_deadline_ns", || {
        // SAFETY: see `runtime`.
        let Some(runtime) = (unsafe { runtime.as_ref() }) else { return -1 };
        let Workers::Here(here) = &runtime.workers else { return -1 };
        let deadline = here.get().ok().and_then(Here::next_deadline);
        deadline.map_or(-1, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            i64::try_from(left.as_nanos()).unwrap_or(i64::MAX)
        })
    })
}

/// How many workers a runtime has. -1: errno is EINVAL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_workers(runtime: *mut Runtime) -> c_int {
    number("dapple_runtime_workers", || {
        // SAFETY: see `runtime`.
        let runtime = unsafe { runtime.as_ref() }.ok_or(libc::EINVAL)?;
        Ok(runtime.owner.handle().workers() as c_int)
    })
}

/// The figures of a runtime as Prometheus reads them, a string to be freed with free(). NULL: errno
/// is EINVAL for NULL, ENOMEM if there is no memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_metrics(runtime: *mut Runtime) -> *mut c_char {
    pointer("dapple_runtime_metrics", || {
        // SAFETY: see `runtime`.
        let runtime = unsafe { runtime.as_ref() }.ok_or(libc::EINVAL)?;
        malloc_text(&runtime.owner.handle().metrics().to_prometheus())
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
