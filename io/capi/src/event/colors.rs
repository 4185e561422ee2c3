//! The exported functions that libevent does not have: colors of a base, and its workers.
//!
//! The comments of exported functions are also those of the header: a test compares it with the
//! output of cbindgen for this file. The safety rules stand in [`events`](super::events). Besides,
//! a color is one of `dapple.h`, of which the caller has a reference.

#![allow(clippy::missing_safety_doc, reason = "the header of `events` states the safety rules")]

use std::ffi::{c_char, c_int, c_void};
use std::sync::Arc;

use super::base::{Base, BaseState, of_ours, or_current};
use super::layout::Event;
use super::libevent::warn;
use super::workers::Workers;
use crate::door::{answer, pointer};
use crate::runtime::colors::{Color, count, give, key_of, labelled};
use crate::runtime::runtimes::{DAPPLE_MOST_WORKERS, Runtime, default_workers, malloc_text};

impl BaseState {
    /// Returns the workers, and starts them if there are none.
    fn start_workers(&mut self, call: &str) -> Result<Arc<Workers>, c_int> {
        if self.is_ending {
            return Err(libc::ESHUTDOWN);
        }
        if let Some(workers) = &self.workers {
            return Ok(Arc::clone(workers));
        }
        let Some(poller) = self.poller.duplicate() else {
            warn(&format!("{call}: a base that does not use epoll cannot have colors"));
            return Err(libc::ENOTSUP);
        };
        let workers = self.wanted_workers.unwrap_or_else(default_workers);
        let started = Workers::start(workers, poller, self.own_base).map_err(|error| {
            warn(&format!("{call}: {error}"));
            crate::door::number_of(&error)
        })?;
        started.posted.set_once(self.is_once);
        let workers = Arc::new(started);
        self.workers = Some(Arc::clone(&workers));
        // A loop that waits at this time waits only for the base's own events.
        self.wake();
        Ok(workers)
    }
}

/// Returns the workers of a base, and starts them if there are none.
///
/// # Safety
///
/// `base` is null or live, as the rules in [`events`](super::events) demand.
unsafe fn workers_of(base: *mut Base, call: &str) -> Result<Arc<Workers>, c_int> {
    // SAFETY: the caller guarantees that `base` is null or live (see `events`).
    let base = unsafe { of_ours(or_current(base), call) }.ok_or(libc::EINVAL)?;
    base.lock().start_workers(call)
}

/// Sets the number of workers that run the callbacks with a color.
///
/// The number includes the thread of the loop, and is from 1 to 1,024. The default is the value of
/// the environment variable DAPPLE_WORKERS, or one worker per core.
///
/// Returns 0, or -1 with errno set: EINVAL if there is no base or the number is out of range,
/// EALREADY if the workers have started.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_set_workers(base: *mut Base, workers: c_int) -> c_int {
    const NAME: &str = "event_base_set_workers";
    answer(NAME, || {
        // SAFETY: the caller guarantees that `base` is null or live (see `events`).
        let base = unsafe { of_ours(or_current(base), NAME) }.ok_or(libc::EINVAL)?;
        if !(1..=DAPPLE_MOST_WORKERS as c_int).contains(&workers) {
            return Err(libc::EINVAL);
        }
        let mut state = base.lock();
        if state.workers.is_some() {
            return Err(libc::EALREADY);
        }
        state.wanted_workers = Some(workers as usize);
        Ok(())
    })
}

/// Returns the metrics of a base's workers in the text format of Prometheus.
///
/// The caller frees the string with free(). Returns NULL with errno set on failure: EINVAL if there
/// is no base or it has no workers, ENOMEM if there is no memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_metrics(base: *mut Base) -> *mut c_char {
    pointer("event_base_metrics", || {
        // SAFETY: the caller guarantees that `base` is null or live (see `events`).
        let base = unsafe { of_ours(or_current(base), "event_base_metrics") };
        let workers = base.and_then(|base| base.lock().workers.clone()).ok_or(libc::EINVAL)?;
        malloc_text(&workers.figures())
    })
}

