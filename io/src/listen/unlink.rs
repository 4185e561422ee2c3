//! The name of a bound Unix socket in the file system.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use dapple::park::Process;

/// A guard that removes a socket's name when it is dropped, if the name still belongs to the
/// socket.
#[derive(Debug)]
pub(crate) struct Unlink {
    path: PathBuf,
    /// The device and inode numbers of the name.
    id: (u64, u64),
    /// The process that owns the name. A forked child does not remove it.
    process: Process,
    /// The name belongs to another process from now on.
    is_disowned: bool,
}

impl Unlink {
    /// Makes the guard for a socket that was bound to `path`.
    pub(super) fn new(path: &Path) -> io::Result<Unlink> {
        let id = id(path)?;
        Ok(Unlink { path: path.to_owned(), id, process: Process::current(), is_disowned: false })
    }
}

impl Unlink {
    /// Leaves the name in the file system.
    pub(super) fn disown(mut self) {
        self.is_disowned = true;
    }
}

impl Drop for Unlink {
    fn drop(&mut self) {
        if !self.is_disowned
            && !self.process.is_another()
            && id(&self.path).is_ok_and(|id| id == self.id)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            let path = self.path.display();
            tracing::debug!(%error, %path, "cannot remove the name of a socket");
        }
    }
}

fn id(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Removes a name that was left by a process that has ended, that is, a socket at which nothing
/// listens.
///
/// # Errors
///
/// Returns `AddrInUse` if something listens there, or if the name is not that of a socket. Returns
/// the system's error if the name cannot be looked up or removed.
pub(super) fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path)?.file_type().is_socket();
    // The probe does not block. If a backlog is full, the connect fails, but a process listens
    // there.
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    let is_stale = is_socket && probe.connect(&SockAddr::unix(path)?).is_err_and(refused);
    match is_stale {
        true => std::fs::remove_file(path),
        false => Err(io::ErrorKind::AddrInUse.into()),
    }
}
