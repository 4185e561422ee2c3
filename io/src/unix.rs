//! Unix sockets (N10): the credentials of a peer, and descriptors that are passed.
//!
//! To listen, use [`Io::listener`](crate::Io::listener) with [`Addr::unix`](crate::Addr::unix). To
//! connect, use [`Io::connect`](crate::Io::connect) and similar methods. A stream of the standard
//! library is [adopted](crate::Io::adopt). Each of these makes a [`Stream`], as for TCP: the same
//! protocols and transports serve it, and tasks can use it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::stream::socket::Socket;
use crate::stream::{AsyncStream, Conn, Stream};
use crate::sys;

/// The process at the other end of a Unix socket, as it was when the two were connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Credentials {
    /// The ID of the process. The process may have ended since, and another process may have its
    /// ID.
    pub process: u32,
    /// The ID of the process's user.
    pub user: u32,
    /// The ID of the process's group.
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
    /// Returns the credentials of the process at the other end of a Unix socket.
    ///
    /// # Errors
    ///
    /// Returns `Unsupported` for TCP and pipes, and on systems that do not report credentials.
    /// Otherwise, returns the system's error.
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
    /// Returns the credentials of the process at the other end of a Unix socket.
    ///
    /// See [`Stream::peer_credentials`] for an example.
    ///
    /// # Errors
    ///
    /// Returns `NotConnected` if the connection is gone, and `Unsupported` for TCP and pipes, and
    /// on systems that do not report credentials. Otherwise, returns the system's error.
    pub fn peer_credentials(&self) -> io::Result<Credentials> {
        let stream = self.stream.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        stream.peer_credentials()
    }
}

impl AsyncStream {
    /// Returns the credentials of the process at the other end of a Unix socket.
    ///
    /// See [`Stream::peer_credentials`] for an example.
    ///
    /// # Errors
    ///
    /// Returns `Unsupported` for TCP and pipes, and on systems that do not report credentials.
    /// Otherwise, returns the system's error.
    pub fn peer_credentials(&self) -> io::Result<Credentials> {
        self.socket.peer_credentials()
    }

    /// Sends bytes over a Unix socket, and descriptors along with the first byte.
    ///
    /// Returns the number of bytes that were sent, which may be less than the length of `bytes`. At
    /// least one byte is necessary.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if `bytes` is empty or there are more than 253 descriptors, and
    /// `Unsupported` for TCP and pipes. Otherwise, returns the system's error.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{fs::File, os::{fd::AsFd, unix::net::UnixStream}};
    /// use dapple_io::Io;
    /// let rt = dapple_io::runtime().build()?;
    /// let (io, (one, other)) = (Io::of(&rt.handle()), UnixStream::pair()?);
    /// let (one, other) = (io.adopt(one)?.into_async()?, io.adopt(other)?.into_async()?);
    /// let file = File::open("/proc/version")?;
    /// rt.block_on(async {
    ///     one.send_with_fds(b"here", &[file.as_fd()]).await?;
    ///     let mut bytes = [0; 4];
    ///     let (n, fds) = other.receive_with_fds(&mut bytes, 1).await?;
    ///     assert_eq!((n, &bytes), (4, b"here"));
    ///     for file in fds.into_iter().map(File::from) {
    ///         let text = std::io::read_to_string(file)?;
    ///         assert_eq!(text, std::fs::read_to_string("/proc/version")?);
    ///     }
    ///     Ok::<_, std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "SCM_RIGHTS")]
    pub async fn send_with_fds(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let socket = self.socket.as_unix_socket()?;
        let send = || sys::send_fds(socket.as_fd(), bytes, fds);
        std::future::poll_fn(|cx| self.edges.write.poll(cx, send)).await
    }

    /// Receives bytes over a Unix socket, and up to `most` descriptors that go along with them.
    ///
    /// Returns the number of bytes, and the descriptors. Zero bytes mean that the peer has closed
    /// its side.
    ///
    /// See [`send_with_fds`](Self::send_with_fds) for an example.
    ///
    /// # Errors
    ///
    /// Returns `InvalidData` if more than `most` descriptors arrive; they are closed, and the bytes
    /// are lost. Returns `Unsupported` for TCP and pipes. Otherwise, returns the system's error.
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
    /// Appends bytes to the out-buffer of a Unix socket, and descriptors to send with the first
    /// byte.
    ///
    /// The descriptors are closed on this side after they have been sent. A connection over
    /// anything but a Unix socket ends with an error.
    ///
    /// # Panics
    ///
    /// Panics if `bytes` is empty, or if there are more than 253 descriptors.
    ///
    /// # Examples
    ///
    /// One side opens a file for the other:
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
        assert!(!bytes.is_empty(), "descriptors need at least one byte to travel with");
        assert!(fds.len() <= sys::MOST_FDS, "at most 253 descriptors can be sent at once");
        self.append_with_fds(bytes, fds);
    }

    /// Takes the descriptors that have arrived over a Unix socket, in the order of their arrival.
    ///
    /// Descriptors arrive along with the input, and only if
    /// [`ConnOptions::max_fds`](crate::stream::ConnOptions::max_fds) allows it. By default it does
    /// not, and the system closes them.
    ///
    /// See [`send_with_fds`](Self::send_with_fds) for an example.
    #[doc(alias = "recvfd")]
    pub fn take_fds(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.fds)
    }
}
