//! The driver of a connection, which does what [`state`](super::state) says is next.
//!
//! The reactor sets bits in a word of the connection's entry, and posts an event to the
//! connection's color if none is queued. A bit of the same word says whether one is queued, so each
//! readiness costs one read-modify-write. The event takes the bits, reads, lets the protocol work,
//! and writes. If its budget does not suffice, it posts another event.
//!
//! If an event is refused, the runtime of the color has ended. The socket is then shut down, and
//! the entry leaves the reactor.
//!
//! A connection has at most one armed timer, for the earliest deadline that it has. Progress does
//! not touch the timer: if it fires too early, it is armed again. It belongs to the runtime of the
//! color. If that is not the reactor's runtime, and it ends, the connection is closed when the
//! timer is dropped.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use dapple::clock;
use dapple::sync::{Arc, AtomicBool, AtomicU8, Ordering, Weak};
use dapple::{Color, Colored, Cx, Site};

use super::buffer::{Input, Output};
use super::conn::Conn;
use super::protocol::Protocol;
use super::registration::{ConnRegistration, ConnTimer, Unfired};
use super::socket::Socket;
use super::state::{Budget, Call, Next, Why, later};
use super::{ConnOptions, Stream};
use crate::Addr;
use crate::reactor::{News, ReactorShared, RefusalGuard, Registered};
use crate::readiness::{How, Readiness, Seen};

/// The number of bytes after which one write ends. Its last system call may exceed it.
const WRITE_BUDGET: u64 = 1024 * 1024;

/// A connection and its protocol, which the color guards.
struct Link<P: Protocol> {
    conn: Conn,
    protocol: P,
    registration: ConnRegistration,
    /// The reactor's entry, while the connection is registered.
    entry: Weak<Source<P>>,
    timer: Option<ConnTimer>,
    is_over: bool,
}

/// The outcome of a write.
enum Written {
    /// The peer has not stopped reading. The write may have written nothing, and the connection may
    /// have failed.
    Some,
    /// The peer no longer reads.
    Broken,
}

const READABLE: u8 = 1;
const WRITABLE: u8 = 2;
const CLOSED: u8 = 4;
/// An event is queued that takes the bits.
const QUEUED: u8 = 8;
const FAILED: u8 = 16;
const URGENT: u8 = 32;

/// The entry of a connection in its reactor.
struct Source<P: Protocol> {
    bits: Arc<AtomicU8>,
    link: Colored<Link<P>>,
    registration: ConnRegistration,
    /// Whether the socket is a pair of pipes. An error then concerns one direction only, and a
    /// write reports it.
    is_pipes: bool,
    stream: Weak<Socket>,
    /// The handle that weak handles refer to while the connection is registered; see
    /// [`serve_with`].
    _keeps: Option<Arc<Connection<P>>>,
}

impl<P: Protocol> Registered for Source<P> {
    fn ready(&self, readiness: Readiness, _: Seen, _cx: &mut Cx) {
        let mut bits = QUEUED;
        bits |= if readiness.readable { READABLE } else { 0 };
        bits |= if readiness.writable { WRITABLE } else { 0 };
        bits |= if readiness.closed { CLOSED } else { 0 };
        bits |= if readiness.failed && !self.is_pipes { FAILED } else { 0 };
        bits |= if readiness.urgent { URGENT } else { 0 };
        // The release pairs with the acquire of the event's `swap`, which sees all bits that were
        // set before it was queued.
        if self.bits.fetch_or(bits, Ordering::AcqRel) & QUEUED == 0 {
            let bits = Arc::clone(&self.bits);
            let guard = self.refusal_guard();
            self.link.post_from(self.registration.site, move |link, cx| {
                guard.into_iter().for_each(RefusalGuard::disarm);
                // This clears QUEUED, too, so later readiness posts a new event.
                let bits = bits.swap(0, Ordering::AcqRel);
                let edge = Readiness {
                    readable: bits & READABLE != 0,
                    writable: bits & WRITABLE != 0,
                    closed: bits & CLOSED != 0,
                    failed: bits & FAILED != 0,
                    urgent: bits & URGENT != 0,
                };
                link.run(cx, |link, _| link.conn.state.edge(edge));
            });
        }
    }

    fn tell(&self, news: News) {
        match news {
            News::Draining => self.link.post_from(self.registration.site, |link, cx| {
                link.run(cx, |link, _| link.conn.state.drain());
            }),
            News::Refused => {
                tracing::debug!("closing a connection, because the runtime of its color has ended");
                shut_down(&self.stream);
                self.registration.deregister();
            }
            // A handle may keep the connection alive after the reactor has ended.
            News::Closed => shut_down(&self.stream),
        }
    }
}

