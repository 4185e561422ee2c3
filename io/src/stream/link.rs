//! What drives a connection: it does what [`state`](super::state) says is next.
//!
//! The reactor sets bits in a word that the connection's entry shares with nobody else, and posts
//! an event to the connection's color if none is queued: the same word says so, hence one
//! read-modify-write per readiness. The event takes the bits, reads, lets the protocol work,
//! writes. What it could not finish within its budget it asks for again.
//!
//! If an event is refused, the runtime of the color has ended: the socket is shut down, and the
//! entry leaves the reactor.
//!
//! One timer per connection at most is armed, for the earliest thing that it waits for. Progress
//! does not touch it: when it fires too early it is armed again. It is a timer of the color's
//! runtime; if that is not the reactor's, and ends, the connection is closed when the timer goes.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use dapple::clock;
use dapple::sync::{Arc, AtomicBool, AtomicU8, Ordering, Weak};
use dapple::{Color, Colored, Cx, Site};

use super::buffer::{Input, Output};
use super::conn::Conn;
use super::place::{Limit, RegisteredAt, Unfired};
use super::socket::Socket;
use super::state::{Budget, Call, Next, Why, later};
use super::{CloseReason, ConnOptions, Stream};
use crate::Addr;
use crate::reactor::{How, News, OrElse, ReactorShared, Readiness, Registered, Seen};

/// Bytes that one write takes, more or less.
const WRITE_BUDGET: u64 = 1024 * 1024;

/// What talks over a connection. All calls run on the connection's color; at the end of the event
/// the out-buffer is written, or before that if it is congested.
///
/// A protocol that panics loses its connection, and nothing else.
pub trait Protocol: Send + 'static {
    /// The connection begins; nothing has been read. The default does nothing.
    fn on_open(&mut self, _conn: &mut Conn, _cx: &mut Cx) {}

    /// There is input, more than at the last call; or what [`on_room`](Self::on_room) and
    /// [`Conn::come_back`] say.
    fn on_data(&mut self, conn: &mut Conn, cx: &mut Cx);

    /// There is room again in the out-buffer, after [`Conn::is_congested`] was true, whether
    /// anybody has asked or not, and also while the connection is [paused](Conn::pause). The
    /// default calls [`on_data`](Self::on_data).
    fn on_room(&mut self, conn: &mut Conn, cx: &mut Cx) {
        self.on_data(conn, cx);
    }

    /// All that was sent has been written: the system has it. It is called once after a call of
    /// [`Conn::notify_written`], and not any more when the connection is being closed. The default
    /// does nothing.
    fn on_written(&mut self, _conn: &mut Conn, _cx: &mut Cx) {}

    /// The peer takes nothing any more, though it may still send: of a pipe or a Unix socket, whose
    /// reader is gone. That is noticed when something is written. What was in the out-buffer is
    /// lost, and nothing more can be [sent](Conn::can_send). The default does nothing.
    fn on_write_closed(&mut self, _conn: &mut Conn, _cx: &mut Cx) {}

    /// The peer has closed its side; what it sent has been seen. The default closes ours when the
    /// out-buffer has been written.
    fn on_eof(&mut self, conn: &mut Conn, _cx: &mut Cx) {
        conn.state.end(Why::Peer);
    }

    /// The program is about to end: finish what was begun, and close. It may be called more than
    /// once. The default closes when the out-buffer has been written.
    fn on_drain(&mut self, conn: &mut Conn, _cx: &mut Cx) {
        conn.close();
    }

    /// The connection is gone. The last call.
    fn on_close(&mut self, _reason: &CloseReason, _cx: &mut Cx) {}
}

/// A connection and its protocol: what the color guards.
struct Link<P: Protocol> {
    conn: Conn,
    protocol: P,
    place: RegisteredAt,
    /// What the reactor has of it, while that is registered.
    entry: Weak<Source<P>>,
    timer: Option<Limit>,
    is_over: bool,
}

/// What a write has come to.
enum Written {
    /// Some was written, or nothing for now.
    Some,
    /// The peer takes nothing any more.
    Broken,
}

const READABLE: u8 = 1;
const WRITABLE: u8 = 2;
const CLOSED: u8 = 4;
/// An event is queued that will look at the bits.
const QUEUED: u8 = 8;
const FAILED: u8 = 16;
const URGENT: u8 = 32;

