//! Signals as callbacks (N2).
//!
//! The signal's handler writes to a pipe, which stands in a reactor as any descriptor does. Signals
//! that come before their callback begins are merged, as signals are; one that comes while it runs
//! is worth another call.
//!
//! *What the system would do.* The handler of a signal stays for good, once there has been one:
//! taking it away would race with other code that has set one. So a program that wants the default
//! back ([`Io::restore_default`]) gets it from the handler, which then does what the system would
//! have done; that is decided by a flag per signal, false while there is a registration.

use std::collections::btree_map::{BTreeMap, Entry};
use std::io;
use std::sync::mpsc;

use dapple::sync::{Arc, AtomicBool, Mutex, MutexGuard, OnceLock, Ordering, PoisonError, Weak};
use dapple::{Color, Cx, JoinHandle, Site};
use mio::{Interest, Token};
use signal_hook_mio::v1_0::Signals;

use crate::callback::Callback;
use crate::reactor::{
    Io, News, OrElse, ReactorShared, Readiness, Registered, Seen, runtime_has_ended,
};

/// A persistent callback on a signal; see [`Io::on_signal`]. It ends when this is dropped: the
/// callback is no longer called, except for a call that runs at this moment on another thread.
#[must_use = "the callback ends when its registration is dropped"]
pub struct SignalRegistration {
    entry: Arc<SignalEntry>,
}

impl SignalRegistration {
    /// Ends the registration, and tells when its callback does not run any more, and has been
    /// dropped with all that it holds.
    ///
    /// # Errors
    ///
    /// The handle gives an error if dropping the callback panics, or the runtime of its color has
    /// ended.
    pub fn end(self) -> JoinHandle<()> {
        self.entry.callback.end();
        self.entry.leave();
        self.entry.callback.dropped_on_its_color()
    }

    /// The color that the callback runs on.
    pub fn color(&self) -> &Color {
        self.entry.callback.color()
    }
}

impl Drop for SignalRegistration {
    fn drop(&mut self) {
        if self.entry.callback.is_live() {
            self.entry.callback.end();
            self.entry.leave();
            self.entry.callback.drop_on_its_color();
        }
    }
}

impl std::fmt::Debug for SignalRegistration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignalRegistration").field("color", self.color()).finish_non_exhaustive()
    }
}

struct SignalEntry {
    this: Weak<SignalEntry>,
    signals: Mutex<Signals>,
    callback: Arc<Callback<()>>,
    /// An event is queued, and has not begun.
    is_queued: AtomicBool,
    reactor: Arc<ReactorShared>,
    token: OnceLock<Token>,
    /// Until it ends.
    handled: Mutex<Option<Handled>>,
}

impl SignalEntry {
    fn signals(&self) -> MutexGuard<'_, Signals> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process does not handle the signal for this entry any more.
    fn is_over(&self) {
        let handled = self.handled.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(handled);
    }

    /// The entry leaves the reactor; again does nothing.
    fn leave(&self) {
        // A forked child has the same poller of the system, and does not change it.
        if !self.reactor.is_inherited() {
            let left = self.reactor.registry().deregister(&mut *self.signals());
            if let Err(error) = left {
                tracing::debug!(%error, "a signal's pipe is not registered");
            }
        }
        self.is_over();
        if let Some(token) = self.token.get() {
            self.reactor.forget(*token);
        }
    }
}

impl Registered for SignalEntry {
    fn ready(&self, _: Readiness, _: Seen, cx: &mut Cx) {
        // The lock is left before the post: a post that is refused comes back here.
        let came = self.signals().pending().next().is_some();
        let Some(token) = self.token.get().filter(|_| came) else { return };
        if self.is_queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(this) = self.this.upgrade() else { return };
        let (callback, or_else) = (Arc::clone(&self.callback), OrElse::new(&self.reactor, *token));
        let site = callback.site();
        cx.post_from(site, self.callback.color(), move |cx| {
            or_else.disarm();
            // What comes while it runs is worth another call.
            // A read-modify-write, so that what the poller did before is seen by the callback.
            this.is_queued.swap(false, Ordering::AcqRel);
            callback.call((), cx);
        });
    }

