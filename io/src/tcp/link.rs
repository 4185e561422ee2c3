//! What drives a connection.
//!
//! The reactor sets bits in a word that the connection's entry shares with nobody else, and posts an
//! event to the connection's color if none is queued: the same word says so, hence one
//! read-modify-write per readiness. The event takes the bits, reads, lets the protocol work, writes.
//! What it could not finish within its budget it asks for again.
//!
//! mio's edges suffice, as the connection remembers what it knows of the socket: a read that filled less
//! than its room has drained it; a write that did not take all has filled it.
//!
//! One timer per connection at most is armed, for the earliest thing that it waits for. Progress
//! does not touch it: when it fires too early it is armed again.

use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use dapple::{Color, Colored, Cx, Timer};
use mio::{Interest, Token};

use super::buffer::{Filled, Flushed};
use super::conn::{Conn, Phase};
use super::listener::TcpStream;
use super::{CloseReason, ConnOptions};
use crate::reactor::{Readiness, Ready, Site};

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

    /// There is input, more than at the last call; or there is room again in the out-buffer, after
    /// [`Conn::is_congested`] was true.
    fn on_data(&mut self, conn: &mut Conn, cx: &mut Cx);

    /// The peer has closed its side; what it sent has been seen. The default closes ours when the
    /// out-buffer has been written.
    fn on_eof(&mut self, conn: &mut Conn, _cx: &mut Cx) {
        conn.end(CloseReason::Peer);
    }

    /// The program is about to end: finish what was begun, and close. It may be called more than once. The default closes when the
    /// out-buffer has been written.
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
    timer: Option<(Instant, Timer)>,
    lingered: usize,
    is_over: bool,
}

/// Where it is registered.
#[derive(Clone)]
struct Place {
    site: Arc<Site>,
    token: Arc<OnceLock<Token>>,
    color: Color,
}

impl Place {
    fn entry(&self) -> Option<Arc<dyn Ready>> {
        self.site.find(*self.token.get()?)
    }

    fn leave(&self) {
        if let Some(token) = self.token.get() {
            self.site.forget(*token);
        }
    }
}

const READABLE: u8 = 1;
const WRITABLE: u8 = 2;
const CLOSED: u8 = 4;
/// An event is queued that will look at the bits.
const QUEUED: u8 = 8;

/// The entry of a connection in its reactor.
struct Source<P: Protocol> {
    bits: Arc<AtomicU8>,
    link: Colored<Link<P>>,
    /// For who wants to know how long the connection is there; see [`serve_weakly`].
    _keeps: Option<Arc<Connection<P>>>,
}

impl<P: Protocol> Ready for Source<P> {
    fn ready(&self, readiness: Readiness, _cx: &mut Cx) {
        let mut bits = QUEUED;
        bits |= if readiness.readable { READABLE } else { 0 };
        bits |= if readiness.writable { WRITABLE } else { 0 };
        bits |= if readiness.closed { CLOSED } else { 0 };
        // Release, and acquire by the event: it sees all bits that were set before it was queued.
        if self.bits.fetch_or(bits, Ordering::AcqRel) & QUEUED == 0 {
            let bits = Arc::clone(&self.bits);
            self.link.post(move |link, cx| {
                // QUEUED goes with them: what comes from now on posts again.
                let bits = bits.swap(0, Ordering::AcqRel);
                link.conn.readable |= bits & READABLE != 0;
                link.conn.writable |= bits & WRITABLE != 0;
                link.conn.peer_closed |= bits & CLOSED != 0;
                link.run(cx, |link, cx| link.work(cx));
            });
        }
    }

    fn timeout(&self, _cx: &mut Cx) {
        self.link.post(|link, cx| {
            link.timer = None;
            link.run(cx, |link, _| link.check_timeouts());
        });
    }

    fn drain(&self) {
        self.link.post(|link, cx| {
            link.run(cx, |link, cx| link.drain(cx));
        });
    }
}

/// A handle of a connection: for answers that are made elsewhere.
pub struct Connection<P: Protocol> {
    link: Colored<Link<P>>,
}

