//! Domains, in their dynamic form.

#![allow(clippy::missing_safety_doc, reason = "`runtime` says what all of them rely on")]

use std::ffi::{c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::Arc;

use dapple::{Context, Cx, Domain as Inner, Done, DynCx};

use super::callee::{Callee, Function, NO_COLOR, NoColor};
use super::owner::Owner;
use super::runtimes::Runtime;
use super::site::site;
use crate::door::{answer, door, number, pointer, set_errno};

/// The context in which an event sees nothing of its domain, and runs beside everything.
pub const DAPPLE_NONE: c_int = 0;
/// The context in which an event reads the state, beside others.
pub const DAPPLE_ANON: c_int = 1;
/// The context in which an event reads and writes the state, in the order of its domain.
pub const DAPPLE_GLOBAL: c_int = 2;

/// A step of an event of a domain: it runs in a context, and may ask, once, for what comes next.
pub type StepFunction = Option<unsafe extern "C" fn(token: *mut Token, argument: *mut c_void)>;

/// A [`StepFunction`] that is there.
pub(super) type Step = unsafe extern "C" fn(token: *mut Token, argument: *mut c_void);

/// Makes a copy of a state, which shares nothing with it.
pub type CloneFunction = Option<unsafe extern "C" fn(state: *const c_void) -> *mut c_void>;

/// A state, and the events that are ordered by it.
pub struct Domain {
    inner: Inner<State>,
    owner: Arc<Owner>,
}

/// An event of a domain while a step of it runs. It must not be kept, or used on another thread.
pub struct Token {
    event: DynCx<State>,
    owner: Arc<Owner>,
    next: Next,
}

/// What is done when the step has returned.
enum Next {
    Commit,
    Enter(Context, Callee<Step, NoColor>),
    Exclusive(Callee<Step, NoColor>),
    CommitThen(Context, Callee<Step, NoColor>),
}

/// A state of the program's.
struct State {
    state: *mut c_void,
    clone: CloneFunction,
    free: Function,
}

// SAFETY: the program says what the pointer leads to, and that it may be read by several threads at
// once and written by one; nothing here looks at it.
unsafe impl Send for State {}
// SAFETY: see above.
unsafe impl Sync for State {}

impl Clone for State {
    fn clone(&self) -> State {
        // SAFETY: the program says so; see `runtime`. A domain of such a state is a snapshot one
        // only if there is the function.
        let state = self.clone.map_or(null_mut(), |clone| unsafe { clone(self.state) });
        State { state, ..*self }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: the program says so; see `runtime`. It is dropped once.
            unsafe { free(self.state) };
        }
    }
}

fn context_of(context: c_int) -> Result<Context, c_int> {
    match context {
        DAPPLE_NONE => Ok(Context::None),
        DAPPLE_ANON => Ok(Context::Anon),
        DAPPLE_GLOBAL => Ok(Context::Global),
        _ => Err(libc::EINVAL),
    }
}

/// Runs a step, and does what it has asked for.
fn step(event: DynCx<State>, owner: Arc<Owner>, callee: Callee<Step, NoColor>) -> Done {
    let mut token = Token { event, owner, next: Next::Commit };
    callee.step("a step of an event", &raw mut token);
    let Token { event, owner, next } = token;
    let goes_on = |callee| move |event| step(event, owner, callee);
    let refused = "it was checked when it was asked for";
    match next {
        Next::Commit => event.commit(),
        Next::Enter(context, callee) => event.enter_then(context, goes_on(callee)).expect(refused),
        Next::Exclusive(callee) => event.exclusive_then(goes_on(callee)).expect(refused),
        Next::CommitThen(highest, callee) => event.commit_then(highest, goes_on(callee)),
    }
}

impl Token {
    /// What comes next, which is asked for once.
    #[allow(clippy::too_many_arguments, reason = "they are those of the exported functions")]
    unsafe fn ask(
        token: *mut Token,
        function: StepFunction,
        argument: *mut c_void,
        drop: Function,
        (file, line): (*const c_char, c_int),
        next: impl FnOnce(&Token, Callee<Step, NoColor>) -> Next,
        check: impl FnOnce(&Token) -> Result<(), c_int>,
    ) -> Result<(), c_int> {
        // SAFETY: see `runtime`.
        unsafe {
            let token = token.as_mut().ok_or(libc::EINVAL)?;
            let call = function.ok_or(libc::EINVAL)?;
            if !matches!(token.next, Next::Commit) {
                return Err(libc::EALREADY);
            }
            check(token)?;
            token.event.set_site(site(file, line));
            let callee = Callee::new(call, argument, drop, NO_COLOR, &token.owner);
            token.next = next(token, callee);
        }
        Ok(())
    }
}

