//! One `mio::Poll` per worker, and the table of what is registered with it (N1).
//!
//! A registration is an entry of its worker's table; its token is the entry's index and a
//! generation, so an event that the system had ready for an entry that is gone finds nobody (E5).
//! Entries are `Arc<dyn Registered>`; the reactor looks them up under the table's lock, and tells
//! them their readiness after it has left it: what they do then is to post, but a post that is
//! refused drops a closure, which may come back here.

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

use crate::addr::Addr;
use crate::connect::Line;
use crate::fd::entry::FdEntry;
use crate::sys;

/// The token of the waker; entries never have it.
const WAKE: Token = Token(usize::MAX);

/// That of another worker's reactor that this one attends to; see [`Park::attend`].
const ATTENDED: Token = Token(usize::MAX - 1);

/// Room for raw descriptors that is kept, whatever was there.
const KEPT: usize = 1_024;

/// Events that one look takes at most.
const EVENTS: usize = 256;

/// What the system says of a descriptor. Errors and hang-ups are both: a read or write finds out
/// more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer has closed its side, or the descriptor is in error.
    pub(crate) closed: bool,
    /// The descriptor is in error: the peer has reset the connection.
    pub(crate) failed: bool,
    /// The peer has marked a byte as urgent: a read stops there, and a short one is no proof that
    /// nothing is left.
    pub(crate) urgent: bool,
}

/// The look in which a poller has come upon something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    /// Its number: see [`ReactorShared::looks`].
    pub(crate) look: u64,
    pub(crate) how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum How {
    /// The poller looked, and would not have waited.
    InPassing,
    /// It would have waited, and is not to be kept from that by what is known.
    Waiting,
}

/// Says whether a short read proves that nothing is left (N11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    Proof,
    /// The peer has marked a byte as urgent, or its end has been announced.
    Doubt,
}

impl Trust {
    /// What is to be thought of a stream with this peer. A read of a Unix socket stops at bytes
    /// that descriptors go along with, whether they are asked for or not; only of TCP it is known
    /// that it takes all there is.
    pub(crate) fn of(peer: &Addr) -> Trust {
        match peer.ip() {
            Some(_) => Trust::Proof,
            None => Trust::Doubt,
        }
    }

    /// What an edge leaves of it.
    pub(crate) fn after(edge: Readiness) -> Trust {
        match edge.closed || edge.urgent {
            true => Trust::Doubt,
            false => Trust::Proof,
        }
    }
}

/// What is asked of the system for a stream.
pub(crate) fn both_directions() -> Interest {
    let both = Interest::READABLE | Interest::WRITABLE;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return both | Interest::PRIORITY;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    both
}

/// What else a reactor tells an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum News {
    /// The program is about to end.
    Draining,
    /// An event of the entry's was refused, or dropped unrun: the runtime of its color has ended.
    /// It is deregistered, and closed (N11).
    Refused,
    /// The reactor ends: what the entry holds of the user's goes now.
    Closed,
}

/// What a reactor tells about readiness, and about itself.
pub(crate) trait Registered: Send + Sync {
    /// Posts that the descriptor is ready, and does nothing else.
    fn ready(&self, readiness: Readiness, seen: Seen, cx: &mut Cx);

    fn tell(&self, news: News);
}

/// Goes along with an event of an entry. If the event is dropped unrun, nobody serves the entry any
/// more: it is [told](News::Refused).
pub(crate) struct OrElse {
    reactor: Arc<ReactorShared>,
    token: Token,
    runs: bool,
}

impl OrElse {
    pub(crate) fn new(reactor: &Arc<ReactorShared>, token: Token) -> Self {
        OrElse { reactor: Arc::clone(reactor), token, runs: false }
    }

    /// The event runs.
    pub(crate) fn disarm(mut self) {
        self.runs = true;
    }
}

impl Drop for OrElse {
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
    /// Grows with every entry; an entry's generation.
    generations: u32,
    /// Entries of raw descriptors, of which there is one per descriptor.
    pub(crate) by_fd: HashMap<RawFd, Weak<FdEntry>>,
    /// The program is about to end: what is registered from now on is told so.
    draining: bool,
    /// The reactor has ended: it tells nobody anything any more.
    closed: bool,
}

impl Table {
    pub(crate) fn insert(&mut self, ready: Arc<dyn Registered>) -> Token {
        self.generations = self.generations.wrapping_add(1);
        let generation = self.generations & 0x7fff_ffff;
        let index = self.entries.insert(Registrant { generation, ready });
        assert!(index < u32::MAX as usize, "a reactor has less than 2^32 registrations");
        Token((generation as usize) << 32 | index)
    }

    /// An error if the reactor has ended, and will tell nothing.
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

/// What is told to those who wait for the reactor, or come to it, when it is gone.
pub(crate) fn runtime_has_ended() -> io::Error {
    io::Error::other("the runtime has ended")
}

/// The part of a reactor that all threads reach.
pub(crate) struct ReactorShared {
    /// Whose it is: a forked child has the same poller of the system, and must not change it.
    process: Process,
    registry: Registry,
    table: Mutex<Table>,
    /// Workers that attend to its poller; see [`Park::attend`].
    attended: AtomicUsize,
    /// How many looks the poller has begun.
    looks: AtomicU64,
}

impl ReactorShared {
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// No user code runs under this lock.
    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether this is the copy of a forked child.
    pub(crate) fn is_inherited(&self) -> bool {
        self.process.is_another()
    }

    /// An error if this is the copy of a forked child, which is not to change its parent's poller.
    pub(crate) fn check_own(&self) -> io::Result<()> {
        match self.is_inherited() {
            true => Err(io::Error::other("the runtime is of the process that has forked this one")),
            false => Ok(()),
        }
    }

