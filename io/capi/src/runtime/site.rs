//! Where a C program has posted, as its macros tell: a file and a line.
//!
//! [`Site::named`] takes a lock and a search. Each thread remembers the sites that it was told
//! last, by the address of the file's name, which the compiler makes once, and by the line; the
//! name is compared too, as an address may be another name's after a library was unloaded.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::ptr::null;

use dapple::Site;

/// A power of two: six bits say which.
const REMEMBERED: usize = 64;

type Known = Cell<(*const c_char, c_int, Option<Site>)>;

thread_local! {
    static KNOWN: [Known; REMEMBERED] =
        const { [const { Cell::new((null(), 0, None)) }; REMEMBERED] };
}

/// The site of a file and a line; without a file it is one of this library's.
///
/// # Safety
///
/// `file` is null, or a string.
pub(super) unsafe fn site(file: *const c_char, line: c_int) -> Site {
    if file.is_null() {
        return Site::named("(C)", 0);
    }
    // SAFETY: the caller says so.
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
