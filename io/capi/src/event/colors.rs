//! The functions that libevent does not have: colors, and the workers on which they run; see
//! `include/dapple_event.h`.
//!
//! What they rely on stands in [`events`](super::events); a color is one from `dapple_color_new`,
//! of which the caller has a count.

#![allow(clippy::missing_safety_doc, reason = "the module says what all of them rely on")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::Arc;

use super::base::{Base, State, of_ours, or_current};
use super::colored::{BaseColor, current, on};
use super::door::door;
use super::layout::Event;
use super::libevent::warn;
use super::workers::Workers;

/// What is posted.
type PostFn = unsafe extern "C" fn(*mut c_void);

/// The most workers of a base.
const MOST_WORKERS: c_int = 1_024;

/// A pointer of the program's that goes to another thread with what is posted.
struct Argument(*mut c_void);

// SAFETY: the program says what the pointer leads to, and that the callback may use it there.
unsafe impl Send for Argument {}

impl State {
    /// The workers, which are started if there are none. `None`: the system refuses them.
    fn start_workers(&mut self) -> Option<Arc<Workers>> {
        if self.workers.is_none() {
            let asked = || std::env::var("DAPPLE_WORKERS").ok()?.parse().ok().filter(|n| *n > 0);
            let cores = || std::thread::available_parallelism().map_or(1, usize::from);
            let workers = self.wanted_workers.or_else(asked).unwrap_or_else(cores);
            let Some(poller) = self.poller.duplicate() else {
                warn("dapple_color_new: a base that does not use epoll has no colors");
                return None;
            };
            match Workers::start(workers, poller) {
                Ok(workers) => {
                    self.workers = Some(Arc::new(workers));
                    // A loop that waits already waits for the base's own events only.
                    self.wake();
                }
                Err(error) => {
                    warn(&format!("dapple_color_new: {error}"));
                    return None;
                }
            }
        }
        self.workers.clone()
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_set_workers(base: *mut Base, workers: c_int) -> c_int {
    door("event_base_set_workers", || {
        // SAFETY: see the module.
        let base = unsafe { of_ours(or_current(base), "event_base_set_workers") };
        let Some(base) = base else { return -1 };
        let mut state = base.lock();
        if !(1..=MOST_WORKERS).contains(&workers) || state.workers.is_some() {
            return -1;
        }
        state.wanted_workers = Some(workers as usize);
        0
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_metrics(base: *mut Base) -> *mut c_char {
    door("event_base_metrics", || {
        // SAFETY: see the module.
        let base = unsafe { of_ours(or_current(base), "event_base_metrics") };
        let Some(base) = base else { return null_mut() };
        let Some(workers) = base.lock().workers.clone() else { return null_mut() };
        let text = workers.figures();
        // SAFETY: so many bytes are written, to memory that is one larger, for `free`.
        unsafe {
            let memory = libc::malloc(text.len() + 1).cast::<u8>();
            if !memory.is_null() {
                memory.copy_from_nonoverlapping(text.as_ptr(), text.len());
                memory.add(text.len()).write(0);
            }
            memory.cast()
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_color_new(base: *mut Base, label: *const c_char) -> *mut BaseColor {
    door("dapple_color_new", || {
        let base = or_current(base);
        // SAFETY: see the module; a label is a string.
        let (of, label) = unsafe {
            let Some(of) = of_ours(base, "dapple_color_new") else { return null_mut() };
            let label = (!label.is_null()).then(|| CStr::from_ptr(label).to_string_lossy());
            (of, label)
        };
        let Some(workers) = of.lock().start_workers() else { return null_mut() };
        let builder = workers.io.handle().color_builder();
        let color = builder.label(label.as_deref().unwrap_or_default()).build();
        Arc::into_raw(Arc::new(BaseColor { color, base })).cast_mut()
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_color_ref(color: *mut BaseColor) -> *mut BaseColor {
    if !color.is_null() {
        // SAFETY: the caller has a count, so it is there.
        unsafe { Arc::increment_strong_count(color) };
    }
    color
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_color_unref(color: *mut BaseColor) {
    if !color.is_null() {
        // SAFETY: the caller gives its count up.
        door("dapple_color_unref", || unsafe { Arc::decrement_strong_count(color) });
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn dapple_color_current() -> *mut BaseColor {
    current().cast_mut()
}

/// One more count of a color; `None`: the pointer is null.
unsafe fn count(color: *mut BaseColor) -> Option<Arc<BaseColor>> {
    // SAFETY: the caller has a count, so it is there, and has another one.
    unsafe {
        let counted = dapple_color_ref(color);
        (!counted.is_null()).then(|| Arc::from_raw(counted))
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_set_color(event: *mut Event, color: *mut BaseColor) -> c_int {
    door("event_set_color", || {
        // SAFETY: see the module.
        unsafe {
            let base = event.as_ref().map_or(null_mut(), |event| event.base);
            if base.is_null() {
                warn("event_set_color: event has no event_base set.");
                return -1;
            }
            let Some(base) = of_ours(base, "event_set_color") else { return -1 };
            let color = count(color);
            if color.as_ref().is_some_and(|color| !std::ptr::eq(color.base, base)) {
                warn("event_set_color: the color is of another event_base.");
                return -1;
            }
            base.use_colors();
            match base.lock().set_color(event, color) {
                true => 0,
                false => -1,
            }
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_post(
    color: *mut BaseColor,
    call: Option<PostFn>,
    arg: *mut c_void,
) -> c_int {
    door("dapple_post", || {
        // SAFETY: see the module.
        let (Some(color), Some(call)) = (unsafe { count(color) }, call) else { return -1 };
        let base = color.base;
        // SAFETY: a base is there as long as colors of it are used. What is posted keeps its loop
        // running.
        unsafe { (*base).lock().virtual_events.add(1) };
        let (posted, arg) = (Arc::clone(&color), Argument(arg));
        color.color.post(move |_| {
            let (color, arg) = (posted, arg);
            // SAFETY: the program says so; the base ends its workers before it is freed.
            unsafe {
                door("a posted function", || on(&color, || call(arg.0)));
                (*color.base).lock().has_run_posted();
            }
        });
        0
    })
}
