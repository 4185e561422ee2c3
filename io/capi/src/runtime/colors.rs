//! Colors.

#![allow(clippy::missing_safety_doc, reason = "`runtime` says what all of them rely on")]

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Arc, Weak};

use dapple::{ColorBuilder, Priority};

use super::owner::Owner;
use super::runtimes::{Runtime, read_options};
use crate::door::{door, pointer};

/// The class of a color by default.
pub const DAPPLE_NORMAL: c_int = 0;
/// Events of such colors run before others. Others never starve.
pub const DAPPLE_HIGH: c_int = 1;
/// Events of such colors run when there is nothing else, and now and then.
pub const DAPPLE_LOW: c_int = -1;

/// Events of the color run on the thread of a runtime that was made with DAPPLE_HERE, and wait for
/// it; see dapple_runtime_turn.
pub const DAPPLE_BOUND: u32 = 1;

/// What a color is to be. All zeroes but for the size: what a color is by default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ColorOptions {
    /// sizeof(dapple_color_options).
    pub size: usize,
    /// The kind of work, or NULL. Colors with the same label share their figures.
    pub label: *const c_char,
    /// DAPPLE_NORMAL, DAPPLE_HIGH or DAPPLE_LOW.
    pub priority: c_int,
    /// DAPPLE_BOUND, or 0.
    pub flags: u32,
    /// How many events it may have before dapple_try_post is refused; 0: any number.
    pub capacity: usize,
}

/// A color: callbacks of one color never run at once, and run in order.
pub struct Color {
    pub(crate) color: dapple::Color,
    pub(crate) owner: Arc<Owner>,
    /// By which `Owner::keys` has it.
    key: Option<Box<[u8]>>,
}

impl Color {
    pub(crate) fn new(color: dapple::Color, owner: &Arc<Owner>) -> Arc<Color> {
        Arc::new(Color { color, owner: Arc::clone(owner), key: None })
    }

    /// The color of a key, which is made if there is none.
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
        // Another one may have the key by now: this one could not be revived any more.
        if keys.get(key).is_some_and(|color| color.strong_count() == 0) {
            keys.remove(key);
        }
    }
}

thread_local! {
    /// The colors of the callback that runs on this thread. Null: it has none, or none runs.
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
        // SAFETY: the thread that has set it waits in `on`, and has borrowed the colors.
        false => f(unsafe { &*current }),
    }
}

/// Says whether a callback runs on this thread, of whatever runtime.
pub(super) fn is_in_callback() -> bool {
    !CURRENT.get().is_null()
}

/// A color as C has it, with a count.
pub(crate) fn give(color: Arc<Color>) -> *mut Color {
    Arc::into_raw(color).cast_mut()
}

/// One more count of a color.
///
/// # Safety
///
/// It is null, which is an error, or the caller has a count.
pub(crate) unsafe fn count(color: *mut Color) -> Result<Arc<Color>, c_int> {
    if color.is_null() {
        return Err(libc::EINVAL);
    }
    // SAFETY: the caller has a count, so the color is there, and has another one.
    unsafe {
        Arc::increment_strong_count(color);
        Ok(Arc::from_raw(color))
    }
}

/// What a label in C is in Rust.
///
/// # Safety
///
/// It is null, or a string.
pub(crate) unsafe fn labelled(builder: ColorBuilder, label: *const c_char) -> ColorBuilder {
    if label.is_null() {
        return builder;
    }
    // SAFETY: the caller says so.
    builder.label(&unsafe { CStr::from_ptr(label) }.to_string_lossy())
}

/// The bytes of a key.
///
/// # Safety
///
/// The pointer leads to so many bytes, or is null.
pub(crate) unsafe fn key_of<'a>(key: *const c_void, length: usize) -> Result<&'a [u8], c_int> {
    match (key.is_null(), length) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(libc::EINVAL),
        // SAFETY: the caller says so.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts(key.cast(), length) }),
    }
}

/// Makes a color of a runtime, as options say, which may be NULL. The caller has a count of it.
///
/// NULL: errno is EINVAL for a size, number or flag that dapple.h does not have, or DAPPLE_BOUND
/// where the runtime has no thread of the program's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_color_new(
    runtime: *mut Runtime,
    options: *const ColorOptions,
) -> *mut Color {
    const NAME: &str = "dapple_runtime_color_new";
    // SAFETY: see `runtime`.
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

/// The default color of a runtime, of which the caller has a count. In a runtime that was made with
/// DAPPLE_HERE it is bound to the thread that made it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_default_color(runtime: *mut Runtime) -> *mut Color {
    // SAFETY: see `runtime`.
    pointer("dapple_runtime_default_color", || unsafe {
        let runtime = runtime.as_ref().ok_or(libc::EINVAL)?;
        Ok(give(Arc::clone(&runtime.default_color)))
    })
}

/// The color of a key, of which the caller has a count: equal bytes have one color, others have
/// other ones. A key's color lives as long as somebody has a count of it or something posted to it
/// has not run; then the key takes no memory any more.
///
/// NULL: errno is EINVAL for a null pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_runtime_color_of_key(
    runtime: *mut Runtime,
    key: *const c_void,
    length: usize,
) -> *mut Color {
    // SAFETY: see `runtime`.
    pointer("dapple_runtime_color_of_key", || unsafe {
        let runtime = runtime.as_ref().ok_or(libc::EINVAL)?;
        Ok(give(Color::of_key(&runtime.owner, key_of(key, length)?)))
    })
}

/// One count more; answers the color. NULL stays NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_color_ref(color: *mut Color) -> *mut Color {
    if !color.is_null() {
        // SAFETY: the caller has a count, so it is there.
        unsafe { Arc::increment_strong_count(color) };
    }
    color
}

/// One count less. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_color_unref(color: *mut Color) {
    if !color.is_null() {
        // SAFETY: the caller gives its count up.
        door("dapple_color_unref", || unsafe { Arc::decrement_strong_count(color) });
    }
}

/// The color of the callback that runs on this thread, without a count for the caller. NULL: it has
/// none or several, or no callback runs.
#[unsafe(no_mangle)]
pub extern "C" fn dapple_color_current() -> *mut Color {
    with_current(|colors| match colors {
        [color] => Arc::as_ptr(color).cast_mut(),
        _ => std::ptr::null_mut(),
    })
}

/// 1 if the callback that runs on this thread has the color, alone or among others; otherwise 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_color_is_current(color: *const Color) -> c_int {
    let is_it = |other: &Arc<Color>| std::ptr::eq(Arc::as_ptr(other), color);
    c_int::from(with_current(|colors| colors.iter().any(is_it)))
}
