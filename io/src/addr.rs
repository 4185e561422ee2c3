//! Who is at the other end of a stream.

use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dapple::sync::Arc;

/// The address of one end of a stream: of TCP, or of a Unix socket; a pipe has none.
///
/// # Examples
///
/// ```
/// use dapple_io::Addr;
/// use std::net::SocketAddr;
/// let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
/// assert_eq!(Addr::from(address).ip(), Some(address));
/// assert_eq!(Addr::from(address).to_string(), "127.0.0.1:80");
/// assert_eq!(Addr::unix("/run/app.sock").to_string(), "unix:/run/app.sock");
/// assert_eq!(Addr::abstract_name(b"app").to_string(), "unix:@app");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Addr(Kind);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Kind {
    Ip(SocketAddr),
    Path(Arc<Path>),
    Abstract(Arc<[u8]>),
    Unnamed,
}

impl Addr {
    /// The address of a Unix socket in the file system.
    pub fn unix(path: impl Into<PathBuf>) -> Addr {
        Addr(Kind::Path(path.into().into()))
    }

    /// The address of a Unix socket that is in no file system (Linux): a name that goes with its
    /// last socket.
    pub fn abstract_name(name: &[u8]) -> Addr {
        Addr(Kind::Abstract(name.into()))
    }

    /// That of a pipe, or of a Unix socket that was bound to nothing.
    pub(crate) fn unnamed() -> Addr {
        Addr(Kind::Unnamed)
    }

    /// The address and the port, if it is of TCP or UDP.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self.0 {
            Kind::Ip(address) => Some(address),
            _ => None,
        }
    }

    /// The path, if it is of a Unix socket that has one.
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Kind::Path(path) => Some(path),
            _ => None,
        }
    }

    /// The name of an [abstract](Self::abstract_name) Unix socket.
    pub fn name(&self) -> Option<&[u8]> {
        match &self.0 {
            Kind::Abstract(name) => Some(name),
            _ => None,
        }
    }

    /// Says whether this is the address of a pipe, or of a Unix socket that was bound to nothing,
    /// as the sockets of most clients are.
    pub fn is_unnamed(&self) -> bool {
        self.0 == Kind::Unnamed
    }

    /// What the system calls it.
    pub(crate) fn of_system(address: &socket2::SockAddr) -> Addr {
        if let Some(ip) = address.as_socket() {
            return Addr(Kind::Ip(ip));
        }
        match (address.as_pathname(), address.as_abstract_namespace()) {
            (Some(path), _) => Addr(Kind::Path(path.into())),
            (None, Some(name)) => Addr(Kind::Abstract(name.into())),
            (None, None) => Addr(Kind::Unnamed),
        }
    }

    /// For the system.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a path that is empty or too long, and for an address that is none.
    pub(crate) fn to_system(&self) -> std::io::Result<socket2::SockAddr> {
        match &self.0 {
            Kind::Ip(address) => Ok((*address).into()),
            // An empty one is a name that the system chooses.
            Kind::Path(path) if path.as_os_str().is_empty() => {
                Err(std::io::ErrorKind::InvalidInput.into())
            }
            Kind::Path(path) => socket2::SockAddr::unix(path),
            Kind::Abstract(name) => {
                // In its first byte a path of the file system never has a zero.
                let name = [&[0], &**name].concat();
                socket2::SockAddr::unix(OsStr::from_bytes(&name))
            }
            Kind::Unnamed => Err(std::io::ErrorKind::InvalidInput.into()),
        }
    }
}

impl From<SocketAddr> for Addr {
    fn from(address: SocketAddr) -> Addr {
        Addr(Kind::Ip(address))
    }
}

impl PartialEq<SocketAddr> for Addr {
    fn eq(&self, other: &SocketAddr) -> bool {
        self.ip() == Some(*other)
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Ip(address) => address.fmt(f),
            // A peer may have chosen it.
            Kind::Path(path) => write!(f, "unix:{}", path.display().to_string().escape_debug()),
            Kind::Abstract(name) => write!(f, "unix:@{}", name.escape_ascii()),
            Kind::Unnamed => f.write_str("unnamed"),
        }
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
