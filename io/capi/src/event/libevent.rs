//! What stays libevent's and is called from here: memory, and the log.
//!
//! It is looked up when it is first needed, not when the library is loaded: a preloaded library is
//! also loaded into children of the program that know nothing of libevent.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::transmute_copy;
use std::sync::OnceLock;

/// Versions whose upper layers fit: 2.1.
const VERSION: u32 = 0x0201;

/// What is called of libevent's.
struct Libevent {
    malloc: Option<unsafe extern "C" fn(usize) -> *mut c_void>,
    free: Option<unsafe extern "C" fn(*mut c_void)>,
    warn: Option<unsafe extern "C" fn(*const c_char, ...)>,
}

/// The symbol behind ours of that name, if the process has one, as an `F`.
pub(super) fn next<F: Copy>(name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: the name is a string; what is found has the type that libevent 2.1 declares.
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

/// Ends the process if the libevent that it has is not the one whose upper layers fit.
pub(super) fn check_version() {
    static CHECKED: OnceLock<()> = OnceLock::new();
    CHECKED.get_or_init(|| {
        let Some(version) = next::<unsafe extern "C" fn() -> u32>(c"event_get_version_number")
        else {
            return;
        };
        // SAFETY: the function takes nothing.
        let version = unsafe { version() };
        if version >> 16 != VERSION {
            eprintln!(
                "dapple_event: this process has libevent {}.{}; only 2.1 fits",
                version >> 24,
                version >> 16 & 0xff
            );
            std::process::abort();
        }
    });
}

/// Zeroed memory, from where the program has told libevent to get it. Null: there is none.
pub(super) fn allocate(size: usize) -> *mut c_void {
    // SAFETY: both take a size; what they answer is that large.
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

/// # Safety
///
/// It is from [`allocate`], and not used again.
pub(super) unsafe fn free(memory: *mut c_void) {
    // SAFETY: the caller says so.
    unsafe {
        match libevent().free {
            Some(free) => free(memory),
            None => libc::free(memory),
        }
    }
}

/// Tells the program's log callback, or standard error.
pub(super) fn warn(message: &str) {
    let mut text = Vec::from(message.as_bytes());
    text.retain(|byte| *byte != 0);
    text.push(0);
    match libevent().warn {
        // SAFETY: the format asks for one string, which ends with a zero.
        Some(warn) => unsafe { warn(c"%s".as_ptr(), text.as_ptr().cast::<c_char>()) },
        None => eprintln!("[warn] {message}"),
    }
}

/// Tells the program's log callback, or standard error, and ends the process: by libevent, so that
/// a program's own way to end is taken.
pub(super) fn fatal(message: &str) -> ! {
    let mut text = Vec::from(message.as_bytes());
    text.retain(|byte| *byte != 0);
    text.push(0);
    type Errx = unsafe extern "C" fn(c_int, *const c_char, ...);
    if let Some(errx) = next::<Errx>(c"event_errx") {
        // SAFETY: the format asks for one string, which ends with a zero. The number is the one of
        // libevent's own faults, by which it aborts.
        unsafe { errx(0xdead_dead_u32 as c_int, c"%s".as_ptr(), text.as_ptr().cast::<c_char>()) };
    }
    eprintln!("[err] {message}");
    std::process::abort()
}

/// Sets a number that is libevent's, and that its upper layers read.
pub(super) fn set_number(name: &CStr, value: c_int) {
    if let Some(number) = next::<*mut c_int>(name) {
        // SAFETY: it is an int, which is written before other threads start, as libevent demands.
        unsafe { number.write(value) };
    }
}
