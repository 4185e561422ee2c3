//! A base: its events, by what they wait for, and how far its loop is.
//!
//! All of it is under one lock, which is given up while a program's function runs. The events are
//! the program's memory: it keeps each where it is from `event_add` until it has been deleted, as
//! libevent demands. What the loop runs stands in `current`; a deletion of that on another thread
//! waits until it has returned.

use std::collections::HashMap;
use std::ffi::{c_int, c_short};
use std::ops::{Deref, DerefMut};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use super::bell::Bell;
use super::colored::{Colored, Garbage, Run};
use super::common::Common;
use super::fds::{Table, Wanted};
use super::heap::Heap;
use super::in_order::InOrder;
use super::layout::{Callback, Event, Timeval, flags};
use super::libevent::{allocate, free, warn};
use super::list::Queue;
use super::poller::{Method, Poller, Ready};
use super::signals::SignalPipe;
use super::tied::Ties;
use super::time::{self, Precision};
use super::workers::Workers;

/// `EVENT_BASE_FLAG_*`, as far as they mean something here.
pub(super) const FLAG_IGNORE_ENV: c_int = 0x02;
pub(super) const FLAG_NO_CACHE_TIME: c_int = 0x08;
pub(super) const FLAG_PRECISE_TIMER: c_int = 0x20;

const _: () = assert!(align_of::<Base>() <= align_of::<libc::max_align_t>());

/// Priorities, at most.
pub(super) const MOST_PRIORITIES: usize = 256;

/// The base that a pointer leads to, for functions that libevent does not have: a program may have
/// been linked so that its bases are libevent's. `None`: it is null, or such a base, which is said.
///
/// # Safety
///
/// It is null, or leads to a base, of ours or of libevent's.
pub(super) unsafe fn of_ours<'a>(base: *const Base, call: &str) -> Option<&'a Base> {
    // SAFETY: the caller says so.
    let ours = unsafe { if_ours(base) };
    if ours.is_none() && !base.is_null() {
        warn(&format!(
            "{call}: the event_base is libevent's own: link -ldapple_event before -levent"
        ));
    }
    ours
}

/// The base that a pointer leads to; `None`: it is null, or a base of libevent's.
///
/// # Safety
///
/// It is null, or leads to a base, of ours or of libevent's.
pub(super) unsafe fn if_ours<'a>(base: *const Base) -> Option<&'a Base> {
    // SAFETY: the caller says so; a base of libevent's is larger than the number.
    unsafe {
        match base.is_null() || base.cast::<u64>().read() != MAGIC {
            true => None,
            false => base.as_ref(),
        }
    }
}

/// The base of an event; `None`: it has none, or one that has been freed.
///
/// # Safety
///
/// It is null, or leads to a base, which may have been freed not long ago.
#[inline]
pub(super) unsafe fn unless_freed<'a>(base: *const Base) -> Option<&'a Base> {
    let is_freed = NEWEST.load(Ordering::Relaxed) != base as usize && was_freed(base);
    // SAFETY: the caller says so.
    if is_freed { None } else { unsafe { base.as_ref() } }
}

fn was_freed(base: *const Base) -> bool {
    let is_it = |freed: &AtomicUsize| freed.load(Ordering::Acquire) == base as usize;
    GONE.load(Ordering::Acquire) > 0 && FREED.iter().any(is_it)
}

/// The base of functions that name none: what `event_init` has made last. By the name of libevent's
/// own, so that a reader of that reads this.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "it is libevent's name")]
static event_global_current_base_: AtomicPtr<Base> = AtomicPtr::new(null_mut());

/// What a base begins with.
const MAGIC: u64 = 0x6461_7070_6c65_0201;

/// The bases that were freed last, by their addresses: programs delete events after their base,
/// which libevent forgives. 0: none.
static FREED: [AtomicUsize; 8] = [const { AtomicUsize::new(0) }; 8];

/// How many bases have been freed.
static GONE: AtomicUsize = AtomicUsize::new(0);

/// The base that was made last, by its address, while it is there. 0: none.
static NEWEST: AtomicUsize = AtomicUsize::new(0);

/// `struct event_base`.
#[repr(C)]
pub(crate) struct Base {
    magic: u64,
    pub(super) wishes: Wishes,
    /// The thread that runs the loop, by what `thread_token` says; 0: none.
    looping: AtomicUsize,
    /// An event of it has, or had, a color.
    has_colors: AtomicBool,
    state: Mutex<State>,
    /// What the loop ran has returned.
    pub(super) returned: Condvar,
}