/// Returns the runtime of a base, for dapple_post_uncolored, dapple_domain_new and the like.
///
/// The loop of the base runs it, and event_base_free frees it. The first color of a base, or the
/// first call of this function, starts the workers.
///
/// Returns NULL with errno set on failure: EINVAL if there is no base, ENOTSUP if the base does not
/// use epoll, ESHUTDOWN while the base is being freed, or the system's error if a thread cannot be
/// started.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_runtime(base: *mut Base) -> *mut Runtime {
    pointer("event_base_runtime", || {
        // SAFETY: the caller guarantees that `base` is null or live (see `events`).
        let workers = unsafe { workers_of(base, "event_base_runtime") }?;
        Ok(std::ptr::from_ref::<Runtime>(&workers.runtime).cast_mut())
    })
}

/// Makes a color of a base, and returns a reference to it.
///
/// The label names a kind of work, and may be NULL; colors with the same label share their metrics.
/// The color may outlive its base. The runtime ends with the base: after that, posts to the color
/// fail with ESHUTDOWN.
///
/// Returns NULL on failure, with errno set as by event_base_runtime.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_color_new(base: *mut Base, label: *const c_char) -> *mut Color {
    // SAFETY: the caller guarantees a null or live base (see `events`), and a label that is null or
    // a string that ends with a zero.
    pointer("dapple_color_new", || unsafe {
        let workers = workers_of(base, "dapple_color_new")?;
        let owner = &workers.owner;
        let builder = labelled(owner.handle().color_builder(), label);
        Ok(give(Color::new(builder.build(), owner)))
    })
}

/// Returns a reference to the color of a key, and makes the color if there is none.
///
/// Equal bytes have the same color, and different bytes have different colors. See
/// dapple_runtime_color_of_key.
///
/// Returns NULL with errno set on failure: EINVAL if the key is NULL and its length is not 0,
/// otherwise as event_base_runtime does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_color_of_key(
    base: *mut Base,
    key: *const c_void,
    length: usize,
) -> *mut Color {
    // SAFETY: the caller guarantees a null or live base (see `events`), and a key of `length`
    // bytes.
    pointer("dapple_color_of_key", || unsafe {
        let key = key_of(key, length)?;
        Ok(give(Color::of_key(&workers_of(base, "dapple_color_of_key")?.owner, key)))
    })
}

/// Returns the color at a pointer, which must be of this base; `None` if it is null.
///
/// # Safety
///
/// `color` is null, or the caller has a reference to it.
pub(super) unsafe fn color_for(
    base: &Base,
    color: *mut Color,
    call: &str,
) -> Result<Option<Arc<Color>>, c_int> {
    if color.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller guarantees that it has a reference to the color.
    let color = unsafe { count(color) }?;
    let is_its = |workers: &Arc<Workers>| Arc::ptr_eq(&workers.owner, &color.owner);
    if !base.lock().workers.as_ref().is_some_and(is_its) {
        warn(&format!("{call}: the color belongs to another event_base."));
        return Err(libc::EINVAL);
    }
    Ok(Some(color))
}

/// Makes the callbacks of an event run on a color.
///
/// The event keeps a reference to the color until it gets another color, is assigned anew, or is
/// freed by event_free. With NULL the event has no color, and its callbacks run on the thread of
/// the loop.
///
/// Returns 0, or -1 with errno set: EBUSY if the event is added or active, EINVAL if the event has
/// no base or the color belongs to another base.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_set_color(event: *mut Event, color: *mut Color) -> c_int {
    const NAME: &str = "event_set_color";
    // SAFETY: the caller guarantees an assigned event (see `events`), and that `color` is null or
    // that it has a reference to it.
    answer(NAME, || unsafe {
        let base = event.as_ref().map_or(std::ptr::null_mut(), |event| event.base);
        if base.is_null() {
            warn("event_set_color: event has no event_base set.");
            return Err(libc::EINVAL);
        }
        let base = of_ours(base, NAME).ok_or(libc::EINVAL)?;
        let color = color_for(base, color, NAME)?;
        base.use_colors();
        match base.lock().set_color(event, color) {
            true => Ok(()),
            false => Err(libc::EBUSY),
        }
    })
}
