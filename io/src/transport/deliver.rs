//! The receivers of a transport's messages, and how a stream becomes a transport.

use dapple::sync::{Arc, AtomicBool, Mutex};
use dapple::{Color, Cx, Domain};

use super::framed::Framed;
use super::in_flight::InFlight;
use super::{Format, Message, Shared, Transport, TransportOptions};
use crate::codec::{Codec, Frames};
use crate::stream::Stream;

/// A transport that waits for room in a domain. If the event that reports room is refused, or
/// dropped unrun, nothing reports it later, so the connection closes.
struct RoomWaiter(Option<Transport>);

impl RoomWaiter {
    fn has_come(mut self) {
        if let Some(transport) = self.0.take() {
            let mut state = transport.0.lock();
            state.has_room = true;
            transport.0.look(state);
        }
    }
}

impl Drop for RoomWaiter {
    fn drop(&mut self) {
        if let Some(transport) = self.0.take() {
            transport.close();
        }
    }
}

/// A receiver of messages.
pub(super) trait Deliver: Send + 'static {
    /// Returns `true` if there is room for one more message. Otherwise, the transport is told when
    /// there is.
    fn has_room(&mut self, transport: &Transport) -> bool;
    fn deliver(&mut self, message: Message, cx: &mut Cx);
}

/// Delivers to a closure on the connection's color.
struct ToHandler<F>(F);

impl<F: FnMut(Message, &mut Cx) + Send + 'static> Deliver for ToHandler<F> {
    fn has_room(&mut self, _: &Transport) -> bool {
        true
    }

    fn deliver(&mut self, message: Message, cx: &mut Cx) {
        (self.0)(message, cx);
    }
}

/// Delivers to a domain.
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
            let room = RoomWaiter(Some(transport.clone()));
            self.domain.when_room(&transport.0.color, move |_| room.has_come());
        }
        !is_full
    }

    fn deliver(&mut self, message: Message, cx: &mut Cx) {
        (self.f)(message, &self.domain, cx);
    }
}

impl Stream {
    /// Delivers each message to `f`, on `color`, in the order of the stream.
    ///
    /// Messages are framed by their lengths; see [`Frames`]. `f` may post a message further, to
    /// colors or to domains. A [`Sequencer`](dapple::Sequencer) puts replies that are made on other
    /// colors in order.
    ///
    /// # Examples
    ///
    /// A server that adds the bytes of each message, in parallel, and replies in order:
    ///
    /// ```
    /// use dapple::Sequencer;
    /// use dapple_io::{Io, transport::{Message, TransportOptions}};
    /// use std::{io::{Read, Write}, os::unix::net::UnixStream};
    /// let rt = dapple_io::runtime().build()?;
    /// let (ours, mut client) = UnixStream::pair()?;
    /// let color = rt.handle().new_color();
    /// let replies = Sequencer::new(&color, |(to, sum): (Message, u8), _| _ = to.reply(&[sum]));
    /// let stream = Io::of(&rt.handle()).adopt(ours)?;
    /// stream.deliver(&color, TransportOptions::default(), move |message, cx| {
    ///     let place = replies.reserve();
    ///     cx.post_uncolored(move |_| {      // on all cores, in any order
    ///         let sum = message.bytes().iter().sum();
    ///         place.complete((message, sum));
    ///     });
    /// });
    /// client.write_all(&[0, 0, 0, 2, 10, 20, 0, 0, 0, 1, 5])?;
    /// let mut answers = [0; 10];
    /// client.read_exact(&mut answers)?;
    /// assert_eq!(answers, [0, 0, 0, 1, 30, 0, 0, 0, 1, 5]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn deliver<F>(self, color: &Color, options: TransportOptions, f: F) -> Transport
    where
        F: FnMut(Message, &mut Cx) + Send + 'static,
    {
        let codec = Format::Frames(Frames::new(options.max_message));
        self.transport(codec, color, options, Box::new(ToHandler(f)))
    }

