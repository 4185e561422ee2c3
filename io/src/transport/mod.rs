//! Framed messages over a stream, delivered in order (N4).
//!
//! A [codec] says where messages begin and end. They are dequeued in events of the connection's
//! color, of which one runs at a time. The same step posts them, and so takes their tickets. Hence
//! the order of delivery is the order of the stream, however many workers deliver.
//!
//! Frames to be sent gather in a buffer with a lock of its own. One event moves all gathered frames
//! to the connection's out-buffer. So replies that are deferred actions leave in the order of the
//! tickets, a batch at a time. A domain makes its replies one by one, each in an event of its own,
//! and a write costs as much as several of those events. So while messages are in flight, and end,
//! that event is posted again behind what is queued on its worker: for 50 us, or once if that takes
//! longer.
//!
//! Backpressure: the connection is paused, and so not read, while its domain is full, or while too
//! many of its messages are in flight. A message is in flight from its delivery until the
//! [`Message`] is dropped. Output that waits stops reading, too. Nothing is dropped, unless the
//! program ends (`on_drain`): then messages in flight are finished, and no more are delivered.
//!
//! When the peer has closed its side, the connection stays until no message is in flight, so that
//! the peer gets all its replies.

// The receivers of messages.
mod deliver;
// The protocol of the connection, and the number of messages in flight.
mod framed;
mod in_flight;

use std::fmt;

use dapple::sync::{Arc, AtomicBool, Mutex, MutexGuard, Ordering, PoisonError, Weak};
use dapple::{Color, Cx, Site};

use self::framed::Framed;
use self::in_flight::InFlight;
use crate::Addr;
use crate::codec::{self, Codec, Decoded, EncodeError, Frames};
use crate::stream::{ConnOptions, Connection};

/// The limits of a transport.
///
/// # Examples
///
/// ```
/// use dapple_io::{Io, transport::TransportOptions};
/// let rt = dapple_io::runtime().build()?;
/// let (ours, _peer) = std::os::unix::net::UnixStream::pair()?;
/// let stream = Io::of(&rt.handle()).adopt(ours)?;
/// let options = TransportOptions { max_message: 100, ..TransportOptions::default() };
/// let transport = stream.deliver(&rt.handle().new_color(), options, |_, _| ());
/// assert!(transport.send(&[0; 101]).unwrap_err().is_too_long());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportOptions {
    /// The maximum length of a message, in bytes, in either direction. A connection whose peer
    /// announces a longer message is closed. By default 1 MiB.
    pub max_message: usize,
    /// The number of messages in flight at which reading stops. It goes on when half of that number
    /// is left. By default 1,024.
    pub max_in_flight: usize,
    /// The limits of the connection. Its `max_input` is raised to what a message needs.
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

/// A connection that delivers framed messages, in order, to a domain or to a handler.
///
/// It comes from [`Stream::deliver_to`](crate::stream::Stream::deliver_to),
/// [`Stream::deliver`](crate::stream::Stream::deliver) or
/// [`Stream::deliver_by`](crate::stream::Stream::deliver_by). Clones refer to the same connection,
/// and can be sent to any thread.
///
/// Dropping it does not close the connection.
///
/// # Examples
///
/// A program that sends a message on its own account:
///
/// ```
/// use dapple_io::{Io, transport::TransportOptions};
/// use std::{io::Read, os::unix::net::UnixStream};
/// let rt = dapple_io::runtime().build()?;
/// let (ours, mut peer) = UnixStream::pair()?;
/// let stream = Io::of(&rt.handle()).adopt(ours)?;
/// let color = rt.handle().new_color();
/// let transport = stream.deliver(&color, TransportOptions::default(), |_, _| ());
/// transport.send(b"hello").expect("it is open");
/// transport.close();
/// assert!(transport.send(b"more").unwrap_err().is_closed());
/// let mut all = Vec::new();
/// peer.read_to_end(&mut all)?;
/// assert_eq!(all, b"\0\0\0\x05hello");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Transport(Arc<Shared>);

struct Shared {
    peer: Addr,
    color: Color,
    codec: Format,
    max_in_flight: usize,
    in_flight: InFlight,
    /// Whether delivery stops, for readers without the lock. [`TransportState::stage`] says the
    /// same.
    stops: AtomicBool,
    state: Mutex<TransportState>,
}

/// The format of messages in the stream.
enum Format {
    Frames(Frames),
    Other(Box<dyn Codec>),
}

