//! One `mio::Poll` per worker, and the table of its registrations (N1).
//!
//! Each registration is an entry of its worker's table. Its token consists of the entry's index and
//! a generation, so readiness that the system still reports for a removed entry finds no entry
//! (E5). Entries are `Arc<dyn Registered>`. The reactor looks them up under the table's lock, and
//! tells them their readiness after it has released the lock. An entry then only posts, but a
//! refused post drops a closure, which may call the reactor.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use dapple::chunks::Chunks;
use dapple::park::{Attention, Driver, Park, Process, Unpark};
use dapple::sync::{
    Arc, AtomicU64, AtomicUsize, Mutex, MutexGuard, OnceLock, Ordering, PoisonError, Weak,
};
use dapple::{Color, Cx, Handle};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};

use crate::connect::Line;
use crate::fd::entry::FdEntry;
use crate::readiness::{How, Readiness, Seen};
use crate::sys;

/// The token of the waker. Entries never have it.
const WAKE: Token = Token(usize::MAX);

/// The token of another worker's reactor that this one attends to; see [`Park::attend`].
const ATTENDED: Token = Token(usize::MAX - 1);

/// The capacity of [`Table::by_fd`], in descriptors, that is kept however few entries there are.
const KEPT: usize = 1_024;

/// The maximum number of events that one look takes.
const EVENTS: usize = 256;

/// A message of a reactor to its entries, other than readiness.
#[derive(Clone, Copy, Debug)]
pub(crate) enum News {
    /// The program is about to end.
    Draining,
    /// An event of the entry was refused, or dropped unrun, because the runtime of the entry's
    /// color has ended. The entry is deregistered and closed (N11).
    Refused,
    /// The reactor ends, so the entry drops the values of the user that it owns.
    Closed,
}

/// An entry of a reactor's table, which the reactor tells about readiness and about itself.
pub(crate) trait Registered: Send + Sync {
    /// Posts that the descriptor is ready, and does nothing else.
    fn ready(&self, readiness: Readiness, seen: Seen, cx: &mut Cx);

    fn tell(&self, news: News);
}

/// A guard that travels with an event of an entry. If the event is dropped unrun, nothing serves
/// the entry any longer, and the guard tells it [`News::Refused`].
pub(crate) struct RefusalGuard {
    reactor: Arc<ReactorShared>,
    token: Token,
    runs: bool,
}

impl RefusalGuard {
    pub(crate) fn new(reactor: &Arc<ReactorShared>, token: Token) -> Self {
        RefusalGuard { reactor: Arc::clone(reactor), token, runs: false }
    }

    /// Disarms the guard, because the event runs.
    pub(crate) fn disarm(mut self) {
        self.runs = true;
    }
}

impl Drop for RefusalGuard {
    fn drop(&mut self) {
        if !self.runs
            && let Some(entry) = self.reactor.find(self.token)
        {
            entry.tell(News::Refused);
        }
    }
}

struct Registrant {
    generation: u32,
    ready: Arc<dyn Registered>,
}

#[derive(Default)]
pub(crate) struct Table {
    entries: Chunks<Registrant>,
    /// The number of entries so far, from which each entry gets its generation.
    generations: u32,
    /// The entries of raw descriptors, one for each descriptor.
    pub(crate) by_fd: HashMap<RawFd, Weak<FdEntry>>,
    /// The program is about to end. A connection that is registered later asks for this.
    draining: bool,
    /// The reactor has ended, and no longer tells its entries anything.
    closed: bool,
}

impl Table {
    pub(crate) fn insert(&mut self, ready: Arc<dyn Registered>) -> Token {
        self.generations = self.generations.wrapping_add(1);
        let generation = self.generations & 0x7fff_ffff;
        let index = self.entries.insert(Registrant { generation, ready });
        assert!(index < u32::MAX as usize, "a reactor has fewer than 2^32 registrations");
        Token((generation as usize) << 32 | index)
    }

    /// Returns an error if the reactor has ended, as it reports nothing from then on.
    pub(crate) fn check_open(&self) -> io::Result<()> {
        match self.closed {
            true => Err(runtime_has_ended()),
            false => Ok(()),
        }
    }

    fn all(&self) -> Vec<Arc<dyn Registered>> {
        self.entries.iter().map(|e| Arc::clone(&e.ready)).collect()
    }

