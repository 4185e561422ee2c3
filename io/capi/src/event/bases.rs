//! The exported functions of bases and configurations, also those of `event_compat.h`.
//!
//! Their safety rules are in [`events`](super::events). A configuration is null, or one from
//! `event_config_new` that has not been freed.

#![allow(clippy::missing_safety_doc, reason = "the header of `events` states the safety rules")]

use std::ffi::{CStr, c_char, c_int, c_short, c_void};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::base::{
    Base, BaseState, FLAG_IGNORE_ENV, FLAG_PRECISE_TIMER, Limits, MOST_PRIORITIES, Wishes,
    forget_current, or_current, set_current,
};
use super::common::plain;
use super::core::{Even, event_of};
use super::debug;
use super::events::event_base_once;
use super::fds::Wanted;
use super::inspect::all_events;
use super::layout::{Callback, EV_ET, EV_IO, EV_TIMEOUT, Event, Timeval, closure, flags};
use super::libevent::{check_version, fatal, free, warn};
use super::list::Queue;
use super::poller::{Method, Poller};
use super::time;
use super::time::read_time;
use crate::door::door;

/// `struct event_config`.
pub struct Config {
    avoided: Vec<Vec<u8>>,
    features: c_int,
    limits: Limits,
}

/// Returns the base at a pointer; null ends the process with a message that names the call.
pub(super) unsafe fn must<'a>(base: *const Base, call: &str) -> &'a Base {
    // SAFETY: the caller guarantees a null or live pointer (see `events`).
    unsafe { base.as_ref() }.unwrap_or_else(|| fatal(&format!("{call}: there is no event_base")))
}