/// Opens a domain with a state, which is the domain's from then on: free is called with it, if that
/// is not NULL, when nobody can use it any more, on any thread.
///
/// With clone, events in anon read the state that they have come upon while later events change a
/// copy, which is made only if somebody still reads. Without, that is NULL, later events wait. The
/// label, which may be NULL, names the domain in reports.
///
/// NULL: errno is EINVAL for a runtime that is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_domain_new(
    runtime: *mut Runtime,
    state: *mut c_void,
    clone: CloneFunction,
    free: Function,
    label: *const c_char,
) -> *mut Domain {
    // SAFETY: see `runtime`.
    pointer("dapple_domain_new", || unsafe {
        let owner = Arc::clone(&runtime.as_ref().ok_or(libc::EINVAL)?.owner);
        let mut builder = Inner::builder();
        if !label.is_null() {
            builder = builder.label(&std::ffi::CStr::from_ptr(label).to_string_lossy());
        }
        let state = State { state, clone, free };
        let inner = match clone {
            Some(_) => builder.snapshot(owner.handle(), state),
            None => builder.read_write(owner.handle(), state),
        };
        Ok(Box::into_raw(Box::new(Domain { inner, owner })))
    })
}

/// Gives a domain up: its events still run, and then its state is freed. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_domain_free(domain: *mut Domain) {
    if !domain.is_null() {
        // SAFETY: it is from `dapple_domain_new`, and not used again: see `runtime`.
        door("dapple_domain_free", || drop(unsafe { Box::from_raw(domain) }));
    }
}

/// Posts an event to a domain. Its first step runs in none; up to which context it may go is said
/// here, and an event that says less holds fewer others up. When a step has returned without asking
/// for another one, the event commits. Events commit in the order in which they were posted, and
/// what they have deferred runs then.
///
/// The argument is freed by drop, if that is not NULL: after the step, or instead of it.
///
/// 0: done. -1: nothing is called; errno is EINVAL for a domain or step that is NULL or a number
/// that is no context, ESHUTDOWN when the runtime has ended, ECHILD in a forked child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_domain_post_from(
    domain: *mut Domain,
    highest: c_int,
    function: StepFunction,
    argument: *mut c_void,
    drop: Function,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: see `runtime`.
    answer("dapple_domain_post", || unsafe {
        let domain = domain.as_ref().ok_or(libc::EINVAL)?;
        let (highest, call) = (context_of(highest)?, function.ok_or(libc::EINVAL)?);
        domain.owner.check_open()?;
        let owner = Arc::clone(&domain.owner);
        let callee = Callee::new(call, argument, drop, NO_COLOR, &owner);
        let begins = move |event: DynCx<State>| step(event, owner, callee);
        domain.inner.event_dyn_from(site(file, line), highest, begins);
        Ok(())
    })
}

/// The context in which a step runs. -1: errno is EINVAL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_token_context(token: *const Token) -> c_int {
    number("dapple_token_context", || {
        // SAFETY: see `runtime`.
        let token = unsafe { token.as_ref() }.ok_or(libc::EINVAL)?;
        Ok(match token.event.context() {
            Context::None => DAPPLE_NONE,
            Context::Anon => DAPPLE_ANON,
            Context::Global => DAPPLE_GLOBAL,
        })
    })
}

/// The place of an event in the order of its domain: it is lower than that of each later event. 0
/// for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_token_ticket(token: *const Token) -> u64 {
    // SAFETY: see `runtime`.
    unsafe { token.as_ref() }.map_or(0, |token| token.event.ticket().number())
}

/// The state, to be read until the step returns. NULL: errno is EPERM for an event in none, EINVAL
/// for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_token_state(token: *const Token) -> *const c_void {
    // SAFETY: see `runtime`.
    let state = unsafe { token.as_ref() }
        .ok_or(libc::EINVAL)
        .and_then(|token| token.event.state().map_err(|_| libc::EPERM));
    match state {
        Ok(state) => state.state,
        Err(error) => {
            set_errno(error);
            std::ptr::null()
        }
    }
}