    pub(crate) fn get(&self, token: Token) -> Option<&Arc<dyn Registered>> {
        let entry = self.entries.get(token.0 & u32::MAX as usize)?;
        (entry.generation as usize == token.0 >> 32).then_some(&entry.ready)
    }

    pub(crate) fn remove(&mut self, token: Token) -> Option<Arc<dyn Registered>> {
        self.get(token)?;
        let entry = self.entries.remove(token.0 & u32::MAX as usize)?.ready;
        if self.by_fd.capacity() > KEPT && self.by_fd.len() < self.by_fd.capacity() / 8 {
            self.by_fd.shrink_to(KEPT.max(2 * self.by_fd.len()));
        }
        Some(entry)
    }
}

/// Returns the error for callers that use the reactor, or wait for it, when it has ended.
pub(crate) fn runtime_has_ended() -> io::Error {
    io::Error::other("the runtime has ended")
}

/// The part of a reactor that all threads share.
pub(crate) struct ReactorShared {
    /// The process that made the reactor. A forked child has the same poller of the system, and
    /// must not change it.
    process: Process,
    registry: Registry,
    table: Mutex<Table>,
    /// The number of workers that attend to this poller; see [`Park::attend`].
    attended: AtomicUsize,
    /// The number of looks that the poller has begun.
    looks: AtomicU64,
}

impl ReactorShared {
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Locks the table. No user code runs under this lock.
    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns `true` if this is a forked child's copy.
    pub(crate) fn is_inherited(&self) -> bool {
        self.process.is_another()
    }

    /// Returns an error in a forked child, which must not change its parent's poller.
    pub(crate) fn check_own(&self) -> io::Result<()> {
        match self.is_inherited() {
            true => Err(io::Error::other("the runtime belongs to the parent process")),
            false => Ok(()),
        }
    }

    /// Puts an entry into the table, and registers its source with the system. `known` gets the
    /// token before the reactor can tell the entry anything. `fd` is the descriptor of the entry.
    /// An older entry of `by_fd` with this number is forgotten, as its descriptor was closed too
    /// early.
    pub(crate) fn register(
        &self,
        ready: Arc<dyn Registered>,
        known: &OnceLock<Token>,
        source: &mut impl mio::event::Source,
        fd: Option<RawFd>,
        interest: Interest,
    ) -> io::Result<Token> {
        self.check_own()?;
        let mut table = self.table();
        table.check_open()?;
        let token = table.insert(ready);
        // This cannot fail, as an entry is registered once.
        let _ = known.set(token);
        let (registered, gone) = match self.registry.register(source, token, interest) {
            Ok(()) => (Ok(token), None),
            Err(error) => (Err(error), table.remove(token)),
        };
        if let Some(fd) = fd.filter(|_| registered.is_ok()) {
            table.by_fd.remove(&fd);
        }
        drop(table);
        // Dropped after the lock has been released, as the entry may own the last handle of a
        // color.
        drop(gone);
        registered
    }

    /// Registers one more descriptor for an entry.
    pub(crate) fn also(&self, token: Token, fd: RawFd, interest: Interest) -> io::Result<()> {
        self.check_own()?;
        let mut table = self.table();
        self.registry.register(&mut SourceFd(&fd), token, interest)?;
        table.by_fd.remove(&fd);
        Ok(())
    }

    /// Removes a descriptor from the system's poller. The system's answer depends on what other
    /// code has done with the descriptor, and does not matter.
    pub(crate) fn unwatch(&self, fd: RawFd) {
        if !self.is_inherited() {
            let _ = sys::forget(&self.registry, fd);
        }
    }

    /// Removes an entry from the table. The caller deregisters or closes its descriptor.
    pub(crate) fn forget(&self, token: Token) {
        // Dropped after the lock has been released, as the entry may own the last handle of a
        // color.
        let entry = self.table().remove(token);
        drop(entry);
    }

    /// Returns the number of looks that the poller has begun.
    pub(crate) fn looks(&self) -> u64 {
        self.looks.load(Ordering::SeqCst)
    }

    /// Returns `true` if another worker attends to the poller.
    pub(crate) fn is_attended(&self) -> bool {
        self.attended.load(Ordering::SeqCst) > 0
    }

    /// Returns `true` if the connections have been told that the program is about to end.
    pub(crate) fn is_draining(&self) -> bool {
        self.table().draining
    }

    pub(crate) fn find(&self, token: Token) -> Option<Arc<dyn Registered>> {
        self.table().get(token).cloned()
    }
}

impl std::fmt::Debug for ReactorShared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReactorShared").finish_non_exhaustive()
    }
}