/// What the loop has been told, which is read without the lock.
#[derive(Default)]
pub(super) struct Wishes {
    pub(super) ends: AtomicBool,
    pub(super) breaks: AtomicBool,
    pub(super) continues: AtomicBool,
}

/// What tells threads apart; it may be asked for in the handler of a signal.
#[inline]
fn thread_token() -> usize {
    thread_local!(static TOKEN: u8 = const { 0 });
    TOKEN.with(|token| std::ptr::from_ref(token) as usize)
}

/// See the module.
pub(super) struct State {
    /// The base that this is the state of.
    pub(super) own_base: *mut Base,
    pub(super) poller: Poller,
    pub(super) fds: Table,
    pub(super) signals: Table,
    pub(super) signal_pipe: Option<SignalPipe>,
    pub(super) timeouts: Heap,
    /// Boxes, as events and programs point to them.
    pub(super) commons: Vec<*mut Common>,
    /// What is active, by priority.
    pub(super) active: Vec<Queue>,
    /// What becomes active when the loop comes round.
    pub(super) later: Queue,
    /// How many are active, now or later.
    pub(super) active_count: usize,
    /// How often events stand somewhere, but for internal ones; and the most there were.
    pub(super) event_count: Counted,
    pub(super) active_events: Counted,
    /// What keeps the loop running besides.
    pub(super) virtual_events: Counted,
    /// What runs now; null: nothing.
    pub(super) current: *mut Callback,
    /// The argument of what runs, if it may be a bufferevent; 0: it is not.
    pub(super) current_argument: usize,
    /// The argument of what runs, if it may be a listener, and its descriptor.
    pub(super) current_listener: (usize, c_int),
    /// The priority of what runs.
    pub(super) running_priority: Option<u8>,
    /// Threads that wait for it to return.
    pub(super) waiters: usize,
    /// Deferred callbacks that have been activated in this round of the loop.
    pub(super) deferred: usize,
    pub(super) is_running: bool,
    /// The thread of the loop.
    pub(super) thread: Option<ThreadId>,
    /// What wakes the loop; made when it is first needed.
    pub(super) notify: Option<Notifier>,
    pub(super) time: Option<Timeval>,
    pub(super) wall_offset: Timeval,
    pub(super) config: Limits,
    /// What `event_base_once` has made, and has not fired.
    pub(super) once: Vec<*mut Event>,
    pub(super) ready: Vec<Ready>,
    /// The runtime, if there is a color.
    pub(super) workers: Option<Arc<Workers>>,
    /// How many workers it is to have; `None`: one per core.
    pub(super) wanted_workers: Option<usize>,
    /// What is known of events that have a color, by their addresses.
    pub(super) colored: HashMap<usize, Colored>,
    pub(super) ties: Ties,
    /// What is active, was posted to its color, and has not begun.
    pub(super) posted: InOrder,
    /// It is about to be freed.
    pub(super) is_ending: bool,
    pub(super) garbage: Garbage,
    /// Numbers of additions and deletions of events with colors, and of runs of their callbacks.
    pub(super) generations: u64,
    pub(super) runs: u64,
    /// Callbacks with colors that run now.
    pub(super) running: Vec<Run>,
    /// The loop ends when something has run.
    pub(super) is_once: bool,
    /// When the offset of the time of day was last looked at.
    wall_seen: i64,
}

/// How much there is, and the most that there was.
#[derive(Clone, Copy, Default)]
pub(super) struct Counted {
    pub(super) now: i32,
    pub(super) most: i32,
}

impl Counted {
    pub(super) fn add(&mut self, n: i32) {
        self.now += n;
        self.most = self.most.max(self.now);
    }
}

/// What wakes the loop from another thread.
pub(super) struct Notifier {
    pub(super) bell: Bell,
    /// It was rung, and the loop has not heard it.
    pub(super) is_pending: bool,
}

/// What a configuration says about the loop.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) flags: c_int,
    /// Callbacks of one round of the loop, and the time after which descriptors are looked at
    /// again, for priorities from this one on.
    pub(super) callbacks: usize,
    pub(super) interval: Option<Timeval>,
    pub(super) from_priority: c_int,
}