/// The entry of a connection in its reactor.
struct Source<P: Protocol> {
    bits: Arc<AtomicU8>,
    link: Colored<Link<P>>,
    place: RegisteredAt,
    /// An error is of one direction then, and a write tells it.
    is_pipes: bool,
    stream: Weak<Socket>,
    /// For who wants to know how long the connection is there; see [`serve_with`].
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
        // Release, and acquire by the event: it sees all bits that were set before it was queued.
        if self.bits.fetch_or(bits, Ordering::AcqRel) & QUEUED == 0 {
            let bits = Arc::clone(&self.bits);
            let or_else = self.or_else();
            self.link.post_from(self.place.site, move |link, cx| {
                or_else.into_iter().for_each(OrElse::disarm);
                // QUEUED goes with them: what comes from now on posts again.
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
            News::Draining => self.link.post_from(self.place.site, |link, cx| {
                link.run(cx, |link, _| link.conn.state.drain());
            }),
            News::Refused => {
                tracing::debug!("the runtime of a connection's color has ended: it is closed");
                shut_down(&self.stream);
                self.place.leave();
            }
            // What holds the connection may outlive the reactor.
            News::Closed => shut_down(&self.stream),
        }
    }
}

impl<P: Protocol> Source<P> {
    /// What the connection waits for has not come, or may not have; called in an event of its
    /// color.
    fn timeout(&self) {
        let or_else = self.or_else();
        self.link.post_from(self.place.site, move |link, cx| {
            or_else.into_iter().for_each(OrElse::disarm);
            link.timer = None;
            link.run(cx, |link, _| link.check_limit());
        });
    }

    /// For an event that is posted from here.
    fn or_else(&self) -> Option<OrElse> {
        self.place.token.get().map(|token| OrElse::new(&self.place.reactor, *token))
    }
}

/// The peer is not to wait for somebody who does not come.
fn shut_down(stream: &Weak<Socket>) {
    if let Some(stream) = stream.upgrade() {
        stream.shut_down();
    }
}

/// A connection that nobody serves yet. If that is dropped, nobody ever will.
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

/// What is to be done with a connection.
type WithConn<P> = Box<dyn FnOnce(&mut P, &mut Conn, &mut Cx) + Send>;

/// A handle of a connection: for answers that are made elsewhere.
pub struct Connection<P: Protocol> {
    link: Colored<Link<P>>,
}

impl<P: Protocol> Connection<P> {
    /// Posts `f`, which gets the protocol and its connection on the connection's color. If the
    /// connection is gone by then, or the runtime of its color has ended, `f` is dropped.
    #[track_caller]
    pub fn with(&self, f: impl FnOnce(&mut P, &mut Conn, &mut Cx) + Send + 'static) {
        // In a box of its own: if it is large, it is not moved once more with what is around it.
        let f: WithConn<P> = Box::new(f);
        self.link.post(move |link, cx| {
            link.run(cx, |link, cx| f(&mut link.protocol, &mut link.conn, cx));
        });
    }

    /// The color of the connection.
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

/// Registers a stream, and has `protocol` talk over it.
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

/// Serves a stream by a protocol that is made with its own connection, which does not live longer
/// for that.
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

/// A stream that is about to be served. If this is dropped, it is not.
struct Begun {
    socket: Arc<Socket>,
    peer: Addr,
    place: RegisteredAt,
    unserved: Unserved,
}

impl Begun {
    fn new(stream: Stream, color: &Color, site: Site) -> Begun {
        let Stream { socket, peer, reactor } = stream;
        let unserved = Unserved(Some(Arc::downgrade(&socket)));
        let place = RegisteredAt::new(&reactor, color, site);
        Begun { socket, peer, place, unserved }
    }

    fn connection<P: Protocol>(&self, options: ConnOptions, protocol: P) -> Connection<P> {
        let link = Link {
            conn: Conn::new(Arc::clone(&self.socket), self.peer.clone(), options),
            protocol,
            place: self.place.clone(),
            entry: Weak::new(),
            timer: None,
            is_over: false,
        };
        Connection { link: Colored::new_from(self.place.site, &self.place.color, link) }
    }

