//! The site of a post in a C program: the file and line that its macros pass.
//!
//! [`Site::named`] takes a lock and searches. So each thread remembers the sites that it used last.
//! They are found by the line and by the address of the file's name, of which the compiler makes
//! one per file. The name itself is compared, too, because another name may have that address after
//! a library was unloaded.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::ptr::null;

use dapple::Site;

/// The number of sites that a thread remembers, a power of two: six bits of a hash are the index.
const REMEMBERED: usize = 64;

type Known = Cell<(*const c_char, c_int, Option<Site>)>;

thread_local! {
    static KNOWN: [Known; REMEMBERED] =
        const { [const { Cell::new((null(), 0, None)) }; REMEMBERED] };
}

/// Returns the site of a file and a line. If the file is null, it is a site of this library.
///
/// # Safety
///
/// `file` is null, or a string that ends with a zero.
pub(super) unsafe fn site(file: *const c_char, line: c_int) -> Site {
    if file.is_null() {
        return Site::named("(C)", 0);
    }
    // SAFETY: the caller guarantees that `file` is a string that ends with a zero.
    let name = unsafe { CStr::from_ptr(file) };
    let mixed = (file.addr() as u64 ^ line as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let at = (mixed >> 58) as usize;
    KNOWN.with(|known| {
        if let (known_file, known_line, Some(site)) = known[at].get()
            && (known_file, known_line) == (file, line)
            && site.file().as_bytes() == name.to_bytes()
        {
            return site;
        }
        let site = Site::named(&name.to_string_lossy(), line.max(0) as u32);
        known[at].set((file, line, Some(site)));
        site
    })
}
