//! The name in the file system of a Unix socket that listens.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use dapple::park::Process;

/// Removes the name when it is dropped, if it still is the socket's.
#[derive(Debug)]
pub(crate) struct Unlink {
    path: PathBuf,
    /// Its device and number.
    id: (u64, u64),
    /// Whose it is: a forked child leaves it alone.
    process: Process,
    /// It is another process's from now on.
    is_left: bool,
}

impl Unlink {
    /// For a socket that was bound to this path.
    pub(super) fn new(path: &Path) -> io::Result<Unlink> {
        let id = id(path)?;
        Ok(Unlink { path: path.to_owned(), id, process: Process::current(), is_left: false })
    }
}

impl Unlink {
    /// Leaves the name there.
    pub(super) fn leave(mut self) {
        self.is_left = true;
    }
}

impl Drop for Unlink {
    fn drop(&mut self) {
        if !self.is_left
            && !self.process.is_another()
            && id(&self.path).is_ok_and(|id| id == self.id)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::debug!(%error, path = %self.path.display(), "a socket's name stays");
        }
    }
}

fn id(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Removes a name that a process which has ended has left: a socket that nobody listens at.
///
/// # Errors
///
/// `AddrInUse` if somebody does, or it is no socket.
pub(super) fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path)?.file_type().is_socket();
    // It does not wait: a backlog that is full is somebody's.
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    let is_stale = is_socket && probe.connect(&SockAddr::unix(path)?).is_err_and(refused);
    match is_stale {
        true => std::fs::remove_file(path),
        false => Err(io::ErrorKind::AddrInUse.into()),
    }
}
