//! The exported functions of domains, in their dynamic form.

#![allow(clippy::missing_safety_doc, reason = "`runtime/mod.rs` states the safety rules")]

use std::ffi::{c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::Arc;

use dapple::{Context, Cx, Domain as Inner, Done, DynCx};

use super::callee::{Callee, Function, NO_COLOR, NoColor};
use super::owner::Owner;
use super::runtimes::Runtime;
use super::site::site;
use crate::door::{answer, door, number, pointer, set_errno};

/// The context in which an event cannot use the state of its domain, and may overlap all other
/// events.
pub const DAPPLE_NONE: c_int = 0;
/// The context in which an event reads the state, and may overlap others that read it.
pub const DAPPLE_ANON: c_int = 1;
/// The context in which an event reads and writes the state, in the order of its domain.
pub const DAPPLE_GLOBAL: c_int = 2;

/// A step of an event of a domain. It runs in a context, and may ask once for the next step.
pub type StepFunction = Option<unsafe extern "C" fn(token: *mut Token, argument: *mut c_void)>;

/// A [`StepFunction`] that is not null.
pub(super) type Step = unsafe extern "C" fn(token: *mut Token, argument: *mut c_void);

/// A function that returns a copy of a state, which shares nothing with the original.
pub type CloneFunction = Option<unsafe extern "C" fn(state: *const c_void) -> *mut c_void>;

/// A state, and the events that are ordered by it.
pub struct Domain {
    inner: Inner<DomainState>,
    owner: Arc<Owner>,
}

/// An event of a domain while a step of it runs.
///
/// It must not be kept after the step, or used on another thread.
pub struct Token {
    event: DynCx<DomainState>,
    owner: Arc<Owner>,
    next: Next,
}

/// What happens after the step has returned.
enum Next {
    Commit,
    Enter(Context, Callee<Step, NoColor>),
    Exclusive(Callee<Step, NoColor>),
    CommitThen(Context, Callee<Step, NoColor>),
}

/// A state of the program, with the functions that copy and free it.
struct DomainState {
    state: *mut c_void,
    clone: CloneFunction,
    free: Function,
}

// SAFETY: the program guarantees that the state may be used on all threads, by several readers or
// one writer at a time (see `runtime/mod.rs`). Nothing here reads what the pointer leads to.
unsafe impl Send for DomainState {}
// SAFETY: see `Send`: no code here uses more than the address.
unsafe impl Sync for DomainState {}

impl Clone for DomainState {
    fn clone(&self) -> DomainState {
        // SAFETY: the program guarantees that its function may be called with its state (see
        // `runtime/mod.rs`). Without the function the domain is in read_write mode, which makes no
        // clones.
        let state = self.clone.map_or(null_mut(), |clone| unsafe { clone(self.state) });
        DomainState { state, ..*self }
    }
}

impl Drop for DomainState {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: the program guarantees that its function may be called once with its state
            // (see `runtime/mod.rs`). Each `DomainState` is dropped once.
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

/// Runs a step, and then does what the step has asked for.
fn step(event: DynCx<DomainState>, owner: Arc<Owner>, callee: Callee<Step, NoColor>) -> Done {
    let mut token = Token { event, owner, next: Next::Commit };
    callee.step("a step of an event", &raw mut token);
    let Token { event, owner, next } = token;
    let goes_on = |callee| move |event| step(event, owner, callee);
    let refused = "`Token::ask` has checked the step";
    match next {
        Next::Commit => event.commit(),
        Next::Enter(context, callee) => event.enter_then(context, goes_on(callee)).expect(refused),
        Next::Exclusive(callee) => event.exclusive_then(goes_on(callee)).expect(refused),
        Next::CommitThen(highest, callee) => event.commit_then(highest, goes_on(callee)),
    }
}

impl Token {
    /// Stores what the step asks for, unless it has asked before.
    ///
    /// # Errors
    ///
    /// EINVAL if the token or the function is null, EALREADY if the step has asked before, and the
    /// error of `check`.
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
        // SAFETY: the caller guarantees that all pointers are null or lead to what their types say
        // (see `runtime/mod.rs`).
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

/// Opens a domain with a state, which the domain owns from then on.
///
/// When nobody can use the state any longer, free is called with it on any thread, if free is not
/// NULL. The label, which may be NULL, names the domain in reports.
///
/// With clone, an event in anon keeps reading the state that it found when it entered, while later
/// events change a copy. The copy is made only if somebody still reads the original. If clone is
/// NULL, later events wait instead.
///
/// Returns NULL with errno set to EINVAL if runtime is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_domain_new(
    runtime: *mut Runtime,
    state: *mut c_void,
    clone: CloneFunction,
    free: Function,
    label: *const c_char,
) -> *mut Domain {
    // SAFETY: the caller guarantees that all pointers are null or lead to what their types say (see
    // `runtime/mod.rs`).
    pointer("dapple_domain_new", || unsafe {
        let owner = Arc::clone(&runtime.as_ref().ok_or(libc::EINVAL)?.owner);
        let mut builder = Inner::builder();
        if !label.is_null() {
            builder = builder.label(&std::ffi::CStr::from_ptr(label).to_string_lossy());
        }
        let state = DomainState { state, clone, free };
        let inner = match clone {
            Some(_) => builder.snapshot(owner.handle(), state),
            None => builder.read_write(owner.handle(), state),
        };
        Ok(Box::into_raw(Box::new(Domain { inner, owner })))
    })
}

/// Gives up the caller's handle of a domain. NULL is ignored.
///
/// The events of the domain still run, and then its state is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_domain_free(domain: *mut Domain) {
    if !domain.is_null() {
        // SAFETY: `dapple_domain_new` made the box, and the caller does not use it again (see
        // `runtime/mod.rs`).
        door("dapple_domain_free", || drop(unsafe { Box::from_raw(domain) }));
    }
}

/// Posts an event to a domain.
///
/// Its first step runs in none. It may later enter contexts up to highest, and a lower one delays
/// fewer other events. When a step returns without having asked for another one, the event commits.
/// Events commit in the order in which they were posted, and the functions that they have deferred
/// run then.
///
/// The argument is freed by drop, if that is not NULL, after the step or instead of it.
/// dapple_domain_post has no drop.
///
/// Returns 0, or -1 with errno set, and then calls nothing: EINVAL if the domain or the function is
/// NULL or highest is not a context, ESHUTDOWN if the runtime has ended, ECHILD in a forked child.
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
    // SAFETY: the caller guarantees that all pointers are null or lead to what their types say (see
    // `runtime/mod.rs`).
    answer("dapple_domain_post", || unsafe {
        let domain = domain.as_ref().ok_or(libc::EINVAL)?;
        let (highest, call) = (context_of(highest)?, function.ok_or(libc::EINVAL)?);
        domain.owner.check_open()?;
        let owner = Arc::clone(&domain.owner);
        let callee = Callee::new(call, argument, drop, NO_COLOR, &owner);
        let begins = move |event: DynCx<DomainState>| step(event, owner, callee);
        domain.inner.event_dyn_from(site(file, line), highest, begins);
        Ok(())
    })
}

