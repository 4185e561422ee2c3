//! Datagram sockets for async tasks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use dapple::Handle;
use socket2::Socket;

use super::DatagramSocket;
use crate::listen::Unlink;
use crate::reactor::runtime_has_ended;
use crate::sys::{self, ToSend};
use crate::{Addr, AsyncFd};

/// The delay before a send to a Unix socket is tried again after its receiver's queue was full.
const AGAIN: Duration = Duration::from_millis(5);

/// A datagram socket for async tasks.
///
/// Receiving and sending are independent. Each remembers only the waker of the task that polled it
/// last.
///
/// # Examples
///
/// ```
/// use std::net::SocketAddr;
/// use dapple_io::Io;
/// let rt = dapple_io::runtime().build()?;
/// let io = Io::of(&rt.handle());
/// let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
/// let (one, other) = (io.bind_udp(local)?.into_async()?, io.bind_udp(local)?.into_async()?);
/// rt.block_on(async {
///     one.send_to(b"hello", other.local_addr()).await?;
///     let mut buffer = [0; 100];
///     let (n, from) = other.receive_from(&mut buffer).await?;
///     assert_eq!((&buffer[..n], &from), (&b"hello"[..], one.local_addr()));
///     Ok::<_, std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct AsyncDatagrams {
    socket: AsyncFd<Socket>,
    handle: Handle,
    local: Addr,
    /// Removes the socket's name from the file system when it is dropped.
    _unlink: Option<Unlink>,
}

impl DatagramSocket {
    /// Turns the socket into one for async tasks. See [`AsyncDatagrams`] for an example.
    ///
    /// # Errors
    ///
    /// Returns the system's error if its poller refuses the socket, and an error if the runtime has
    /// ended.
    pub fn into_async(self) -> io::Result<AsyncDatagrams> {
        let handle = self.io.handle().clone();
        let socket = AsyncFd::new(&self.io, self.socket)?;
        Ok(AsyncDatagrams { socket, handle, local: self.local, _unlink: self.unlink })
    }
}

impl AsyncDatagrams {
    /// Receives a datagram, and returns its length in bytes and the address of its sender.
    ///
    /// A datagram that is longer than `buf` is cut, and the rest of it is lost. See the
    /// [type](Self) for an example.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if `buf` is empty, the system's error if receiving fails, and an
    /// error if the runtime has ended and no datagram is there.
    pub async fn receive_from(&self, buf: &mut [u8]) -> io::Result<(usize, Addr)> {
        let mut received = Vec::new();
        let receive = |socket: &Socket| {
            sys::receive_many(socket.as_fd(), buf, buf.len(), &mut received)?;
            let one = received.pop().ok_or(io::ErrorKind::WouldBlock)?;
            Ok((one.length, Addr::of_system(&one.from)))
        };
        self.socket.read_with(receive).await
    }

    /// Sends a datagram to an address, and waits until there is room for it. A Unix socket is tried
    /// again every 5 ms while its receiver's queue is full. See the [type](Self) for an example.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if `to` is unnamed, or has an empty path, or a path or name that is
    /// too long, the system's error if sending fails, and an error if the runtime has ended and
    /// there is no room.
    pub async fn send_to(&self, bytes: &[u8], to: &Addr) -> io::Result<()> {
        let to = to.to_system()?;
        let one = [ToSend { bytes, to: Some(&to), segment: 0 }];
        let send = |socket: &Socket| sys::send_many(socket.as_fd(), &one).map(drop);
        if self.local.ip().is_some() {
            return self.socket.write_with(send).await;
        }
        // The receiver's queue may be full, and the poller does not report when it has room again.
        loop {
            match send(self.socket.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.handle.has_ended() {
                        return Err(runtime_has_ended());
                    }
                    self.handle.sleep(AGAIN).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Sends a datagram to the address that the socket is [connected](DatagramSocket::connect) to,
    /// and waits until there is room for it.
    ///
    /// # Errors
    ///
    /// Returns the system's error if the socket is not connected or sending fails, and an error if
    /// the runtime has ended and there is no room.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple_io::runtime().build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let local = "127.0.0.1:0".parse().unwrap();
    /// let (one, other) = (io.bind_udp(local)?, io.bind_udp(local)?);
    /// one.connect(other.local_addr().clone())?;
    /// let (one, other) = (one.into_async()?, other.into_async()?);
    /// rt.block_on(async {
    ///     one.send(b"hello").await?;
    ///     let mut buffer = [0; 10];
    ///     let (n, from) = other.receive_from(&mut buffer).await?;
    ///     assert_eq!((&buffer[..n], &from), (&b"hello"[..], one.local_addr()));
    ///     Ok::<_, std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let one = [ToSend { bytes, to: None, segment: 0 }];
        let send = |socket: &Socket| sys::send_many(socket.as_fd(), &one).map(drop);
        self.socket.write_with(send).await
    }

    /// Returns the address that the socket was bound to when the [`DatagramSocket`] was made.
    pub fn local_addr(&self) -> &Addr {
        &self.local
    }
}

impl AsFd for AsyncDatagrams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
