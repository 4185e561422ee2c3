//! Unix sockets (N10): who is at the other end, and descriptors that are passed.
//!
//! Listening is [`Io::listener`](crate::Io::listener) with [`Addr::unix`](crate::Addr::unix),
//! connecting is [`Io::connect`](crate::Io::connect) and its like, and a stream of the standard
//! library is [adopted](crate::Io::adopt). What comes of that is a [`Stream`] as one of TCP, served
//! by the same protocols and transports, and for tasks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::stream::socket::Socket;
use crate::stream::{AsyncStream, Conn, Stream};
use crate::sys;

/// The process at the other end of a Unix socket, as it was when the two were connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Credentials {
    /// The number of the process. It may have ended, and another one have its number.
    pub process: u32,
    /// The number of its user.
    pub user: u32,
    /// The number of its group.
    pub group: u32,
}

impl Socket {
    fn peer_credentials(&self) -> io::Result<Credentials> {
        let socket = self.as_unix_socket()?;
        let (process, user, group) = sys::peer_credentials(socket.as_fd())?;
        Ok(Credentials { process, user, group })
    }
}

impl Stream {
    /// Who is at the other end of a Unix socket.
    ///
    /// # Errors
    ///
    /// `Unsupported` for TCP and pipes, and where the system does not tell; otherwise what it
    /// says.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// let rt = dapple_io::runtime().build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let (ours, _theirs) = std::os::unix::net::UnixStream::pair()?;
    /// assert_eq!(io.adopt(ours)?.peer_credentials()?.process, std::process::id());
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "SO_PEERCRED")]
    pub fn peer_credentials(&self) -> io::Result<Credentials> {
        self.socket.peer_credentials()
    }
}

impl Conn {
    /// Who is at the other end of a Unix socket. See [`Stream::peer_credentials`].
    ///
    /// # Errors
    ///
    /// `Unsupported` for TCP and pipes, and where the system does not tell; otherwise what it
    /// says; `NotConnected` if the connection is gone.
    pub fn peer_credentials(&self) -> io::Result<Credentials> {
        let stream = self.stream.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        stream.peer_credentials()
    }
}

impl AsyncStream {
    /// Who is at the other end of a Unix socket. See [`Stream::peer_credentials`].
    ///
    /// # Errors
    ///
    /// `Unsupported` for TCP and pipes, and where the system does not tell; otherwise what it
    /// says.
    pub fn peer_credentials(&self) -> io::Result<Credentials> {
        self.socket.peer_credentials()
    }

    /// Sends bytes, at least one, over a Unix socket, and descriptors along with the first of them;
    /// says how many bytes were sent.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for no bytes, or more than 253 descriptors; `Unsupported` for TCP and pipes;
    /// otherwise what the system says.
    #[doc(alias = "SCM_RIGHTS")]
    pub async fn send_with_fds(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let socket = self.socket.as_unix_socket()?;
        let send = || sys::send_fds(socket.as_fd(), bytes, fds);
        std::future::poll_fn(|cx| self.edges.write.poll(cx, send)).await
    }

    /// Receives bytes over a Unix socket, and up to `most` descriptors that go along with them;
    /// says how many bytes there were. Zero: the peer has closed its side.
    ///
    /// # Errors
    ///
    /// `InvalidData` if more descriptors came: they are closed, and the bytes lost; `Unsupported`
    /// for TCP and pipes; otherwise what the system says.
    pub async fn receive_with_fds(
        &self,
        buf: &mut [u8],
        most: usize,
    ) -> io::Result<(usize, Vec<OwnedFd>)> {
        let socket = self.socket.as_unix_socket()?;
        let mut receive = || sys::receive_fds(socket.as_fd(), buf, most);
        std::future::poll_fn(|cx| self.edges.read.poll(cx, &mut receive)).await
    }
}

impl Conn {
    /// Appends bytes to the out-buffer of a Unix socket, and descriptors that go along with the
    /// first of them. They are closed here when they have been sent. Over anything but a Unix
    /// socket the connection ends with an error.
    ///
    /// # Panics
    ///
    /// When there are no bytes, or more than 253 descriptors.
    ///
    /// # Examples
    ///
    /// A file that one process has opened for another one:
    ///
    /// ```
    /// use std::{fs::File, io::Read, os::unix::net::UnixStream, sync::mpsc};
    /// use dapple_io::{Io, stream::{Conn, ConnOptions, Protocol}};
    /// use dapple::Cx;
    ///
    /// struct Gives;
    /// impl Protocol for Gives {
    ///     fn on_open(&mut self, conn: &mut Conn, _: &mut Cx) {
    ///         let file = File::open("/proc/version").expect("it is there");
    ///         conn.send_with_fds(b"here", vec![file.into()]);
    ///     }
    ///     fn on_data(&mut self, _: &mut Conn, _: &mut Cx) {}
    /// }
    ///
    /// struct Takes(mpsc::Sender<String>);
    /// impl Protocol for Takes {
    ///     fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
    ///         conn.consume(conn.input().len());
    ///         for fd in conn.take_fds() {
    ///             let mut text = String::new();
    ///             File::from(fd).read_to_string(&mut text).expect("it can be read");
    ///             self.0.send(text).unwrap();
    ///         }
    ///     }
    /// }
    ///
    /// let rt = dapple_io::runtime().build()?;
    /// let (io, h) = (Io::of(&rt.handle()), rt.handle());
    /// let (one, other) = UnixStream::pair()?;
    /// let (tx, rx) = mpsc::channel();
    /// io.adopt(one)?.serve(&h.new_color(), ConnOptions::default(), Gives);
    /// let options = ConnOptions { max_fds: 1, ..ConnOptions::default() };
    /// io.adopt(other)?.serve(&h.new_color(), options, Takes(tx));
    /// assert_eq!(rx.recv().unwrap(), std::fs::read_to_string("/proc/version")?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "sendfd")]
    pub fn send_with_fds(&mut self, bytes: &[u8], fds: Vec<OwnedFd>) {
        assert!(!bytes.is_empty(), "descriptors go along with a byte");
        assert!(fds.len() <= sys::MOST_FDS, "so many descriptors go along with a byte at most");
        self.append_with_fds(bytes, fds);
    }

    /// Takes the descriptors that have come over a Unix socket along with the input, in the order
    /// in which they have come. They come only if
    /// [`ConnOptions::max_fds`](crate::stream::ConnOptions::max_fds) allows it; by default it does
    /// not, and the system closes them.
    #[doc(alias = "recvfd")]
    pub fn take_fds(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.fds)
    }
}