impl Format {
    fn decode(&self, input: &[u8], seen: usize) -> Decoded {
        match self {
            Format::Frames(frames) => frames.decode(input, seen),
            Format::Other(codec) => codec::decode(&**codec, input, seen),
        }
    }

    fn room(&self) -> usize {
        match self {
            Format::Frames(frames) => frames.room(),
            Format::Other(codec) => codec.room(),
        }
    }
}

/// A closure to call at the end, and the site that asked for the call.
type AtEnd = (Site, Box<dyn FnOnce(&mut Cx) + Send>);

#[derive(Default)]
struct TransportState {
    /// The frames that are to be sent.
    out: Vec<u8>,
    /// Whether an event that looks here is queued or runs.
    is_queued: bool,
    stage: Stage,
    /// Whether there is room in the domain again.
    has_room: bool,
    /// Whether a look was asked for before the connection was known.
    is_look_wanted: bool,
    /// The closures to post when the connection is gone.
    at_end: Vec<AtEnd>,
    /// A weak handle of the connection, because the connection owns this state, too. `None` until
    /// the handle is known.
    connection: Option<Weak<Connection<Framed>>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Open,
    /// `close` was called.
    Closing,
    /// The connection is gone.
    Gone,
}

/// The reason why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendError(Unsent);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unsent {
    Encode(EncodeError),
    Closed,
}

impl SendError {
    /// Returns `true` if the message is longer than [`TransportOptions::max_message`], or than the
    /// codec allows.
    pub fn is_too_long(&self) -> bool {
        matches!(self.0, Unsent::Encode(error) if error.is_too_long())
    }

    /// Returns `true` if the message has bytes that the codec does not allow.
    pub fn is_invalid(&self) -> bool {
        matches!(self.0, Unsent::Encode(error) if error.is_invalid())
    }

    /// Returns `true` if the connection is gone, or was told to close.
    pub fn is_closed(&self) -> bool {
        self.0 == Unsent::Closed
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Unsent::Encode(error) => error.fmt(f),
            Unsent::Closed => f.write_str("the connection is closed"),
        }
    }
}

impl std::error::Error for SendError {}

impl Transport {
    /// Sends a message.
    ///
    /// Messages leave in the order in which they are sent. Messages that deferred actions of a
    /// domain's events send leave in the order of the events' tickets. See the [type](Self) for an
    /// example.
    ///
    /// # Errors
    ///
    /// Returns an error if the codec does not allow the message, for example because it is too
    /// long, or if the connection is closed or was told to close.
    pub fn send(&self, message: &[u8]) -> Result<(), SendError> {
        let encode_error = |error| SendError(Unsent::Encode(error));
        // A foreign codec does not run under the lock.
        let mut encoded = Vec::new();
        if let Format::Other(codec) = &self.0.codec {
            codec.encode(message, &mut encoded).map_err(encode_error)?;
        }
        let mut state = self.0.lock();
        if state.stage != Stage::Open {
            return Err(SendError(Unsent::Closed));
        }
        match &self.0.codec {
            Format::Frames(frames) => {
                frames.encode(message, &mut state.out).map_err(encode_error)?;
            }
            Format::Other(_) => state.out.append(&mut encoded),
        }
        self.0.look(state);
        Ok(())
    }

    /// Closes the connection when everything that was sent has been written. Nothing more is
    /// delivered or sent. See the [type](Self) for an example.
    pub fn close(&self) {
        let mut state = self.0.lock();
        if state.stage == Stage::Open {
            state.stage = Stage::Closing;
            self.0.stops.store(true, Ordering::Release);
        }
        self.0.look(state);
    }

    /// Posts `f` to the connection's color when the connection is gone, or at once if it is gone
    /// already.
    ///
    /// `f` runs after the last message was delivered, whichever side has closed the connection, and
    /// even if messages are still in flight.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{net::TcpStream, sync::mpsc};
    /// use dapple_io::{Io, tcp::{Accepting, TransportOptions}};
    /// let rt = dapple_io::runtime().build()?;
    /// let (tx, rx) = mpsc::channel();
    /// let local = "127.0.0.1:0".parse().unwrap();
    /// let listener = Io::of(&rt.handle()).listen(local, Accepting::PerWorker, move |stream, cx| {
    ///     let transport =
    ///         stream.deliver(&cx.new_color(), TransportOptions::default(), |_, _| ());
    ///     let tx = tx.clone();
    ///     transport.on_close(move |_| tx.send("it has gone").unwrap());
    /// })?;
    /// drop(TcpStream::connect(listener.local_addr())?);
    /// assert_eq!(rx.recv().unwrap(), "it has gone");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    #[doc(alias = "ateof")]
    pub fn on_close(&self, f: impl FnOnce(&mut Cx) + Send + 'static) {
        let at_end: AtEnd = (Site::caller(), Box::new(f));
        let mut state = self.0.lock();
        if state.stage != Stage::Gone {
            return state.at_end.push(at_end);
        }
        drop(state);
        self.0.tell_end(vec![at_end]);
    }

