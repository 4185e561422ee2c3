//! A pair of pipes, one for each direction, of which either may be missing.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use dapple::sync::{Arc, Mutex, OnceLock, lock};
use mio::unix::SourceFd;
use mio::{Interest, Token};

use crate::reactor::{ReactorShared, Registered};
use crate::sys;

/// A pair of pipes.
#[derive(Debug)]
pub(super) struct Pipes {
    /// The pipe that is read. If there is none, a file that is always at its end, and is never
    /// registered.
    from: File,
    reads: Reads,
    /// The pipe that is written, or `None` if there is none or it was shut down.
    to: Mutex<Option<File>>,
    /// The reactor in which the pipes are registered. They have to be deregistered, because others
    /// may have the pipes, too, so closing them here does not remove them from the system's poller.
    at: Mutex<Option<Arc<ReactorShared>>>,
}

/// What a read reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    Pipe,
    /// Nothing, until the reader of the other pipe is gone, which counts as the end.
    Nothing,
}

impl Pipes {
    /// Makes a pair of non-blocking pipes.
    ///
    /// # Errors
    ///
    /// Returns the system's error if no descriptor is left.
    pub(super) fn new(from: Option<OwnedFd>, to: Option<OwnedFd>) -> io::Result<Pipes> {
        let reads = if from.is_some() { Reads::Pipe } else { Reads::Nothing };
        let from = match from {
            Some(from) => File::from(from),
            None => File::open("/dev/null")?,
        };
        Ok(Pipes { from, reads, to: Mutex::new(to.map(File::from)), at: Mutex::default() })
    }

    /// Registers both pipes; see [`Socket::register`](super::socket::Socket::register).
    pub(super) fn register(
        &self,
        reactor: &Arc<ReactorShared>,
        ready: Arc<dyn Registered>,
        known: &OnceLock<Token>,
    ) -> io::Result<Token> {
        *lock(&self.at) = Some(Arc::clone(reactor));
        let to = lock(&self.to);
        let token = match (self.reads, &*to) {
            (Reads::Pipe, _) => {
                let fd = self.from.as_raw_fd();
                reactor.register(ready, known, &mut SourceFd(&fd), Some(fd), Interest::READABLE)?
            }
            (Reads::Nothing, Some(to)) => {
                let fd = to.as_raw_fd();
                let write = Interest::WRITABLE;
                return reactor.register(ready, known, &mut SourceFd(&fd), Some(fd), write);
            }
            (Reads::Nothing, None) => return Err(io::ErrorKind::NotConnected.into()),
        };
        let Some(to) = &*to else { return Ok(token) };
        match reactor.also(token, to.as_raw_fd(), Interest::WRITABLE) {
            Ok(()) => Ok(token),
            // A regular file cannot be polled, and takes everything at once.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(token),
            Err(error) => {
                reactor.unwatch(self.from.as_raw_fd());
                reactor.forget(token);
                Err(error)
            }
        }
    }

    pub(super) fn deregister(&self) {
        let Some(reactor) = lock(&self.at).take() else { return };
        if let Some(to) = &*lock(&self.to) {
            reactor.unwatch(to.as_raw_fd());
        }
        if self.reads == Reads::Pipe {
            reactor.unwatch(self.from.as_raw_fd());
        }
    }

    /// Returns `true` if there is no pipe to read. The end then comes when nothing can be written.
    pub(super) fn reads_nothing(&self) -> bool {
        self.reads == Reads::Nothing
    }

    pub(super) fn read<R>(&self, read: impl FnOnce(&File) -> io::Result<R>) -> io::Result<R> {
        match (self.reads, &*lock(&self.to)) {
            (Reads::Nothing, Some(to)) if !sys::has_failed(to.as_fd())? => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            // Without a pipe, `from` is a file at its end.
            _ => read(&self.from),
        }
    }

    pub(super) fn write(
        &self,
        write: impl FnOnce(&File) -> io::Result<usize>,
    ) -> io::Result<usize> {
        match &*lock(&self.to) {
            Some(to) => {
                sys::block_sigpipe();
                write(to)
            }
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Closes the pipe that is written, so that its reader reads the end.
    pub(super) fn shut_down_write(&self) {
        let to = lock(&self.to).take();
        if let Some(to) = &to {
            if let Some(reactor) = &*lock(&self.at) {
                reactor.unwatch(to.as_raw_fd());
            }
            // The standard output may be a socket that others share, so it is shut down. For a pipe
            // this fails: its reader reads the end when the last descriptor is closed.
            let _ = socket2::SockRef::from(to).shutdown(std::net::Shutdown::Write);
        }
    }

    /// Ends both directions, and lets the other ends know.
    pub(super) fn shut_down(&self) {
        self.shut_down_write();
        self.deregister();
        if self.reads == Reads::Pipe
            && let Err(error) = File::open("/dev/null")
                .and_then(|nothing| sys::replace(self.from.as_fd(), nothing.as_fd()))
        {
            tracing::debug!(%error, "cannot close a pipe");
        }
    }

    pub(super) fn as_file(&self) -> &File {
        &self.from
    }
}
