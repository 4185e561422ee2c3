//! Addresses of sockets.

use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dapple::sync::Arc;

/// The address of a socket: an IP address with a port, or the path or name of a Unix socket.
///
/// A pipe has no address. Its streams have an [unnamed](Self::is_unnamed) one.
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
    /// Returns the address of a Unix socket with a path in the file system.
    pub fn unix(path: impl Into<PathBuf>) -> Addr {
        Addr(Kind::Path(path.into().into()))
    }

    /// Returns the address of a Unix socket with an abstract name (Linux).
    ///
    /// An abstract name is in no file system. It disappears with the last socket that is bound to
    /// it.
    pub fn abstract_name(name: &[u8]) -> Addr {
        Addr(Kind::Abstract(name.into()))
    }

    /// Returns the address of a pipe, or of a Unix socket that is bound to no name.
    pub(crate) fn unnamed() -> Addr {
        Addr(Kind::Unnamed)
    }

    /// Returns the IP address and the port, or `None` if this is no address of TCP or UDP.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self.0 {
            Kind::Ip(address) => Some(address),
            _ => None,
        }
    }

    /// Returns the path of a Unix socket, or `None` if this is no such address.
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Kind::Path(path) => Some(path),
            _ => None,
        }
    }

    /// Returns the name of an [abstract](Self::abstract_name) Unix socket, or `None` if this is no
    /// such address.
    pub fn name(&self) -> Option<&[u8]> {
        match &self.0 {
            Kind::Abstract(name) => Some(name),
            _ => None,
        }
    }

    /// Returns `true` for the address of a pipe, or of a Unix socket that is bound to no name.
    ///
    /// The sockets of most Unix clients are bound to no name.
    pub fn is_unnamed(&self) -> bool {
        self.0 == Kind::Unnamed
    }

    /// Converts an address from the system's form.
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

    /// Converts the address to the system's form.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` for an empty path, for a path or a name that is too long, and for an
    /// unnamed address.
    pub(crate) fn to_system(&self) -> std::io::Result<socket2::SockAddr> {
        match &self.0 {
            Kind::Ip(address) => Ok((*address).into()),
            // To the system, an empty path is a request to choose a name.
            Kind::Path(path) if path.as_os_str().is_empty() => {
                Err(std::io::ErrorKind::InvalidInput.into())
            }
            Kind::Path(path) => socket2::SockAddr::unix(path),
            Kind::Abstract(name) => {
                // A zero in the first byte marks an abstract name. No path begins with one.
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
            // The peer may have chosen the path, so its control characters are escaped.
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