impl<P: Protocol> Connection<P> {
    /// Posts `f`, which gets the protocol and its connection on the connection's color. If the
    /// connection is gone by then, `f` is dropped.
    #[track_caller]
    pub fn with(&self, f: impl FnOnce(&mut P, &mut Conn, &mut Cx) + Send + 'static) {
        // In a box of its own: if it is large, it is not moved once more with what is around it.
        let f: Box<dyn FnOnce(&mut P, &mut Conn, &mut Cx) + Send> = Box::new(f);
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
    stream: TcpStream,
    color: &Color,
    options: ConnOptions,
    protocol: P,
) -> Connection<P> {
    start(stream, color, options, protocol, |_| None)
}

/// The same for a protocol that holds its own connection, which does not live longer for that.
pub(super) fn serve_weakly<P: Protocol>(
    stream: TcpStream,
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
    stream: TcpStream,
    color: &Color,
    options: ConnOptions,
    protocol: P,
    keep: impl FnOnce(&Colored<Link<P>>) -> Option<Arc<Connection<P>>>,
) -> Connection<P> {
    let TcpStream { stream, peer, site } = stream;
    let place =
        Place { site: Arc::clone(&site), token: Arc::new(OnceLock::new()), color: color.clone() };
    let token = Arc::clone(&place.token);
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
    let entry = Arc::new(Source { bits, link: link.clone(), _keeps });
    // The first event registers the stream, on the color: nothing can come before it.
    link.post(move |link, cx| {
        link.run(cx, |link, cx| link.register(&site, entry, &token, cx));
    });
    Connection { link }
}

impl<P: Protocol> Link<P> {
    fn register(
        &mut self,
        site: &Site,
        entry: Arc<Source<P>>,
        token: &OnceLock<Token>,
        cx: &mut Cx,
    ) {
        let Some(stream) = &mut self.conn.stream else { return };
        let fd = Some(stream.as_raw_fd());
        match site.register(entry, stream, fd, Interest::READABLE | Interest::WRITABLE) {
            Ok(known) => drop(token.set(known)),
            Err(error) => return self.conn.fail(CloseReason::Io(error)),
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

    /// Runs one step, then what follows every step: writing, the timer, the end. A panic of the protocol
    /// ends the connection.
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
        if self.conn.held_back {
            // Now that the socket takes some, there may be room.
            self.flush();
            self.offer_room(cx);
        }
        for _ in 0..READS {
            let conn = &mut self.conn;
            let leaves_it = conn.held_back || conn.is_paused || conn.peer_ended;
            if !conn.readable || leaves_it || conn.phase != Phase::Open {
                return;
            }
            let Some(stream) = &mut conn.stream else {
                return;
            };
            let filled = match conn.input.fill(stream) {
                Ok(filled) => filled,
                Err(error) => return conn.fail(CloseReason::Io(error)),
            };
            // The end that the system has announced is still to be read.
            conn.readable = filled == Filled::Full || conn.peer_closed;
            match filled {
                Filled::Full | Filled::Drained => {
                    conn.clocks.active = Instant::now();
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
        let may_leave = conn.held_back || conn.is_paused;
        if !may_leave && conn.input.bytes().len() > conn.options.max_input {
            conn.end(CloseReason::InputLimit);
        }
    }

    fn offer_room(&mut self, cx: &mut Cx) {
        if self.conn.may_go_on() {
            self.conn.held_back = false;
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
        let Some(stream) = &mut conn.stream else {
            return;
        };
        if before == 0 {
            return;
        }
        match conn.output.flush(stream, WRITE_BUDGET) {
            Ok(flushed) => {
                conn.writable = flushed != Flushed::Blocked;
                let after = conn.output.len();
                let now = Instant::now();
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
        if self.conn.held_back {
            self.offer_room(cx);
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
        let reads = matches!(conn.phase, Phase::Open | Phase::Lingering) && !conn.peer_ended;
        let more_to_read = conn.readable && !conn.held_back && !conn.is_paused && reads;
        let more_to_write = conn.writable && conn.output.len() > 0;
        if (more_to_read || more_to_write || conn.may_go_on())
            && let Some(entry) = self.place.entry()
        {
            let closed = false;
            entry.ready(Readiness { readable: more_to_read, writable: conn.writable, closed }, cx);
        }
    }

    /// Our side is done. If the peer may still be sending, closing at once would make the system
    /// throw away what we sent last; so wait for its end, for a while.
    fn start_lingering(&mut self) {
        let conn = &mut self.conn;
        let shut = conn.stream.as_ref().map(|s| s.shutdown(std::net::Shutdown::Write));
        if conn.peer_ended || !matches!(shut, Some(Ok(()))) {
            conn.phase = Phase::Closed;
            return;
        }
        conn.phase = Phase::Lingering;
        conn.input.clear();
        conn.clocks.active = Instant::now();
        (conn.clocks.frame, conn.clocks.write) = (None, None);
        conn.readable = true;
        self.discard();
    }

    fn discard(&mut self) {
        let conn = &mut self.conn;
        for _ in 0..READS {
            let Some(stream) = &mut conn.stream else {
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
            return (later(Instant::now(), options.idle_timeout), CloseReason::IdleTimeout);
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
        if self.timer.as_ref().is_some_and(|(armed, _)| *armed <= deadline) {
            return;
        }
        let (place, color) = (self.place.clone(), self.place.color.clone());
        let timer = cx.post_at(deadline, &color, move |cx| {
            if let Some(entry) = place.entry() {
                entry.timeout(cx);
            }
        });
        if let Some((_, old)) = self.timer.replace((deadline, timer)) {
            old.cancel();
        }
    }

    fn check_timeouts(&mut self) {
        let (deadline, reason) = self.deadline();
        if Instant::now() >= deadline {
            self.conn.fail(reason);
        }
    }

    /// Out of the reactor; the socket closes.
    fn leave(&mut self) {
        self.is_over = true;
        self.place.leave();
        self.conn.stream = None;
        if let Some((_, timer)) = self.timer.take() {
            timer.cancel();
        }
    }
}

/// The sum, or what is as good as never.
fn later(at: Instant, delay: Duration) -> Instant {
    at.checked_add(delay).unwrap_or_else(|| at + Duration::from_secs(1 << 30))
}
