//! A connection as its protocol sees it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use dapple::clock;
use dapple::sync::Arc;

use super::buffer::{Input, Output};
use super::socket::Socket;
use super::state::{Load, State, Why};
use super::{CloseReason, ConnOptions};
use crate::Addr;
use crate::readiness::Trust;

/// A connection, as its [`Protocol`](super::Protocol) gets it: the input that has not been
/// consumed, and an out-buffer that is written at the end of the event.
#[derive(Debug)]
pub struct Conn {
    pub(crate) stream: Option<Arc<Socket>>,
    pub(super) peer: Addr,
    pub(super) options: ConnOptions,
    pub(super) input: Input,
    pub(super) output: Output,
    /// The descriptors that came with the input and were not taken.
    pub(crate) fds: Vec<OwnedFd>,
    pub(super) state: State,
    /// Whether the protocol is to be told when the out-buffer has been written.
    pub(super) is_written_awaited: bool,
    /// The system's error, if an error is the reason to close.
    pub(super) error: Option<io::Error>,
}

/// The input of a connection, as [`Conn::take_input`] returns it.
#[derive(Debug)]
pub struct TakenInput(Input);

impl TakenInput {
    /// Returns the bytes that were read and not yet consumed.
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl Conn {
    pub(super) fn new(stream: Arc<Socket>, peer: Addr, options: ConnOptions) -> Self {
        Conn {
            state: State::new(clock::now(), Trust::of(&peer)),
            stream: Some(stream),
            peer,
            options,
            input: Input::default(),
            output: Output::default(),
            fds: Vec::new(),
            is_written_awaited: false,
            error: None,
        }
    }

    /// Returns the amounts in the buffers.
    #[inline]
    pub(super) fn load(&self) -> Load {
        let (output, files) = (self.output.len(), self.output.files());
        Load { input: self.input.bytes().len(), output, files }
    }

    /// Returns the reason for the protocol, with the system's error if there is one.
    pub(super) fn reason(&mut self, why: Why) -> CloseReason {
        match why {
            Why::Closed => CloseReason::Closed,
            Why::Peer => CloseReason::Peer,
            Why::IdleTimeout => CloseReason::IdleTimeout,
            Why::FrameTimeout => CloseReason::FrameTimeout,
            Why::WriteTimeout => CloseReason::WriteTimeout,
            Why::InputLimit => CloseReason::InputLimit,
            Why::Protocol(rule) => CloseReason::Protocol(rule),
            Why::Panicked => CloseReason::Panicked,
            Why::Io => {
                let error = self.error.take();
                CloseReason::Io(error.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()))
            }
        }
    }

    /// Returns the address of the peer.
    pub fn peer_addr(&self) -> Addr {
        self.peer.clone()
    }

    /// Returns the bytes that were read and not yet consumed.
    pub fn input(&self) -> &[u8] {
        self.input.bytes()
    }

    /// Removes `n` bytes from the front of the input.
    ///
    /// # Panics
    ///
    /// Panics if the input has fewer than `n` bytes.
    pub fn consume(&mut self, n: usize) {
        self.input.consume(n);
        self.state.consumed();
    }

