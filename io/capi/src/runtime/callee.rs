//! A function of the program's, with its argument.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use super::colors::{Color, count, on};
use super::owner::{Hold, Owner};
use crate::door::door;

/// A function that is called with the argument that was given with it.
pub type Function = Option<unsafe extern "C" fn(argument: *mut c_void)>;

/// A function that is told what a descriptor is ready for, or which signal has come.
pub type WatchFunction = Option<unsafe extern "C" fn(what: c_int, argument: *mut c_void)>;

/// A [`Function`] that is there.
pub(crate) type Call = unsafe extern "C" fn(argument: *mut c_void);

/// A [`WatchFunction`] that is there.
pub(crate) type Tell = unsafe extern "C" fn(what: c_int, argument: *mut c_void);

/// The colors of what has none.
pub(super) type NoColor = [Arc<Color>; 0];

pub(super) const NO_COLOR: NoColor = [];

/// A function, its argument, what frees the argument, and the colors that both are called on. The
/// argument is freed when this is dropped.
pub(super) struct Callee<F, C: AsRef<[Arc<Color>]>> {
    call: F,
    argument: Argument,
    drop: Function,
    colors: C,
    /// What keeps a loop running until this is gone.
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

/// What is called on one color.
pub(super) type Colored<F> = Callee<F, [Arc<Color>; 1]>;

/// What is called on a color that a program names, where its runtime accepts it: the owner, the
/// color to post to, and the callee. Nothing may fail after this, as dropping it frees the
/// argument.
///
/// # Safety
///
/// The color is null, or the caller has a count; see `runtime` for the functions.
pub(super) unsafe fn on_color<F: Copy>(
    color: *mut Color,
    function: Option<F>,
    argument: *mut c_void,
    drop: Function,
) -> Result<(Arc<Owner>, dapple::Color, Colored<F>), c_int> {
    // SAFETY: the caller says so.
    let (color, call) = (unsafe { count(color) }?, function.ok_or(libc::EINVAL)?);
    color.owner.check_open()?;
    let (owner, to) = (Arc::clone(&color.owner), color.color.clone());
    let callee = Callee::new(call, argument, drop, [color], &owner);
    Ok((owner, to, callee))
}

impl<F: Copy, C: AsRef<[Arc<Color>]>> Callee<F, C> {
    pub(super) fn new(
        call: F,
        argument: *mut c_void,
        drop: Function,
        colors: C,
        owner: &Arc<Owner>,
    ) -> Self {
        Callee { call, argument: Argument(argument), drop, colors, _hold: owner.hold() }
    }

    /// Calls the function as a callback of its colors. `what`: what it is, for a message.
    fn call_with<R>(&self, what: &str, f: impl FnOnce(F, *mut c_void) -> R) -> R {
        door(what, || on(self.colors.as_ref(), || f(self.call, self.argument.0)))
    }

    /// Nothing is called: the argument stays the program's. It must be the last one that has it.
    pub(super) fn forget_shared(this: Arc<Self>) {
        if let Ok(mut callee) = Arc::try_unwrap(this) {
            callee.drop = None;
        }
    }
}

impl<C: AsRef<[Arc<Color>]>> Callee<Call, C> {
    /// Calls the function, and frees the argument.
    pub(super) fn run(self, what: &str) {
        self.call(what);
    }

    /// Calls the function.
    pub(super) fn call(&self, what: &str) {
        // SAFETY: the program says so; see `runtime`.
        self.call_with(what, |call, argument| unsafe { call(argument) });
    }
}

impl<C: AsRef<[Arc<Color>]>> Callee<Tell, C> {
    /// Calls the function with what it is told.
    pub(super) fn tell(&self, what: &str, told: c_int) {
        // SAFETY: the program says so; see `runtime`.
        self.call_with(what, |call, argument| unsafe { call(told, argument) });
    }
}

impl<C: AsRef<[Arc<Color>]>> Callee<super::domains::Step, C> {
    /// Calls the function with its token, and frees the argument.
    pub(super) fn step(self, what: &str, token: *mut super::domains::Token) {
        // SAFETY: the program says so; see `runtime`. The token is there until it returns.
        self.call_with(what, |call, argument| unsafe { call(token, argument) });
    }
}

impl<F, C: AsRef<[Arc<Color>]>> Drop for Callee<F, C> {
    fn drop(&mut self) {
        if let Some(drop) = self.drop.take() {
            let (colors, argument) = (self.colors.as_ref(), self.argument.0);
            // SAFETY: the program says so; see `runtime`. It is called once, as it is taken.
            door("what frees an argument", || on(colors, || unsafe { drop(argument) }));
        }
    }
}
