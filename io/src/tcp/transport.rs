//! Framed messages over TCP, delivered in order (N4).
//!
//! A message is its length, four bytes with the most significant one first, and so many bytes.
//! Messages are dequeued in events of the connection's color, of which there is one at a time; in
//! the same step they are posted, and so get their tickets: the order of delivery is the order of
//! the stream, however many workers deliver.
//!
//! What is sent gathers in a buffer with a lock of its own, and goes to the connection's out-buffer
//! in one event for all that has gathered. So replies that are deferred actions leave in the order
//! of the tickets, a batch at a time.
//!
//! Back-pressure: the connection is paused, and so not read any more, while its domain is full, or
//! while too many of its messages are in flight (delivered, and neither they nor their replies
//! dropped). Output that waits stops reading, too. Nothing is dropped, unless the program ends
//! (`on_drain`): then what is in flight is finished, and no more is delivered.
//!
//! When the peer has closed its side, the connection stays until no message is in flight, so that
//! it gets all its replies.

use std::fmt;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use dapple::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use dapple::{Color, Cx, Domain};

use super::conn::Conn;
use super::link::{self, Connection, Protocol};
use super::listener::TcpStream;
use super::{CloseReason, ConnOptions};

/// Bytes of a message's length.
const HEADER: usize = 4;

/// Bytes of room for what is sent that are kept.
const KEPT: usize = 16 * 1024;

/// Messages that one event delivers before others have their turn.
const BATCH: usize = 64;

/// Limits of a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportOptions {
    /// Longest message, in bytes, in either direction; a peer that announces a longer one is
    /// closed. By default 1 MiB.
    pub max_message: usize,
    /// Messages in flight from which on nothing is read. By default 1,024.
    pub max_in_flight: usize,
    /// Limits of the connection. Its `max_input` is raised to what a message needs.
    pub conn: ConnOptions,
}

impl Default for TransportOptions {
    fn default() -> Self {
        TransportOptions {
            max_message: 1024 * 1024,
            max_in_flight: 1_024,
            conn: ConnOptions::default(),
        }
    }
}

/// A connection that delivers framed messages, in order, to a domain or to a handler; see
/// [`TcpStream::deliver_to`] and [`TcpStream::deliver`]. Clone it and send it anywhere.
///
/// Dropping it does not close the connection.
#[derive(Clone)]
pub struct Transport(Arc<Shared>);

struct Shared {
    peer: SocketAddr,
    color: Color,
    max_message: usize,
    max_in_flight: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Frames that are to be sent.
    out: Vec<u8>,
    /// An event is queued that will look here.
    is_queued: bool,
    in_flight: usize,
    /// Nothing is read, because so many are in flight.
    is_paused: bool,
    /// The peer has closed its side.
    is_ending: bool,
    /// Somebody has asked for the end.
    is_closing: bool,
    /// There is room in the domain again.
    has_room: bool,
    /// How to reach the connection, which holds this, too; `None` before that is known.
    connection: Option<Weak<Connection<Framed>>>,
    is_gone: bool,
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendError {
    is_too_long: bool,
}

impl SendError {
    /// Says whether it is longer than [`TransportOptions::max_message`].
    pub fn is_too_long(&self) -> bool {
        self.is_too_long
    }

    /// Says whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        !self.is_too_long
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.is_too_long {
            true => "the message is longer than the transport allows",
            false => "the connection is closed",
        })
    }
}

impl std::error::Error for SendError {}

impl Transport {
    /// Sends a message. Messages leave in the order in which they are sent; what is sent from
    /// deferred actions of a domain's events, in the order of their tickets.
    ///
    /// # Errors
    ///
    /// When it is too long, or the connection is closed.
    pub fn send(&self, message: &[u8]) -> Result<(), SendError> {
        let length = u32::try_from(message.len()).ok();
        let length = length.filter(|_| message.len() <= self.0.max_message);
        let Some(length) = length else { return Err(SendError { is_too_long: true }) };
        let mut state = self.0.lock();
        if state.is_gone || state.is_closing {
            return Err(SendError { is_too_long: false });
        }
        state.out.extend_from_slice(&length.to_be_bytes());
        state.out.extend_from_slice(message);
        self.0.look(state);
        Ok(())
    }