/// Returns the context in which the step runs.
///
/// Returns -1 with errno set to EINVAL if the token is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_token_context(token: *const Token) -> c_int {
    number("dapple_token_context", || {
        // SAFETY: the caller guarantees that the token is null or that of the running step (see
        // `runtime/mod.rs`).
        let token = unsafe { token.as_ref() }.ok_or(libc::EINVAL)?;
        Ok(match token.event.context() {
            Context::None => DAPPLE_NONE,
            Context::Anon => DAPPLE_ANON,
            Context::Global => DAPPLE_GLOBAL,
        })
    })
}

/// Returns the ticket of an event, which is its place in the order of the domain.
///
/// It is lower than the tickets of all later events. Returns 0 if the token is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_token_ticket(token: *const Token) -> u64 {
    // SAFETY: the caller guarantees that the token is null or that of the running step (see
    // `runtime/mod.rs`).
    unsafe { token.as_ref() }.map_or(0, |token| token.event.ticket().number())
}

/// Returns the state, which may be read until the step returns.
///
/// Returns NULL with errno set on failure: EPERM if the event is in none, EINVAL if the token is
/// NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_token_state(token: *const Token) -> *const c_void {
    // SAFETY: the caller guarantees that the token is null or that of the running step (see
    // `runtime/mod.rs`).
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

/// Returns the state, which may be read and written until the step returns.
///
/// Returns NULL with errno set on failure: EPERM if the event is in none or anon, EINVAL if the
/// token is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_token_state_mut(token: *mut Token) -> *mut c_void {
    pointer("dapple_token_state_mut", || {
        // SAFETY: the caller guarantees that the token is null or that of the running step (see
        // `runtime/mod.rs`).
        let token = unsafe { token.as_mut() }.ok_or(libc::EINVAL)?;
        token.event.state_mut().map(|state| state.state).map_err(|_| libc::EPERM)
    })
}

