//! The exported functions of colors, and the record of the colors that a callback has.

#![allow(clippy::missing_safety_doc, reason = "`runtime/mod.rs` states the safety rules")]

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Arc, Weak};

use dapple::{ColorBuilder, Priority};

use super::owner::Owner;
use super::runtimes::{Runtime, read_options};
use crate::door::{door, pointer};

/// The priority of a color by default.
pub const DAPPLE_NORMAL: c_int = 0;
/// The priority of colors whose callbacks run before those of other colors. The others still never
/// starve.
pub const DAPPLE_HIGH: c_int = 1;
/// The priority of colors whose callbacks run when there is nothing else to run, and now and then
/// while there is. So they never starve.
pub const DAPPLE_LOW: c_int = -1;

/// A flag of a color: its callbacks run only on the program's thread that is a worker of the
/// runtime.
///
/// That is the thread that made the runtime with DAPPLE_HERE, or the thread of an event_base's
/// loop. The callbacks wait until that thread runs callbacks; see dapple_runtime_turn.
pub const DAPPLE_BOUND: u32 = 1;

/// The options of a color. If all fields but size are zero, the color has the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ColorOptions {
    /// sizeof(dapple_color_options).
    pub size: usize,
    /// The name of a kind of work, or NULL. Colors with the same label share their metrics.
    pub label: *const c_char,
    /// DAPPLE_NORMAL, DAPPLE_HIGH or DAPPLE_LOW.
    pub priority: c_int,
    /// DAPPLE_BOUND, or 0.
    pub flags: u32,
    /// The number of events of the color at which dapple_try_post fails; 0 for no limit.
    pub capacity: usize,
}

/// A color: its callbacks never overlap, and run in the order in which they were posted.
pub struct Color {
    pub(crate) color: dapple::Color,
    pub(crate) owner: Arc<Owner>,
    /// The key of the color in `Owner::keys`, if it has one.
    key: Option<Box<[u8]>>,
}

impl Color {
    pub(crate) fn new(color: dapple::Color, owner: &Arc<Owner>) -> Arc<Color> {
        Arc::new(Color { color, owner: Arc::clone(owner), key: None })
    }

    /// Returns the color of a key, and makes it if there is none.
    pub(crate) fn of_key(owner: &Arc<Owner>, key: &[u8]) -> Arc<Color> {
        let mut keys = owner.keys();
        if let Some(color) = keys.get(key).and_then(Weak::upgrade) {
            return color;
        }
        let (color, key) = (owner.handle().new_color(), Box::<[u8]>::from(key));
        let (owner, kept) = (Arc::clone(owner), Some(key.clone()));
        let color = Arc::new(Color { color, owner, key: kept });
        keys.insert(key, Arc::downgrade(&color));
        color
    }
}

impl Drop for Color {
    fn drop(&mut self) {
        let Some(key) = &self.key else { return };
        let mut keys = self.owner.keys();
        // The entry may be that of a newer color: the key was asked for again after this color had
        // lost its last reference.
        if keys.get(key).is_some_and(|color| color.strong_count() == 0) {
            keys.remove(key);
        }
    }
}

thread_local! {
    /// The colors of the callback that runs on this thread. Null if no callback runs.
    static CURRENT: Cell<*const [Arc<Color>]> = const {
        Cell::new(std::ptr::slice_from_raw_parts(std::ptr::null(), 0))
    };
}

/// Runs `f` as a callback of these colors.
pub(crate) fn on<R>(colors: &[Arc<Color>], f: impl FnOnce() -> R) -> R {
    let before = CURRENT.replace(colors);
    let result = f();
    CURRENT.set(before);
    result
}

/// Calls `f` with the colors of the callback that runs on this thread.
fn with_current<R>(f: impl FnOnce(&[Arc<Color>]) -> R) -> R {
    let current = CURRENT.get();
    match current.is_null() {
        true => f(&[]),
        // SAFETY: `on` has set the pointer on this thread, and borrows the colors until it has
        // restored the previous one.
        false => f(unsafe { &*current }),
    }
}

/// Returns `true` if a callback of any runtime runs on this thread.
pub(super) fn is_in_callback() -> bool {
    !CURRENT.get().is_null()
}

/// Turns a reference to a color into a pointer for C, which owns that reference.
pub(crate) fn give(color: Arc<Color>) -> *mut Color {
    Arc::into_raw(color).cast_mut()
}

/// Returns a new reference to a color at a pointer from C.
///
/// # Errors
///
/// EINVAL if the pointer is null.
///
/// # Safety
///
/// The pointer is null, or the caller has a reference to the color.
pub(crate) unsafe fn count(color: *mut Color) -> Result<Arc<Color>, c_int> {
    if color.is_null() {
        return Err(libc::EINVAL);
    }
    // SAFETY: the caller has a reference, so the color is live. The new reference is the one that
    // is returned.
    unsafe {
        Arc::increment_strong_count(color);
        Ok(Arc::from_raw(color))
    }
}

