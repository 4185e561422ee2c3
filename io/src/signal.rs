//! Signals as callbacks (N2).
//!
//! The handler of a signal writes to a pipe, which is registered with a reactor like any
//! descriptor. Signals that arrive before their callback begins are merged, as the system merges
//! pending signals. A signal that arrives while the callback runs leads to another call.
//!
//! *The default action.* Once a signal has had a handler, the handler stays for good: removing it
//! would race with other code that has set one. So a program that wants the default action back
//! ([`Io::restore_default`]) gets it from the handler, which does what the system would have done.
//! A flag per signal decides that. It is false while there is a registration.

use std::collections::btree_map::{BTreeMap, Entry};
use std::io;
use std::sync::mpsc;

use dapple::sync::{Arc, AtomicBool, Mutex, MutexGuard, OnceLock, Ordering, PoisonError, Weak};
use dapple::{Color, Cx, JoinHandle, Site};
use mio::{Interest, Token};
use signal_hook_mio::v1_0::Signals;

use crate::callback::Callback;
use crate::reactor::{Io, News, ReactorShared, RefusalGuard, Registered, runtime_has_ended};
use crate::readiness::{Readiness, Seen};

/// A persistent callback on a signal; see [`Io::on_signal`].
///
/// The callback ends when this is dropped. It is then no longer called, except for a call that runs
/// at this moment on another thread.
#[must_use = "the callback ends when its registration is dropped"]
pub struct SignalRegistration {
    entry: Arc<SignalEntry>,
}

impl SignalRegistration {
    /// Ends the registration, and returns a handle that waits for the end of the callback.
    ///
    /// When the handle is done, the callback no longer runs, and has been dropped with all that it
    /// owns.
    ///
    /// # Errors
    ///
    /// Joining or awaiting the handle returns an error if dropping the callback panics, or if the
    /// runtime of its color has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// let rt = dapple_io::runtime().build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let (tx, rx) = mpsc::channel();
    /// let color = rt.handle().new_color();
    /// let registration = io.on_signal(libc::SIGUSR2, &color, move |_| tx.send(()).unwrap())?;
    /// registration.end().join().unwrap();
    /// // The callback has been dropped, and its sender with it.
    /// assert_eq!(rx.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn end(self) -> JoinHandle<()> {
        self.entry.callback.end();
        self.entry.deregister();
        self.entry.callback.dropped_on_its_color()
    }

    /// Returns the color that the callback runs on.
    pub fn color(&self) -> &Color {
        self.entry.callback.color()
    }
}

