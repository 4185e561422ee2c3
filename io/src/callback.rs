//! What a descriptor, or a signal, calls: a closure of the user's, and the color that it runs on.

use dapple::sync::{Arc, AtomicBool, Mutex, Ordering, PoisonError, TryLockError};
use dapple::{Color, Cx, JoinHandle, Site};

type Call<A> = Box<dyn FnMut(A, &mut Cx) + Send>;

/// See the module. It is called in events of its color only, and dropped in one.
pub(crate) struct Callback<A> {
    color: Color,
    /// Where it was registered, which is what reports of its events name.
    site: Site,
    /// Locked in events of the color only, so never contended; a lock, as it is shared with the
    /// reactor's entry.
    call: Mutex<Option<Call<A>>>,
    live: AtomicBool,
}

impl<A: 'static> Callback<A> {
    pub(crate) fn new(color: &Color, site: Site, call: Call<A>) -> Self {
        let (call, live) = (Mutex::new(Some(call)), AtomicBool::new(true));
        Callback { color: color.clone(), site, call, live }
    }

    pub(crate) fn color(&self) -> &Color {
        &self.color
    }

    pub(crate) fn site(&self) -> Site {
        self.site
    }

    /// Calls it, in an event of its color, unless it has ended.
    pub(crate) fn call(&self, argument: A, cx: &mut Cx) {
        let mut call = self.call.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = call.as_mut().filter(|_| self.is_live()) {
            call(argument, cx);
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

    fn take(&self) {
        let call = self.call.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(call);
    }

    /// The reactor ends: the closure goes now. One that runs at this moment keeps itself.
    pub(crate) fn close(&self) {
        let mut call = match self.call.try_lock() {
            Ok(call) => call,
            // It panicked once, and goes all the same.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let taken = call.take();
        drop(call);
        drop(taken);
    }
}