impl Limits {
    pub(super) fn precision(self) -> Precision {
        match self.flags & FLAG_PRECISE_TIMER {
            0 => Precision::Coarse,
            _ => Precision::Fine,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits { flags: 0, callbacks: usize::MAX, interval: None, from_priority: 1 }
    }
}

// SAFETY: what its pointers lead to is used under its lock, or by the thread that runs the loop.
unsafe impl Send for Base {}
// SAFETY: see above.
unsafe impl Sync for Base {}

impl Base {
    /// A base in memory from where the program has told libevent to get it; null: there is none, or
    /// the system refuses the poller.
    pub(super) fn make(method: Method, config: Limits) -> *mut Base {
        let Some(base) = Base::new(method, config) else { return null_mut() };
        let memory = allocate(size_of::<Base>()).cast::<Base>();
        // It may be where one was that has been freed.
        for freed in &FREED {
            let own = memory as usize;
            let _ = freed.compare_exchange(own, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
        if !memory.is_null() {
            // SAFETY: the memory is fresh, and as large and as aligned as malloc has it.
            unsafe {
                memory.write(base);
                (*memory).lock().own_base = memory;
            }
            NEWEST.store(memory as usize, Ordering::Relaxed);
        }
        memory
    }

    /// Ends a base, and gives its memory back.
    ///
    /// # Safety
    ///
    /// It is from [`make`](Self::make), and not used again.
    pub(super) unsafe fn destroy(base: *mut Base) {
        // SAFETY: the caller says so.
        unsafe {
            std::ptr::drop_in_place(base);
            // Later callers may look at this.
            (*base).magic = 0;
        }
        // Before the memory is another thread's, which may make a base of it.
        let own = base as usize;
        let _ = NEWEST.compare_exchange(own, 0, Ordering::Relaxed, Ordering::Relaxed);
        let at = GONE.fetch_add(1, Ordering::AcqRel) % FREED.len();
        FREED[at].store(own, Ordering::Release);
        // SAFETY: the caller says so.
        unsafe { free(base.cast()) };
    }

    fn new(method: Method, config: Limits) -> Option<Base> {
        let state = State {
            own_base: null_mut(),
            poller: Poller::new(method)?,
            fds: Table::default(),
            signals: Table::default(),
            signal_pipe: None,
            timeouts: Heap::default(),
            commons: Vec::new(),
            active: vec![Queue::new()],
            later: Queue::new(),
            active_count: 0,
            event_count: Counted::default(),
            active_events: Counted::default(),
            virtual_events: Counted::default(),
            current: null_mut(),
            current_argument: 0,
            current_listener: (0, -1),
            running_priority: None,
            waiters: 0,
            deferred: 0,
            is_running: false,
            thread: None,
            notify: None,
            time: None,
            wall_offset: time::subtract(time::wall(), time::now(config.precision())),
            config,
            once: Vec::new(),
            ready: Vec::new(),
            workers: None,
            wanted_workers: None,
            colored: HashMap::new(),
            ties: Ties::default(),
            posted: InOrder::default(),
            is_ending: false,
            garbage: Garbage::default(),
            generations: 0,
            runs: 0,
            running: Vec::new(),
            is_once: false,
            wall_seen: 0,
        };
        let looping = AtomicUsize::new(0);
        Some(Base {
            magic: MAGIC,
            wishes: Wishes::default(),
            looping,
            has_colors: AtomicBool::new(false),
            state: Mutex::new(state),
            returned: Condvar::new(),
        })
    }

    /// Says whether the calling thread runs the loop.
    pub(super) fn is_looping_here(&self) -> bool {
        self.looping.load(Ordering::Relaxed) == thread_token()
    }

    /// Says whether no other thread runs callbacks of this base: what stands nowhere does not run,
    /// and need not be waited for.
    #[inline]
    pub(super) fn is_of_this_thread(&self) -> bool {
        // Acquire: what another loop has done to events is seen when it has ended.
        let looping = self.looping.load(Ordering::Acquire);
        (looping == 0 || looping == thread_token()) && !self.has_colors.load(Ordering::Acquire)
    }

    /// Events may have colors from now on.
    pub(super) fn use_colors(&self) {
        self.has_colors.store(true, Ordering::Release);
    }

    /// The calling thread runs the loop from now on, or nobody does.
    pub(super) fn set_looping(&self, loops: Loops) {
        let token = if loops == Loops::Here { thread_token() } else { 0 };
        self.looping.store(token, Ordering::Release);
    }

    #[inline]
    pub(super) fn lock(&self) -> Locked<'_> {
        let guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { mutex: &self.state, guard: Some(guard) }
    }

    /// Waits until what runs has returned, as `runs` says.
    pub(super) fn wait_for_return<'a>(
        &'a self,
        mut state: Locked<'a>,
        runs: impl Fn(&mut State) -> bool,
    ) -> Locked<'a> {
        while runs(&mut state) {
            state.waiters += 1;
            state = state.wait(&self.returned);
            state.waiters -= 1;
        }
        state
    }
}

