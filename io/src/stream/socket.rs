//! The object that carries bytes: a socket, or a pair of pipes.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use dapple::sync::{Arc, OnceLock};
use mio::Token;
use mio::unix::SourceFd;

use super::pipes::Pipes;

use crate::Addr;
use crate::listen::Counted;
use crate::reactor::{ReactorShared, Registered};
use crate::readiness::both_directions;
use crate::sys;

/// A non-blocking socket, or a pair of non-blocking pipes.
#[derive(Debug)]
pub(crate) struct Socket {
    kind: Kind,
    /// Whether closing the socket removes it from the system's poller.
    owner: Owner,
    /// The count of the listener that accepted the socket, which is released when the socket
    /// closes.
    _until_closed: Option<Counted>,
}

/// Whether others may have the socket, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// No others: the socket was accepted or connected here.
    Alone,
    /// Others in this process or elsewhere may have it, so it may stay open when it is closed here.
    Shared,
}

#[derive(Debug)]
enum Kind {
    /// A connected TCP or Unix socket.
    Duplex(socket2::Socket),
    Pipes(Pipes),
}

impl From<socket2::Socket> for Socket {
    fn from(socket: socket2::Socket) -> Self {
        Socket { kind: Kind::Duplex(socket), owner: Owner::Alone, _until_closed: None }
    }
}

impl Socket {
    /// Makes a socket from one that a listener has accepted and counts.
    pub(crate) fn counted(socket: socket2::Socket, counted: Option<Counted>) -> Socket {
        Socket { kind: Kind::Duplex(socket), owner: Owner::Alone, _until_closed: counted }
    }

    /// Makes a socket that others may have, too.
    pub(crate) fn shared(socket: socket2::Socket) -> Socket {
        Socket { kind: Kind::Duplex(socket), owner: Owner::Shared, _until_closed: None }
    }

    /// Makes a pair of non-blocking pipes, of which either may be missing.
    ///
    /// # Errors
    ///
    /// Returns the system's error if no descriptor is left.
    pub(crate) fn pipes(from: Option<OwnedFd>, to: Option<OwnedFd>) -> io::Result<Socket> {
        let pipes = Pipes::new(from, to)?;
        Ok(Socket { kind: Kind::Pipes(pipes), owner: Owner::Shared, _until_closed: None })
    }

    /// Returns `true` if a read returns only the end, once nothing can be written any longer.
    pub(crate) fn reads_nothing(&self) -> bool {
        matches!(&self.kind, Kind::Pipes(pipes) if pipes.reads_nothing())
    }

    pub(crate) fn is_pipes(&self) -> bool {
        matches!(self.kind, Kind::Pipes(_))
    }

    /// Has a reactor tell `ready` about both directions. `known` gets the token before the reactor
    /// tells anything.
    ///
    /// # Errors
    ///
    /// Returns the system's error, or an error if the runtime has ended.
    pub(crate) fn register(
        &self,
        reactor: &Arc<ReactorShared>,
        ready: Arc<dyn Registered>,
        known: &OnceLock<Token>,
    ) -> io::Result<Token> {
        match &self.kind {
            Kind::Duplex(socket) => {
                let fd = socket.as_raw_fd();
                reactor.register(ready, known, &mut SourceFd(&fd), Some(fd), both_directions())
            }
            Kind::Pipes(pipes) => pipes.register(reactor, ready, known),
        }
    }

    /// Ends the registration of a socket that stays open.
    pub(crate) fn deregister(&self, reactor: &ReactorShared) {
        match &self.kind {
            Kind::Duplex(socket) => reactor.unwatch(socket.as_raw_fd()),
            Kind::Pipes(pipes) => pipes.deregister(),
        }
    }

    /// Ends the registration of a socket that is about to be closed. If nobody else has the socket,
    /// closing it does that.
    pub(crate) fn before_close(&self, reactor: &ReactorShared) {
        if self.owner == Owner::Shared {
            self.deregister(reactor);
        }
    }

