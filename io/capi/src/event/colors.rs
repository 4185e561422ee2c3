//! The functions that libevent does not have: colors of a base, and the workers on which they run.
//!
//! The comments of what is exported are those of the header, which a test compares with what
//! cbindgen makes of this file. What the functions rely on stands in [`events`](super::events); a
//! color is one of `dapple.h`.

#![allow(clippy::missing_safety_doc, reason = "the module says what all of them rely on")]

use std::ffi::{c_char, c_int, c_void};
use std::sync::Arc;

use super::base::{Base, State, of_ours, or_current};
use super::layout::Event;
use super::libevent::warn;
use super::workers::Workers;
use crate::door::{answer, pointer};
use crate::runtime::colors::{Color, count, give, key_of, labelled};
use crate::runtime::runtimes::{DAPPLE_MOST_WORKERS, Runtime, default_workers, malloc_text};

impl State {
    /// The workers, which are started if there are none.
    fn start_workers(&mut self, call: &str) -> Result<Arc<Workers>, c_int> {
        if self.is_ending {
            return Err(libc::ESHUTDOWN);
        }
        if let Some(workers) = &self.workers {
            return Ok(Arc::clone(workers));
        }
        let Some(poller) = self.poller.duplicate() else {
            warn(&format!("{call}: a base that does not use epoll has no colors"));
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
        // A loop that waits already waits for the base's own events only.
        self.wake();
        Ok(workers)
    }
}

/// The workers of a base, which are started if there are none.
///
/// # Safety
///
/// See the module.
unsafe fn workers_of(base: *mut Base, call: &str) -> Result<Arc<Workers>, c_int> {
    // SAFETY: the caller says so.
    let base = unsafe { of_ours(or_current(base), call) }.ok_or(libc::EINVAL)?;
    base.lock().start_workers(call)
}

/// Says how many workers run what has a color, the thread of the loop included: from 1 to 1,024. By
/// default it is the number in the environment's DAPPLE_WORKERS, or one per core.
///
/// 0: done. -1: errno is EINVAL if there is no base or the number is another, EALREADY if its
/// workers have started.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_set_workers(base: *mut Base, workers: c_int) -> c_int {
    const NAME: &str = "event_base_set_workers";
    answer(NAME, || {
        // SAFETY: see the module.
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

/// Answers the figures of a base's workers as Prometheus reads them, a string to be freed with
/// free(). NULL: errno is EINVAL if there is no base or it has no workers, ENOMEM if there is no
/// memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_metrics(base: *mut Base) -> *mut c_char {
    pointer("event_base_metrics", || {
        // SAFETY: see the module.
        let base = unsafe { of_ours(or_current(base), "event_base_metrics") };
        let workers = base.and_then(|base| base.lock().workers.clone()).ok_or(libc::EINVAL)?;
        malloc_text(&workers.figures())
    })
}

/// Answers the runtime of a base, for dapple_post_uncolored, dapple_domain_new and the like. The
/// loop runs it, and event_base_free frees it. The first color of a base, and this, start its
/// workers.
///
/// NULL: errno is EINVAL if there is no base, ENOTSUP if it does not use epoll, ESHUTDOWN while it
/// is freed, or what the system says of a thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_runtime(base: *mut Base) -> *mut Runtime {
    pointer("event_base_runtime", || {
        // SAFETY: see the module.
        let workers = unsafe { workers_of(base, "event_base_runtime") }?;
        Ok(std::ptr::from_ref::<Runtime>(&workers.runtime).cast_mut())
    })
}

/// Makes a color of a base, of which the caller has a count. Colors with the same label, which
/// names a kind of work and may be NULL, share their figures. It may outlive its base, whose end is
/// the runtime's: posts fail with ESHUTDOWN then.
///
/// NULL: as event_base_runtime.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_color_new(base: *mut Base, label: *const c_char) -> *mut Color {
    // SAFETY: see the module; a label is a string.
    pointer("dapple_color_new", || unsafe {
        let workers = workers_of(base, "dapple_color_new")?;
        let owner = &workers.owner;
        let builder = labelled(owner.handle().color_builder(), label);
        Ok(give(Color::new(builder.build(), owner)))
    })
}

/// The color of a key, of which the caller has a count: equal bytes have one color, others have
/// other ones. See dapple_runtime_color_of_key.
///
/// NULL: errno is EINVAL for a key that is NULL, or as event_base_runtime.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_color_of_key(
    base: *mut Base,
    key: *const c_void,
    length: usize,
) -> *mut Color {
    // SAFETY: see the module.
    pointer("dapple_color_of_key", || unsafe {
        let key = key_of(key, length)?;
        Ok(give(Color::of_key(&workers_of(base, "dapple_color_of_key")?.owner, key)))
    })
}

/// The color that a pointer leads to, for what belongs to a base; `None`: it is null.
///
/// # Safety
///
/// See the module.
pub(super) unsafe fn color_for(
    base: &Base,
    color: *mut Color,
    call: &str,
) -> Result<Option<Arc<Color>>, c_int> {
    if color.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller says so.
    let color = unsafe { count(color) }?;
    let is_its = |workers: &Arc<Workers>| Arc::ptr_eq(&workers.owner, &color.owner);
    if !base.lock().workers.as_ref().is_some_and(is_its) {
        warn(&format!("{call}: the color is of another event_base."));
        return Err(libc::EINVAL);
    }
    Ok(Some(color))
}

/// Has the callbacks of an event run on a color, of which it has a count from then on, until it
/// gets another one, is assigned anew, or is freed by event_free; NULL: on no color any more.
///
/// 0: done. -1: errno is EBUSY if the event is added or active, EINVAL if it has no base or the
/// color is of another base.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_set_color(event: *mut Event, color: *mut Color) -> c_int {
    const NAME: &str = "event_set_color";
    // SAFETY: see the module.
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