    /// Closes the connection when what was sent has been written. Nothing more is delivered.
    pub fn close(&self) {
        let mut state = self.0.lock();
        state.is_closing = true;
        self.0.look(state);
    }

    /// The address of the peer.
    pub fn peer_addr(&self) -> SocketAddr {
        self.0.peer
    }

    /// The color of the connection.
    pub fn color(&self) -> &Color {
        &self.0.color
    }

    /// Says whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.0.lock().is_gone
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("peer", &self.0.peer).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the connection look at the state, if no event is queued that will.
    fn look(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.is_queued || state.is_gone {
            return;
        }
        // Who makes it known looks then.
        let Some(connection) = &state.connection else { return };
        let Some(connection) = connection.upgrade() else {
            return state.ends();
        };
        state.is_queued = true;
        drop(state);
        let look = Look { shared: Arc::clone(self), runs: false };
        connection.with(move |framed, conn, _| {
            let mut look = look;
            look.runs = true;
            framed.look(conn);
        });
    }
}

impl State {
    /// The connection is gone: nothing is sent any more.
    fn ends(&mut self) {
        self.is_gone = true;
        self.out = Vec::new();
    }
}

/// An event that looks at the state. If it is refused, or dropped unrun, the connection is gone, or
/// the runtime of its color has ended; or that is about to end, and an event that it still runs may
/// post the next one.
struct Look {
    shared: Arc<Shared>,
    runs: bool,
}

impl Drop for Look {
    fn drop(&mut self) {
        // One that runs has said so, and another may be queued by now.
        if self.runs {
            return;
        }
        let mut state = self.shared.lock();
        state.is_queued = false;
        if self.shared.color.runtime().has_ended() {
            state.ends();
        }
    }
}

/// Somebody who waits for room in a domain. If the event that tells of it is refused, or dropped
/// unrun, there will be none: the connection closes.
struct Room(Option<Transport>);

impl Room {
    fn has_come(mut self) {
        if let Some(transport) = self.0.take() {
            let mut state = transport.0.lock();
            state.has_room = true;
            transport.0.look(state);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(transport) = self.0.take() {
            transport.close();
        }
    }
}

/// A message that was delivered. It is in flight until it is dropped.
pub struct Message {
    bytes: Vec<u8>,
    transport: Transport,
}

impl Message {
    /// What was sent, without its length.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Sends a message back; see [`Transport::send`].
    ///
    /// # Errors
    ///
    /// When the message is too long, or the connection is closed.
    pub fn reply(&self, message: &[u8]) -> Result<(), SendError> {
        self.transport.send(message)
    }

    /// What delivered it.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        let shared = &self.transport.0;
        let mut state = shared.lock();
        state.in_flight -= 1;
        let resumes = state.is_paused && state.in_flight <= shared.max_in_flight / 2;
        if resumes || (state.is_ending && state.in_flight == 0) {
            shared.look(state);
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// Where messages go.
trait Deliver: Send + 'static {
    /// Says whether there is room for one more. If not, the transport is told when there is.
    fn has_room(&mut self, transport: &Transport) -> bool;
    fn deliver(&mut self, message: Message, cx: &mut Cx);
}

/// To a closure on the connection's color.
struct ToHandler<F>(F);

impl<F: FnMut(Message, &mut Cx) + Send + 'static> Deliver for ToHandler<F> {
    fn has_room(&mut self, _: &Transport) -> bool {
        true
    }

    fn deliver(&mut self, message: Message, cx: &mut Cx) {
        (self.0)(message, cx);
    }
}

/// To a domain.
struct ToDomain<S: Send + Sync + 'static, F> {
    domain: Domain<S>,
    f: F,
}

impl<S, F> Deliver for ToDomain<S, F>
where
    S: Send + Sync + 'static,
    F: FnMut(Message, &Domain<S>, &mut Cx) + Send + 'static,
{
    fn has_room(&mut self, transport: &Transport) -> bool {
        let is_full = self.domain.is_full();
        if is_full {
            let room = Room(Some(transport.clone()));
            self.domain.when_room(&transport.0.color, move |_| room.has_come());
        }
        !is_full
    }

    fn deliver(&mut self, message: Message, cx: &mut Cx) {
        (self.f)(message, &self.domain, cx);
    }
}

/// What talks over the connection.
struct Framed {
    transport: Transport,
    deliver: Box<dyn Deliver>,
    /// The program ends: what is in flight is finished, and no more is delivered.
    is_draining: bool,
}

