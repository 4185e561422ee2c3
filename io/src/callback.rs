//! What a descriptor, or a signal, calls: a closure of the user's, and the color that it runs on.

use dapple::sync::{Arc, AtomicBool, Mutex, MutexGuard, Ordering, PoisonError};
use dapple::{Color, Cx, JoinHandle, Site};

type Call<A> = Box<dyn FnMut(A, &mut Cx) + Send>;

/// See the module. It is called in events of its color only, and dropped in one.
pub(crate) struct Callback<A> {
    color: Color,
    /// Where it was registered, which is what reports of its events name.
    site: Site,
    /// Touched in events of the color only, so hardly ever contended; a lock, as it is shared with
    /// the reactor's entry. It is not held while the closure runs.
    state: Mutex<State<A>>,
    live: AtomicBool,
}

/// Where the closure is.
enum State<A> {
    /// Here.
    Rests(Call<A>),
    /// It runs. An event of a color that is bound to a thread of the user's may run others (E18);
    /// what it would have been called for meanwhile comes afterwards.
    Runs(Vec<A>),
    /// It is dropped, or will be when the call that runs has returned.
    Ended,
}

impl<A: Send + 'static> Callback<A> {
    pub(crate) fn new(color: &Color, site: Site, call: Call<A>) -> Self {
        let (state, live) = (Mutex::new(State::Rests(call)), AtomicBool::new(true));
        Callback { color: color.clone(), site, state, live }
    }

    fn state(&self) -> MutexGuard<'_, State<A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn color(&self) -> &Color {
        &self.color
    }

    pub(crate) fn site(&self) -> Site {
        self.site
    }

    /// Calls it, in an event of its color, unless it has ended.
    pub(crate) fn call(&self, argument: A, cx: &mut Cx) {
        /// The closure that runs; it rests again when this is dropped, also if it panics.
        struct Running<'a, A: Send + 'static>(&'a Callback<A>, Option<Call<A>>);
        impl<A: Send + 'static> Drop for Running<'_, A> {
            fn drop(&mut self) {
                let mut state = self.0.state();
                if let (State::Runs(_), Some(call)) = (&*state, self.1.take()) {
                    *state = State::Rests(call);
                }
            }
        }
        if !self.is_live() {
            return;
        }
        let mut state = self.state();
        let call = match std::mem::replace(&mut *state, State::Ended) {
            State::Rests(call) => call,
            State::Runs(mut again) => {
                again.push(argument);
                *state = State::Runs(again);
                return;
            }
            State::Ended => return,
        };
        *state = State::Runs(Vec::new());
        drop(state);
        let mut running = Running(self, Some(call));
        let mut next = Some(argument);
        while let (Some(argument), Some(call)) = (next.take(), &mut running.1) {
            call(argument, cx);
            next = match &mut *self.state() {
                State::Runs(again) if !again.is_empty() && self.is_live() => Some(again.remove(0)),
                _ => None,
            };
        }
    }

    /// It is called no more, but for a call that runs at this moment.
    pub(crate) fn end(&self) {
        self.live.store(false, Ordering::Release);
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    /// Drops the closure in an event of its color, behind a call that runs at this moment.
    pub(crate) fn drop_on_its_color(self: &Arc<Self>) {
        let this = Arc::clone(self);
        self.color.runtime().post_from(self.site, &self.color, move |_| this.take());
    }

    /// Does that, and tells when it is done.
    pub(crate) fn dropped_on_its_color(self: &Arc<Self>) -> JoinHandle<()> {
        let this = Arc::clone(self);
        self.color.call(move |_| this.take())
    }

    /// The closure goes, now or when it has returned.
    fn take(&self) {
        let before = std::mem::replace(&mut *self.state(), State::Ended);
        drop(before);
    }

    /// The reactor ends: the closure goes now. One that runs at this moment keeps itself.
    pub(crate) fn close(&self) {
        self.take();
    }
}
