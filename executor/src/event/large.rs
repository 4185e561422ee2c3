//! Large closures and futures.
//!
//! A value that is passed from function to function is copied each time, at least in a debug build,
//! and each copy takes space on the stack. So the public functions put a large value into a box,
//! and pass on the box. A boxed closure also runs where it is: calling a `Box<dyn FnOnce>` does not
//! move its contents.

use crate::cx::Cx;

/// The size in bytes above which a value is large.
const LARGE: usize = 1_024;

/// Returns `true` if a `T` is large.
#[inline(always)]
pub(crate) const fn is_large<T>() -> bool {
    size_of::<T>() > LARGE
}

/// A boxed closure of an event.
pub(crate) type Boxed = Box<dyn FnOnce(&mut Cx) + Send>;

/// A boxed closure of an event that gets a value by `&mut`.
pub(crate) type BoxedMut<T> = Box<dyn FnOnce(&mut T, &mut Cx) + Send>;

/// A boxed closure of an event that gets a value by `&`.
pub(crate) type BoxedRef<T> = Box<dyn FnOnce(&T, &mut Cx) + Send>;
