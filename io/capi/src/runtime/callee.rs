//! A function of the program with its argument, as it is posted or registered.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use super::colors::{Color, count, on};
use super::owner::{Owner, RunGuard};
use crate::door::door;

/// A function of the program, which is called with the argument that was given with it.
pub type Function = Option<unsafe extern "C" fn(argument: *mut c_void)>;

/// A function of the program, which is told what a descriptor is ready for, or the number of a
/// signal.
pub type WatchFunction = Option<unsafe extern "C" fn(what: c_int, argument: *mut c_void)>;

/// A [`Function`] that is not null.
pub(crate) type Call = unsafe extern "C" fn(argument: *mut c_void);

/// A [`WatchFunction`] that is not null.
pub(crate) type Tell = unsafe extern "C" fn(what: c_int, argument: *mut c_void);

/// The colors of a callee that has none.
pub(super) type NoColor = [Arc<Color>; 0];

pub(super) const NO_COLOR: NoColor = [];

/// A function, its argument, the function that frees the argument, and the colors that both run on.
///
/// Dropping a callee frees the argument.
pub(super) struct Callee<F, C: AsRef<[Arc<Color>]>> {
    call: F,
    argument: Argument,
    drop: Function,
    colors: C,
    /// Keeps a loop running until the callee is dropped.
    _guard: RunGuard,
}

/// A pointer of the program, which goes to the thread that uses it.
#[derive(Clone, Copy)]
struct Argument(*mut c_void);

// SAFETY: the program passes the pointer for use by its functions, and guarantees that they may use
// it on the threads that call them (see `runtime/mod.rs`). Nothing here reads what it leads to.
unsafe impl Send for Argument {}
// SAFETY: see `Send`: no code here uses more than the address.
unsafe impl Sync for Argument {}

/// A callee with one color.
pub(super) type Colored<F> = Callee<F, [Arc<Color>; 1]>;

/// Makes a callee on a color that a program names, if the color's runtime accepts posts.
///
/// Returns the owner, the color to post to, and the callee. Nothing may fail after this, because
/// dropping the callee frees the argument, which a failed call must leave to the program.
///
/// # Errors
///
/// EINVAL if the color or the function is null, ESHUTDOWN if the runtime has ended, ECHILD in a
/// forked child.
///
/// # Safety
///
/// The color is null, or the caller has a reference to it. The functions meet the rules in
/// `runtime/mod.rs`.
pub(super) unsafe fn on_color<F: Copy>(
    color: *mut Color,
    function: Option<F>,
    argument: *mut c_void,
    drop: Function,
) -> Result<(Arc<Owner>, dapple::Color, Colored<F>), c_int> {
    // SAFETY: the caller guarantees that `color` is null or that it has a reference to it.
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
        Callee { call, argument: Argument(argument), drop, colors, _guard: owner.keep_running() }
    }

    /// Calls the function as a callback of its colors. `what` names it in the message of a panic.
    fn call_with<R>(&self, what: &str, f: impl FnOnce(F, *mut c_void) -> R) -> R {
        door(what, || on(self.colors.as_ref(), || f(self.call, self.argument.0)))
    }

    /// Drops a callee without freeing the argument, which stays the program's. `this` must be the
    /// last reference.
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
        // SAFETY: the program guarantees that its function may be called with its argument on this
        // thread (see `runtime/mod.rs`).
        self.call_with(what, |call, argument| unsafe { call(argument) });
    }
}

impl<C: AsRef<[Arc<Color>]>> Callee<Tell, C> {
    /// Calls the function with the number that it is told.
    pub(super) fn tell(&self, what: &str, told: c_int) {
        // SAFETY: the program guarantees that its function may be called with its argument on this
        // thread (see `runtime/mod.rs`).
        self.call_with(what, |call, argument| unsafe { call(told, argument) });
    }
}

impl<C: AsRef<[Arc<Color>]>> Callee<super::domains::Step, C> {
    /// Calls the function with its token, and frees the argument.
    pub(super) fn step(self, what: &str, token: *mut super::domains::Token) {
        // SAFETY: the program guarantees that its function may be called with its argument on this
        // thread (see `runtime/mod.rs`). The token lives until the function returns.
        self.call_with(what, |call, argument| unsafe { call(token, argument) });
    }
}

impl<F, C: AsRef<[Arc<Color>]>> Drop for Callee<F, C> {
    fn drop(&mut self) {
        if let Some(drop) = self.drop.take() {
            let (colors, argument) = (self.colors.as_ref(), self.argument.0);
            // SAFETY: the program guarantees that `drop` may be called once with the argument (see
            // `runtime/mod.rs`). It is called only once, because it has been taken out.
            door("a drop function", || on(colors, || unsafe { drop(argument) }));
        }
    }
}
