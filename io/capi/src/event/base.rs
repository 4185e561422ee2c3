//! A base: its events, sorted by what they wait for, and the progress of its loop.
//!
//! One lock protects the whole state. It is released while a function of the program runs. Events
//! are memory of the program, which must not move or free an event between `event_add` and its
//! deletion, as libevent demands. `BaseState::current` names the callback that the loop runs. A
//! deletion of that event on another thread waits until the callback has returned.

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

/// The `EVENT_BASE_FLAG_*` that have an effect here.
pub(super) const FLAG_IGNORE_ENV: c_int = 0x02;
pub(super) const FLAG_NO_CACHE_TIME: c_int = 0x08;
pub(super) const FLAG_PRECISE_TIMER: c_int = 0x20;

const _: () = assert!(align_of::<Base>() <= align_of::<libc::max_align_t>());

/// The limit on the number of priorities, which must stay below it.
pub(super) const MOST_PRIORITIES: usize = 256;

/// Returns the base at a pointer if it is one of ours, and warns if it is one of libevent's.
///
/// It is for functions that libevent does not have: a program may have been linked so that its
/// bases are libevent's. Returns `None` for null and for a base of libevent's.
///
/// # Safety
///
/// `base` is null, or leads to a live base of ours or of libevent's.
pub(super) unsafe fn of_ours<'a>(base: *const Base, call: &str) -> Option<&'a Base> {
    // SAFETY: the caller guarantees that `base` is null or leads to a live base.
    let ours = unsafe { if_ours(base) };
    if ours.is_none() && !base.is_null() {
        warn(&format!(
            "{call}: the event_base is libevent's own: link -ldapple_event before -levent"
        ));
    }
    ours
}

/// Returns the base at a pointer, or `None` if it is null or a base of libevent's.
///
/// # Safety
///
/// `base` is null, or leads to a live base of ours or of libevent's.
pub(super) unsafe fn if_ours<'a>(base: *const Base) -> Option<&'a Base> {
    // SAFETY: the caller guarantees that a non-null `base` leads to a live base. Every base,
    // libevent's too, is larger than the number that is read here. Only a base of ours starts with
    // `MAGIC`.
    unsafe {
        match base.is_null() || base.cast::<u64>().read() != MAGIC {
            true => None,
            false => base.as_ref(),
        }
    }
}

/// Returns the base at a pointer, or `None` if it is null or that base is one of the last freed.
///
/// # Safety
///
/// `base` is null, or leads to a base that is live or is still listed in `FREED`.
#[inline]
pub(super) unsafe fn unless_freed<'a>(base: *const Base) -> Option<&'a Base> {
    let is_freed = NEWEST.load(Ordering::Relaxed) != base as usize && was_freed(base);
    // SAFETY: the base is not among the freed ones, so by the caller's guarantee it is null or
    // live.
    if is_freed { None } else { unsafe { base.as_ref() } }
}

fn was_freed(base: *const Base) -> bool {
    let is_it = |freed: &AtomicUsize| freed.load(Ordering::Acquire) == base as usize;
    GONE.load(Ordering::Acquire) > 0 && FREED.iter().any(is_it)
}

/// The base of functions that take none: the one that `event_init` made last. It has the name of
/// libevent's own variable, so code that reads that variable reads this one.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "it is libevent's name")]
static event_global_current_base_: AtomicPtr<Base> = AtomicPtr::new(null_mut());

/// The first field of every base of ours, by which it is told from a base of libevent's.
const MAGIC: u64 = 0x6461_7070_6c65_0201;

/// The addresses of the last 8 bases that were freed; 0 marks an empty entry. Programs delete
/// events after their base was freed, which libevent forgives.
static FREED: [AtomicUsize; 8] = [const { AtomicUsize::new(0) }; 8];

/// The number of bases that have been freed.
static GONE: AtomicUsize = AtomicUsize::new(0);

/// The address of the base that was made last, until it is freed; 0 if there is none.
static NEWEST: AtomicUsize = AtomicUsize::new(0);

