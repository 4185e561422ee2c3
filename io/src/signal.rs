//! Signals as callbacks (N2).
//!
//! The signal's handler writes to a pipe, which stands in a reactor as any descriptor does. Signals
//! that come before their callback begins are merged, as signals are; one that comes while it runs is
//! worth another call.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use dapple::{Color, Cx};
use mio::Interest;
use signal_hook_mio::v1_0::Signals;

use crate::fd::{Registration, Slot};
use crate::reactor::{Io, Readiness, Ready};

struct SignalEntry {
    signals: Mutex<Signals>,
    slot: Arc<Slot>,
}

impl Ready for SignalEntry {
    fn ready(&self, _: Readiness, cx: &mut Cx) {
        let mut signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        if signals.pending().next().is_some() {
            self.slot.post(cx, None);
        }
    }

    fn end(&self) {
        self.slot.end();
    }
}

impl Io {
    /// Calls `f`, as an event of `color`, when the process gets a signal. From the first
    /// registration of a signal on, the process does not do what it would by default, even after
    /// the registration has been dropped.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a signal that cannot be handled, such as `SIGKILL` or `SIGSEGV`; otherwise
    /// what the system says.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// let rt = dapple_io::runtime().workers(1).build()?;
    /// let (tx, rx) = mpsc::channel();
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let registration = io.on_signal(libc::SIGUSR1, &rt.handle().default_color(), move |_| {
    ///     tx.send(()).unwrap();
    /// })?;
    /// # // SAFETY: a signal to ourselves.
    /// unsafe { libc::raise(libc::SIGUSR1) };
    /// rx.recv().unwrap();
    /// # drop(registration);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "sigcb")]
    pub fn on_signal<F>(&self, signal: i32, color: &Color, f: F) -> io::Result<Registration>
    where
        F: FnMut(&mut Cx) + Send + 'static,
    {
        if signal_hook::consts::FORBIDDEN.contains(&signal) || signal <= 0 {
            let message = format!("signal {signal} cannot be handled");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let slot = Slot::new(color, Box::new(f));
        let entry = Arc::new(SignalEntry {
            signals: Mutex::new(Signals::new([signal])?),
            slot: Arc::clone(&slot),
        });
        let site = Arc::clone(self.site(self.place()));
        let token = {
            let mut signals = entry.signals.lock().unwrap_or_else(PoisonError::into_inner);
            let ready = Arc::clone(&entry) as Arc<dyn Ready>;
            site.register(ready, &mut *signals, None, Interest::READABLE)?
        };
        let end = move || {
            let mut signals = entry.signals.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = site.registry().deregister(&mut *signals) {
                tracing::debug!(%error, "a signal's pipe was closed");
            }
            drop(signals);
            site.forget(token);
        };
        Ok(Registration { slot, end: Some(Box::new(end)) })
    }
}