impl Framed {
    /// Somebody has changed the state.
    fn look(&mut self, conn: &mut Conn) {
        let mut state = self.transport.0.lock();
        // What comes from now on looks again.
        state.is_queued = false;
        write_out(&mut state, conn);
        let may_resume = state.in_flight <= self.transport.0.max_in_flight / 2;
        let resumes = (state.is_paused && may_resume) || state.has_room;
        let resumes = resumes && !self.is_draining;
        if resumes {
            (state.is_paused, state.has_room) = (false, false);
        }
        let is_closing = state.is_closing;
        drop(state);
        if is_closing {
            conn.close();
        } else if resumes {
            conn.resume();
        }
        self.end_if_over(conn);
    }

    /// The peer has closed its side, and nothing is left to be done for it.
    fn end_if_over(&mut self, conn: &mut Conn) {
        let state = self.transport.0.lock();
        let is_over = state.is_ending && state.in_flight == 0 && state.out.is_empty();
        drop(state);
        if is_over && (self.is_draining || !matches!(self.front(conn), Front::Message(_))) {
            conn.state.end(super::state::Why::Peer);
        }
    }

    /// What stands at the front of the input.
    fn front(&self, conn: &Conn) -> Front {
        let input = conn.input();
        let Some((header, rest)) = input.split_first_chunk::<HEADER>() else {
            return Front::Incomplete;
        };
        match u32::from_be_bytes(*header) as usize {
            length if length > self.transport.0.max_message => Front::TooLong,
            length if length > rest.len() => Front::Incomplete,
            length => Front::Message(length),
        }
    }

    /// Takes a message of so many bytes off the input: it is in flight.
    fn dequeue(&mut self, conn: &mut Conn, length: usize) -> Message {
        let bytes = conn.input()[HEADER..HEADER + length].to_vec();
        conn.consume(HEADER + length);
        self.transport.0.lock().in_flight += 1;
        Message { bytes, transport: self.transport.clone() }
    }

    fn deliver_some(&mut self, conn: &mut Conn, cx: &mut Cx) {
        for _ in 0..BATCH {
            if conn.is_congested() || self.is_draining {
                return;
            }
            let length = match self.front(conn) {
                Front::Incomplete => return,
                Front::TooLong => {
                    write_out(&mut self.transport.0.lock(), conn);
                    return conn.reject("a message is longer than allowed");
                }
                Front::Message(length) => length,
            };
            let mut state = self.transport.0.lock();
            if state.is_closing {
                return;
            }
            if state.in_flight >= self.transport.0.max_in_flight {
                state.is_paused = true;
                return conn.pause();
            }
            drop(state);
            if !self.deliver.has_room(&self.transport) {
                return conn.pause();
            }
            let message = self.dequeue(conn, length);
            // The ticket is taken here.
            self.deliver.deliver(message, cx);
        }
        conn.come_back();
    }
}

/// What was sent goes to the out-buffer.
fn write_out(state: &mut State, conn: &mut Conn) {
    if !state.out.is_empty() {
        conn.write(|out| out.append(&mut state.out));
        state.out.clear();
        // What was sent at once in a great amount is not kept room for.
        if state.out.capacity() > KEPT {
            state.out = Vec::new();
        }
    }
}

/// What stands at the front of the input.
enum Front {
    /// A message of so many bytes.
    Message(usize),
    Incomplete,
    TooLong,
}

impl Protocol for Framed {
    fn on_open(&mut self, _: &mut Conn, _: &mut Cx) {
        // What was sent meanwhile.
        let state = self.transport.0.lock();
        if !state.out.is_empty() || state.is_closing {
            self.transport.0.look(state);
        }
    }

    fn on_data(&mut self, conn: &mut Conn, cx: &mut Cx) {
        let delivered = catch_unwind(AssertUnwindSafe(|| self.deliver_some(conn, cx)));
        if let Err(payload) = delivered {
            self.is_gone();
            resume_unwind(payload);
        }
        self.end_if_over(conn);
    }

    fn on_room(&mut self, conn: &mut Conn, cx: &mut Cx) {
        // What waits for something else goes on when that comes.
        if !conn.is_paused() {
            self.on_data(conn, cx);
        }
    }