/// Asks for the next step of the event, in a context, after this step has returned.
///
/// The event may go from none to anon or global, from global to anon, or stay in its context. The
/// argument is freed by drop, if that is not NULL, after the function or instead of it.
/// dapple_token_enter has no drop.
///
/// Returns 0, or -1 with errno set, and then calls nothing: EPERM if the event may not enter the
/// context, EALREADY if the step has asked before, EINVAL if the token or the function is NULL or
/// context is not a context.
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
    // SAFETY: the caller guarantees that the token is null or that of the running step (see
    // `runtime/mod.rs`).
    answer("dapple_token_enter", || unsafe {
        let context = context_of(context)?;
        let check = |token: &Token| token.event.may_enter(context).map_err(|_| libc::EPERM);
        let next = |_: &Token, callee| Next::Enter(context, callee);
        Token::ask(token, function, argument, drop, (file, line), next, check)
    })
}

/// Asks for the next step of an event in global, which has the domain to itself.
///
/// The step runs after this one has returned, all earlier events have committed, and the functions
/// that this event has deferred have run. The argument is freed by drop, if that is not NULL, after
/// the function or instead of it. dapple_token_exclusive has no drop.
///
/// Returns 0, or -1 with errno set, and then calls nothing: EPERM if the event is not in global,
/// EALREADY if the step has asked before, EINVAL if the token or the function is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_token_exclusive_from(
    token: *mut Token,
    function: StepFunction,
    argument: *mut c_void,
    drop: Function,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: the caller guarantees that the token is null or that of the running step (see
    // `runtime/mod.rs`).
    answer("dapple_token_exclusive", || unsafe {
        let check = |token: &Token| match token.event.context() {
            Context::Global => Ok(()),
            _ => Err(libc::EPERM),
        };
        let next = |_: &Token, callee| Next::Exclusive(callee);
        Token::ask(token, function, argument, drop, (file, line), next, check)
    })
}

/// Has the event commit after this step has returned, and go on as a sub-event.
///
/// The sub-event is an event with a new ticket. Its first step is the function, and it may enter
/// contexts up to highest. The argument is freed by drop, if that is not NULL, after the function
/// or instead of it. dapple_token_commit_then has no drop.
///
/// Returns 0, or -1 with errno set, and then calls nothing: EALREADY if the step has asked before,
/// EINVAL if the token or the function is NULL or highest is not a context.
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
    // SAFETY: the caller guarantees that the token is null or that of the running step (see
    // `runtime/mod.rs`).
    answer("dapple_token_commit_then", || unsafe {
        let highest = context_of(highest)?;
        let next = |_: &Token, callee| Next::CommitThen(highest, callee);
        Token::ask(token, function, argument, drop, (file, line), next, |_| Ok(()))
    })
}

/// Defers a function until the event commits.
///
/// It runs after the functions that earlier events have deferred, and cannot use the state. It is
/// for effects outside of the domain. The argument is freed by drop, if that is not NULL, after the
/// function or instead of it. dapple_token_defer has no drop.
///
/// Returns 0, or -1 with errno set to EINVAL if the token or the function is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_token_defer_from(
    token: *mut Token,
    function: Function,
    argument: *mut c_void,
    drop: Function,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: the caller guarantees that the token is null or that of the running step (see
    // `runtime/mod.rs`).
    answer("dapple_token_defer", || unsafe {
        let token = token.as_mut().ok_or(libc::EINVAL)?;
        let call = function.ok_or(libc::EINVAL)?;
        let callee = Callee::new(call, argument, drop, NO_COLOR, &token.owner);
        token.event.set_site(site(file, line));
        token.event.defer(move |_: &mut Cx| callee.run("a deferred function"));
        Ok(())
    })
}

/// Gives up the event's right to enter contexts above highest, so that later events need not wait
/// for it.
///
/// It has no effect for an event in anon or global. Returns 0, or -1 with errno set: EALREADY if
/// the step has asked for another one, EINVAL if the token is NULL or highest is not a context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_token_renounce(token: *mut Token, highest: c_int) -> c_int {
    // SAFETY: the caller guarantees that the token is null or that of the running step (see
    // `runtime/mod.rs`).
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