    /// Returns the address of the peer.
    pub fn peer_addr(&self) -> Addr {
        self.0.peer.clone()
    }

    /// Returns the color of the connection.
    pub fn color(&self) -> &Color {
        &self.0.color
    }

    /// Returns `true` if the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.0.lock().stage == Stage::Gone
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("peer", &self.0.peer).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, TransportState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Posts the closures that wait for the end of the connection.
    fn tell_end(&self, at_end: Vec<AtEnd>) {
        for (site, f) in at_end {
            self.color.runtime().post_from(site, &self.color, f);
        }
    }

    /// Has the connection look at the state, unless an event that looks is already queued.
    fn look(self: &Arc<Self>, mut state: MutexGuard<'_, TransportState>) {
        if state.is_queued || state.stage == Stage::Gone {
            return;
        }
        let Some(connection) = &state.connection else {
            // The code that makes the connection known looks then.
            state.is_look_wanted = true;
            return;
        };
        let Some(connection) = connection.upgrade() else {
            let at_end = state.ends();
            drop(state);
            return self.tell_end(at_end);
        };
        state.is_queued = true;
        drop(state);
        self.post_look(&connection);
    }

    /// Posts the event that `is_queued` stands for.
    fn post_look(self: &Arc<Self>, connection: &Connection<Framed>) {
        let look = Look { shared: Arc::clone(self), runs: false };
        connection.with(move |framed, conn, cx| {
            let mut look = look;
            look.runs = true;
            framed.look(conn, cx);
        });
    }

    /// Has the event posted behind what is queued on this worker. The end of the color's own queue
    /// is not far enough, because the color's turn goes on.
    fn post_look_later(self: Arc<Self>, connection: Arc<Connection<Framed>>, cx: &mut Cx) {
        let unrun = Look { shared: Arc::clone(&self), runs: false };
        cx.post_uncolored(move |_| {
            let mut unrun = unrun;
            unrun.runs = true;
            self.post_look(&connection);
        });
    }
}

impl TransportState {
    /// Ends the transport. Returns the closures that the caller has to post.
    #[must_use]
    fn ends(&mut self) -> Vec<AtEnd> {
        self.stage = Stage::Gone;
        self.out = Vec::new();
        std::mem::take(&mut self.at_end)
    }
}

/// An event that looks at the state.
///
/// If it is refused, or dropped unrun, the connection is gone, or the runtime of its color has
/// ended or is about to end. In the last case an event that still runs may post the next one.
struct Look {
    shared: Arc<Shared>,
    runs: bool,
}

impl Drop for Look {
    fn drop(&mut self) {
        // An event that runs has dealt with `is_queued`, and another may be queued by now.
        if self.runs {
            return;
        }
        let mut state = self.shared.lock();
        state.is_queued = false;
        if self.shared.color.runtime().has_ended() {
            let at_end = state.ends();
            drop(state);
            // The runtime no longer runs them.
            drop(at_end);
        }
    }
}

/// A message that was delivered. It is in flight until it is dropped.
pub struct Message {
    bytes: Vec<u8>,
    transport: Transport,
}

impl Message {
    #[inline]
    fn new(bytes: Vec<u8>, transport: Transport) -> Self {
        Message { bytes, transport }
    }

    /// Returns the bytes of the message, without its framing.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Sends a message to the peer, as [`Transport::send`] does. See
    /// [`Stream::deliver_by`](crate::stream::Stream::deliver_by) for an example.
    ///
    /// # Errors
    ///
    /// Returns an error if the codec does not allow the message, for example because it is too
    /// long, or if the connection is closed or was told to close.
    pub fn reply(&self, message: &[u8]) -> Result<(), SendError> {
        self.transport.send(message)
    }

    /// Returns the transport that delivered the message.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }
}

impl Drop for Message {
    #[inline]
    fn drop(&mut self) {
        let shared = &self.transport.0;
        if shared.in_flight.end() {
            shared.look(shared.lock());
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}
