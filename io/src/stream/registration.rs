//! The registration of a connection, and its timer in the runtime of its color.

use std::time::Instant;

use dapple::sync::{Arc, AtomicBool, OnceLock, Ordering};
use dapple::{Color, Site, Timer};
use mio::Token;

use crate::reactor::{IoDriver, News, ReactorShared, Registered};

/// The registration of a connection.
#[derive(Clone)]
pub(super) struct ConnRegistration {
    pub(super) reactor: Arc<ReactorShared>,
    pub(super) token: Arc<OnceLock<Token>>,
    pub(super) color: Color,
    /// The site that served the stream, which reports about the connection's events name.
    pub(super) site: Site,
    /// Whether the color is of another runtime than the reactor.
    pub(super) is_foreign: bool,
}

/// The timer of a connection.
pub(super) struct ConnTimer {
    pub(super) until: Instant,
    pub(super) timer: Timer,
    /// Tells [`Unfired`] that the timer has fired or was cancelled.
    pub(super) is_over: Option<Arc<AtomicBool>>,
}

impl ConnTimer {
    pub(super) fn cancel(self) {
        self.is_over.iter().for_each(|is_over| is_over.store(true, Ordering::Relaxed));
        self.timer.cancel();
    }
}

/// A guard that travels with a timer in another runtime than the reactor's.
///
/// If it is dropped before the timer has fired or was cancelled, that runtime ends. The connection
/// is then closed, because nothing would notice a silent peer.
pub(super) struct Unfired {
    pub(super) registration: ConnRegistration,
    pub(super) is_over: Arc<AtomicBool>,
}

impl Drop for Unfired {
    fn drop(&mut self) {
        if !self.is_over.load(Ordering::Relaxed)
            && let Some(entry) = self.registration.entry()
        {
            entry.tell(News::Refused);
        }
    }
}

impl ConnRegistration {
    /// Chooses the reactor of the worker that watches for the color (N1), which is the worker of
    /// `reactor` if none was chosen before. If the color is of another runtime, it is `reactor`.
    pub(super) fn new(reactor: &Arc<ReactorShared>, color: &Color, site: Site) -> Self {
        let runtime = color.runtime();
        let own = runtime.driver::<IoDriver>().map_or(&[][..], IoDriver::reactors);
        let worker = own.iter().position(|one| Arc::ptr_eq(one, reactor));
        let reactor = worker.map_or(reactor, |worker| &own[color.settle_watcher(|| worker)]);
        let (token, color) = (Arc::new(OnceLock::new()), color.clone());
        let is_foreign = worker.is_none();
        ConnRegistration { reactor: Arc::clone(reactor), token, color, site, is_foreign }
    }

    pub(super) fn entry(&self) -> Option<Arc<dyn Registered>> {
        self.reactor.find(*self.token.get()?)
    }

    pub(super) fn deregister(&self) {
        if let Some(token) = self.token.get() {
            self.reactor.forget(*token);
        }
    }
}
