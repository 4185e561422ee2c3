//! Listening descriptors that another process has opened, by socket activation (sd_listen_fds(3)),
//! or by a handover from an old process to a new one.
//!
//! Descriptors that are handed over keep their numbers. An environment variable has these numbers,
//! and the process ID of the process that hands over. The convention of `LISTEN_FDS` cannot be used
//! for that: it requires the numbers 3, 4, and so on, which a running process has in use.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::Command;

use crate::sys;

/// The variable that tells a child which descriptors are handed over to it. Its value is the
/// process ID of the parent, followed for each descriptor by a semicolon, the number, an equals
/// sign and the name.
const HANDED_OVER: &str = "DAPPLE_HANDED_OVER";

/// The first descriptor of socket activation, after the three standard ones.
const FIRST: RawFd = 3;

/// A descriptor that this process was started with, or passes on to a process that it starts.
///
/// See [`pass_on`] for an example.
#[derive(Debug)]
pub struct Inherited {
    /// The name, from `LISTEN_FDNAMES` or [`pass_on`]; empty if the descriptor has none.
    pub name: String,
    /// The descriptor itself.
    pub fd: OwnedFd,
}

/// Returns the descriptors that this process was started with.
///
/// These are the descriptors that its parent has handed over by [`pass_on`]. If there are none,
/// they are those of socket activation, as systemd and `systemd-socket-activate` pass them. Those
/// have the numbers from 3 on. The environment has their count (`LISTEN_FDS`), the process that
/// they are for (`LISTEN_PID`), and their names (`LISTEN_FDNAMES`).
///
/// The list is empty if the environment names no descriptors, or names another process. It is also
/// empty at a second call, because the descriptors have an owner by then. The descriptors are
/// close-on-exec from then on.
///
/// The variables stay in the environment, which a process with threads must not change. A child
/// that gets them sees by the process ID that they are not for it.
///
/// # Errors
///
/// Returns `InvalidData` if a variable cannot be parsed, or if a descriptor is a standard one or is
/// named twice. Returns the system's error if a descriptor is not open.
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
    if let Some(handed_over) = handed_over()? {
        return Ok(handed_over);
    }
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
    let numbers: Option<Vec<RawFd>> = (0..count)
        .map(|offset| i32::try_from(offset).ok().and_then(|offset| FIRST.checked_add(offset)))
        .collect();
    let numbers = numbers.ok_or_else(|| not_a_number("LISTEN_FDS"))?;
    let fds = sys::take_inherited(&numbers)?.unwrap_or_default();
    Ok(fds.into_iter().zip(names).map(|(fd, name)| Inherited { name, fd }).collect())
}

/// Returns the descriptors that the parent has handed over, or `None` if it has handed over none.
fn handed_over() -> io::Result<Option<Vec<Inherited>>> {
    let Ok(told) = std::env::var(HANDED_OVER) else { return Ok(None) };
    let mut parts = told.split(';');
    let parent = parts.next().and_then(|parent| parent.parse().ok());
    if parent != Some(std::os::unix::process::parent_id()) {
        return Ok(None);
    }
    let parse = |part: &str| {
        let (number, name) = part.split_once('=')?;
        Some((number.parse::<RawFd>().ok()?, name.to_owned()))
    };
    let all: Option<Vec<(RawFd, String)>> = parts.map(parse).collect();
    let (numbers, names): (Vec<RawFd>, Vec<String>) =
        all.ok_or_else(|| not_a_number(HANDED_OVER))?.into_iter().unzip();
    let fds = sys::take_inherited(&numbers)?.unwrap_or_default();
    Ok(Some(fds.into_iter().zip(names).map(|(fd, name)| Inherited { name, fd }).collect()))
}

/// Passes descriptors on to the process that `command` starts, which gets them from [`inherited`].
///
/// That process has to be a child of this one, not a grandchild. For example, a new version of a
/// program takes over the listening sockets while this one still serves its connections. This
/// process closes its copies of the descriptors when `command` is dropped.
///
/// A process that has handed over its sockets [gives up](super::Listener::hand_over) its listener
/// once it knows that the new process listens. No connection is lost then, because both share the
/// system's queue of connections that wait to be accepted.
///
/// # Errors
///
/// Returns `InvalidInput` if a name contains a semicolon or a NUL.
///
/// # Examples
///
/// ```no_run
/// use std::process::Command;
/// use dapple_io::listen::{Inherited, pass_on};
///
/// fn hand_over(listener: dapple_io::listen::Listener) -> std::io::Result<()> {
///     let sockets = listener.sockets()?.into_iter().flatten();
///     let named = sockets.map(|fd| Inherited { name: "web".to_owned(), fd }).collect();
///     let mut command = Command::new("/usr/local/bin/server");
///     pass_on(&mut command, named)?;
///     let child = dapple::unpinned(|| command.spawn())?;
///     // Wait here until the child reports that it is ready.
///     listener.hand_over();
///     Ok(())
/// }
/// ```
pub fn pass_on(command: &mut Command, descriptors: Vec<Inherited>) -> io::Result<()> {
    let mut told = std::process::id().to_string();
    for Inherited { name, fd } in &descriptors {
        if name.contains([';', '\0']) {
            let why = "the name of a descriptor must not contain a semicolon or a NUL";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        told.push_str(&format!(";{}={name}", fd.as_raw_fd()));
    }
    command.env(HANDED_OVER, told);
    sys::pass_on(command, descriptors.into_iter().map(|one| one.fd).collect());
    Ok(())
}

fn not_a_number(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{name} is no number"))
}
