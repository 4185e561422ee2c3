//! A function of the program's, with its argument.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use super::owner::Hold;

/// A function that is called with the argument that was given with it.
pub type Function = Option<unsafe extern "C" fn(argument: *mut c_void)>;

/// A function that is told what a descriptor is ready for, or which signal has come.
pub type WatchFunction = Option<unsafe extern "C" fn(what: c_int, argument: *mut c_void)>;

/// A [`Function`] that is there.
pub(crate) type Call = unsafe extern "C" fn(argument: *mut c_void);

/// A [`WatchFunction`] that is there.
pub(crate) type Tell = unsafe extern "C" fn(what: c_int, argument: *mut c_void);

/// A function, its argument, and what frees the argument. Dropping it calls the latter, and lets go
/// of what keeps the loop of its owner running.
pub(crate) struct Callee<F> {
    pub(crate) call: F,
    argument: Argument,
    drop: Function,
    _hold: Hold,
}

/// A pointer of the program's that goes to the thread on which it is used.
#[derive(Clone, Copy)]
struct Argument(*mut c_void);

// SAFETY: the program says what the pointer leads to, and that its functions may use it on the
// threads on which they are called; nothing here looks at it.
unsafe impl Send for Argument {}
// SAFETY: see above.
unsafe impl Sync for Argument {}

impl<F: Copy> Callee<F> {
    /// What has not been given to anybody yet: see [`forget`](Self::forget).
    pub(crate) fn new(call: F, argument: *mut c_void, drop: Function, hold: Hold) -> Callee<F> {
        Callee { call, argument: Argument(argument), drop, _hold: hold }
    }

    pub(crate) fn argument(&self) -> *mut c_void {
        self.argument.0
    }

    /// The call for which it was made has failed: the argument stays the program's. Whoever else
    /// had it has let go.
    pub(crate) fn forget_shared(this: Arc<Self>) {
        if let Ok(mut callee) = Arc::try_unwrap(this) {
            callee.drop = None;
        }
    }
}

impl Callee<Call> {
    /// Calls the function, and frees the argument.
    pub(crate) fn run(self) {
        self.call();
    }

    /// Calls the function.
    pub(crate) fn call(&self) {
        // SAFETY: the program says so; see `runtime`.
        unsafe { (self.call)(self.argument.0) };
    }
}

impl Callee<Tell> {
    /// Calls the function with what it is told.
    pub(crate) fn tell(&self, what: c_int) {
        // SAFETY: the program says so; see `runtime`.
        unsafe { (self.call)(what, self.argument.0) };
    }
}

impl<F> Drop for Callee<F> {
    fn drop(&mut self) {
        if let Some(drop) = self.drop.take() {
            // SAFETY: the program says so; see `runtime`. It is called once, as it is taken.
            unsafe { drop(self.argument.0) };
        }
    }
}