    /// Puts an entry into the table and registers what it stands for. `fd` is its descriptor:
    /// whatever else of [`crate::fd`] was registered by its number, and was closed too early, is
    /// forgotten. `known` gets the token before the reactor can tell the entry anything.
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
        // An entry is registered once.
        let _ = known.set(token);
        let (registered, gone) = match self.registry.register(source, token, interest) {
            Ok(()) => (Ok(token), None),
            Err(error) => (Err(error), table.remove(token)),
        };
        if let Some(fd) = fd.filter(|_| registered.is_ok()) {
            table.by_fd.remove(&fd);
        }
        drop(table);
        // Dropped after the lock has been left: it may be the last handle of a color.
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

    /// The system's poller is not asked about a descriptor any more. What it says to that depends
    /// on what others have done with the descriptor, and does not matter.
    pub(crate) fn unwatch(&self, fd: RawFd) {
        if !self.is_inherited() {
            let _ = sys::forget(&self.registry, fd);
        }
    }

    /// Takes an entry out; its descriptor is deregistered, or closed, by the caller.
    pub(crate) fn forget(&self, token: Token) {
        // Dropped after the lock has been left: it may be the last handle of a color.
        let entry = self.table().remove(token);
        drop(entry);
    }

    /// How many looks the poller has begun.
    pub(crate) fn looks(&self) -> u64 {
        self.looks.load(Ordering::SeqCst)
    }

    /// Says whether another worker attends to the poller.
    pub(crate) fn is_attended(&self) -> bool {
        self.attended.load(Ordering::SeqCst) > 0
    }

    /// Says whether the connections have been told that the program is about to end.
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

/// The reactors of a runtime, in order of its workers.
#[derive(Default)]
pub(crate) struct IoDriver {
    reactors: Arc<Mutex<Vec<Arc<ReactorShared>>>>,
    all: OnceLock<Vec<Arc<ReactorShared>>>,
    next: AtomicUsize,
    /// Names that are looked up.
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
            return Err(io::Error::other("a reactor serves one runtime, and was given to another"));
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
        // All of them are there before a worker runs or a handle is given out.
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
    /// The entries of one look; empty in between.
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
            // How much time is left is not known: back to the worker, which plans again.
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
        // A foreign waker may panic; that is not to keep readiness from the others, to whom it is
        // not told again.
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

    /// The system's poller of the other reactor is a descriptor as any other, and is readable when
    /// one of those in it is.
    fn attend(&mut self, worker: usize, attention: Attention) {
        let reactors = self.reactors.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(reactor) = reactors.get(worker) else { return };
        let (other, registry) = (reactor.registry().as_raw_fd(), self.poll.registry());
        let done = match attention {
            Attention::Begins => {
                // Before: what is ready by then is told when it is registered, and who makes
                // something ready after that sees the number. The system's lock on the poller is
                // what orders the two.
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
            // It looks there at intervals all the same.
            tracing::debug!(%error, worker, "cannot attend to another worker's poller");
        }
    }

    fn close(&mut self) {
        let closed = Table { closed: true, ..Table::default() };
        let mut table = std::mem::replace(&mut *self.reactor.table(), closed);
        let mut panicked = None;
        for entry in table.entries.drain() {
            // What goes is the user's; one drop that panics does not keep the others.
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

    /// The system's poller is a descriptor as any other.
    fn poll_fd(&self) -> io::Result<Option<OwnedFd>> {
        sys::duplicate(&self.poll).map(Some)
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::new(Wake(Arc::clone(&self.waker)))
    }
}

/// The way to the reactors of a runtime that [`runtime()`](crate::runtime) has configured.
#[derive(Clone, Debug)]
pub struct Io {
    handle: Handle,
}

impl Io {
    /// The reactors of the handle's runtime.
    ///
    /// # Panics
    ///
    /// When the runtime was not built with [`dapple_io::runtime()`](crate::runtime).
    #[track_caller]
    pub fn of(handle: &Handle) -> Io {
        assert!(
            handle.driver::<IoDriver>().is_some(),
            "the runtime has no reactor: build it with dapple_io::runtime()"
        );
        Io { handle: handle.clone() }
    }

    /// The handle of the runtime.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Tells all connections in callback style that the program is about to end; see
    /// [`Protocol::on_drain`](crate::tcp::Protocol::on_drain). Streams for tasks are their tasks'
    /// affair.
    pub fn drain_connections(&self) {
        for reactor in self.driver().reactors() {
            // Posting may drop handles, so not under the lock.
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

    /// The first worker that attends to its poller at all times: not that of a `Here`, whose thread
    /// may be away, if there is another one.
    pub(crate) fn first_place(&self) -> usize {
        usize::from(self.handle.has_here() && self.handle.workers() > 1)
    }

    /// Where something new lives: at the current worker, or dealt out in turn.
    pub(crate) fn place(&self) -> usize {
        let current = self.handle.current_worker().filter(|worker| *worker >= self.first_place());
        current.unwrap_or_else(|| self.next_place())
    }

    /// Where something new lives that calls back on `color`: where what is there already does.
    pub(crate) fn place_of(&self, color: &Color) -> usize {
        match color.runtime().driver::<IoDriver>() {
            Some(driver) if std::ptr::eq(driver, self.driver()) => {
                color.settle_watcher(|| self.place())
            }
            // It is of another runtime, with other workers.
            _ => self.place(),
        }
    }

    /// The workers in turn.
    pub(crate) fn next_place(&self) -> usize {
        let (driver, first) = (self.driver(), self.first_place());
        first + driver.next.fetch_add(1, Ordering::Relaxed) % (driver.reactors().len() - first)
    }
}
