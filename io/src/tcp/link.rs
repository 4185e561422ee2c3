//! What drives a connection.
//!
//! The reactor sets bits in a word that the connection's entry shares with nobody else, and posts
//! an event to the connection's color if none is queued: the same word says so, hence one
//! read-modify-write per readiness. The event takes the bits, reads, lets the protocol work,
//! writes. What it could not finish within its budget it asks for again.
//!
//! mio's edges suffice, as the connection remembers what it knows of the socket: a read that filled
//! less than its room has drained it, unless the peer has marked a byte as urgent, at which a read
//! stops (N11); a write that would block has filled it.
//!
//! Reading and writing do not depend on each other: that the peer takes nothing is no reason not to
//! take what it sends, as it may wait for that. What does depend is up to the protocol: it leaves
//! input while it is congested, or pauses.
//!
//! If an event is refused, the runtime of the color has ended: the socket is shut down, and the
//! entry leaves the reactor.
//!
//! One timer per connection at most is armed, for the earliest thing that it waits for. Progress
//! does not touch it: when it fires too early it is armed again. It is a timer of the color's
//! runtime; if that is not the reactor's, and ends, the connection is closed when the timer goes.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use dapple::clock;
use dapple::sync::{Arc, AtomicBool, AtomicU8, Ordering, Weak};
use dapple::{Color, Colored, Cx};
use mio::net::TcpStream;
use mio::unix::SourceFd;

use super::buffer::{Filled, Flushed, Input, Output};
use super::conn::{Conn, Phase};
use super::listener::TcpStream as Accepted;
use super::place::{Limit, Place, Unfired};
use super::{CloseReason, ConnOptions};
use crate::reactor::{OrElse, Readiness, Ready, Site, both_directions};

/// Reads of one event.
const READS: usize = 4;

/// Bytes that one event writes, more or less.
const WRITE_BUDGET: u64 = 1024 * 1024;

/// Bytes that a closed connection still reads and throws away.
const LINGER_BYTES: usize = 4 * 1024 * 1024;