/// `struct event_base`.
#[repr(C)]
pub(crate) struct Base {
    magic: u64,
    pub(super) wishes: Wishes,
    /// The `thread_token` of the thread that runs the loop; 0 if no thread does.
    looping: AtomicUsize,
    /// An event of this base has, or once had, a color.
    has_colors: AtomicBool,
    state: Mutex<BaseState>,
    /// Notified when a callback has returned while threads wait for that.
    pub(super) returned: Condvar,
}

/// The requests to the loop, which are read and written without the lock.
#[derive(Default)]
pub(super) struct Wishes {
    pub(super) ends: AtomicBool,
    pub(super) breaks: AtomicBool,
    pub(super) continues: AtomicBool,
}

/// Returns a number that tells threads apart. Signal handlers may call it.
#[inline]
fn thread_token() -> usize {
    thread_local!(static TOKEN: u8 = const { 0 });
    TOKEN.with(|token| std::ptr::from_ref(token) as usize)
}

/// The state of a base, which its lock protects.
pub(super) struct BaseState {
    /// The base that has this state.
    pub(super) own_base: *mut Base,
    pub(super) poller: Poller,
    pub(super) fds: Table,
    pub(super) signals: Table,
    pub(super) signal_pipe: Option<SignalPipe>,
    pub(super) timeouts: Heap,
    /// The lists of common timeouts. They are boxes, because events and programs point to them.
    pub(super) commons: Vec<*mut Common>,
    /// The active callbacks, one queue for each priority.
    pub(super) active: Vec<Queue>,
    /// The callbacks that become active when the loop begins its next round.
    pub(super) later: Queue,
    /// The number of callbacks in `active` and `later`.
    pub(super) active_count: usize,
    /// The number of `STANDS` flags that are set on events which are not internal, and the maximum.
    pub(super) event_count: Counted,
    pub(super) active_events: Counted,
    /// The number of further reasons to keep the loop running, which upper layers add and remove.
    pub(super) virtual_events: Counted,
    /// The callback that the loop runs; null if it runs none.
    pub(super) current: *mut Callback,
    /// The argument of the running callback if that may be a bufferevent; otherwise 0.
    pub(super) current_argument: usize,
    /// The argument of the running callback, which may be a listener, and its descriptor.
    pub(super) current_listener: (usize, c_int),
    /// The priority of the running callback.
    pub(super) running_priority: Option<u8>,
    /// The number of threads that wait for a running callback to return.
    pub(super) waiters: usize,
    /// The number of deferred callbacks that were activated in this round of the loop.
    pub(super) deferred: usize,
    pub(super) is_running: bool,
    /// The thread that runs the loop.
    pub(super) thread: Option<ThreadId>,
    /// The wakeup of the loop, made when it is first needed.
    pub(super) notify: Option<Notifier>,
    pub(super) time: Option<Timeval>,
    pub(super) wall_offset: Timeval,
    pub(super) config: Limits,
    /// The events of `event_base_once` that have not fired.
    pub(super) once: Vec<*mut Event>,
    pub(super) ready: Vec<Ready>,
    /// The runtime, which starts with the first color.
    pub(super) workers: Option<Arc<Workers>>,
    /// The number of workers that the program asks for; `None` for the default.
    pub(super) wanted_workers: Option<usize>,
    /// The data about events and callbacks with a color, by their addresses.
    pub(super) colored: HashMap<usize, Colored>,
    pub(super) ties: Ties,
    /// The active callbacks that were posted to their color and have not begun, in that order.
    pub(super) posted: InOrder,
    /// The base is about to be freed.
    pub(super) is_ending: bool,
    pub(super) garbage: Garbage,
    /// The last number given to an addition or deletion of an event with a color, and to a run of
    /// its callback.
    pub(super) generations: u64,
    pub(super) runs: u64,
    /// The callbacks with a color that run now.
    pub(super) running: Vec<Run>,
    /// The loop returns once callbacks have run (`EVLOOP_ONCE`).
    pub(super) is_once: bool,
    /// The time, in seconds, at which `wall_offset` was last computed.
    wall_seen: i64,
}

/// A current number and the maximum that it has reached.
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

/// The wakeup of the loop from another thread.
pub(super) struct Notifier {
    pub(super) bell: Bell,
    /// The bell was rung, and the loop has not yet heard it.
    pub(super) is_pending: bool,
}

