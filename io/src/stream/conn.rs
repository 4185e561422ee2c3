//! What a protocol sees of its connection.

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
use crate::reactor::Trust;

/// A connection, as its [`Protocol`](super::Protocol) gets it: the input that it has not consumed,
/// and an out-buffer that is written at the end of the event.
#[derive(Debug)]
pub struct Conn {
    pub(crate) stream: Option<Arc<Socket>>,
    pub(super) peer: Addr,
    pub(super) options: ConnOptions,
    pub(super) input: Input,
    pub(super) output: Output,
    /// Descriptors that have come along with the input.
    pub(crate) fds: Vec<OwnedFd>,
    pub(super) state: State,
    /// The protocol is to be told when the out-buffer has been written.
    pub(super) is_written_awaited: bool,
    /// What the system has said, if it was the reason to close.
    pub(super) error: Option<io::Error>,
}

/// The input of a connection, taken out by [`Conn::take_input`].
#[derive(Debug)]
pub struct TakenInput(Input);

impl TakenInput {
    /// What was read and not yet consumed.
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

    /// What is in the buffers.
    #[inline]
    pub(super) fn load(&self) -> Load {
        let (output, files) = (self.output.len(), self.output.files());
        Load { input: self.input.bytes().len(), output, files }
    }

    /// Why it was closed.
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

    /// The address of the peer.
    pub fn peer_addr(&self) -> Addr {
        self.peer.clone()
    }

    /// What was read and not yet consumed.
    pub fn input(&self) -> &[u8] {
        self.input.bytes()
    }

    /// Takes `n` bytes off the input: they are understood.
    ///
    /// # Panics
    ///
    /// When there are less.
    pub fn consume(&mut self, n: usize) {
        self.input.consume(n);
        self.state.consumed();
    }

    /// Takes the input out of the connection, so that what is parsed may borrow it while the answer
    /// is written to the connection. It has to be [given back](Self::give_input_back) in the same
    /// call.
    pub fn take_input(&mut self) -> TakenInput {
        TakenInput(std::mem::take(&mut self.input))
    }

    /// Gives the input back, `used` bytes of which are understood.
    ///
    /// # Panics
    ///
    /// When there are less.
    pub fn give_input_back(&mut self, input: TakenInput, used: usize) {
        self.input = input.0;
        if used > 0 {
            self.consume(used);
        }
    }

    /// Appends bytes to the out-buffer.
    pub fn send(&mut self, bytes: &[u8]) {
        self.write(|out| out.extend_from_slice(bytes));
    }