/// What talks over a connection. All calls run on the connection's color; after each one the
/// out-buffer is written.
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

    /// The peer has closed its side; what it sent has been seen. The default closes ours when the
    /// out-buffer has been written.
    fn on_eof(&mut self, conn: &mut Conn, _cx: &mut Cx) {
        conn.end(CloseReason::Peer);
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
struct Link<P> {
    conn: Conn,
    protocol: P,
    place: Place,
    timer: Option<Limit>,
    lingered: usize,
    is_over: bool,
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
    place: Place,
    stream: Weak<TcpStream>,
    /// For who wants to know how long the connection is there; see [`serve_weakly`].
    _keeps: Option<Arc<Connection<P>>>,
}

impl<P: Protocol> Ready for Source<P> {
    fn ready(&self, readiness: Readiness, _cx: &mut Cx) {
        let mut bits = QUEUED;
        bits |= if readiness.readable { READABLE } else { 0 };
        bits |= if readiness.writable { WRITABLE } else { 0 };
        bits |= if readiness.closed { CLOSED } else { 0 };
        bits |= if readiness.failed { FAILED } else { 0 };
        bits |= if readiness.urgent { URGENT } else { 0 };
        // Release, and acquire by the event: it sees all bits that were set before it was queued.
        if self.bits.fetch_or(bits, Ordering::AcqRel) & QUEUED == 0 {
            let bits = Arc::clone(&self.bits);
            let or_else = self.or_else();
            self.link.post(move |link, cx| {
                or_else.into_iter().for_each(OrElse::disarm);
                // QUEUED goes with them: what comes from now on posts again.
                let bits = bits.swap(0, Ordering::AcqRel);
                link.conn.readable |= bits & READABLE != 0;
                link.conn.writable |= bits & WRITABLE != 0;
                link.conn.peer_closed |= bits & CLOSED != 0;
                link.conn.failed |= bits & FAILED != 0;
                link.conn.urgent |= bits & URGENT != 0;
                link.run(cx, |link, cx| link.work(cx));
            });
        }
    }

    fn timeout(&self, _cx: &mut Cx) {
        let or_else = self.or_else();
        self.link.post(move |link, cx| {
            or_else.into_iter().for_each(OrElse::disarm);
            link.timer = None;
            link.run(cx, |link, _| link.check_timeouts());
        });
    }

    fn drain(&self) {
        self.link.post(|link, cx| {
            link.run(cx, |link, cx| link.drain(cx));
        });
    }

    fn refused(&self) {
        tracing::debug!("the runtime of a connection's color has ended: it is closed");
        shut_down(&self.stream);
        self.place.leave();
    }

    /// What holds the connection may outlive the reactor.
    fn end(&self) {
        shut_down(&self.stream);
    }
}

impl<P: Protocol> Source<P> {
    /// For an event that is posted from here.
    fn or_else(&self) -> Option<OrElse> {
        self.place.token.get().map(|token| OrElse::new(&self.place.site, *token))
    }
}

/// The peer is not to wait for somebody who does not come.
fn shut_down(stream: &Weak<TcpStream>) {
    if let Some(stream) = stream.upgrade() {
        // It fails if the peer is gone already.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// A connection that nobody serves yet. If that is dropped, nobody ever will.
struct Unserved(Option<Weak<TcpStream>>);

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
    stream: Accepted,
    color: &Color,
    options: ConnOptions,
    protocol: P,
) -> Connection<P> {
    start(stream, color, options, protocol, |_| None)
}

/// Serves a stream by a protocol that holds its own connection, which does not live longer for
/// that.
pub(super) fn serve_weakly<P: Protocol>(
    stream: Accepted,
    color: &Color,
    options: ConnOptions,
    protocol: P,
) -> Weak<Connection<P>> {
    let mut weak = Weak::new();
    start(stream, color, options, protocol, |link| {
        let connection = Arc::new(Connection { link: link.clone() });
        weak = Arc::downgrade(&connection);
        Some(connection)
    });
    weak
}

/// `keep`: what the reactor keeps for as long as the connection is registered.
fn start<P: Protocol>(
    stream: Accepted,
    color: &Color,
    options: ConnOptions,
    protocol: P,
    keep: impl FnOnce(&Colored<Link<P>>) -> Option<Arc<Connection<P>>>,
) -> Connection<P> {
    let Accepted { stream, peer, site } = stream;
    let stream = Arc::new(stream);
    let (weak, unserved) = (Arc::downgrade(&stream), Unserved(Some(Arc::downgrade(&stream))));
    let place = Place::new(&site, color);
    let also_place = place.clone();
    let link = Link {
        conn: Conn::new(stream, peer, options),
        protocol,
        place,
        timer: None,
        lingered: 0,
        is_over: false,
    };
    let link = Colored::new(color, link);
    let (bits, _keeps) = (Arc::new(AtomicU8::new(0)), keep(&link));
    let source = Source { bits, link: link.clone(), place: also_place, stream: weak, _keeps };
    let entry = Arc::new(source);
    // The first event registers the stream, on the color: nothing can come before it.
    link.post(move |link, cx| {
        unserved.serve();
        link.run(cx, |link, cx| link.register(&site, entry, cx));
    });
    Connection { link }
}

impl<P: Protocol> Link<P> {
    fn register(&mut self, site: &Site, entry: Arc<Source<P>>, cx: &mut Cx) {
        let Some(stream) = &self.conn.stream else { return };
        let fd = stream.as_raw_fd();
        let known = &self.place.token;
        let both = both_directions();
        if let Err(error) = site.register(entry, known, &mut SourceFd(&fd), Some(fd), both) {
            return self.conn.fail(CloseReason::Io(error));
        }
        self.protocol.on_open(&mut self.conn, cx);
        // Whoever has told the connections to drain has seen us in the table, or we see it here.
        if site.is_draining() {
            self.drain(cx);
        }
    }

    fn drain(&mut self, cx: &mut Cx) {
        // What has arrived but was not read yet counts as begun.
        self.conn.readable |= self.conn.phase == Phase::Open;
        self.work(cx);
        if self.conn.phase == Phase::Open {
            self.protocol.on_drain(&mut self.conn, cx);
        }
    }

    /// Runs one step, then what follows every step: writing, the timer, the end. A panic of the
    /// protocol ends the connection.
    fn run(&mut self, cx: &mut Cx, step: impl FnOnce(&mut Self, &mut Cx)) {
        if self.is_over {
            return;
        }
        let caught = catch_unwind(AssertUnwindSafe(|| {
            step(self, cx);
            self.finish_event(cx);
        }));
        if let Err(payload) = caught {
            self.conn.fail(CloseReason::Panicked);
            self.leave();
            resume_unwind(payload);
        }
    }

    /// Reads and lets the protocol work.
    fn work(&mut self, cx: &mut Cx) {
        if self.conn.phase == Phase::Lingering {
            return self.discard();
        }
        if self.conn.was_congested || self.conn.comes_back {
            // Now that the socket takes some, there may be room.
            self.flush();
            self.call_again(cx);
        }
        self.read(cx);
        let conn = &mut self.conn;
        if conn.failed && conn.phase == Phase::Open && !(conn.readable && conn.reads()) {
            // No read will find out.
            let error = conn.stream.as_ref().and_then(|stream| stream.take_error().ok().flatten());
            let error = error.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
            conn.fail(CloseReason::Io(error));
        }
    }

    fn read(&mut self, cx: &mut Cx) {
        for _ in 0..READS {
            let conn = &mut self.conn;
            if !conn.readable || !conn.reads() {
                return;
            }
            let Some(stream) = &conn.stream else {
                return;
            };
            let filled = match conn.input.fill(stream) {
                Ok(filled) => filled,
                Err(error) => return conn.fail(CloseReason::Io(error)),
            };
            // The end that the system has announced is still to be read.
            conn.readable = filled == Filled::Full || conn.peer_closed || conn.urgent;
            match filled {
                Filled::Full | Filled::Drained => {
                    conn.clocks.active = clock::now();
                    self.protocol.on_data(&mut self.conn, cx);
                    self.check_input_limit();
                }
                Filled::Nothing => {
                    conn.readable = false;
                    return;
                }
                Filled::Eof => {
                    conn.readable = false;
                    (conn.peer_closed, conn.peer_ended) = (false, true);
                    self.protocol.on_eof(&mut self.conn, cx);
                    return;
                }
            }
        }
    }

    fn check_input_limit(&mut self) {
        let conn = &mut self.conn;
        let may_leave = conn.was_congested || conn.comes_back || conn.is_paused;
        if !may_leave && conn.input.bytes().len() > conn.options.max_input {
            conn.end(CloseReason::InputLimit);
        }
    }

    /// Calls the protocol for something else than input: as there is room, or as it has asked for
    /// it.
    fn call_again(&mut self, cx: &mut Cx) {
        if self.conn.has_room() {
            self.conn.was_congested = false;
            self.protocol.on_room(&mut self.conn, cx);
            self.check_input_limit();
        }
        if self.conn.may_come_back() {
            self.conn.comes_back = false;
            self.protocol.on_data(&mut self.conn, cx);
            self.check_input_limit();
        }
    }

    fn flush(&mut self) {
        let conn = &mut self.conn;
        if !conn.writable && conn.clocks.write.is_some() {
            return;
        }
        let before = conn.output.len();
        let Some(stream) = &conn.stream else {
            return;
        };
        if before == 0 {
            return;
        }
        match conn.output.flush(stream, WRITE_BUDGET) {
            Ok(flushed) => {
                conn.writable = flushed != Flushed::Blocked;
                let after = conn.output.len();
                let now = clock::now();
                if after < before {
                    // What follows, silence or the rest of a message, counts from here.
                    conn.clocks.active = now;
                    conn.clocks.write = (after > 0).then_some(now);
                } else {
                    conn.clocks.write.get_or_insert(now);
                }
            }
            Err(error) => conn.fail(CloseReason::Io(error)),
        }
    }

    fn finish_event(&mut self, cx: &mut Cx) {
        self.flush();
        if self.conn.has_room() || self.conn.may_come_back() {
            self.call_again(cx);
            self.flush();
        }
        if self.conn.phase == Phase::Closing && self.conn.output.len() == 0 {
            self.start_lingering();
        }
        self.conn.input.settle();
        self.conn.output.settle();
        if self.conn.phase == Phase::Closed {
            self.leave();
            if let Some(reason) = self.conn.reason.take() {
                self.protocol.on_close(&reason, cx);
            }
            return;
        }
        self.set_timer(cx);
        let conn = &self.conn;
        let lingers = conn.phase == Phase::Lingering && !conn.peer_ended;
        let readable = conn.readable && (conn.reads() || lingers);
        let more_to_write = conn.writable && conn.output.len() > 0;
        let more = readable || more_to_write || conn.has_room() || conn.may_come_back();
        if more && let Some(entry) = self.place.entry() {
            let writable = conn.writable;
            let again =
                Readiness { readable, writable, closed: false, failed: false, urgent: false };
            entry.ready(again, cx);
        }
    }

    /// Our side is done. If the peer may still be sending, closing at once would make the system
    /// throw away what we sent last; so wait for its end, for a while.
    fn start_lingering(&mut self) {
        let conn = &mut self.conn;
        let shut = conn.stream.as_ref().map(|s| s.shutdown(Shutdown::Write));
        if conn.peer_ended || !matches!(shut, Some(Ok(()))) {
            conn.phase = Phase::Closed;
            return;
        }
        conn.phase = Phase::Lingering;
        conn.input.clear();
        conn.clocks.active = clock::now();
        (conn.clocks.frame, conn.clocks.write) = (None, None);
        conn.readable = true;
        self.discard();
    }

    fn discard(&mut self) {
        let conn = &mut self.conn;
        for _ in 0..READS {
            let Some(stream) = &conn.stream else {
                return;
            };
            if !conn.readable {
                return;
            }
            let filled = conn.input.fill(stream);
            self.lingered += conn.input.bytes().len();
            conn.input.clear();
            match filled {
                Ok(Filled::Full | Filled::Drained) if self.lingered < LINGER_BYTES => {}
                Ok(Filled::Nothing) => conn.readable = false,
                _ => {
                    conn.phase = Phase::Closed;
                    return;
                }
            }
        }
    }

    /// What it waits for, and until when.
    fn deadline(&mut self) -> (Instant, CloseReason) {
        let conn = &mut self.conn;
        let options = &conn.options;
        if conn.phase == Phase::Lingering {
            return (later(conn.clocks.active, options.linger_timeout), CloseReason::Closed);
        }
        if let Some(since) = conn.clocks.write {
            return (later(since, options.write_timeout), CloseReason::WriteTimeout);
        }
        if conn.is_paused {
            // Looks now and then.
            return (later(clock::now(), options.idle_timeout), CloseReason::IdleTimeout);
        }
        if conn.input.bytes().is_empty() {
            conn.clocks.frame = None;
            return (later(conn.clocks.active, options.idle_timeout), CloseReason::IdleTimeout);
        }
        let since = *conn.clocks.frame.get_or_insert(conn.clocks.active);
        (later(since, options.frame_timeout), CloseReason::FrameTimeout)
    }

    fn set_timer(&mut self, cx: &mut Cx) {
        let (deadline, _) = self.deadline();
        if self.timer.as_ref().is_some_and(|armed| armed.until <= deadline) {
            return;
        }
        let (place, color) = (self.place.clone(), self.place.color.clone());
        let is_over = place.is_foreign.then(|| Arc::new(AtomicBool::new(false)));
        let unfired = is_over.clone().map(|is_over| Unfired { place: place.clone(), is_over });
        let timer = cx.post_at(deadline, &color, move |cx| {
            unfired.iter().for_each(|unfired| unfired.is_over.store(true, Ordering::Relaxed));
            if let Some(entry) = place.entry() {
                entry.timeout(cx);
            }
        });
        if let Some(old) = self.timer.replace(Limit { until: deadline, timer, is_over }) {
            old.cancel();
        }
    }

    fn check_timeouts(&mut self) {
        let (deadline, reason) = self.deadline();
        if clock::now() >= deadline {
            self.conn.fail(reason);
        }
    }

    /// Out of the reactor; the socket closes.
    fn leave(&mut self) {
        self.is_over = true;
        // A handle may keep the connection: not its buffers.
        (self.conn.input, self.conn.output) = (Input::default(), Output::default());
        self.place.leave();
        self.conn.stream = None;
        if let Some(limit) = self.timer.take() {
            limit.cancel();
        }
    }
}

/// The sum, or what is as good as never.
fn later(at: Instant, delay: Duration) -> Instant {
    at.checked_add(delay).unwrap_or_else(|| at + Duration::from_secs(1 << 30))
}
