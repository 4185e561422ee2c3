//! The functions that remain libevent's and are called from here: memory, and the log.
//!
//! They are looked up when they are first needed, not when the library is loaded. A preloaded
//! library is also loaded into child processes of the program that have no libevent.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::transmute_copy;
use std::sync::OnceLock;

/// The version whose upper layers fit: 2.1.
const VERSION: u32 = 0x0201;

/// The functions of libevent that are called; `None` if the process has no libevent.
struct Libevent {
    malloc: Option<unsafe extern "C" fn(usize) -> *mut c_void>,
    free: Option<unsafe extern "C" fn(*mut c_void)>,
    warn: Option<unsafe extern "C" fn(*const c_char, ...)>,
}

/// Returns the next symbol of that name after ours, as an `F`, if the process has one.
pub(super) fn next<F: Copy>(name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: `name` ends with a zero. The symbol has the type that libevent 2.1 declares, which
    // the caller passes as `F`, and the assertion shows that an `F` has the size of a pointer.
    unsafe {
        let found = libc::dlsym(libc::RTLD_NEXT, name.as_ptr());
        (!found.is_null()).then(|| transmute_copy(&found))
    }
}

fn libevent() -> &'static Libevent {
    static FOUND: OnceLock<Libevent> = OnceLock::new();
    FOUND.get_or_init(|| Libevent {
        malloc: next(c"event_mm_malloc_"),
        free: next(c"event_mm_free_"),
        warn: next(c"event_warnx"),
    })
}

/// Ends the process if it has a libevent of another version than 2.1, whose upper layers do not
/// fit.
pub(super) fn check_version() {
    static CHECKED: OnceLock<()> = OnceLock::new();
    CHECKED.get_or_init(|| {
        let Some(version) = next::<unsafe extern "C" fn() -> u32>(c"event_get_version_number")
        else {
            return;
        };
        // SAFETY: the function takes no arguments.
        let version = unsafe { version() };
        if version >> 16 != VERSION {
            eprintln!(
                "dapple_event: this process has libevent {}.{}, but libdapple_event needs 2.1",
                version >> 24,
                version >> 16 & 0xff
            );
            std::process::abort();
        }
    });
}

/// Allocates zeroed memory with the allocator that the program has given to libevent. Returns null
/// if there is none.
pub(super) fn allocate(size: usize) -> *mut c_void {
    // SAFETY: both functions take a size, and return null or memory of that size.
    unsafe {
        let memory = match libevent().malloc {
            Some(malloc) => malloc(size),
            None => libc::malloc(size),
        };
        if !memory.is_null() {
            memory.cast::<u8>().write_bytes(0, size);
        }
        memory
    }
}

/// Frees memory with the allocator that the program has given to libevent.
///
/// # Safety
///
/// The memory is from [`allocate`], and is not used again.
pub(super) unsafe fn free(memory: *mut c_void) {
    // SAFETY: the caller guarantees that the memory is from the matching allocator and is not used
    // again.
    unsafe {
        match libevent().free {
            Some(free) => free(memory),
            None => libc::free(memory),
        }
    }
}

/// Writes a warning to the program's log callback, or to standard error without libevent.
pub(super) fn warn(message: &str) {
    let mut text = Vec::from(message.as_bytes());
    text.retain(|byte| *byte != 0);
    text.push(0);
    match libevent().warn {
        // SAFETY: the format asks for one string, and `text` ends with a zero.
        Some(warn) => unsafe { warn(c"%s".as_ptr(), text.as_ptr().cast::<c_char>()) },
        None => eprintln!("[warn] {message}"),
    }
}

/// Writes an error to the program's log callback, or to standard error, and ends the process.
///
/// libevent ends it, so that the program's fatal callback is called.
pub(super) fn fatal(message: &str) -> ! {
    let mut text = Vec::from(message.as_bytes());
    text.retain(|byte| *byte != 0);
    text.push(0);
    type Errx = unsafe extern "C" fn(c_int, *const c_char, ...);
    if let Some(errx) = next::<Errx>(c"event_errx") {
        // SAFETY: the format asks for one string, and `text` ends with a zero. The exit code is
        // that of libevent's internal errors, which makes it abort.
        unsafe { errx(0xdead_dead_u32 as c_int, c"%s".as_ptr(), text.as_ptr().cast::<c_char>()) };
    }
    eprintln!("[err] {message}");
    std::process::abort()
}

/// Sets a variable of libevent's that its upper layers read.
pub(super) fn set_number(name: &CStr, value: c_int) {
    if let Some(number) = next::<*mut c_int>(name) {
        // SAFETY: the variable is an int. It is written before other threads start, as libevent
        // demands.
        unsafe { number.write(value) };
    }
}