    pub(crate) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.kind {
            Kind::Duplex(socket) => (&mut &*socket).read(buf),
            Kind::Pipes(pipes) => pipes.read(|mut from| from.read(buf)),
        }
    }

    pub(crate) fn read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match &self.kind {
            Kind::Duplex(socket) => (&mut &*socket).read_vectored(bufs),
            Kind::Pipes(pipes) => pipes.read(|mut from| from.read_vectored(bufs)),
        }
    }

    /// Reads into memory that need not be initialised, and returns how many bytes at its start are
    /// initialised afterwards.
    #[cfg_attr(not(feature = "hyper"), allow(dead_code, reason = "for hyper's buffers"))]
    pub(crate) fn read_uninit(&self, buf: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
        match &self.kind {
            Kind::Duplex(socket) => socket.recv(buf),
            Kind::Pipes(pipes) => {
                let mut read = vec![0; buf.len()];
                let n = pipes.read(|mut from| from.read(&mut read))?;
                for (to, from) in buf.iter_mut().zip(&read[..n]) {
                    to.write(*from);
                }
                Ok(n)
            }
        }
    }

    /// Copies bytes that have arrived, without removing them.
    ///
    /// # Errors
    ///
    /// Returns the system's error, or `Unsupported` for pipes.
    pub(crate) fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.kind {
            Kind::Duplex(socket) => sys::peek(socket.as_fd(), buf),
            Kind::Pipes(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Writes bytes. Raises no SIGPIPE.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.kind {
            Kind::Duplex(socket) => socket.send_with_flags(bytes, sys::NO_SIGNAL),
            Kind::Pipes(pipes) => pipes.write(|mut to| to.write(bytes)),
        }
    }

    /// Writes bytes, and descriptors that are sent with the first of them. Raises no SIGPIPE.
    pub(crate) fn write_with_fds(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        sys::send_fds(self.as_unix_socket()?.as_fd(), bytes, fds)
    }

    /// Reads bytes, and up to `most` descriptors that come with them.
    pub(crate) fn read_with_fds(
        &self,
        buf: &mut [u8],
        most: usize,
    ) -> io::Result<(usize, Vec<OwnedFd>)> {
        match &self.kind {
            Kind::Duplex(socket) => sys::receive_fds(socket.as_fd(), buf, most),
            Kind::Pipes(_) => self.read(buf).map(|n| (n, Vec::new())),
        }
    }

    /// Writes several slices at once. Raises no SIGPIPE.
    pub(crate) fn write_slices(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.kind {
            Kind::Duplex(socket) => sys::send_slices(socket, slices),
            Kind::Pipes(pipes) => pipes
                .write(|mut to| to.write_vectored(&slices[..slices.len().min(sys::MOST_SLICES)])),
        }
    }

    /// Writes bytes that are followed by more at once. Raises no SIGPIPE.
    pub(crate) fn write_more(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.kind {
            Kind::Duplex(socket) => sys::send_more(socket.as_fd(), bytes),
            Kind::Pipes(_) => self.write(bytes),
        }
    }

    /// Writes up to `count` bytes of a file, from `offset` on.
    pub(crate) fn write_file(&self, file: &File, offset: u64, count: usize) -> io::Result<usize> {
        match &self.kind {
            Kind::Duplex(socket) => sys::sendfile(socket.as_fd(), file, offset, count),
            Kind::Pipes(pipes) => pipes.write(|to| sys::sendfile(to.as_fd(), file, offset, count)),
        }
    }

    /// Closes the sending side, so that the peer reads the end of the stream.
    pub(crate) fn shut_down_write(&self) -> io::Result<()> {
        match &self.kind {
            Kind::Duplex(socket) => socket.shutdown(Shutdown::Write),
            Kind::Pipes(pipes) => {
                pipes.shut_down_write();
                Ok(())
            }
        }
    }

    /// Shuts both directions down, so that the peer does not wait for answers that never come.
    pub(crate) fn shut_down(&self) {
        match &self.kind {
            // This fails if the peer has already gone.
            Kind::Duplex(socket) => _ = socket.shutdown(Shutdown::Both),
            Kind::Pipes(pipes) => pipes.shut_down(),
        }
    }

    /// Returns the pending error of the socket, and clears it.
    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        match &self.kind {
            Kind::Duplex(socket) => socket.take_error(),
            Kind::Pipes(_) => Ok(None),
        }
    }

    /// Returns the local address.
    pub(crate) fn local_addr(&self) -> io::Result<Addr> {
        match &self.kind {
            Kind::Duplex(socket) => Ok(Addr::of_system(&socket.local_addr()?)),
            Kind::Pipes(_) => Ok(Addr::unnamed()),
        }
    }

    /// Returns the address of the peer.
    pub(crate) fn peer_addr(&self) -> io::Result<Addr> {
        match &self.kind {
            Kind::Duplex(socket) => Ok(Addr::of_system(&socket.peer_addr()?)),
            Kind::Pipes(_) => Ok(Addr::unnamed()),
        }
    }

    /// Returns the socket, if it is a Unix socket.
    ///
    /// # Errors
    ///
    /// Returns `Unsupported` if it is not a Unix socket, and otherwise the system's error.
    pub(crate) fn as_unix_socket(&self) -> io::Result<&socket2::Socket> {
        let socket = self.as_socket().ok_or(io::ErrorKind::Unsupported)?;
        match socket.domain()? {
            socket2::Domain::UNIX => Ok(socket),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Returns the socket, or `None` for pipes.
    pub(crate) fn as_socket(&self) -> Option<&socket2::Socket> {
        match &self.kind {
            Kind::Duplex(socket) => Some(socket),
            Kind::Pipes(_) => None,
        }
    }
}

/// The descriptor that is read from.
impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Duplex(socket) => socket.as_fd(),
            Kind::Pipes(pipes) => pipes.as_file().as_fd(),
        }
    }
}
