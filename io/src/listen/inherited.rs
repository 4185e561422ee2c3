//! Listening descriptors that another process has opened: socket activation (sd_listen_fds(3)), and
//! handing over from an old process to a new one.
//!
//! What is handed over keeps its numbers, which the environment tells, with the number of the
//! process that hands over: `LISTEN_FDS` would have them be 3, 4, and so on, which are taken in a
//! process that runs.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::Command;

use crate::sys;

/// Tells a child what is handed over to it: the number of its parent, and then, after semicolons,
/// the number of each descriptor, an equals sign, and its name.
const HANDED_OVER: &str = "DAPPLE_HANDED_OVER";

/// The first descriptor of socket activation; those before are the standard ones.
const FIRST: RawFd = 3;

/// A descriptor that this process has been started with, or is to start another one with.
#[derive(Debug)]
pub struct Inherited {
    /// Its name, of `LISTEN_FDNAMES` or [`pass_on`]; empty if it has none.
    pub name: String,
    /// The descriptor.
    pub fd: OwnedFd,
}

/// The descriptors that this process has been started with, as systemd's socket activation and
/// `systemd-socket-activate` pass them: those from 3 on, of which the environment tells the number
/// (`LISTEN_FDS`), the process they are for (`LISTEN_PID`), and their names (`LISTEN_FDNAMES`). Or
/// those that its parent has handed over by [`pass_on`]. None if the environment says nothing, or
/// that they are for another process; and none at a second call, as they have an owner then. They
/// are closed by exec(2) from now on.
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

/// What the parent has handed over; `None`: nothing.
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

/// Has the process that `command` starts, which is a child of this one and no grandchild, inherit
/// descriptors, which it finds by [`inherited`]: a new version of a program, say, takes over where
/// this one listens, while this one still serves the connections that it has. The descriptors here
/// are closed when the command is dropped.
///
/// A process that has handed over its sockets [leaves](super::Listener::leave) its listener as soon
/// as it knows that the new one listens; then no connection is lost, as they share the system's
/// queue of connections that wait to be accepted.
///
/// # Errors
///
/// `InvalidInput` if a name has a semicolon or a NUL in it.
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
///     // Here it waits until the child says that it is ready.
///     listener.leave();
///     Ok(())
/// }
/// ```
pub fn pass_on(command: &mut Command, descriptors: Vec<Inherited>) -> io::Result<()> {
    let mut told = std::process::id().to_string();
    for Inherited { name, fd } in &descriptors {
        if name.contains([';', '\0']) {
            let why = "the name of a descriptor has no semicolon";
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