    /// `keeps`: what the reactor keeps for as long as the connection is registered.
    fn start<P: Protocol>(self, connection: &Connection<P>, keeps: Option<Arc<Connection<P>>>) {
        let Begun { socket, place, unserved, .. } = self;
        let (site, reactor) = (place.site, Arc::clone(&place.reactor));
        let entry = Arc::new(Source {
            bits: Arc::new(AtomicU8::new(0)),
            link: connection.link.clone(),
            place,
            is_pipes: socket.is_pipes(),
            stream: Arc::downgrade(&socket),
            _keeps: keeps,
        });
        drop(socket);
        // The first event registers the stream, on the color: nothing can come before it.
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
        if let Err(error) = stream.register(reactor, entry, &self.place.token) {
            return self.conn.fail(error);
        }
        self.protocol.on_open(&mut self.conn, cx);
        // The thread that told the connections to drain has seen this one in the table, or we see
        // it here.
        if reactor.is_draining() {
            self.conn.state.drain();
        }
    }

    /// Says what has happened, and does what follows. A panic of the protocol ends the connection.
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
            self.leave();
            resume_unwind(payload);
        }
    }

    /// Does what is next, until it has to wait, or others have their turn.
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
                    self.leave();
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
            // What has not been taken counts.
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
            // It lingers: what comes is thrown away.
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
            // What the peer has sent before may still be read: of TCP that is lost.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && conn.peer.ip().is_none() => {
                conn.output.clear();
                conn.state.cannot_write();
                return Written::Broken;
            }
            Err(error) => conn.fail(error),
        }
        Written::Some
    }

    /// Tells the protocol that all is written, if it has asked for that.
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
        // Closing a pipe throws nothing away, so there is no need to linger.
        let lingers = stream.shut_down_write().is_ok() && !stream.is_pipes();
        let outcome = if lingers { Ok(()) } else { Err(()) };
        conn.state.shut(outcome, clock::now());
        if stream.reads_nothing() {
            // No edge tells of the end.
            conn.state.may_read();
        }
        if !conn.state.is_open() {
            conn.input.clear();
        }
    }

    /// The end of an event: the worker gets its buffers back.
    fn rest(&mut self, cx: &mut Cx) {
        self.conn.input.settle();
        self.conn.output.settle();
        self.set_timer(cx);
    }

    /// Posts itself again: there is more to do than one event may.
    fn comes_again(&self, cx: &mut Cx) {
        if let Some(entry) = self.entry.upgrade() {
            entry.ready(Readiness::default(), Seen { look: 0, how: How::InPassing }, cx);
        }
    }

    fn set_timer(&mut self, cx: &mut Cx) {
        let conn = &mut self.conn;
        let limit = conn.state.limit(conn.load(), &conn.options);
        // Where it waits for nothing that has to come, it looks now and then.
        let deadline = limit
            .map_or_else(|| later(clock::now(), conn.options.idle_timeout), |(until, _)| until);
        if self.timer.as_ref().is_some_and(|armed| armed.until <= deadline) {
            return;
        }
        let (place, color, site) = (self.place.clone(), self.place.color.clone(), self.place.site);
        let is_over = place.is_foreign.then(|| Arc::new(AtomicBool::new(false)));
        let unfired = is_over.clone().map(|is_over| Unfired { place: place.clone(), is_over });
        let entry = self.entry.clone();
        let timer = cx.handle().post_at_from(site, deadline, &color, move |_| {
            unfired.iter().for_each(|unfired| unfired.is_over.store(true, Ordering::Relaxed));
            if let Some(entry) = entry.upgrade() {
                entry.timeout();
            }
        });
        if let Some(old) = self.timer.replace(Limit { until: deadline, timer, is_over }) {
            old.cancel();
        }
    }

    fn check_limit(&mut self) {
        let conn = &mut self.conn;
        conn.state.check_limit(conn.load(), &conn.options, clock::now());
    }

    /// Out of the reactor; the socket closes.
    fn leave(&mut self) {
        self.is_over = true;
        // A handle may keep the connection: not its buffers. The worker gets its own back.
        self.conn.input.clear();
        self.conn.output.clear();
        self.conn.input.settle();
        self.conn.output.settle();
        (self.conn.input, self.conn.output) = (Input::default(), Output::default());
        self.place.leave();
        if let Some(stream) = &self.conn.stream {
            stream.is_left(&self.place.reactor);
        }
        self.conn.fds = Vec::new();
        (self.conn.stream, self.entry) = (None, Weak::new());
        if let Some(limit) = self.timer.take() {
            limit.cancel();
        }
    }
}