/// The limits and flags that a configuration sets for the loop.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) flags: c_int,
    /// The callbacks that run, and the time that passes, before the loop looks at descriptors
    /// again. Both apply from priority `from_priority` on.
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

// SAFETY: the targets of its pointers are used only under its lock, or by the thread that runs its
// loop.
unsafe impl Send for Base {}
// SAFETY: all that other threads can reach is atomic or under the lock; for its pointers see
// `Send`.
unsafe impl Sync for Base {}

impl Base {
    /// Makes a base, in memory from the allocator that the program has given to libevent.
    ///
    /// Returns null if there is no memory, or if the system refuses the poller.
    pub(super) fn make(method: Method, config: Limits) -> *mut Base {
        let Some(base) = Base::new(method, config) else { return null_mut() };
        let memory = allocate(size_of::<Base>()).cast::<Base>();
        // The memory may be that of a freed base, which must no longer count as freed.
        for freed in &FREED {
            let own = memory as usize;
            let _ = freed.compare_exchange(own, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
        if !memory.is_null() {
            // SAFETY: the memory is fresh, is large enough for a base, and has the alignment of
            // malloc, which suffices (asserted at the top of this file).
            unsafe {
                memory.write(base);
                (*memory).lock().own_base = memory;
            }
            NEWEST.store(memory as usize, Ordering::Relaxed);
        }
        memory
    }

    /// Drops a base and frees its memory.
    ///
    /// # Safety
    ///
    /// `base` is from [`make`](Self::make), and is not used again.
    pub(super) unsafe fn destroy(base: *mut Base) {
        // SAFETY: the caller guarantees that the base is live and is not used again.
        unsafe {
            std::ptr::drop_in_place(base);
            // A caller that has an outdated pointer may still read this field.
            (*base).magic = 0;
        }
        // This precedes `free`: after that, another thread may get the memory and make a base in
        // it.
        let own = base as usize;
        let _ = NEWEST.compare_exchange(own, 0, Ordering::Relaxed, Ordering::Relaxed);
        let at = GONE.fetch_add(1, Ordering::AcqRel) % FREED.len();
        FREED[at].store(own, Ordering::Release);
        // SAFETY: `make` got the memory from `allocate`, and the caller guarantees that nobody uses
        // it again.
        unsafe { free(base.cast()) };
    }

    fn new(method: Method, config: Limits) -> Option<Base> {
        let state = BaseState {
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

    /// Returns `true` if the calling thread runs the loop.
    pub(super) fn is_looping_here(&self) -> bool {
        self.looping.load(Ordering::Relaxed) == thread_token()
    }

    /// Returns `true` if no other thread runs callbacks of this base.
    ///
    /// Then the callback of an event that is neither pending nor active does not run, and need not
    /// be waited for.
    #[inline]
    pub(super) fn is_of_this_thread(&self) -> bool {
        // Acquire pairs with the release store in `set_looping`: after a loop has ended, its
        // changes to events are visible here. The load of `has_colors` pairs with the store in
        // `use_colors`.
        let looping = self.looping.load(Ordering::Acquire);
        (looping == 0 || looping == thread_token()) && !self.has_colors.load(Ordering::Acquire)
    }

    /// Notes that events of this base may have colors from now on.
    pub(super) fn use_colors(&self) {
        self.has_colors.store(true, Ordering::Release);
    }

    /// Records that the calling thread runs the loop, or that no thread does.
    pub(super) fn set_looping(&self, loops: Loops) {
        let token = if loops == Loops::Here { thread_token() } else { 0 };
        self.looping.store(token, Ordering::Release);
    }

    #[inline]
    pub(super) fn lock(&self) -> Locked<'_> {
        let guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { mutex: &self.state, guard: Some(guard) }
    }

    /// Waits until the callback has returned, that is until `runs` returns `false`.
    pub(super) fn wait_for_return<'a>(
        &'a self,
        mut state: Locked<'a>,
        runs: impl Fn(&mut BaseState) -> bool,
    ) -> Locked<'a> {
        while runs(&mut state) {
            state.waiters += 1;
            state = state.wait(&self.returned);
            state.waiters -= 1;
        }
        state
    }
}

/// Where the loop runs, for [`Base::set_looping`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Loops {
    Here,
    Nowhere,
}

