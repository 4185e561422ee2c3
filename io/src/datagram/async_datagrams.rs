//! Datagrams for tasks.

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

/// After what time a Unix socket is tried again whose receiver's queue is full.
const AGAIN: Duration = Duration::from_millis(5);

/// A socket of datagrams for tasks. Receiving and sending are independent; each remembers the waker
/// of the task that polled it last.
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
    /// The name in the file system that goes with it.
    _unlink: Option<Unlink>,
}

impl DatagramSocket {
    /// Makes the socket one for tasks.
    ///
    /// # Errors
    ///
    /// What the system says when it refuses to watch it.
    pub fn into_async(self) -> io::Result<AsyncDatagrams> {
        let handle = self.io.handle().clone();
        let socket = AsyncFd::new(&self.io, self.socket)?;
        Ok(AsyncDatagrams { socket, handle, local: self.local, _unlink: self.unlink })
    }
}

impl AsyncDatagrams {
    /// Receives a datagram, and says how many bytes it has, and who has sent it. What does not fit
    /// is lost.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a buffer of no bytes; otherwise what the system says; when the runtime
    /// has ended.
    pub async fn receive_from(&self, buf: &mut [u8]) -> io::Result<(usize, Addr)> {
        let mut received = Vec::new();
        let receive = |socket: &Socket| {
            sys::receive_many(socket.as_fd(), buf, buf.len(), &mut received)?;
            let one = received.pop().ok_or(io::ErrorKind::WouldBlock)?;
            Ok((one.length, Addr::of_system(&one.from)))
        };
        self.socket.read_with(receive).await
    }

    /// Sends a datagram to an address, and waits as long as there is no room for it.
    ///
    /// # Errors
    ///
    /// What the system says; when the runtime has ended.
    pub async fn send_to(&self, bytes: &[u8], to: &Addr) -> io::Result<()> {
        let to = to.to_system()?;
        let one = [ToSend { bytes, to: Some(&to), segment: 0 }];
        let send = |socket: &Socket| sys::send_many(socket.as_fd(), &one).map(drop);
        if self.local.ip().is_some() {
            return self.socket.write_with(send).await;
        }
        // The queue of the receiver is full, and nobody tells when it is not.
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

    /// Sends a datagram to whom the socket is [connected](DatagramSocket::connect).
    ///
    /// # Errors
    ///
    /// What the system says; when the runtime has ended.
    pub async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let one = [ToSend { bytes, to: None, segment: 0 }];
        let send = |socket: &Socket| sys::send_many(socket.as_fd(), &one).map(drop);
        self.socket.write_with(send).await
    }

    /// The address that the socket was bound to when this was made.
    pub fn local_addr(&self) -> &Addr {
        &self.local
    }
}

impl AsFd for AsyncDatagrams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