    fn tell(&self, news: News) {
        match news {
            News::Draining => {}
            News::Refused => {
                tracing::warn!(
                    "the runtime of a signal's color has ended: the signal has no callback any more"
                );
                self.callback.end();
                self.leave();
                self.callback.close();
            }
            News::Closed => {
                self.callback.close();
                self.is_over();
            }
        }
    }
}

/// What is known of a signal that somebody has registered for, in the whole process.
struct Known {
    registrations: usize,
    /// Somebody wants the default back when there is no registration.
    is_restored: bool,
    /// The handler does what the system would do.
    acts: Arc<AtomicBool>,
}

impl Known {
    fn decide(&self) {
        self.acts.store(self.is_restored && self.registrations == 0, Ordering::SeqCst);
    }
}

static KNOWN: Mutex<BTreeMap<i32, Known>> = Mutex::new(BTreeMap::new());

/// Changes what is known of a signal, and does what follows.
fn with_known<R>(signal: i32, change: impl FnOnce(&mut Known) -> R) -> io::Result<R> {
    let mut all = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = match all.entry(signal) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(place) => {
            let acts = Arc::new(AtomicBool::new(false));
            // Of a real-time signal it is not known what the system does: it is only ever handled.
            if signal_hook::low_level::signal_name(signal).is_some() {
                signal_hook::flag::register_conditional_default(signal, Arc::clone(&acts))?;
            }
            place.insert(Known { registrations: 0, is_restored: false, acts })
        }
    };
    let result = change(known);
    known.decide();
    Ok(result)
}

/// A registration of a signal, as far as the process is concerned.
struct Handled(i32);

impl Handled {
    fn new(signal: i32) -> io::Result<Handled> {
        with_known(signal, |known| known.registrations += 1)?;
        Ok(Handled(signal))
    }
}

impl Drop for Handled {
    fn drop(&mut self) {
        // It is known, so nothing can fail.
        let _ = with_known(self.0, |known| known.registrations -= 1);
    }
}