/// The state, to be read and written until the step returns. NULL: errno is EPERM for an event in
/// none or anon, EINVAL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_token_state_mut(token: *mut Token) -> *mut c_void {
    pointer("dapple_token_state_mut", || {
        // SAFETY: see `runtime`.
        let token = unsafe { token.as_mut() }.ok_or(libc::EINVAL)?;
        token.event.state_mut().map(|state| state.state).map_err(|_| libc::EPERM)
    })
}

/// Has a step run in a context when this one has returned: from none to anon or global, from global
/// to anon, or where the event is.
///
/// 0: done. -1: nothing is called; errno is EPERM for a step that is not legal, EALREADY if the
/// step has asked before, EINVAL for a token or step that is NULL or a number that is no context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_token_enter_from(
    token: *mut Token,
    context: c_int,
    function: StepFunction,
    argument: *mut c_void,
    drop: Function,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: see `runtime`.
    answer("dapple_token_enter", || unsafe {
        let context = context_of(context)?;
        let check = |token: &Token| token.event.may_enter(context).map_err(|_| libc::EPERM);
        let next = |_: &Token, callee| Next::Enter(context, callee);
        Token::ask(token, function, argument, drop, (file, line), next, check)
    })
}

/// Has a step of an event in global run, when this one has returned, after all earlier events have
/// committed and what this one has deferred has run, with the domain to itself.
///
/// As dapple_token_enter_from otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_token_exclusive_from(
    token: *mut Token,
    function: StepFunction,
    argument: *mut c_void,
    drop: Function,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: see `runtime`.
    answer("dapple_token_exclusive", || unsafe {
        let check = |token: &Token| match token.event.context() {
            Context::Global => Ok(()),
            _ => Err(libc::EPERM),
        };
        let next = |_: &Token, callee| Next::Exclusive(callee);
        Token::ask(token, function, argument, drop, (file, line), next, check)
    })
}

/// Commits the event when the step has returned, and goes on with a sub-event: an event with a new
/// ticket, which may go up to a context.
///
/// As dapple_token_enter_from otherwise; every context is legal.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_token_commit_then_from(
    token: *mut Token,
    highest: c_int,
    function: StepFunction,
    argument: *mut c_void,
    drop: Function,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: see `runtime`.
    answer("dapple_token_commit_then", || unsafe {
        let highest = context_of(highest)?;
        let next = |_: &Token, callee| Next::CommitThen(highest, callee);
        Token::ask(token, function, argument, drop, (file, line), next, |_| Ok(()))
    })
}

/// Has a function called when the event commits, after what earlier events have deferred, outside
/// of the state: what the event does to the outside.
///
/// The argument is freed by drop, if that is not NULL: after the function, or instead of it. 0:
/// done. -1: errno is EINVAL for a token or function that is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_token_defer_from(
    token: *mut Token,
    function: Function,
    argument: *mut c_void,
    drop: Function,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: see `runtime`.
    answer("dapple_token_defer", || unsafe {
        let token = token.as_mut().ok_or(libc::EINVAL)?;
        let call = function.ok_or(libc::EINVAL)?;
        let callee = Callee::new(call, argument, drop, NO_COLOR, &token.owner);
        token.event.set_site(site(file, line));
        token.event.defer(move |_: &mut Cx| callee.run("a deferred function"));
        Ok(())
    })
}

/// Gives up the right to go higher than a context, so that later events need not wait. It changes
/// nothing for an event in anon or global.
///
/// 0: done. -1: errno is EALREADY if the step has asked for another one, EINVAL for a token that is
/// NULL or a number that is no context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_token_renounce(token: *mut Token, highest: c_int) -> c_int {
    // SAFETY: see `runtime`.
    answer("dapple_token_renounce", || unsafe {
        let token = token.as_mut().ok_or(libc::EINVAL)?;
        let highest = context_of(highest)?;
        if !matches!(token.next, Next::Commit) {
            return Err(libc::EALREADY);
        }
        token.event.renounce(highest);
        Ok(())
    })
}