    /// Delivers each message to a domain, in the order of the stream.
    ///
    /// `f` gets each message on `color`, looks what it is, and posts the event that it stands for,
    /// in the context that the event needs. That is the step that dequeues the message, so the
    /// tickets are in the order of the stream. While the domain is full (see
    /// [`max_uncommitted`](dapple::DomainBuilder::max_uncommitted)), nothing is read. Messages are
    /// framed by their lengths; see [`Frames`].
    ///
    /// # Examples
    ///
    /// A counter that any number of connections add to. Each connection gets its replies in order:
    ///
    /// ```
    /// use dapple::Domain;
    /// use dapple_io::{Io, tcp::{Accepting, TransportOptions}};
    /// # use std::{io::{Read, Write}, net::TcpStream};
    /// let rt = dapple_io::runtime().build()?;
    /// let io = Io::of(&rt.handle());
    /// let counter = Domain::snapshot(&rt.handle(), 0u64);
    /// let local = "127.0.0.1:0".parse().unwrap();
    /// let listener = io.listen(local, Accepting::PerWorker, move |stream, cx| {
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
    #[track_caller]
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
        let codec = Frames::new(options.max_message);
        self.transport(Format::Frames(codec), color, options, Box::new(to))
    }

    /// Delivers each message to `f`, on `color`, in the order of the stream, with the format of
    /// `codec`.
    ///
    /// This is [`deliver`](Self::deliver) for any format. [`TransportOptions::max_message`] has no
    /// effect, because the codec has limits of its own.
    ///
    /// # Examples
    ///
    /// A server that reverses lines:
    ///
    /// ```
    /// use std::{io::{BufRead, BufReader, Write}, net::TcpStream};
    /// use dapple_io::{Io, codec::Lines, tcp::{Accepting, TransportOptions}};
    /// let rt = dapple_io::runtime().build()?;
    /// let local = "127.0.0.1:0".parse().unwrap();
    /// let listener = Io::of(&rt.handle()).listen(local, Accepting::PerWorker, |stream, cx| {
    ///     let options = TransportOptions::default();
    ///     stream.deliver_by(Lines::new(1_000), &cx.new_color(), options, |line, _| {
    ///         let mut bytes = line.bytes().to_vec();
    ///         bytes.reverse();
    ///         line.reply(&bytes).expect("it has no line feed");
    ///     });
    /// })?;
    /// let mut client = TcpStream::connect(listener.local_addr())?;
    /// client.write_all(b"abc\n123\n")?;
    /// let answers: Result<Vec<_>, _> = BufReader::new(client).lines().take(2).collect();
    /// assert_eq!(answers?, ["cba", "321"]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn deliver_by<F>(
        self,
        codec: impl Codec,
        color: &Color,
        options: TransportOptions,
        f: F,
    ) -> Transport
    where
        F: FnMut(Message, &mut Cx) + Send + 'static,
    {
        let codec = Format::Other(Box::new(codec));
        self.transport(codec, color, options, Box::new(ToHandler(f)))
    }

    #[track_caller]
    fn transport(
        self,
        codec: Format,
        color: &Color,
        options: TransportOptions,
        deliver: Box<dyn Deliver>,
    ) -> Transport {
        let TransportOptions { max_in_flight, mut conn, .. } = options;
        conn.max_input = conn.max_input.max(codec.room());
        let transport = Transport(Arc::new(Shared {
            peer: self.peer_addr(),
            color: color.clone(),
            codec,
            max_in_flight: max_in_flight.max(1),
            in_flight: InFlight::default(),
            stops: AtomicBool::new(false),
            state: Mutex::default(),
        }));
        let framed = Framed::new(transport.clone(), deliver);
        // Outside the lock, because a refused post drops the user's closure here.
        let connection = self.serve_weakly(color, conn, framed);
        let mut state = transport.0.lock();
        // The connection may be gone already, and something may have asked for a look too early.
        let is_gone = connection.strong_count() == 0;
        state.connection = Some(connection);
        if is_gone || state.is_look_wanted {
            transport.0.look(state);
        } else {
            drop(state);
        }
        transport
    }
}