impl<P: Protocol> Source<P> {
    /// Posts a check of the connection's limit. The timer calls this in an event of the
    /// connection's color.
    fn timeout(&self) {
        let guard = self.refusal_guard();
        self.link.post_from(self.registration.site, move |link, cx| {
            guard.into_iter().for_each(RefusalGuard::disarm);
            link.timer = None;
            link.run(cx, |link, _| link.check_limit());
        });
    }

    /// Returns the guard of an event that is posted to the connection. If the event is dropped
    /// unrun, the guard tells this entry [`News::Refused`].
    fn refusal_guard(&self) -> Option<RefusalGuard> {
        self.registration
            .token
            .get()
            .map(|token| RefusalGuard::new(&self.registration.reactor, *token))
    }
}

/// Shuts the socket down, so that the peer does not wait for answers that never come.
fn shut_down(stream: &Weak<Socket>) {
    if let Some(stream) = stream.upgrade() {
        stream.shut_down();
    }
}

/// A guard that shuts the socket down if the connection's first event is dropped unrun.
struct Unserved(Option<Weak<Socket>>);

impl Unserved {
    fn serve(mut self) {
        self.0 = None;
    }
}

impl Drop for Unserved {
    fn drop(&mut self) {
        if let Some(stream) = &self.0 {
            shut_down(stream);
        }
    }
}

/// A closure that works on a connection.
type WithConn<P> = Box<dyn FnOnce(&mut P, &mut Conn, &mut Cx) + Send>;

/// A handle of a connection, for answers that are made elsewhere. Dropping it does not close the
/// connection.
pub struct Connection<P: Protocol> {
    link: Colored<Link<P>>,
}

impl<P: Protocol> Connection<P> {
    /// Posts `f` to the connection's color, where it gets the protocol and the connection.
    ///
    /// If the connection is gone by then, or the runtime of its color has ended, `f` is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// # use dapple_io::{Io, stream::{Conn, ConnOptions, Protocol}}; struct Quiet;
    /// # impl Protocol for Quiet { fn on_data(&mut self, _: &mut Conn, _: &mut dapple::Cx) {} }
    /// # let rt = dapple_io::runtime().build()?;
    /// # let (ours, client) = std::os::unix::net::UnixStream::pair()?;
    /// # let (stream, color) = (Io::of(&rt.handle()).adopt(ours)?, rt.handle().new_color());
    /// let connection = stream.serve(&color, ConnOptions::default(), Quiet);
    /// // The calls work from any thread, and run in their order.
    /// connection.with(|_, conn, _| conn.send(b"news"));
    /// connection.with(|_, conn, _| conn.close());
    /// assert_eq!(std::io::read_to_string(client)?, "news");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn with(&self, f: impl FnOnce(&mut P, &mut Conn, &mut Cx) + Send + 'static) {
        // The closure gets a box of its own, so that a large one is not moved again with its
        // wrapper.
        let f: WithConn<P> = Box::new(f);
        self.link.post(move |link, cx| {
            link.run(cx, |link, cx| f(&mut link.protocol, &mut link.conn, cx));
        });
    }

    /// Returns the color of the connection.
    pub fn color(&self) -> &Color {
        self.link.color()
    }
}

impl<P: Protocol> Clone for Connection<P> {
    fn clone(&self) -> Self {
        Connection { link: self.link.clone() }
    }
}

impl<P: Protocol> std::fmt::Debug for Connection<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("color", self.color()).finish_non_exhaustive()
    }
}

/// Registers a stream, and serves it by `protocol`.
pub(super) fn serve<P: Protocol>(
    stream: Stream,
    color: &Color,
    site: Site,
    options: ConnOptions,
    protocol: P,
) -> Connection<P> {
    let begun = Begun::new(stream, color, site);
    let connection = begun.connection(options, protocol);
    begun.start(&connection, None);
    connection
}

/// Serves a stream by a protocol that `make` makes from a weak handle of its own connection. The
/// reactor keeps the handle alive for as long as the connection is registered.
pub(super) fn serve_with<P: Protocol>(
    stream: Stream,
    color: &Color,
    site: Site,
    options: ConnOptions,
    make: impl FnOnce(Weak<Connection<P>>) -> P,
) -> Arc<Connection<P>> {
    let begun = Begun::new(stream, color, site);
    let connection = Arc::new_cyclic(|me| begun.connection(options, make(me.clone())));
    begun.start(&connection, Some(Arc::clone(&connection)));
    connection
}

/// A stream that is about to be served. If this is dropped, the socket is shut down.
struct Begun {
    socket: Arc<Socket>,
    peer: Addr,
    registration: ConnRegistration,
    unserved: Unserved,
}

