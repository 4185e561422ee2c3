//! Closures and futures that are large.
//!
//! A value that is passed on from function to function is copied each time, at least in a debug
//! build, and each copy has its place on the stack. So what is large is put into a box where it
//! comes in, by the public function, and the box is passed on. A boxed closure also runs where it
//! lies: calling a `Box<dyn FnOnce>` does not move what it holds.

use crate::cx::Cx;

/// Values of more bytes than this are large.
const LARGE: usize = 1_024;

/// Says whether a `T` is large.
#[inline(always)]
pub(crate) const fn is_large<T>() -> bool {
    size_of::<T>() > LARGE
}

/// A closure of an event, in a box.
pub(crate) type Boxed = Box<dyn FnOnce(&mut Cx) + Send>;

/// A closure, in a box, of an event that gets a value by `&mut`.
pub(crate) type BoxedMut<T> = Box<dyn FnOnce(&mut T, &mut Cx) + Send>;

/// A closure, in a box, of an event that gets a value by `&`.
pub(crate) type BoxedRef<T> = Box<dyn FnOnce(&T, &mut Cx) + Send>;
