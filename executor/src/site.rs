//! Sites: the source location where a callback was posted, in one word.
//!
//! A location in Rust source is a `&'static Location`, which the compiler makes. A program that
//! posts on behalf of others, such as a binding for another language, has locations in other files.
//! Those are stored in a table for the life of the process, each once. A site is a pointer to
//! either kind; the lowest bit, which is zero in both addresses, says which kind it is.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::Location;
use std::ptr::NonNull;

use crate::sync::{Mutex, lock};

/// The source location where a callback was posted: a file and a line, as in reports and traces.
///
/// # Examples
///
/// A layer that posts for its caller names the caller:
///
/// ```
/// use dapple::{Color, Cx, Handle, Site};
///
/// struct Button { handle: Handle, color: Color, site: Site }
///
/// impl Button {
///     /// Makes a button. Its site is the line that calls this.
///     #[track_caller]
///     fn new(handle: &Handle) -> Button {
///         let (handle, color) = (handle.clone(), handle.new_color());
///         Button { handle, color, site: Site::caller() }
///     }
///
///     fn click(&self, f: impl FnOnce(&mut Cx) + Send + 'static) {
///         self.handle.post_from(self.site, &self.color, f);
///     }
/// }
/// # let rt = dapple::Runtime::new()?;
/// # let button = Button::new(&rt.handle());
/// # assert!(button.site.to_string().contains(".rs:"));
/// # button.click(|_| ());
/// # rt.wait_idle();
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// A binding names locations in the source of another language:
///
/// ```
/// use dapple::Site;
/// let site = Site::named("src/server.c", 120);
/// assert_eq!((site.file(), site.line()), ("src/server.c", 120));
/// assert_eq!(site.to_string(), "src/server.c:120");
/// ```
#[derive(Clone, Copy)]
pub struct Site(NonNull<()>);

// SAFETY: the value that a site points to is immutable, and lives as long as the process.
unsafe impl Send for Site {}
// SAFETY: the value that a site points to is immutable, and lives as long as the process.
unsafe impl Sync for Site {}

/// A location outside of Rust source, aligned so that the lowest bit of its address is zero.
#[derive(Debug, PartialEq, Eq)]
#[repr(align(8))]
struct Named {
    file: String,
    line: u32,
}

/// All named sites, by file and line.
static NAMED: Mutex<BTreeMap<(String, u32), Site>> = Mutex::new(BTreeMap::new());

const NAMED_BIT: usize = 1;

impl Site {
    /// Returns the location of this call, or of the call of the function around it if that is
    /// marked with `#[track_caller]`.
    ///
    /// With marks on several functions around each other, the site is the line in the first
    /// function without the mark.
    #[track_caller]
    #[inline]
    pub fn caller() -> Site {
        const { assert!(align_of::<Location<'static>>() > NAMED_BIT) };
        Site(NonNull::from(Location::caller()).cast())
    }

    /// Returns a site for a line of a source that is not Rust.
    ///
    /// Each file and line takes memory once, for the life of the process. Each call takes a lock
    /// and searches a table, so keep the site.
    pub fn named(file: &str, line: u32) -> Site {
        let mut named = lock(&NAMED);
        *named.entry((file.to_owned(), line)).or_insert_with(|| {
            let site: &'static Named = Box::leak(Box::new(Named { file: file.to_owned(), line }));
            Site(NonNull::from(site).cast().map_addr(|address| address | NAMED_BIT))
        })
    }

    /// Returns the file: the path that the compiler was given, or the one that was passed to
    /// [`named`](Self::named).
    pub fn file(&self) -> &'static str {
        self.look().map_or_else(|named| &*named.file, Location::file)
    }

    /// Returns the line in the file, counted from 1.
    pub fn line(&self) -> u32 {
        self.look().map_or_else(|named| named.line, Location::line)
    }

    /// Returns the column in the line, counted from 1; `None` for a [named](Self::named) site.
    pub fn column(&self) -> Option<u32> {
        self.look().ok().map(Location::column)
    }

    fn look(&self) -> Result<&'static Location<'static>, &'static Named> {
        let address = self.0.as_ptr();
        match address.addr() & NAMED_BIT {
            // SAFETY: without the bit, `caller` made the pointer from a reference to a location,
            // which the compiler made and which lives as long as the process.
            0 => Ok(unsafe { &*address.cast() }),
            // SAFETY: with the bit, `named` made the pointer from a reference to a leaked `Named`,
            // whose address is this one without the bit.
            _ => Err(unsafe { &*address.map_addr(|address| address & !NAMED_BIT).cast() }),
        }
    }

    /// Returns the site as one word, for [`of_raw`](Self::of_raw).
    #[inline]
    pub(crate) fn into_raw(self) -> *mut () {
        self.0.as_ptr()
    }

    /// Returns the site that was stored as a word; `None` for a null pointer.
    ///
    /// # Safety
    ///
    /// `raw` is null, or came from [`into_raw`](Self::into_raw).
    #[inline]
    pub(crate) unsafe fn of_raw(raw: *mut ()) -> Option<Site> {
        NonNull::new(raw).map(Site)
    }
}

/// Two sites are equal if their files, lines and columns are equal.
impl PartialEq for Site {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.parts() == other.parts()
    }
}

impl Eq for Site {}

impl Hash for Site {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl Site {
    /// Returns the file, the line and the column, which identify the site.
    pub(crate) fn parts(&self) -> (&'static str, u32, Option<u32>) {
        (self.file(), self.line(), self.column())
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file(), self.line())?;
        self.column().map_or(Ok(()), |column| write!(f, ":{column}"))
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_places_are_one_site() {
        #[track_caller]
        fn here() -> Site {
            Site::caller()
        }
        let places = [here(), here()];
        assert_ne!(places[0], places[1]);
        assert_eq!(places[0].file(), file!());
        assert!(places[0].column().is_some());
        let a = Site::named("a.c", 7);
        assert_eq!(a, Site::named("a.c", 7));
        assert_eq!(a.into_raw(), Site::named("a.c", 7).into_raw(), "it is kept once");
        assert_ne!(a, Site::named("a.c", 8));
        assert_ne!(a, Site::named("b.c", 7));
        // SAFETY: the pointer came from `into_raw`.
        assert_eq!(unsafe { Site::of_raw(a.into_raw()) }, Some(a));
        assert_eq!(format!("{a} {a:?}"), "a.c:7 a.c:7");
    }
}