impl Begun {
    fn new(stream: Stream, color: &Color, site: Site) -> Begun {
        let Stream { socket, peer, reactor } = stream;
        let unserved = Unserved(Some(Arc::downgrade(&socket)));
        let registration = ConnRegistration::new(&reactor, color, site);
        Begun { socket, peer, registration, unserved }
    }

    fn connection<P: Protocol>(&self, options: ConnOptions, protocol: P) -> Connection<P> {
        let link = Link {
            conn: Conn::new(Arc::clone(&self.socket), self.peer.clone(), options),
            protocol,
            registration: self.registration.clone(),
            entry: Weak::new(),
            timer: None,
            is_over: false,
        };
        Connection {
            link: Colored::new_from(self.registration.site, &self.registration.color, link),
        }
    }

    /// Posts the connection's first event. The reactor keeps `keeps` for as long as the connection
    /// is registered.
    fn start<P: Protocol>(self, connection: &Connection<P>, keeps: Option<Arc<Connection<P>>>) {
        let Begun { socket, registration, unserved, .. } = self;
        let (site, reactor) = (registration.site, Arc::clone(&registration.reactor));
        let entry = Arc::new(Source {
            bits: Arc::new(AtomicU8::new(0)),
            link: connection.link.clone(),
            registration,
            is_pipes: socket.is_pipes(),
            stream: Arc::downgrade(&socket),
            _keeps: keeps,
        });
        drop(socket);
        // The first event registers the stream, on the color, so no readiness precedes it.
        connection.link.post_from(site, move |link, cx| {
            unserved.serve();
            link.run(cx, |link, cx| link.register(&reactor, entry, cx));
        });
    }
}

impl<P: Protocol> Link<P> {
    fn register(&mut self, reactor: &Arc<ReactorShared>, entry: Arc<Source<P>>, cx: &mut Cx) {
        let Some(stream) = &self.conn.stream else { return };
        self.entry = Arc::downgrade(&entry);
        if let Err(error) = stream.register(reactor, entry, &self.registration.token) {
            return self.conn.fail(error);
        }
        self.protocol.on_open(&mut self.conn, cx);
        // Either the thread that told all connections to drain has found this one in the table, or
        // the flag is visible here.
        if reactor.is_draining() {
            self.conn.state.drain();
        }
    }

    /// Calls `happens`, and then does what follows from it. A panic of the protocol ends the
    /// connection.
    fn run(&mut self, cx: &mut Cx, happens: impl FnOnce(&mut Self, &mut Cx)) {
        if self.is_over {
            return;
        }
        let caught = catch_unwind(AssertUnwindSafe(|| {
            happens(self, cx);
            self.proceed(cx);
        }));
        if let Err(payload) = caught {
            self.conn.state.fail(Why::Panicked);
            self.release_all();
            resume_unwind(payload);
        }
    }