impl Drop for SignalRegistration {
    fn drop(&mut self) {
        if self.entry.callback.is_live() {
            self.entry.callback.end();
            self.entry.deregister();
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
    /// The entry's part in the handling of the signal, until the entry ends.
    handled: Mutex<Option<Handled>>,
}

impl SignalEntry {
    fn signals(&self) -> MutexGuard<'_, Signals> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the entry's part in the handling of the signal.
    fn release_signal(&self) {
        let handled = self.handled.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(handled);
    }

    /// Removes the entry from the reactor. Calling this again does nothing.
    fn deregister(&self) {
        // A forked child has the same poller of the system, and must not change it.
        if !self.reactor.is_inherited() {
            let left = self.reactor.registry().deregister(&mut *self.signals());
            if let Err(error) = left {
                tracing::debug!(%error, "cannot deregister the pipe of a signal");
            }
        }
        self.release_signal();
        if let Some(token) = self.token.get() {
            self.reactor.forget(*token);
        }
    }
}

impl Registered for SignalEntry {
    fn ready(&self, _: Readiness, _: Seen, cx: &mut Cx) {
        // The lock is released before the post, as a refused post calls back into this entry.
        let came = self.signals().pending().next().is_some();
        let Some(token) = self.token.get().filter(|_| came) else { return };
        if self.is_queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(this) = self.this.upgrade() else { return };
        let (callback, guard) =
            (Arc::clone(&self.callback), RefusalGuard::new(&self.reactor, *token));
        let site = callback.site();
        cx.post_from(site, self.callback.color(), move |cx| {
            guard.disarm();
            // A signal that arrives while the callback runs leads to another call. This swap pairs
            // with the poller's swap above. It is a read-modify-write, so it reads the poller's
            // last swap, and the callback sees what the poller did before it.
            this.is_queued.swap(false, Ordering::AcqRel);
            callback.call((), cx);
        });
    }

    fn tell(&self, news: News) {
        match news {
            News::Draining => {}
            News::Refused => {
                tracing::warn!(
                    "the runtime of a signal's color has ended: the signal no longer has a \
                     callback"
                );
                self.callback.end();
                self.deregister();
                self.callback.close();
            }
            News::Closed => {
                self.callback.close();
                self.release_signal();
            }
        }
    }
}

/// The state of a signal that was registered for, or whose default action was restored. It belongs
/// to the whole process.
struct Known {
    registrations: usize,
    /// The default action is wanted while there is no registration.
    is_restored: bool,
    /// The flag that has the handler do the default action.
    acts: Arc<AtomicBool>,
}

impl Known {
    fn decide(&self) {
        self.acts.store(self.is_restored && self.registrations == 0, Ordering::SeqCst);
    }
}

static KNOWN: Mutex<BTreeMap<i32, Known>> = Mutex::new(BTreeMap::new());

/// Changes the state of a signal, and updates the handler's flag.
fn with_known<R>(signal: i32, change: impl FnOnce(&mut Known) -> R) -> io::Result<R> {
    let mut all = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = match all.entry(signal) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(place) => {
            let acts = Arc::new(AtomicBool::new(false));
            // The default action of a real-time signal is not known, so the handler never takes it.
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

/// A registration of a signal that the process counts.
struct Handled(i32);

impl Handled {
    fn new(signal: i32) -> io::Result<Handled> {
        with_known(signal, |known| known.registrations += 1)?;
        Ok(Handled(signal))
    }
}

impl Drop for Handled {
    fn drop(&mut self) {
        // The signal is in the map, so this cannot fail.
        let _ = with_known(self.0, |known| known.registrations -= 1);
    }
}

fn unusable(signal: i32) -> io::Error {
    let message = format!("signal {signal} cannot be handled");
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// Returns an error unless `signal` is a signal that can be handled.
fn check(signal: i32) -> io::Result<()> {
    let is_one = (1..=crate::sys::last_signal()).contains(&signal);
    match is_one && !signal_hook::consts::FORBIDDEN.contains(&signal) {
        true => Ok(()),
        false => Err(unusable(signal)),
    }
}

impl Io {
    /// Calls `f`, as an event of `color`, when the process gets a signal.
    ///
    /// From the first registration of a signal on, the process no longer takes the signal's default
    /// action, even after the registration has been dropped; see
    /// [`restore_default`](Self::restore_default).
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if `signal` is not the number of a signal, or is a signal that cannot
    /// be handled, such as `SIGKILL` or `SIGSEGV`. Otherwise, returns the system's error, or an
    /// error if the runtime has ended.
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
    /// # // SAFETY: `raise` takes a number only, and the signal has a handler.
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

    /// Calls `f` when the process gets a signal, and has reports name `site`.
    ///
    /// `f` runs as an event of `color`. Reports name `site` as the place that registered the
    /// callback. With [`on_signal`](Self::on_signal) they name its caller.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if `signal` is not the number of a signal, or is a signal that cannot
    /// be handled. Otherwise, returns the system's error, or an error if the runtime has ended.
    ///
    /// # Examples
    ///
    /// A function of a library, whose caller is the site:
    ///
    /// ```
    /// use std::{io, sync::mpsc};
    /// use dapple::{Color, Site};
    /// use dapple_io::{Io, SignalRegistration};
    ///
    /// #[track_caller]
    /// fn on_reload<F>(io: &Io, color: &Color, mut reload: F) -> io::Result<SignalRegistration>
    /// where
    ///     F: FnMut() + Send + 'static,
    /// {
    ///     io.on_signal_from(Site::caller(), libc::SIGHUP, color, move |_| reload())
    /// }
    ///
    /// let rt = dapple_io::runtime().build()?;
    /// let (tx, rx) = mpsc::channel();
    /// let reload = move || tx.send("reloaded").unwrap();
    /// let registration = on_reload(&Io::of(&rt.handle()), &rt.handle().new_color(), reload)?;
    /// # // SAFETY: `raise` takes a number only, and the signal has a handler.
    /// unsafe { libc::raise(libc::SIGHUP) };
    /// assert_eq!(rx.recv().unwrap(), "reloaded");
    /// # drop(registration);
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
        let reactor = Arc::clone(self.reactor(self.watcher_of(color)));
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

    /// Waits until the process gets one of these signals, and returns the signal's number.
    ///
    /// The main thread of a server calls this while the workers work. When the call has returned,
    /// the signals have their default actions again, unless other code handles them (see
    /// [`restore_default`](Self::restore_default)). A second SIGTERM, for example, ends the process
    /// at once. For signals that arrive repeatedly, such as a SIGHUP that asks for a reload, use
    /// [`on_signal`](Self::on_signal).
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if `signals` is empty, or has a number that is no signal or a signal
    /// that cannot be handled. Otherwise, returns the system's error, or an error if the runtime
    /// has ended or ends during the call.
    ///
    /// # Panics
    ///
    /// Panics on a worker of this runtime, as the call would block the worker.
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
            // The waiting thread takes the first signal only.
            let calls = move |_: &mut Cx| _ = tell.send(signal);
            registrations.push(self.on_signal(signal, &color, calls)?);
        }
        drop(tell);
        let told = told.recv().map_err(|_| runtime_has_ended());
        drop(registrations);
        for signal in signals.iter().copied().filter(|_| told.is_ok()) {
            // This fails for the few signals whose default action is not known.
            let _ = self.restore_default(signal);
        }
        told
    }

    /// Restores the default action of a signal for as long as the signal has no registration.
    ///
    /// For example, `SIGTERM` ends the process once its last registration has been dropped.
    ///
    /// This applies to the whole process. While any code of the process has a registration of the
    /// signal, the callbacks are called, and nothing else happens.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if `signal` is not the number of a signal, is a signal that cannot be
    /// handled, such as `SIGKILL` or `SIGSEGV`, or has no known default action, such as `SIGIO` and
    /// the real-time signals. Otherwise, returns the system's error.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let rt = dapple_io::runtime().build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let color = rt.handle().default_color();
    /// let first = io.on_signal(libc::SIGTERM, &color, |_| println!("shutting down"))?;
    /// io.restore_default(libc::SIGTERM)?;
    /// // When the shutdown has begun, a second SIGTERM ends the process at once:
    /// drop(first);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn restore_default(&self, signal: i32) -> io::Result<()> {
        check(signal)?;
        // signal-hook takes the default action of SIGIO to be none, but on Linux it ends the
        // process.
        if signal_hook::low_level::signal_name(signal).is_none() || signal == libc::SIGIO {
            return Err(unusable(signal));
        }
        with_known(signal, |known| known.is_restored = true)
    }
}