/// The reactors of a runtime, in the order of its workers.
#[derive(Default)]
pub(crate) struct IoDriver {
    reactors: Arc<Mutex<Vec<Arc<ReactorShared>>>>,
    all: OnceLock<Vec<Arc<ReactorShared>>>,
    next: AtomicUsize,
    /// The line of the look-ups of host names.
    pub(crate) names: Line,
}

impl Driver for IoDriver {
    fn park(&self, worker: usize) -> io::Result<Box<dyn Park>> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let reactor = Arc::new(ReactorShared {
            process: Process::current(),
            registry: poll.registry().try_clone()?,
            table: Mutex::new(Table::default()),
            attended: AtomicUsize::new(0),
            looks: AtomicU64::new(0),
        });
        let mut reactors = self.reactors.lock().unwrap_or_else(PoisonError::into_inner);
        if reactors.len() != worker {
            return Err(io::Error::other(
                "a driver serves one runtime only, and this one was given to a second",
            ));
        }
        reactors.push(Arc::clone(&reactor));
        Ok(Box::new(Reactor {
            poll,
            events: Events::with_capacity(EVENTS),
            waker,
            reactor,
            reactors: Arc::clone(&self.reactors),
            found: Vec::new(),
        }))
    }
}

impl IoDriver {
    pub(crate) fn reactors(&self) -> &[Arc<ReactorShared>] {
        // All reactors exist before a worker runs or a handle is handed out.
        self.all
            .get_or_init(|| self.reactors.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// A worker's poller.
struct Reactor {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    reactor: Arc<ReactorShared>,
    /// The reactors of all workers.
    reactors: Arc<Mutex<Vec<Arc<ReactorShared>>>>,
    /// The entries that one look has found ready; empty between two looks.
    found: Vec<(Arc<dyn Registered>, Readiness)>,
}

fn is_urgent(event: &mio::event::Event) -> bool {
    event.is_priority()
}

struct Wake(Arc<Waker>);

impl Unpark for Wake {
    fn unpark(&self) {
        if let Err(error) = self.0.wake() {
            tracing::error!(%error, "cannot wake a worker");
        }
    }
}

impl Park for Reactor {
    fn park(&mut self, timeout: Option<Duration>, cx: &mut Cx) -> io::Result<()> {
        let look = self.reactor.looks.fetch_add(1, Ordering::SeqCst) + 1;
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            // The time that is left is not known, so the worker computes it again.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(e) => return Err(e),
        }
        if self.events.is_empty() {
            return Ok(());
        }
        let how = match timeout {
            Some(Duration::ZERO) => How::InPassing,
            _ => How::Waiting,
        };
        let seen = Seen { look, how };
        let table = self.reactor.table();
        for event in self.events.iter().filter(|event| event.token() < ATTENDED) {
            if let Some(ready) = table.get(event.token()) {
                let failed = event.is_error();
                let readiness = Readiness {
                    readable: event.is_readable() || event.is_read_closed() || failed,
                    writable: event.is_writable() || event.is_write_closed() || failed,
                    closed: event.is_read_closed() || failed,
                    failed,
                    urgent: is_urgent(event),
                };
                self.found.push((Arc::clone(ready), readiness));
            }
        }
        drop(table);
        // A foreign waker may panic. The other entries are told all the same, as the system does
        // not report their readiness again.
        let mut panicked = None;
        for (ready, readiness) in self.found.drain(..) {
            let told = AssertUnwindSafe(|| ready.ready(readiness, seen, cx));
            if let Err(payload) = catch_unwind(told) {
                panicked = Some(payload);
            }
        }
        match panicked {
            Some(payload) => resume_unwind(payload),
            None => Ok(()),
        }
    }

    /// Registers the other reactor's poller, or deregisters it. A poller of the system is a
    /// descriptor itself, and is readable when one of its descriptors is ready.
    fn attend(&mut self, worker: usize, attention: Attention) {
        let reactors = self.reactors.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(reactor) = reactors.get(worker) else { return };
        let (other, registry) = (reactor.registry().as_raw_fd(), self.poll.registry());
        let done = match attention {
            Attention::Begins => {
                // The count is raised before the registration. What is ready by then is reported at
                // once, and a thread that makes something ready later sees the count. The system's
                // lock on the poller orders the two.
                reactor.attended.fetch_add(1, Ordering::SeqCst);
                let source = &mut SourceFd(&other);
                let done = registry.register(source, ATTENDED, Interest::READABLE);
                if done.is_err() {
                    reactor.attended.fetch_sub(1, Ordering::SeqCst);
                }
                done
            }
            Attention::Ends => {
                let done = registry.deregister(&mut SourceFd(&other));
                if done.is_ok() {
                    reactor.attended.fetch_sub(1, Ordering::SeqCst);
                }
                done
            }
        };
        if let Err(error) = done {
            // This worker still looks at the other poller at intervals.
            tracing::debug!(%error, worker, "cannot attend to another worker's poller");
        }
    }

    fn close(&mut self) {
        let closed = Table { closed: true, ..Table::default() };
        let mut table = std::mem::replace(&mut *self.reactor.table(), closed);
        let mut panicked = None;
        for entry in table.entries.drain() {
            // Dropping the entries drops the user's values. If one drop panics, the other entries
            // are still told and dropped.
            let end = AssertUnwindSafe(move || {
                entry.ready.tell(News::Closed);
                drop(entry);
            });
            if let Err(payload) = catch_unwind(end) {
                panicked = Some(payload);
            }
        }
        if let Some(payload) = panicked {
            resume_unwind(payload);
        }
    }

    /// Returns a duplicate of the system's poller, which is a descriptor itself.
    fn poll_fd(&self) -> io::Result<Option<OwnedFd>> {
        sys::duplicate(&self.poll).map(Some)
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::new(Wake(Arc::clone(&self.waker)))
    }
}

/// A handle of the reactors of a runtime that was built with [`runtime()`](crate::runtime).
///
/// See [`runtime()`](crate::runtime) for an example.
#[derive(Clone, Debug)]
pub struct Io {
    handle: Handle,
}

impl Io {
    /// Returns the reactors of the handle's runtime.
    ///
    /// # Panics
    ///
    /// Panics if the runtime was not built with [`dapple_io::runtime()`](crate::runtime).
    #[track_caller]
    pub fn of(handle: &Handle) -> Io {
        assert!(
            handle.driver::<IoDriver>().is_some(),
            "the runtime has no reactor: build it with dapple_io::runtime()"
        );
        Io { handle: handle.clone() }
    }

    /// Returns the handle of the runtime.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Tells all connections in callback style that the program is about to end.
    ///
    /// Each of them gets a call of [`Protocol::on_drain`](crate::tcp::Protocol::on_drain). Streams
    /// for tasks are not told: their tasks decide for themselves when to end.
    ///
    /// See [`Stream::serve`](crate::stream::Stream::serve) for an example.
    pub fn drain_connections(&self) {
        for reactor in self.driver().reactors() {
            // The entries are told outside the lock, as posting may drop handles.
            let entries = {
                let mut table = reactor.table();
                table.draining = true;
                table.all()
            };
            entries.iter().for_each(|entry| entry.tell(News::Draining));
        }
    }

    pub(crate) fn driver(&self) -> &IoDriver {
        self.handle.driver().expect("checked by `of`")
    }

    pub(crate) fn reactor(&self, worker: usize) -> &Arc<ReactorShared> {
        &self.driver().reactors()[worker]
    }

    /// Returns the first worker that polls at all times. If there are several workers, that is not
    /// the worker of a `Here`, whose thread may be away.
    pub(crate) fn first_watcher(&self) -> usize {
        usize::from(self.handle.has_here() && self.handle.workers() > 1)
    }

    /// Returns the worker for a new registration: the current one, or the next one in turn.
    pub(crate) fn watcher(&self) -> usize {
        let current = self.handle.current_worker().filter(|worker| *worker >= self.first_watcher());
        current.unwrap_or_else(|| self.next_watcher())
    }

    /// Returns the worker for a new registration that calls back on `color`: the worker of the
    /// color's earlier registrations, if there are any.
    pub(crate) fn watcher_of(&self, color: &Color) -> usize {
        match color.runtime().driver::<IoDriver>() {
            Some(driver) if std::ptr::eq(driver, self.driver()) => {
                color.settle_watcher(|| self.watcher())
            }
            // The color belongs to another runtime, which has other workers.
            _ => self.watcher(),
        }
    }

    /// Returns the next worker in turn.
    pub(crate) fn next_watcher(&self) -> usize {
        let (driver, first) = (self.driver(), self.first_watcher());
        first + driver.next.fetch_add(1, Ordering::Relaxed) % (driver.reactors().len() - first)
    }
}