    fn on_eof(&mut self, conn: &mut Conn, _: &mut Cx) {
        self.transport.0.lock().is_ending = true;
        self.end_if_over(conn);
    }

    fn on_drain(&mut self, conn: &mut Conn, _: &mut Cx) {
        self.transport.0.lock().is_ending = true;
        self.is_draining = true;
        conn.pause();
        self.end_if_over(conn);
    }

    fn on_close(&mut self, _: &CloseReason, _: &mut Cx) {
        self.is_gone();
    }
}

impl Framed {
    fn is_gone(&self) {
        self.transport.0.lock().ends();
    }
}

impl TcpStream {
    /// Delivers each message to `f`, on `color`, in the order of the stream. `f` may post it
    /// further, to colors or to domains; for replies in order whoever makes them, see
    /// [`Sequencer`](dapple::Sequencer).
    pub fn deliver<F>(self, color: &Color, options: TransportOptions, f: F) -> Transport
    where
        F: FnMut(Message, &mut Cx) + Send + 'static,
    {
        self.transport(color, options, Box::new(ToHandler(f)))
    }

    /// Delivers each message to a domain: `f` gets it on `color`, looks what it is, and posts the
    /// event that it stands for, in the context that it needs. That is the step that dequeues the
    /// message, so the tickets are in the order of the stream. While the domain is full (see
    /// [`max_uncommitted`](dapple::DomainBuilder::max_uncommitted)) nothing is read.
    ///
    /// # Examples
    ///
    /// A counter that any number of connections add to. Each gets its replies in order.
    ///
    /// ```
    /// use dapple::Domain;
    /// use dapple_io::{Io, tcp::{Accepting, TransportOptions}};
    /// # use std::{io::{Read, Write}, net::TcpStream};
    /// let rt = dapple_io::runtime().build()?;
    /// let io = Io::of(&rt.handle());
    /// let counter = Domain::snapshot(&rt.handle(), 0u64);
    /// let listener = io.listen("127.0.0.1:0".parse().unwrap(), Accepting::PerWorker, move |stream, cx| {
    ///     let color = cx.new_color();
    ///     stream.deliver_to(&color, TransportOptions::default(), &counter, |message, counter, _| {
    ///         let add = u64::from(message.bytes()[0]);
    ///         counter.global(move |g| {
    ///             *g.state_mut() += add;
    ///             let sum = *g.state();
    ///             g.defer(move |_| _ = message.reply(&sum.to_be_bytes()));
    ///         });
    ///     });
    /// })?;
    /// let mut client = TcpStream::connect(listener.local_addr())?;
    /// client.write_all(&[0, 0, 0, 1, 40, 0, 0, 0, 1, 2])?;
    /// let mut replies = [0; 24];
    /// client.read_exact(&mut replies)?;
    /// assert_eq!((replies[11], replies[23]), (40, 42));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn deliver_to<S, F>(
        self,
        color: &Color,
        options: TransportOptions,
        domain: &Domain<S>,
        f: F,
    ) -> Transport
    where
        S: Send + Sync + 'static,
        F: FnMut(Message, &Domain<S>, &mut Cx) + Send + 'static,
    {
        let to = ToDomain { domain: domain.clone(), f };
        self.transport(color, options, Box::new(to))
    }

    fn transport(
        self,
        color: &Color,
        options: TransportOptions,
        deliver: Box<dyn Deliver>,
    ) -> Transport {
        let TransportOptions { max_message, max_in_flight, mut conn } = options;
        conn.max_input = conn.max_input.max(max_message.saturating_add(HEADER));
        let transport = Transport(Arc::new(Shared {
            peer: self.peer_addr(),
            color: color.clone(),
            max_message,
            max_in_flight: max_in_flight.max(1),
            state: Mutex::default(),
        }));
        let framed = Framed { transport: transport.clone(), deliver, is_draining: false };
        // Not under the lock: if it is refused, what the user gave is dropped here.
        let connection = link::serve_weakly(self, color, conn, framed);
        let mut state = transport.0.lock();
        // What was asked for before it was known; and whether it is there at all.
        let is_gone = connection.strong_count() == 0;
        state.connection = Some(connection);
        if is_gone || !state.out.is_empty() || state.is_closing || state.has_room {
            transport.0.look(state);
        } else {
            drop(state);
        }
        transport
    }
}