#[unsafe(no_mangle)]
pub extern "C" fn event_config_new() -> *mut Config {
    let config = Config { avoided: Vec::new(), features: 0, limits: Limits::default() };
    Box::into_raw(Box::new(config))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_config_free(config: *mut Config) {
    if !config.is_null() {
        // SAFETY: `event_config_new` made the box, and the caller does not use it again.
        drop(unsafe { Box::from_raw(config) });
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_config_avoid_method(
    config: *mut Config,
    method: *const c_char,
) -> c_int {
    if config.is_null() || method.is_null() {
        return -1;
    }
    // SAFETY: the caller guarantees a live configuration and a string that ends with a zero.
    unsafe { (*config).avoided.push(CStr::from_ptr(method).to_bytes().to_vec()) };
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_config_require_features(
    config: *mut Config,
    features: c_int,
) -> c_int {
    // SAFETY: the caller guarantees a null or live pointer (see `events`).
    let Some(config) = (unsafe { config.as_mut() }) else { return -1 };
    config.features = features;
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_config_set_flag(config: *mut Config, flag: c_int) -> c_int {
    // SAFETY: the caller guarantees a null or live pointer (see `events`).
    match unsafe { config.as_mut() } {
        Some(config) => config.limits.flags |= flag,
        None => return -1,
    }
    0
}

/// Accepts the hint and ignores it: it is for systems with several event queues in the kernel.
#[unsafe(no_mangle)]
pub extern "C" fn event_config_set_num_cpus_hint(config: *mut Config, _: c_int) -> c_int {
    if config.is_null() { -1 } else { 0 }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_config_set_max_dispatch_interval(
    config: *mut Config,
    interval: *const Timeval,
    callbacks: c_int,
    from_priority: c_int,
) -> c_int {
    if config.is_null() {
        return -1;
    }
    // SAFETY: the caller guarantees a live configuration, and an interval that is null or readable.
    unsafe {
        (*config).limits.interval = read_time(interval);
        (*config).limits.callbacks = usize::try_from(callbacks).unwrap_or(usize::MAX);
        (*config).limits.from_priority = from_priority.max(0);
    }
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn event_base_new() -> *mut Base {
    // SAFETY: null stands for no configuration.
    unsafe { event_base_new_with_config(null()) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_new_with_config(config: *const Config) -> *mut Base {
    door("event_base_new_with_config", || {
        check_version();
        // SAFETY: the caller guarantees a null or live pointer (see `events`).
        let config = unsafe { config.as_ref() };
        let mut limits = config.map_or_else(Limits::default, |config| config.limits);
        let asks_env = limits.flags & FLAG_IGNORE_ENV == 0;
        if asks_env && std::env::var_os("EVENT_PRECISE_TIMER").is_some() {
            limits.flags |= FLAG_PRECISE_TIMER;
        }
        let is_allowed = |method: &Method| {
            let name = method.name().to_bytes();
            let forbidden =
                asks_env && std::env::var_os(&*method.forbidden_by().to_string_lossy()).is_some();
            let wanted = config.map_or(0, |config| config.features);
            let avoided = config.is_some_and(|c| c.avoided.iter().any(|other| other == name));
            !forbidden && !avoided && method.features() & wanted == wanted
        };
        let allowed = Method::ALL.into_iter().filter(is_allowed);
        let made = allowed.map(|method| Base::make(method, limits)).find(|base| !base.is_null());
        debug::made_a_base();
        if made.is_none() {
            warn("event_base_new_with_config: no event mechanism available");
        }
        made.unwrap_or(null_mut())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn event_init() -> *mut Base {
    let base = event_base_new();
    if base.is_null() {
        eprintln!("[err] event_init: Unable to construct event_base");
        std::process::exit(1);
    }
    set_current(base);
    base
}

/// Whether freeing a base runs the finalizers that have not run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Finalizers {
    Run,
    Forget,
}

unsafe fn free_base(base: *mut Base, finalizers: Finalizers) {
    let base = or_current(base);
    if base.is_null() {
        return warn("event_base_free: no base to free");
    }
    // SAFETY: the caller uses the base no longer. Callbacks that still run use it until
    // `workers.end()` has returned, and finalizers until they have run. It is destroyed after that
    // (see `events`).
    unsafe {
        let of = &*base;
        let (workers, loops_here) = {
            let state = of.lock();
            (state.workers.clone(), state.is_running && state.is_in_loop_thread())
        };
        if workers.as_ref().is_some_and(|workers| workers.runs_here() || loops_here) {
            return warn("event_base_free: a callback cannot free an event_base that has colors");
        }
        forget_current(base);
        // Callbacks that still run start no workers from now on.
        of.lock().is_ending = true;
        let posted = workers.as_ref().map(|workers| Arc::clone(&workers.posted));
        if let Some(workers) = &workers {
            workers.end();
        }
        drop(workers);
        let workers = of.lock().workers.take();
        drop(workers);
        of.lock().end();
        loop {
            // A finalizer may activate further callbacks.
            let active = of.lock().next_active();
            let callback = match active.is_null() {
                true => of.lock().next_posted(),
                false => {
                    of.lock().cancel(active, Even::IfFinalizing);
                    active
                }
            };
            if callback.is_null() {
                break;
            }
            if finalizers == Finalizers::Run && (*callback).has(flags::FINALIZING) {
                run_finalizer(callback);
            }
        }
        let mut state = of.lock();
        let once = std::mem::take(&mut state.once);
        let commons = std::mem::take(&mut state.commons);
        drop(state);
        once.into_iter().for_each(|event| free(event.cast()));
        commons.into_iter().for_each(|list| drop(Box::from_raw(list)));
        if let Some(posted) = posted {
            posted.forget_base();
        }
        Base::destroy(base);
    }
}

/// # Safety
///
/// The callback is live and has a finalizer.
unsafe fn run_finalizer(callback: *mut Callback) {
    // SAFETY: the callback is live, and its closure says which field of `call` is set.
    unsafe {
        let (kind, call, arg) = ((*callback).closure, (*callback).call, (*callback).arg);
        match kind {
            closure::EVENT_FINALIZE | closure::EVENT_FINALIZE_FREE => {
                if let Some(call) = call.finalize {
                    call(event_of(callback), arg);
                }
                if kind == closure::EVENT_FINALIZE_FREE {
                    free(callback.cast());
                }
            }
            closure::CALLBACK_FINALIZE => {
                if let Some(call) = call.callback {
                    call(callback, arg);
                }
            }
            _ => {}
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_free(base: *mut Base) {
    // SAFETY: the base is null or live, and the caller does not use it again (see `events`).
    door("event_base_free", || unsafe { free_base(base, Finalizers::Run) });
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_free_nofinalize(base: *mut Base) {
    // SAFETY: the base is null or live, and the caller does not use it again (see `events`).
    door("event_base_free_nofinalize", || unsafe { free_base(base, Finalizers::Forget) });
}

impl BaseState {
    /// Deletes all pending events.
    fn end(&mut self) {
        if let Some(notify) = self.notify.take() {
            notify.bell.delete(self);
        }
        self.close_signals();
        for event in self.fds.events().into_iter().chain(self.signals.events()) {
            self.delete(event, Even::UnlessFinalizing);
        }
        while !self.timeouts.first().is_null() {
            self.delete(self.timeouts.first(), Even::UnlessFinalizing);
        }
        for event in self.all_common() {
            self.delete(event, Even::UnlessFinalizing);
        }
        for event in self.watched_colored() {
            self.delete(event, Even::UnlessFinalizing);
        }
    }

    /// Returns a callback that is active or is to become so, or null if there is none.
    fn next_active(&self) -> *mut Callback {
        let queues = self.active.iter().chain([&self.later]);
        queues.map(Queue::first).find(|first| !first.is_null()).unwrap_or(null_mut())
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_reinit(base: *mut Base) -> c_int {
    door("event_reinit", || {
        // SAFETY: the caller guarantees that `base` is null or live (see `events`).
        let Some(base) = (unsafe { base.as_ref() }) else { return -1 };
        let mut state = base.lock();
        if state.workers.is_some() {
            warn("event_reinit: colors do not survive a fork");
            return -1;
        }
        // The parent uses the old poller too, so nothing is removed from it.
        let Some(poller) = Poller::new(state.poller.method()) else { return -1 };
        state.poller = poller;
        let watched: Vec<_> = state.fds.all().map(|(fd, _)| fd).collect();
        let mut is_whole = true;
        for fd in watched {
            is_whole &= state.change(fd, Wanted::default()).is_ok();
        }
        if let Some(notify) = state.notify.take() {
            notify.bell.delete(&mut state);
        }
        is_whole &= state.renew_signals();
        if is_whole { 0 } else { -1 }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn evthread_make_base_notifiable(base: *mut Base) -> c_int {
    // SAFETY: the caller guarantees that `base` is null or live (see `events`).
    door("evthread_make_base_notifiable", || match unsafe { base.as_ref() } {
        Some(base) if base.lock().prepare_wake() => 0,
        _ => -1,
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_loop(base: *mut Base, how: c_int) -> c_int {
    // SAFETY: the caller guarantees that `base` is null or live (see `events`).
    door("event_base_loop", || match unsafe { base.as_ref() } {
        Some(base) => base.run(how),
        None => -1,
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_dispatch(base: *mut Base) -> c_int {
    // SAFETY: `base` is null or live (see `events`).
    unsafe { event_base_loop(base, 0) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_dispatch() -> c_int {
    // SAFETY: the current base is null or live.
    unsafe { event_base_loop(or_current(null_mut()), 0) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_loop(how: c_int) -> c_int {
    // SAFETY: the current base is null or live.
    unsafe { event_base_loop(or_current(null_mut()), how) }
}

/// The callback of `event_base_loopexit`: its time has come.
unsafe extern "C" fn exit(_: c_int, _: c_short, base: *mut c_void) {
    // SAFETY: the loop of the base calls this, and the base lives while its loop runs.
    unsafe { (*base.cast::<Base>()).wishes.ends.store(true, Ordering::Relaxed) };
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_loopexit(base: *mut Base, after: *const Timeval) -> c_int {
    // SAFETY: the caller guarantees that `base` is null or live, and `after` null or readable.
    unsafe {
        if after.is_null() && base.as_ref().is_some_and(Base::is_looping_here) {
            // The loop ends after this round. No lock: a signal handler may call this.
            (*base).wishes.ends.store(true, Ordering::Relaxed);
            return 0;
        }
        event_base_once(base, -1, EV_TIMEOUT, Some(exit), base.cast(), after)
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_loopexit(after: *const Timeval) -> c_int {
    // SAFETY: `base` is null or live (see `events`).
    unsafe { event_base_loopexit(or_current(null_mut()), after) }
}

/// Sets a request to the loop of a base and wakes it. Returns -1 if `base` is null. On the loop's
/// thread it takes no lock, because a signal handler may call it.
unsafe fn tell_loop(base: *mut Base, call: &str, wish: fn(&Wishes) -> &AtomicBool) -> c_int {
    // SAFETY: the caller guarantees that `base` is null or live (see `events`).
    door(call, || match unsafe { base.as_ref() } {
        Some(base) => {
            wish(&base.wishes).store(true, Ordering::Relaxed);
            if !base.is_looping_here() {
                base.lock().wake();
            }
            0
        }
        None => -1,
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_loopbreak(base: *mut Base) -> c_int {
    // SAFETY: `base` is null or live (see `events`).
    unsafe { tell_loop(base, "event_base_loopbreak", |wishes| &wishes.breaks) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_loopbreak() -> c_int {
    // SAFETY: `base` is null or live (see `events`).
    unsafe { event_base_loopbreak(or_current(null_mut())) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_loopcontinue(base: *mut Base) -> c_int {
    // SAFETY: `base` is null or live (see `events`).
    unsafe { tell_loop(base, "event_base_loopcontinue", |wishes| &wishes.continues) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_got_break(base: *mut Base) -> c_int {
    // SAFETY: the base is null, which `must` reports, or live (see `events`).
    c_int::from(unsafe { must(base, "event_base_got_break") }.wishes.breaks.load(Ordering::Relaxed))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_got_exit(base: *mut Base) -> c_int {
    // SAFETY: the base is null, which `must` reports, or live (see `events`).
    c_int::from(unsafe { must(base, "event_base_got_exit") }.wishes.ends.load(Ordering::Relaxed))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_get_running_event(base: *mut Base) -> *mut Event {
    // SAFETY: what runs is live, and an event if `INIT` is set. For the base see `must`.
    unsafe {
        let state = must(base, "event_base_get_running_event").lock();
        let current = state.current;
        let is_event = !current.is_null() && (*current).has(flags::INIT);
        if is_event && state.is_in_loop_thread() { event_of(current) } else { null_mut() }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_get_method(base: *const Base) -> *const c_char {
    // SAFETY: the base is null, which `must` reports, or live (see `events`).
    unsafe { must(base, "event_base_get_method").lock().poller.method().name().as_ptr() }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_get_method() -> *const c_char {
    // SAFETY: the current base is null or live.
    unsafe { event_base_get_method(or_current(null_mut())) }
}

/// A constant list of strings that ends with a null pointer.
struct Names([*const c_char; 3]);

// SAFETY: the pointers lead to constant strings, and nothing writes to the list.
unsafe impl Sync for Names {}

#[unsafe(no_mangle)]
pub extern "C" fn event_get_supported_methods() -> *mut *const c_char {
    static NAMES: Names = Names([c"epoll".as_ptr(), c"poll".as_ptr(), null()]);
    NAMES.0.as_ptr().cast_mut()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_get_features(base: *const Base) -> c_int {
    // SAFETY: the base is null, which `must` reports, or live (see `events`).
    unsafe { must(base, "event_base_get_features").lock().poller.method().features() }
}

#[unsafe(no_mangle)]
pub extern "C" fn event_get_version() -> *const c_char {
    c"2.1.12-stable".as_ptr()
}

#[unsafe(no_mangle)]
pub extern "C" fn event_get_version_number() -> u32 {
    0x0201_0c00
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_priority_init(base: *mut Base, priorities: c_int) -> c_int {
    door("event_base_priority_init", || {
        // SAFETY: the base is null, which `must` reports, or live (see `events`).
        let mut state = unsafe { must(base, "event_base_priority_init").lock() };
        let wanted = usize::try_from(priorities).unwrap_or(0);
        if state.active_count > 0 || !(1..MOST_PRIORITIES).contains(&wanted) {
            return -1;
        }
        state.active = (0..wanted).map(|_| Queue::new()).collect();
        0
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_priority_init(priorities: c_int) -> c_int {
    // SAFETY: the current base is null or live.
    unsafe { event_base_priority_init(or_current(null_mut()), priorities) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_get_npriorities(base: *mut Base) -> c_int {
    // SAFETY: the base is null, which `must` reports, or live (see `events`).
    unsafe { must(or_current(base), "event_base_get_npriorities").lock().active.len() as c_int }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_gettimeofday_cached(
    base: *mut Base,
    now: *mut Timeval,
) -> c_int {
    // SAFETY: the base is null or live, and the caller guarantees that `now` can be written to.
    unsafe {
        let kept = or_current(base).as_ref().and_then(|base| {
            let state = base.lock();
            state.time.map(|time| time::add(time, state.wall_offset))
        });
        *now = kept.unwrap_or_else(time::wall);
    }
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_gettime_monotonic(base: *mut Base, now: *mut Timeval) -> c_int {
    // SAFETY: the caller guarantees that `base` is null or live, and `now` null or writable.
    unsafe {
        let (Some(base), false) = (base.as_ref(), now.is_null()) else { return -1 };
        *now = time::now(base.lock().config.precision());
    }
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_update_cache_time(base: *mut Base) -> c_int {
    // SAFETY: the base that is given, or the current one, is null or live (see `events`).
    let Some(base) = (unsafe { or_current(base).as_ref() }) else { return -1 };
    let mut state = base.lock();
    if state.is_running {
        state.keep_time();
    }
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_init_common_timeout(
    base: *mut Base,
    duration: *const Timeval,
) -> *const Timeval {
    door("event_base_init_common_timeout", || {
        // SAFETY: `base` is null or live, and `duration` null or readable (see `events`).
        unsafe {
            let Some(duration) = read_time(duration).map(plain) else { return null() };
            let carry = duration.tv_usec / 1_000_000;
            let whole = Timeval {
                tv_sec: duration.tv_sec + carry,
                tv_usec: duration.tv_usec - carry * 1_000_000,
            };
            let list = must(base, "event_base_init_common_timeout").lock().common_for(base, whole);
            if list.is_null() {
                warn("event_base_init_common_timeout: Too many common timeouts already in use");
                return null();
            }
            &raw const (*list).duration
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_active_by_fd(base: *mut Base, fd: c_int, what: c_short) {
    door("event_base_active_by_fd", || {
        // SAFETY: the base is null, which `must` reports, or live (see `events`).
        let mut state = unsafe { must(base, "event_base_active_by_fd").lock() };
        if what & EV_TIMEOUT == 0 {
            state.ready_for(fd, what & (EV_IO | EV_ET));
        } else {
            for event in all_events(&state) {
                // SAFETY: an event that is pending or active is live.
                if unsafe { (*event).fd == fd && (*event).has(flags::TIMEOUT) } {
                    state.activate(event, EV_TIMEOUT, 1);
                }
            }
        }
    });
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_active_by_signal(base: *mut Base, signal: c_int) {
    // SAFETY: the base is null, which `must` reports, or live (see `events`).
    door("event_base_active_by_signal", || unsafe {
        must(base, "event_base_active_by_signal").lock().signal_came(signal, 1)
    });
}

#[unsafe(no_mangle)]
pub extern "C" fn event_enable_debug_mode() {
    door("event_enable_debug_mode", || debug::switch(true));
}

#[unsafe(no_mangle)]
pub extern "C" fn event_disable_debug_mode() {
    door("event_disable_debug_mode", || debug::switch(false));
}