    /// Takes the input out of the connection, so that a parsed message may borrow it while the
    /// answer is written to the connection.
    ///
    /// The input has to be [given back](Self::give_input_back) in the same call.
    ///
    /// # Examples
    ///
    /// A server that sends each line back behind a `>`, and copies no line before it sends it:
    ///
    /// ```
    /// use std::{io::{Read, Write}, os::unix::net::UnixStream};
    /// use dapple_io::{Io, stream::{Conn, ConnOptions, Protocol}};
    /// use dapple::Cx;
    ///
    /// struct Quotes;
    /// impl Protocol for Quotes {
    ///     fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
    ///         let input = conn.take_input();
    ///         let mut used = 0;
    ///         for line in input.bytes().split_inclusive(|byte| *byte == b'\n') {
    ///             // The line borrows the input, and `conn` can be used all the same.
    ///             if line.ends_with(b"\n") {
    ///                 conn.send(b">");
    ///                 conn.send(line);
    ///                 used += line.len();
    ///             }
    ///         }
    ///         conn.give_input_back(input, used);
    ///     }
    /// }
    ///
    /// let rt = dapple_io::runtime().build()?;
    /// let (ours, mut client) = UnixStream::pair()?;
    /// let stream = Io::of(&rt.handle()).adopt(ours)?;
    /// stream.serve(&rt.handle().new_color(), ConnOptions::default(), Quotes);
    /// client.write_all(b"one\ntwo\nthr")?;
    /// let mut answers = [0; 10];
    /// client.read_exact(&mut answers)?;
    /// assert_eq!(&answers, b">one\n>two\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn take_input(&mut self) -> TakenInput {
        TakenInput(std::mem::take(&mut self.input))
    }

    /// Puts the input back, and removes `used` bytes from its front.
    ///
    /// See [`take_input`](Self::take_input) for an example.
    ///
    /// # Panics
    ///
    /// Panics if the input has fewer than `used` bytes.
    pub fn give_input_back(&mut self, input: TakenInput, used: usize) {
        self.input = input.0;
        if used > 0 {
            self.consume(used);
        }
    }

    /// Appends bytes to the out-buffer. Drops them if nothing more can be [sent](Self::can_send).
    pub fn send(&mut self, bytes: &[u8]) {
        self.write(|out| out.extend_from_slice(bytes));
    }

    /// Calls `write` with the out-buffer, so that it can append bytes in place. Does not call it if
    /// nothing more can be [sent](Self::can_send).
    ///
    /// `write` must not change the bytes that are already in the buffer.
    ///
    /// See [`come_back`](Self::come_back) for an example.
    ///
    /// # Panics
    ///
    /// Panics if the buffer is shorter after the call than before.
    pub fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.state.sends() {
            self.output.append(write);
        }
    }

    /// Appends all bytes, and leaves `bytes` empty. Takes over its memory where that is cheaper.
    pub(crate) fn send_all(&mut self, bytes: &mut Vec<u8>) {
        if self.state.sends() {
            self.output.append_all(bytes);
        }
        bytes.clear();
    }

    /// Appends shared bytes, without copying them.
    ///
    /// # Examples
    ///
    /// A text that all connections share:
    ///
    /// ```
    /// use std::{os::unix::net::UnixStream, sync::Arc};
    /// use dapple_io::{Io, stream::{Conn, ConnOptions, Protocol}};
    /// use dapple::Cx;
    ///
    /// struct Sends(Arc<[u8]>);
    /// impl Protocol for Sends {
    ///     fn on_open(&mut self, conn: &mut Conn, _: &mut Cx) {
    ///         conn.send_shared(Arc::clone(&self.0));
    ///         conn.close();
    ///     }
    ///     fn on_data(&mut self, _: &mut Conn, _: &mut Cx) {}
    /// }
    ///
    /// let rt = dapple_io::runtime().build()?;
    /// let (io, text) = (Io::of(&rt.handle()), Arc::from(b"hello".as_slice()));
    /// for _ in 0..2 {
    ///     let (ours, client) = UnixStream::pair()?;
    ///     let sends = Sends(Arc::clone(&text));
    ///     io.adopt(ours)?.serve(&rt.handle().new_color(), ConnOptions::default(), sends);
    ///     assert_eq!(std::io::read_to_string(client)?, "hello");
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn send_shared(&mut self, bytes: Arc<[u8]>) {
        if self.state.sends() && !bytes.is_empty() {
            self.output.shared(bytes);
        }
    }

    /// Appends `len` bytes of a file, from `offset` on. The kernel copies them from the file to the
    /// socket.
    ///
    /// If the file turns out to be shorter, or if `offset + len` overflows, the connection ends
    /// with an error.
    ///
    /// # Examples
    ///
    /// A part of a file, behind a heading:
    ///
    /// ```
    /// use std::{fs::File, os::unix::net::UnixStream, sync::Arc};
    /// use dapple_io::{Io, stream::{Conn, ConnOptions, Protocol}};
    /// use dapple::Cx;
    ///
    /// struct Serves(Arc<File>);
    /// impl Protocol for Serves {
    ///     fn on_open(&mut self, conn: &mut Conn, _: &mut Cx) {
    ///         conn.send(b"bytes 2 to 4: ");
    ///         conn.send_file(Arc::clone(&self.0), 2, 3);
    ///         conn.close();
    ///     }
    ///     fn on_data(&mut self, _: &mut Conn, _: &mut Cx) {}
    /// }
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("letters");
    /// std::fs::write(&path, "abcdef")?;
    /// let rt = dapple_io::runtime().build()?;
    /// let (ours, client) = UnixStream::pair()?;
    /// let stream = Io::of(&rt.handle()).adopt(ours)?;
    /// let serves = Serves(Arc::new(File::open(&path)?));
    /// stream.serve(&rt.handle().new_color(), ConnOptions::default(), serves);
    /// assert_eq!(std::io::read_to_string(client)?, "bytes 2 to 4: cde");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn send_file(&mut self, file: Arc<File>, offset: u64, len: u64) {
        if self.state.sends() && len > 0 && !self.output.file(file, offset, len) {
            self.fail(io::ErrorKind::InvalidInput.into());
        }
    }

    /// Appends bytes, at least one, and descriptors that are sent with the first of them.
    pub(crate) fn append_with_fds(&mut self, bytes: &[u8], fds: Vec<OwnedFd>) {
        if self.state.sends() {
            self.output.with_fds(bytes, fds);
        }
    }

    /// Returns `true` if more can be sent, which means that neither side has closed this direction.
    /// Otherwise everything that is sent is dropped.
    ///
    /// A loop that sends until the connection is congested has to check this, too.
    pub fn can_send(&self) -> bool {
        self.state.sends()
    }

    /// Returns the number of bytes in the out-buffer.
    pub fn pending(&self) -> u64 {
        self.output.len()
    }

    /// Requests one call of [`Protocol::on_written`](super::Protocol::on_written), when everything
    /// in the out-buffer has been written.
    ///
    /// This is for a protocol that has to know when the system has its output, such as one with a
    /// progress bar, or one that then makes the next part. If the out-buffer is empty now, the call
    /// comes after something has been sent and written.
    ///
    /// # Examples
    ///
    /// A source of numbers that makes no more of them than the peer reads:
    ///
    /// ```
    /// use std::{io::{BufRead, BufReader}, net::TcpStream};
    /// use dapple_io::{Io, tcp::{Accepting, Conn, ConnOptions, Protocol}};
    /// use dapple::Cx;
    ///
    /// struct Numbers(u32);
    ///
    /// impl Protocol for Numbers {
    ///     fn on_open(&mut self, conn: &mut Conn, cx: &mut Cx) {
    ///         self.on_written(conn, cx);
    ///     }
    ///     fn on_written(&mut self, conn: &mut Conn, _: &mut Cx) {
    ///         self.0 += 1;
    ///         conn.send(format!("{}\n", self.0).as_bytes());
    ///         conn.notify_written();
    ///         if self.0 == 1_000 {
    ///             conn.close();
    ///         }
    ///     }
    ///     fn on_data(&mut self, _: &mut Conn, _: &mut Cx) {}
    /// }
    ///
    /// let rt = dapple_io::runtime().build()?;
    /// let local = "127.0.0.1:0".parse().unwrap();
    /// let listener = Io::of(&rt.handle()).listen(local, Accepting::PerWorker, |stream, cx| {
    ///     stream.serve(&cx.new_color(), ConnOptions::default(), Numbers(0));
    /// })?;
    /// let lines = BufReader::new(TcpStream::connect(listener.local_addr())?).lines();
    /// assert_eq!(lines.last().unwrap()?, "1000");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "uv_write_cb")]
    #[doc(alias = "bufferevent_data_cb")]
    pub fn notify_written(&mut self) {
        self.is_written_awaited = true;
    }

    /// Returns the local address.
    ///
    /// # Errors
    ///
    /// Returns `NotConnected` if the connection is gone, and otherwise the system's error.
    pub fn local_addr(&self) -> io::Result<Addr> {
        self.stream.as_ref().ok_or(io::ErrorKind::NotConnected)?.local_addr()
    }

    /// Returns the descriptor, for example to set options of the socket, or `None` if the
    /// connection is gone. For a pair of pipes, it is the one that is read.
    ///
    /// The connection does not notice bytes that are read from the descriptor or written to it.
    #[doc(alias = "uv_fileno")]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.stream.as_ref().map(|stream| stream.as_fd())
    }

    /// Returns `true` if the protocol should make no more output for now, because the out-buffer
    /// has at least [`high_water`](ConnOptions::high_water) bytes or 16 open descriptors.
    ///
    /// A protocol that sees this leaves its input unconsumed and returns.
    /// [`on_room`](super::Protocol::on_room) is called when at most half of each limit is left.
    /// While input is left in this way, no more is read.
    ///
    /// # Examples
    ///
    /// A source of 1 MB that makes no more of it than the peer reads:
    ///
    /// ```
    /// use std::os::unix::net::UnixStream;
    /// use dapple_io::{Io, stream::{Conn, ConnOptions, Protocol}};
    /// use dapple::Cx;
    ///
    /// struct Source { left: usize }
    /// impl Protocol for Source {
    ///     fn on_open(&mut self, conn: &mut Conn, cx: &mut Cx) {
    ///         self.on_room(conn, cx);
    ///     }
    ///     fn on_room(&mut self, conn: &mut Conn, _: &mut Cx) {
    ///         while self.left > 0 && conn.can_send() && !conn.is_congested() {
    ///             conn.send(&[b'x'; 1_000]);
    ///             self.left -= 1_000;
    ///         }
    ///         if self.left == 0 {
    ///             conn.close();
    ///         }
    ///     }
    ///     fn on_data(&mut self, _: &mut Conn, _: &mut Cx) {}
    /// }
    ///
    /// let rt = dapple_io::runtime().build()?;
    /// let (ours, client) = UnixStream::pair()?;
    /// let options = ConnOptions { high_water: 32 * 1024, ..ConnOptions::default() };
    /// let stream = Io::of(&rt.handle()).adopt(ours)?;
    /// stream.serve(&rt.handle().new_color(), options, Source { left: 1_000_000 });
    /// assert_eq!(std::io::read_to_string(client)?.len(), 1_000_000);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn is_congested(&self) -> bool {
        self.load().is_congested(&self.options)
    }

    /// Requests another call of [`on_data`](super::Protocol::on_data), even if no new input
    /// arrives.
    ///
    /// This is for a protocol that has answered many messages in one call, and leaves the rest so
    /// that other colors get their turn.
    ///
    /// # Examples
    ///
    /// One answer for each call:
    ///
    /// ```
    /// use std::{io::{Read, Write}, os::unix::net::UnixStream};
    /// use dapple_io::{Io, stream::{Conn, ConnOptions, Protocol}};
    /// use dapple::Cx;
    ///
    /// struct Squares;
    /// impl Protocol for Squares {
    ///     fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
    ///         let Some(&number) = conn.input().first() else { return };
    ///         conn.consume(1);
    ///         conn.write(|out| out.push(number * number));
    ///         conn.come_back();        // for the next number
    ///     }
    /// }
    ///
    /// let rt = dapple_io::runtime().build()?;
    /// let (ours, mut client) = UnixStream::pair()?;
    /// let stream = Io::of(&rt.handle()).adopt(ours)?;
    /// stream.serve(&rt.handle().new_color(), ConnOptions::default(), Squares);
    /// client.write_all(&[1, 2, 3])?;
    /// let mut answers = [0; 3];
    /// client.read_exact(&mut answers)?;
    /// assert_eq!(answers, [1, 4, 9]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn come_back(&mut self) {
        self.state.come_back();
    }

    /// Stops reading from the peer, and delivering input to the protocol, until
    /// [`resume`](Self::resume).
    ///
    /// This is for a protocol that waits for something other than its peer. Neither the idle
    /// timeout nor the frame timeout runs meanwhile. The out-buffer is still written, and
    /// [`on_room`](super::Protocol::on_room) reports room. A peer that resets the connection ends
    /// it.
    ///
    /// # Examples
    ///
    /// A server that computes each answer on another core, and takes no input meanwhile:
    ///
    /// ```
    /// use std::{io::{Read, Write}, os::unix::net::UnixStream, sync::Weak};
    /// use dapple_io::{Io, stream::{Conn, ConnOptions, Connection, Protocol}};
    /// use dapple::Cx;
    ///
    /// struct Squares { me: Weak<Connection<Squares>> }
    /// impl Protocol for Squares {
    ///     fn on_data(&mut self, conn: &mut Conn, cx: &mut Cx) {
    ///         let Some(&number) = conn.input().first() else { return };
    ///         conn.consume(1);
    ///         conn.pause();
    ///         let Some(me) = self.me.upgrade() else { return };
    ///         cx.post_uncolored(move |_| {
    ///             let square = number * number;
    ///             me.with(move |_, conn, _| {
    ///                 conn.send(&[square]);
    ///                 conn.resume();           // `on_data` gets the rest of the input
    ///             });
    ///         });
    ///     }
    /// }
    ///
    /// let rt = dapple_io::runtime().build()?;
    /// let (ours, mut client) = UnixStream::pair()?;
    /// let (stream, color) = (Io::of(&rt.handle()).adopt(ours)?, rt.handle().new_color());
    /// stream.serve_with(&color, ConnOptions::default(), |me| Squares { me });
    /// client.write_all(&[1, 2, 3])?;
    /// let mut answers = [0; 3];
    /// client.read_exact(&mut answers)?;
    /// assert_eq!(answers, [1, 4, 9]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn pause(&mut self) {
        self.state.pause();
    }

    /// Returns `true` if the connection is [paused](Self::pause).
    pub fn is_paused(&self) -> bool {
        self.state.is_paused()
    }

    /// Ends a pause. The protocol is called again, even if no new input has arrived.
    ///
    /// See [`pause`](Self::pause) for an example.
    pub fn resume(&mut self) {
        if self.state.is_paused() {
            self.state.resume(clock::now());
        }
    }

    /// Closes our side when the out-buffer has been written, and leaves the peer's side open.
    ///
    /// The peer reads the end of the stream, and may go on sending. Nothing more can be sent from
    /// here. The connection is closed when the peer has closed its side as well, unless the
    /// protocol is paused or has asked to [come back](Self::come_back).
    ///
    /// # Examples
    ///
    /// A client that sends its whole question, and then reads the answer:
    ///
    /// ```
    /// use dapple_io::{Io, tcp::{CloseReason, Conn, ConnOptions, Protocol}};
    /// use dapple::Cx;
    /// # use std::{io::{Read, Write}, net::TcpListener, sync::mpsc, thread};
    ///
    /// struct Asks(mpsc::Sender<Vec<u8>>);
    ///
    /// impl Protocol for Asks {
    ///     fn on_open(&mut self, conn: &mut Conn, _: &mut Cx) {
    ///         conn.send(b"question");
    ///         conn.shutdown_write();
    ///     }
    ///     fn on_data(&mut self, _: &mut Conn, _: &mut Cx) {}
    ///     fn on_eof(&mut self, conn: &mut Conn, _: &mut Cx) {
    ///         self.0.send(conn.input().to_vec()).unwrap();
    ///         conn.close();
    ///     }
    /// }
    ///
    /// # let server = TcpListener::bind("127.0.0.1:0")?;
    /// # let stream = std::net::TcpStream::connect(server.local_addr()?)?;
    /// # thread::spawn(move || {
    /// #     let (mut peer, mut all) = (server.accept().unwrap().0, Vec::new());
    /// #     peer.read_to_end(&mut all).unwrap();
    /// #     assert_eq!(all, b"question");
    /// #     peer.write_all(b"answer").unwrap();
    /// # });
    /// let rt = dapple_io::runtime().build()?;
    /// let (tell, told) = mpsc::channel();
    /// let stream = Io::of(&rt.handle()).adopt(stream)?;
    /// stream.serve(&rt.handle().new_color(), ConnOptions::default(), Asks(tell));
    /// assert_eq!(told.recv().unwrap(), b"answer");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown_write(&mut self) {
        self.state.shut_down_write();
    }

    /// Closes the connection when the out-buffer has been written. The protocol gets no more input.
    pub fn close(&mut self) {
        self.state.end(Why::Closed);
    }

    /// Closes the connection when the out-buffer has been written, because the peer broke the rules
    /// of the protocol. `why` names the rule in [`CloseReason::Protocol`].
    ///
    /// See [`CloseReason`] for an example.
    pub fn reject(&mut self, why: &'static str) {
        self.state.end(Why::Protocol(why));
    }

    /// Closes the connection when the out-buffer has been written, because the peer has closed its
    /// side and needs nothing more, or because a transport drains.
    pub(crate) fn peer_has_ended(&mut self) {
        self.state.end(Why::Peer);
    }

    /// Closes the connection now, and drops what is in the out-buffer.
    pub fn abort(&mut self) {
        self.output.clear();
        self.state.abort();
    }

    /// Returns `true` if the connection was closed, by either side.
    pub fn is_closed(&self) -> bool {
        !self.state.is_open()
    }

    /// Closes the connection now, because of an error of the system.
    pub(super) fn fail(&mut self, error: io::Error) {
        self.error.get_or_insert(error);
        self.state.fail(Why::Io);
    }
}