fn unusable(signal: i32) -> io::Error {
    let message = format!("signal {signal} cannot be handled");
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// An error unless it is a signal that can be handled.
fn check(signal: i32) -> io::Result<()> {
    let is_one = (1..=crate::sys::last_signal()).contains(&signal);
    match is_one && !signal_hook::consts::FORBIDDEN.contains(&signal) {
        true => Ok(()),
        false => Err(unusable(signal)),
    }
}

impl Io {
    /// Calls `f`, as an event of `color`, when the process gets a signal. From the first
    /// registration of a signal on, the process does not do what it would by default, even after
    /// the registration has been dropped; see [`restore_default`](Self::restore_default).
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a number that is no signal, or one that cannot be handled, such as
    /// `SIGKILL` or `SIGSEGV`; otherwise what the system says.
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
    #[track_caller]
    #[doc(alias = "sigcb")]
    #[doc(alias = "evsignal_new")]
    pub fn on_signal<F>(&self, signal: i32, color: &Color, f: F) -> io::Result<SignalRegistration>
    where
        F: FnMut(&mut Cx) + Send + 'static,
    {
        self.on_signal_from(Site::caller(), signal, color, f)
    }

    /// Calls `f`, as an event of `color`, when the process gets a signal, and has reports name
    /// `site` as the place that registered it. See [`on_signal`](Self::on_signal), which names its
    /// caller.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a number that is no signal, or one that cannot be handled; otherwise what
    /// the system says.
    pub fn on_signal_from<F>(
        &self,
        site: Site,
        signal: i32,
        color: &Color,
        mut f: F,
    ) -> io::Result<SignalRegistration>
    where
        F: FnMut(&mut Cx) + Send + 'static,
    {
        let call = move |(), cx: &mut Cx| f(cx);
        let callback = Arc::new(Callback::new(color, site, Box::new(call)));
        check(signal)?;
        let signals = Mutex::new(Signals::new([signal])?);
        let handled = Mutex::new(Some(Handled::new(signal)?));
        let reactor = Arc::clone(self.reactor(self.place_of(color)));
        let entry = Arc::new_cyclic(|this| SignalEntry {
            this: this.clone(),
            signals,
            callback,
            is_queued: AtomicBool::new(false),
            reactor: Arc::clone(&reactor),
            token: OnceLock::new(),
            handled,
        });
        let ready = Arc::clone(&entry) as Arc<dyn Registered>;
        reactor.register(ready, &entry.token, &mut *entry.signals(), None, Interest::READABLE)?;
        Ok(SignalRegistration { entry })
    }

    /// Waits until the process gets one of these signals, and returns which: what the main thread
    /// of a server does while the workers work. From then on the signals do again what they do by
    /// default, as far as nobody else handles them (see
    /// [`restore_default`](Self::restore_default)): a second SIGTERM ends the process at once. For
    /// signals that come again and again, such as a SIGHUP that asks for a reload, use
    /// [`on_signal`](Self::on_signal).
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a number that is no signal, or one that cannot be handled, and for no
    /// signal at all; otherwise what the system says; when the runtime has ended.
    ///
    /// # Panics
    ///
    /// On a worker of this runtime, which would be blocked.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let rt = dapple_io::runtime().build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// rt.handle().post_default(|_| println!("the server works, until it is told to end"));
    /// io.wait_for_signal(&[libc::SIGTERM, libc::SIGINT])?;
    /// rt.shutdown(std::time::Duration::from_secs(5));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "event_base_dispatch")]
    #[doc(alias = "uv_run")]
    #[doc(alias = "amain")]
    #[track_caller]
    pub fn wait_for_signal(&self, signals: &[i32]) -> io::Result<i32> {
        let worker = self.handle().current_worker();
        assert!(worker.is_none(), "waiting for a signal on a worker would block it");
        if signals.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "there is no signal to wait for",
            ));
        }
        let (tell, told) = mpsc::channel();
        let (color, mut registrations) = (self.handle().new_color(), Vec::new());
        for signal in signals.iter().copied() {
            let tell = tell.clone();
            // The waiter takes the first one.
            let calls = move |_: &mut Cx| _ = tell.send(signal);
            registrations.push(self.on_signal(signal, &color, calls)?);
        }
        drop(tell);
        let told = told.recv().map_err(|_| runtime_has_ended());
        drop(registrations);
        for signal in signals.iter().copied().filter(|_| told.is_ok()) {
            // Of a few signals it is not known what the system would do.
            let _ = self.restore_default(signal);
        }
        told
    }

    /// Has the process do again what it does by default when it gets a signal, for as long as it
    /// has no registration: once the last one has been dropped, `SIGTERM` ends the process.
    ///
    /// It holds for the whole process. While there are registrations, by any code of the process,
    /// they are called and nothing else happens.
    ///
    /// # Errors
    ///
    /// `InvalidInput` as [`on_signal`](Self::on_signal), and for those whose default is not known:
    /// real-time ones, and `SIGIO`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let rt = dapple_io::runtime().build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let color = rt.handle().default_color();
    /// let first = io.on_signal(libc::SIGTERM, &color, |_| println!("shutting down"))?;
    /// io.restore_default(libc::SIGTERM)?;
    /// // ... and when that has begun, a second SIGTERM ends the process at once:
    /// drop(first);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn restore_default(&self, signal: i32) -> io::Result<()> {
        check(signal)?;
        // Of SIGIO the library takes the default to be nothing; on Linux it ends the process.
        if signal_hook::low_level::signal_name(signal).is_none() || signal == libc::SIGIO {
            return Err(unusable(signal));
        }
        with_known(signal, |known| known.is_restored = true)
    }
}
