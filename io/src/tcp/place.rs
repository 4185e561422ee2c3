//! Where a connection is registered, and the timer that it has in the runtime of its color.

use std::time::Instant;

use dapple::sync::{Arc, AtomicBool, OnceLock, Ordering};
use dapple::{Color, Timer};
use mio::Token;

use crate::reactor::{IoDriver, News, Ready, Site};

/// Where it is registered.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) site: Arc<Site>,
    pub(super) token: Arc<OnceLock<Token>>,
    pub(super) color: Color,
    /// The color is of another runtime than the reactor.
    pub(super) is_foreign: bool,
}

/// The timer of a connection.
pub(super) struct Limit {
    pub(super) until: Instant,
    pub(super) timer: Timer,
    /// See [`Unfired`].
    pub(super) is_over: Option<Arc<AtomicBool>>,
}

impl Limit {
    pub(super) fn cancel(self) {
        self.is_over.iter().for_each(|is_over| is_over.store(true, Ordering::Relaxed));
        self.timer.cancel();
    }
}

/// Goes along with a timer that another runtime than the reactor's keeps. If it is dropped before
/// it has fired, or is cancelled, that runtime ends, and nobody would notice that the peer is
/// silent.
pub(super) struct Unfired {
    pub(super) place: Place,
    pub(super) is_over: Arc<AtomicBool>,
}

impl Drop for Unfired {
    fn drop(&mut self) {
        if !self.is_over.load(Ordering::Relaxed)
            && let Some(entry) = self.place.entry()
        {
            entry.tell(News::Refused);
        }
    }
}

impl Place {
    pub(super) fn new(site: &Arc<Site>, color: &Color) -> Self {
        let runtime = color.runtime();
        let own = runtime.driver::<IoDriver>().map_or(&[][..], IoDriver::sites);
        let is_foreign = !own.iter().any(|one| Arc::ptr_eq(one, site));
        let token = Arc::new(OnceLock::new());
        Place { site: Arc::clone(site), token, color: color.clone(), is_foreign }
    }

    pub(super) fn entry(&self) -> Option<Arc<dyn Ready>> {
        self.site.find(*self.token.get()?)
    }

    pub(super) fn leave(&self) {
        if let Some(token) = self.token.get() {
            self.site.forget(*token);
        }
    }
}