    /// Lets `write` append to the out-buffer in place.
    ///
    /// # Panics
    ///
    /// When it takes away what was there.
    pub fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.state.sends() {
            self.output.append(write);
        }
    }

    /// Appends all of it, which is empty then, by taking the memory if that can be.
    pub(crate) fn send_all(&mut self, bytes: &mut Vec<u8>) {
        if self.state.sends() {
            self.output.append_all(bytes);
        }
        bytes.clear();
    }

    /// Appends bytes that others share, without copying them.
    pub fn send_shared(&mut self, bytes: Arc<[u8]>) {
        if self.state.sends() && !bytes.is_empty() {
            self.output.shared(bytes);
        }
    }

    /// Appends `len` bytes of a file from `offset` on; they go from file to socket inside the
    /// kernel. If the file turns out to be shorter, the connection ends with an error.
    pub fn send_file(&mut self, file: Arc<File>, offset: u64, len: u64) {
        if self.state.sends() && len > 0 && !self.output.file(file, offset, len) {
            self.fail(io::ErrorKind::InvalidInput.into());
        }
    }

    /// Appends bytes, at least one, with descriptors that go along with the first of them.
    pub(crate) fn append_with_fds(&mut self, bytes: &[u8], fds: Vec<OwnedFd>) {
        if self.state.sends() {
            self.output.with_fds(bytes, fds);
        }
    }

    /// Says whether more can be sent: neither side has closed this direction. What is sent
    /// nevertheless is dropped.
    ///
    /// A loop that sends as long as the connection is not congested asks this, too.
    pub fn can_send(&self) -> bool {
        self.state.sends()
    }

    /// Bytes in the out-buffer.
    pub fn pending(&self) -> u64 {
        self.output.len()
    }

    /// Has [`Protocol::on_written`](super::Protocol::on_written) called when all that is in the
    /// out-buffer has been written: for a protocol that waits until the system has what it sent,
    /// such as a progress bar, or one that makes the next part then. If nothing is in it, nothing
    /// is called before something has been sent and written.
    ///
    /// # Examples
    ///
    /// A source of numbers that makes no more than the peer takes:
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

    /// The address on this side.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the connection is gone; otherwise what the system says.
    pub fn local_addr(&self) -> io::Result<Addr> {
        self.stream.as_ref().ok_or(io::ErrorKind::NotConnected)?.local_addr()
    }

    /// The descriptor, for options of the socket; of a pair of pipes, the one that is read. `None`
    /// if the connection is gone.
    ///
    /// What is read from it, or written to it, the connection does not know of.
    #[doc(alias = "uv_fileno")]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.stream.as_ref().map(|stream| stream.as_fd())
    }

    /// Says whether so much output waits, in bytes or in files, that no more should be made. A
    /// protocol that sees this leaves its input and returns; [`on_room`](super::Protocol::on_room)
    /// is called when there is room. While input is left so, no more is read.
    pub fn is_congested(&self) -> bool {
        self.load().is_congested(&self.options)
    }

    /// Has the protocol called again soon, though nothing new may have come: for one that has
    /// answered many messages in one call, and leaves the rest so that others get their turn.
    pub fn come_back(&mut self) {
        self.state.come_back();
    }

    /// Takes no input, and reads none from the peer, until [`resume`](Self::resume): for a protocol
    /// that waits for something else than its peer. Neither the idle nor the frame timeout runs
    /// meanwhile. What waits in the out-buffer is written all the same, and
    /// [`on_room`](super::Protocol::on_room) tells of room; a peer that resets the connection ends
    /// it.
    pub fn pause(&mut self) {
        self.state.pause();
    }

    /// Says whether it takes no input, because it was [paused](Self::pause).
    pub fn is_paused(&self) -> bool {
        self.state.is_paused()
    }

    /// Ends a pause: the protocol is called again.
    pub fn resume(&mut self) {
        if self.state.is_paused() {
            self.state.resume(clock::now());
        }
    }

    /// Closes our side when the out-buffer has been written, and leaves the peer's: it reads the
    /// end of what was sent, and may go on sending. Nothing more can be sent from here. When the
    /// peer has closed its side, too, and the protocol is neither paused nor comes back, the
    /// connection is closed.
    ///
    /// # Examples
    ///
    /// A client that says what it has to say, and then gets its answer.
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

    /// Closes the connection when the out-buffer has been written. Input is no longer read.
    pub fn close(&mut self) {
        self.state.end(Why::Closed);
    }

    /// Closes the connection when the out-buffer has been written, because the peer broke the rules
    /// of the protocol.
    pub fn reject(&mut self, why: &'static str) {
        self.state.end(Why::Protocol(why));
    }

    /// The peer has closed its side, and there is nothing left to be done for it.
    pub(crate) fn peer_has_ended(&mut self) {
        self.state.end(Why::Peer);
    }

    /// Closes the connection now, whatever is in the out-buffer.
    pub fn abort(&mut self) {
        self.output.clear();
        self.state.abort();
    }

    /// Says whether it was closed, by either side.
    pub fn is_closed(&self) -> bool {
        !self.state.is_open()
    }

    /// The system has refused something: it closes now.
    pub(super) fn fail(&mut self, error: io::Error) {
        self.error.get_or_insert(error);
        self.state.fail(Why::Io);
    }
}