/// Who runs the loop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Loops {
    Here,
    Nowhere,
}

/// The state of a base, locked. What has become garbage is dropped when the lock has been left.
pub(super) struct Locked<'a> {
    mutex: &'a Mutex<State>,
    /// `None`: it is given up.
    guard: Option<MutexGuard<'a, State>>,
}

impl Locked<'_> {
    /// Waits until the condition is told; or not at all, if that was not possible at once.
    fn wait(mut self, told: &Condvar) -> Self {
        let Some(mut guard) = self.guard.take() else { return self };
        let garbage = std::mem::take(&mut guard.garbage);
        let (mutex, is_clean) = (self.mutex, garbage.is_empty());
        let guard = match is_clean {
            true => told.wait(guard),
            false => {
                drop(guard);
                drop(garbage);
                mutex.lock()
            }
        };
        Locked { mutex, guard: Some(guard.unwrap_or_else(PoisonError::into_inner)) }
    }
}

impl Deref for Locked<'_> {
    type Target = State;
    fn deref(&self) -> &State {
        self.guard.as_ref().expect("it is locked until it is dropped")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.guard.as_mut().expect("it is locked until it is dropped")
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(mut guard) = self.guard.take()
            && !guard.garbage.is_empty()
        {
            let garbage = std::mem::take(&mut guard.garbage);
            drop(guard);
            drop(garbage);
        }
    }
}

/// The base that is meant by a pointer that may be null.
pub(super) fn or_current(base: *mut Base) -> *mut Base {
    match base.is_null() {
        true => event_global_current_base_.load(Ordering::Acquire),
        false => base,
    }
}

pub(super) fn set_current(base: *mut Base) {
    event_global_current_base_.store(base, Ordering::Release);
}

/// The base is freed: nobody means it by naming none.
pub(super) fn forget_current(base: *mut Base) {
    let _ = event_global_current_base_.compare_exchange(
        base,
        null_mut(),
        Ordering::AcqRel,
        Ordering::Acquire,
    );
}

impl State {
    /// Now, as often as it is asked for in one round of the loop the same.
    pub(super) fn now(&mut self) -> Timeval {
        if let Some(time) = self.time {
            return time;
        }
        time::now(self.config.precision())
    }

    /// Keeps the time until the loop waits again.
    pub(super) fn keep_time(&mut self) {
        self.time = None;
        if self.config.flags & FLAG_NO_CACHE_TIME == 0 {
            self.time = Some(time::now(self.config.precision()));
        }
        // The time of day may be set, and goes on while the machine sleeps.
        if let Some(now) = self.time
            && now.tv_sec - self.wall_seen >= 5
        {
            self.wall_seen = now.tv_sec;
            self.wall_offset = time::subtract(time::wall(), now);
        }
    }

    /// Says whether the thread that asks runs the loop, or nobody does.
    pub(super) fn is_in_loop_thread(&self) -> bool {
        self.thread.is_none_or(|thread| thread == std::thread::current().id())
    }

    /// Says whether something is there for which the loop goes on.
    pub(super) fn has_events(&self) -> bool {
        let is_posted = self.workers.as_ref().is_some_and(|workers| workers.posted.count() > 0);
        is_posted
            || self.virtual_events.now > 0
            || self.event_count.now > 0
            || !self.running.is_empty()
    }

    /// How often something with a color has run.
    pub(super) fn colored_runs(&self) -> u64 {
        let posted = self.workers.as_ref().map_or(0, |workers| workers.posted.over());
        self.runs.wrapping_add(posted)
    }

    fn count(&mut self, callback: &Callback, n: i32) {
        if !callback.has(flags::INTERNAL) {
            self.event_count.add(n);
        }
    }

    /// It stands somewhere from now on, as its flag says.
    pub(super) fn enter(&mut self, callback: &mut Callback, flag: c_short) {
        self.count(callback, 1);
        callback.flags |= flag;
    }

    /// It does not any more.
    pub(super) fn leave(&mut self, callback: &mut Callback, flag: c_short) {
        self.count(callback, -1);
        callback.flags &= !flag;
    }

    /// Asks the system for what the events of a descriptor want now.
    pub(super) fn change(&mut self, fd: c_int, before: Wanted) -> Result<(), c_int> {
        let after = self.fds.get(fd).map(super::fds::Slot::wanted).unwrap_or_default();
        self.poller.change(fd, before, after)
    }
}
