//! The callback of a descriptor or a signal: a closure of the user's, and the color that it runs
//! on.

use dapple::sync::{Arc, AtomicBool, Mutex, MutexGuard, Ordering, PoisonError};
use dapple::{Color, Cx, JoinHandle, Site};

type Call<A> = Box<dyn FnMut(A, &mut Cx) + Send>;

/// A closure and its color.
///
/// The closure is called only in events of its color. It is dropped in one as well, unless the
/// reactor or the runtime of the color has ended ([`close`](Self::close)).
pub(crate) struct Callback<A> {
    color: Color,
    /// The line that registered the callback, which reports of its events name.
    site: Site,
    /// Events of the color touch it, and the reactor's entry when it closes, so it is hardly ever
    /// contended. The lock is not held while the closure runs.
    state: Mutex<CallbackState<A>>,
    live: AtomicBool,
}

/// Where the closure is.
enum CallbackState<A> {
    /// The closure is here, and does not run.
    Rests(Call<A>),
    /// The closure runs. An event of a color that is bound to a thread of the user's may run other
    /// events (E18), which may call the closure again. Their arguments are here, and the calls are
    /// made afterwards.
    Runs(Vec<A>),
    /// The closure has been dropped, or is dropped when the running call returns.
    Ended,
}

impl<A: Send + 'static> Callback<A> {
    pub(crate) fn new(color: &Color, site: Site, call: Call<A>) -> Self {
        let (state, live) = (Mutex::new(CallbackState::Rests(call)), AtomicBool::new(true));
        Callback { color: color.clone(), site, state, live }
    }

    fn state(&self) -> MutexGuard<'_, CallbackState<A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn color(&self) -> &Color {
        &self.color
    }

    pub(crate) fn site(&self) -> Site {
        self.site
    }

    /// Calls the closure, in an event of its color, unless the callback has ended.
    pub(crate) fn call(&self, argument: A, cx: &mut Cx) {
        /// The running closure. It is put back when this is dropped, also after a panic.
        struct Running<'a, A: Send + 'static>(&'a Callback<A>, Option<Call<A>>);
        impl<A: Send + 'static> Drop for Running<'_, A> {
            fn drop(&mut self) {
                let mut state = self.0.state();
                if let (CallbackState::Runs(_), Some(call)) = (&*state, self.1.take()) {
                    *state = CallbackState::Rests(call);
                }
            }
        }
        if !self.is_live() {
            return;
        }
        let mut state = self.state();
        let call = match std::mem::replace(&mut *state, CallbackState::Ended) {
            CallbackState::Rests(call) => call,
            CallbackState::Runs(mut again) => {
                again.push(argument);
                *state = CallbackState::Runs(again);
                return;
            }
            CallbackState::Ended => return,
        };
        *state = CallbackState::Runs(Vec::new());
        drop(state);
        let mut running = Running(self, Some(call));
        let mut next = Some(argument);
        while let (Some(argument), Some(call)) = (next.take(), &mut running.1) {
            call(argument, cx);
            next = match &mut *self.state() {
                CallbackState::Runs(again) if !again.is_empty() && self.is_live() => {
                    Some(again.remove(0))
                }
                _ => None,
            };
        }
    }

    /// Ends the callback. The closure is not called again; a call that runs at this moment
    /// finishes.
    pub(crate) fn end(&self) {
        self.live.store(false, Ordering::Release);
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    /// Posts an event that drops the closure on its color, behind a call that runs at this moment.
    pub(crate) fn drop_on_its_color(self: &Arc<Self>) {
        let this = Arc::clone(self);
        self.color.runtime().post_from(self.site, &self.color, move |_| this.take());
    }

    /// Posts an event that drops the closure on its color, and returns a handle that waits for it.
    pub(crate) fn dropped_on_its_color(self: &Arc<Self>) -> JoinHandle<()> {
        let this = Arc::clone(self);
        self.color.call(move |_| this.take())
    }

    /// Drops the closure, now or when the running call has returned.
    fn take(&self) {
        let before = std::mem::replace(&mut *self.state(), CallbackState::Ended);
        drop(before);
    }

    /// Drops the closure outside its color, because the reactor or the runtime of the color has
    /// ended. A closure that runs at this moment is dropped when it returns.
    pub(crate) fn close(&self) {
        self.take();
    }
}