    /// Does what is next, until the connection has to wait or the event's budget is spent.
    fn proceed(&mut self, cx: &mut Cx) {
        let mut budget = Budget::EVENT;
        loop {
            let conn = &mut self.conn;
            match conn.state.next(conn.load(), &conn.options, &mut budget) {
                Next::Read => self.read(),
                Next::Write => match self.write() {
                    Written::Some => self.tell_written(cx),
                    Written::Broken => self.protocol.on_write_closed(&mut self.conn, cx),
                },
                Next::Call(Call::Data) => self.protocol.on_data(&mut self.conn, cx),
                Next::Call(Call::Room) => self.protocol.on_room(&mut self.conn, cx),
                Next::Call(Call::End) => self.protocol.on_eof(&mut self.conn, cx),
                Next::Call(Call::Drain) => self.protocol.on_drain(&mut self.conn, cx),
                Next::ShutDown => self.shut_down_write(),
                Next::AskError => {
                    let stream = self.conn.stream.as_ref();
                    let error = stream.and_then(|stream| stream.take_error().ok().flatten());
                    self.conn.fail(error.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()));
                }
                Next::Yield => {
                    self.rest(cx);
                    return self.comes_again(cx);
                }
                Next::Wait => return self.rest(cx),
                Next::Close(why) => {
                    let reason = self.conn.reason(why);
                    self.release_all();
                    return self.protocol.on_close(&reason, cx);
                }
            }
        }
    }

    fn read(&mut self) {
        let conn = &mut self.conn;
        let Some(stream) = &conn.stream else { return };
        let before = conn.input.bytes().len();
        let most = conn.options.max_fds;
        let filled = match most {
            0 => conn.input.fill(|buf| stream.read(buf)),
            // Descriptors that the protocol has not taken count against the limit.
            _ => conn.input.fill(|buf| {
                let left = most.saturating_sub(conn.fds.len());
                let (n, fds) = stream.read_with_fds(buf, left)?;
                conn.fds.extend(fds);
                Ok(n)
            }),
        };
        match filled {
            Ok(filled) => {
                let brought = conn.input.bytes().len() - before;
                conn.state.filled(&filled, brought, clock::now());
            }
            Err(error) => {
                conn.state.read_failed();
                conn.error.get_or_insert(error);
            }
        }
        if !conn.state.is_open() {
            // The connection lingers, so its input is thrown away.
            conn.input.clear();
            conn.fds.clear();
        }
    }

    fn write(&mut self) -> Written {
        let conn = &mut self.conn;
        let Some(stream) = &conn.stream else { return Written::Some };
        let before = conn.output.len();
        match conn.output.flush(stream, WRITE_BUDGET) {
            Ok(flushed) => conn.state.flushed(before, conn.output.len(), &flushed, clock::now()),
            // Bytes that the peer sent before may still be read. (Over TCP they are lost.)
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && conn.peer.ip().is_none() => {
                conn.output.clear();
                conn.state.cannot_write();
                return Written::Broken;
            }
            Err(error) => conn.fail(error),
        }
        Written::Some
    }

    /// Tells the protocol that all output is written, if it has asked for that.
    fn tell_written(&mut self, cx: &mut Cx) {
        let conn = &mut self.conn;
        if conn.is_written_awaited && conn.output.len() == 0 && conn.state.is_open() {
            conn.is_written_awaited = false;
            self.protocol.on_written(&mut self.conn, cx);
        }
    }

    fn shut_down_write(&mut self) {
        let conn = &mut self.conn;
        let Some(stream) = &conn.stream else { return };
        // Closing a pipe discards nothing, so there is no need to linger.
        let lingers = stream.shut_down_write().is_ok() && !stream.is_pipes();
        let outcome = if lingers { Ok(()) } else { Err(()) };
        conn.state.shut(outcome, clock::now());
        if stream.reads_nothing() {
            // No edge announces the end of such a stream.
            conn.state.may_read();
        }
        if !conn.state.is_open() {
            conn.input.clear();
        }
    }

    /// Ends an event: returns the worker's buffers to it, and sets the timer.
    fn rest(&mut self, cx: &mut Cx) {
        self.conn.input.settle();
        self.conn.output.settle();
        self.set_timer(cx);
    }

    /// Posts another event, because there is more to do than one event may do.
    fn comes_again(&self, cx: &mut Cx) {
        if let Some(entry) = self.entry.upgrade() {
            entry.ready(Readiness::default(), Seen { look: 0, how: How::InPassing }, cx);
        }
    }

    fn set_timer(&mut self, cx: &mut Cx) {
        let conn = &mut self.conn;
        let limit = conn.state.limit(conn.load(), &conn.options);
        // A connection that has no limit now is checked again after the idle timeout.
        let deadline = limit
            .map_or_else(|| later(clock::now(), conn.options.idle_timeout), |(until, _)| until);
        if self.timer.as_ref().is_some_and(|armed| armed.until <= deadline) {
            return;
        }
        let registration = self.registration.clone();
        let (color, site) = (registration.color.clone(), registration.site);
        let is_over = registration.is_foreign.then(|| Arc::new(AtomicBool::new(false)));
        let unfired = is_over.clone().map(|is_over| Unfired { registration, is_over });
        let entry = self.entry.clone();
        let timer = cx.handle().post_at_from(site, deadline, &color, move |_| {
            unfired.iter().for_each(|unfired| unfired.is_over.store(true, Ordering::Relaxed));
            if let Some(entry) = entry.upgrade() {
                entry.timeout();
            }
        });
        if let Some(old) = self.timer.replace(ConnTimer { until: deadline, timer, is_over }) {
            old.cancel();
        }
    }

    fn check_limit(&mut self) {
        let conn = &mut self.conn;
        conn.state.check_limit(conn.load(), &conn.options, clock::now());
    }

    /// Leaves the reactor, frees the buffers, and closes the socket.
    fn release_all(&mut self) {
        self.is_over = true;
        // A handle may keep the connection alive, not its buffers. The worker gets its own back.
        self.conn.input.clear();
        self.conn.output.clear();
        self.conn.input.settle();
        self.conn.output.settle();
        (self.conn.input, self.conn.output) = (Input::default(), Output::default());
        self.registration.deregister();
        if let Some(stream) = &self.conn.stream {
            stream.before_close(&self.registration.reactor);
        }
        self.conn.fds = Vec::new();
        (self.conn.stream, self.entry) = (None, Weak::new());
        if let Some(limit) = self.timer.take() {
            limit.cancel();
        }
    }
}