/// Adds a label from C to a color's builder.
///
/// # Safety
///
/// The label is null, or a string that ends with a zero.
pub(crate) unsafe fn labelled(builder: ColorBuilder, label: *const c_char) -> ColorBuilder {
    if label.is_null() {
        return builder;
    }
    // SAFETY: the caller guarantees that the label is a string that ends with a zero.
    builder.label(&unsafe { CStr::from_ptr(label) }.to_string_lossy())
}

/// Returns the bytes of a key.
///
/// # Errors
///
/// EINVAL if the pointer is null and the length is not 0.
///
/// # Safety
///
/// The pointer is null, or leads to `length` bytes.
pub(crate) unsafe fn key_of<'a>(key: *const c_void, length: usize) -> Result<&'a [u8], c_int> {
    match (key.is_null(), length) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(libc::EINVAL),
        // SAFETY: the caller guarantees that the pointer leads to `length` bytes.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts(key.cast(), length) }),
    }
}

/// Makes a color of a runtime, and returns a reference to it.
///
/// The options may be NULL, for the defaults. The reference is released by dapple_color_unref.
///
/// Returns NULL with errno set to EINVAL if runtime is NULL, if the options contain a size,
/// priority or flag that dapple.h does not have, or for DAPPLE_BOUND in a runtime without a thread
/// of the program.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_color_new(
    runtime: *mut Runtime,
    options: *const ColorOptions,
) -> *mut Color {
    const NAME: &str = "dapple_runtime_color_new";
    // SAFETY: the caller guarantees that all pointers are null or lead to what their types say (see
    // `runtime/mod.rs`).
    pointer(NAME, || unsafe {
        let runtime = runtime.as_ref().ok_or(libc::EINVAL)?;
        let options = read_options(options)?;
        let is_bound = match options.flags {
            0 => false,
            DAPPLE_BOUND => true,
            _ => return Err(libc::EINVAL),
        };
        let priority = match options.priority {
            DAPPLE_NORMAL => Priority::Normal,
            DAPPLE_HIGH => Priority::High,
            DAPPLE_LOW => Priority::Low,
            _ => return Err(libc::EINVAL),
        };
        let builder = runtime.owner.handle().color_builder().priority(priority);
        let mut builder = labelled(builder, options.label);
        if options.capacity > 0 {
            builder = builder.capacity(options.capacity);
        }
        if is_bound && !runtime.has_thread() {
            return Err(libc::EINVAL);
        }
        if is_bound {
            builder = builder.on_worker(0);
        }
        Ok(give(Color::new(builder.build(), &runtime.owner)))
    })
}

/// Returns a reference to the default color of a runtime.
///
/// In a runtime that was made with DAPPLE_HERE, the color is bound to the thread that made it.
/// Returns NULL with errno set to EINVAL if runtime is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_default_color(runtime: *mut Runtime) -> *mut Color {
    // SAFETY: the caller guarantees that all pointers are null or lead to what their types say (see
    // `runtime/mod.rs`).
    pointer("dapple_runtime_default_color", || unsafe {
        let runtime = runtime.as_ref().ok_or(libc::EINVAL)?;
        Ok(give(Arc::clone(&runtime.default_color)))
    })
}

/// Returns a reference to the color of a key, and makes the color if there is none.
///
/// Equal bytes have the same color, and different bytes have different colors. The color of a key
/// lives as long as there is a reference to it, or a function that was posted to it and has not
/// run. After that, the key takes no memory.
///
/// Returns NULL with errno set to EINVAL if runtime is NULL, or if key is NULL and length is not 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_color_of_key(
    runtime: *mut Runtime,
    key: *const c_void,
    length: usize,
) -> *mut Color {
    // SAFETY: the caller guarantees that all pointers are null or lead to what their types say (see
    // `runtime/mod.rs`).
    pointer("dapple_runtime_color_of_key", || unsafe {
        let runtime = runtime.as_ref().ok_or(libc::EINVAL)?;
        Ok(give(Color::of_key(&runtime.owner, key_of(key, length)?)))
    })
}

/// Adds a reference to a color, and returns the color. NULL is returned as it is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_color_ref(color: *mut Color) -> *mut Color {
    if !color.is_null() {
        // SAFETY: the caller has a reference, so the color is live.
        unsafe { Arc::increment_strong_count(color) };
    }
    color
}

/// Releases a reference to a color. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_color_unref(color: *mut Color) {
    if !color.is_null() {
        // SAFETY: the caller has a reference, which it gives up.
        door("dapple_color_unref", || unsafe { Arc::decrement_strong_count(color) });
    }
}

/// Returns the color of the callback that runs on this thread.
///
/// The caller gets no reference. Returns NULL if the callback has no color or several, or if no
/// callback runs on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn dapple_color_current() -> *mut Color {
    with_current(|colors| match colors {
        [color] => Arc::as_ptr(color).cast_mut(),
        _ => std::ptr::null_mut(),
    })
}

/// Returns 1 if the callback that runs on this thread has the color, alone or among others;
/// otherwise 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_color_is_current(color: *const Color) -> c_int {
    let is_it = |other: &Arc<Color>| std::ptr::eq(Arc::as_ptr(other), color);
    c_int::from(with_current(|colors| colors.iter().any(is_it)))
}
