//! Listening descriptors that another process has opened: socket activation (sd_listen_fds(3)), and
//! handing over from an old process to a new one.

use std::io;
use std::os::fd::OwnedFd;

use crate::sys;

/// A descriptor that this process has been started with.
#[derive(Debug)]
pub struct Inherited {
    /// Its name, of `LISTEN_FDNAMES`; empty if it has none.
    pub name: String,
    /// The descriptor.
    pub fd: OwnedFd,
}

/// The descriptors that this process has been started with, as systemd's socket activation and
/// `systemd-socket-activate` pass them: those from 3 on, of which the environment tells the number
/// (`LISTEN_FDS`), the process they are for (`LISTEN_PID`), and their names (`LISTEN_FDNAMES`).
/// None if the environment says nothing, or that they are for another process; and none at a
/// second call, as they have an owner then. They are closed by exec(2) from now on.
///
/// The variables stay in the environment, which a process with threads must not change; a child
/// that gets them sees by `LISTEN_PID` that they are not for it.
///
/// # Errors
///
/// `InvalidData` if a variable is no number; what the system says if a descriptor is not open.
///
/// # Examples
///
/// ```
/// use dapple_io::listen::{Accepting, inherited};
/// let rt = dapple_io::runtime().build()?;
/// let io = dapple_io::Io::of(&rt.handle());
/// let mut listeners = io.listener();
/// let activated = inherited()?;
/// listeners = match activated.is_empty() {
///     true => listeners.bind("127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap()),
///     false => activated.into_iter().fold(listeners, |all, one| all.adopt(one.fd)),
/// };
/// let listener = listeners.start(|stream, _| println!("{}", stream.peer_addr()))?;
/// println!("listening on {}", listener.addrs()[0]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "LISTEN_FDS")]
#[doc(alias = "sd_listen_fds")]
pub fn inherited() -> io::Result<Vec<Inherited>> {
    let number = |name: &str| match std::env::var(name) {
        Ok(text) => text.parse().map(Some).map_err(|_| not_a_number(name)),
        Err(_) => Ok(None),
    };
    let (Some(process), Some(count)) = (number("LISTEN_PID")?, number("LISTEN_FDS")?) else {
        return Ok(Vec::new());
    };
    if process != std::process::id() || count == 0 {
        return Ok(Vec::new());
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.split(':').map(str::to_owned).chain(std::iter::repeat(String::new()));
    let fds = sys::take_inherited(count)?.unwrap_or_default();
    Ok(fds.into_iter().zip(names).map(|(fd, name)| Inherited { name, fd }).collect())
}

fn not_a_number(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{name} is no number"))
}