/// The locked state of a base. Its drop releases the lock, and then drops what has become garbage.
pub(super) struct Locked<'a> {
    mutex: &'a Mutex<BaseState>,
    /// `None` while the lock is released.
    guard: Option<MutexGuard<'a, BaseState>>,
}

impl Locked<'_> {
    /// Waits for a notification of `told`.
    ///
    /// If there is garbage, it is dropped without the lock instead, and this returns without
    /// waiting. The caller's loop then tests its condition again.
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
    type Target = BaseState;
    fn deref(&self) -> &BaseState {
        self.guard.as_ref().expect("the guard is present until the drop")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut BaseState {
        self.guard.as_mut().expect("the guard is present until the drop")
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

/// Returns `base`, or the current base if it is null.
pub(super) fn or_current(base: *mut Base) -> *mut Base {
    match base.is_null() {
        true => event_global_current_base_.load(Ordering::Acquire),
        false => base,
    }
}

pub(super) fn set_current(base: *mut Base) {
    event_global_current_base_.store(base, Ordering::Release);
}

/// Clears the current base if it is this one, which is being freed.
pub(super) fn forget_current(base: *mut Base) {
    let _ = event_global_current_base_.compare_exchange(
        base,
        null_mut(),
        Ordering::AcqRel,
        Ordering::Acquire,
    );
}

impl BaseState {
    /// Returns the time that is kept for this round of the loop, or else reads the clock.
    pub(super) fn now(&mut self) -> Timeval {
        if let Some(time) = self.time {
            return time;
        }
        time::now(self.config.precision())
    }

    /// Reads the clock, and keeps that time until the loop waits again.
    pub(super) fn keep_time(&mut self) {
        self.time = None;
        if self.config.flags & FLAG_NO_CACHE_TIME == 0 {
            self.time = Some(time::now(self.config.precision()));
        }
        // Every 5 s: the time of day may be set, and it goes on while the machine sleeps.
        if let Some(now) = self.time
            && now.tv_sec - self.wall_seen >= 5
        {
            self.wall_seen = now.tv_sec;
            self.wall_offset = time::subtract(time::wall(), now);
        }
    }

    /// Returns `true` if the calling thread runs the loop, or if no thread does.
    pub(super) fn is_in_loop_thread(&self) -> bool {
        self.thread.is_none_or(|thread| thread == std::thread::current().id())
    }

    /// Returns `true` if there is a reason for the loop to go on, apart from active callbacks.
    pub(super) fn has_events(&self) -> bool {
        let is_posted = self.workers.as_ref().is_some_and(|workers| workers.posted.count() > 0);
        is_posted
            || self.virtual_events.now > 0
            || self.event_count.now > 0
            || !self.running.is_empty()
    }

    /// Returns the number of callbacks with a color that have run, and of posts that have ended.
    pub(super) fn colored_runs(&self) -> u64 {
        let posted = self.workers.as_ref().map_or(0, |workers| workers.posted.over());
        self.runs.wrapping_add(posted)
    }

    fn count(&mut self, callback: &Callback, n: i32) {
        if !callback.has(flags::INTERNAL) {
            self.event_count.add(n);
        }
    }

    /// Sets the flag that says where the event or callback stands, and counts it.
    pub(super) fn set_flag(&mut self, callback: &mut Callback, flag: c_short) {
        self.count(callback, 1);
        callback.flags |= flag;
    }

    /// Clears the flag that says where the event or callback stands, and counts it.
    pub(super) fn clear_flag(&mut self, callback: &mut Callback, flag: c_short) {
        self.count(callback, -1);
        callback.flags &= !flag;
    }

    /// Asks the poller for what the events of a descriptor wait for now.
    pub(super) fn change(&mut self, fd: c_int, before: Wanted) -> Result<(), c_int> {
        let after = self.fds.get(fd).map(super::fds::Slot::wanted).unwrap_or_default();
        self.poller.change(fd, before, after)
    }
}
