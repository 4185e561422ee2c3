//! Restarts the server without losing a connection.
//!
//! At SIGUSR2 the server starts itself again, with the same command line, and hands over its
//! listening sockets. When the new process serves, the old one answers the requests in progress,
//! and ends. If the new process fails to start, the old one keeps serving.

use std::ffi::OsString;
use std::io::{self, PipeReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use dapple::{clock, unpinned};
use dapple_io::listen::{Inherited, Listener, pass_on};

use crate::common::process::Signals;

/// The longest time that a new process may take until it serves.
const PATIENCE: Duration = Duration::from_secs(60);

/// The delay between two checks of the new process.
const LOOKS: Duration = Duration::from_millis(10);

/// The start of the name of an address's sockets. The address follows as on the command line;
/// nothing follows for sockets of a service manager. `REDIRECTS` is the same for the address that
/// only redirects, and `READY` names the pipe on which the new process reports that it serves.
const LISTENS: &str = "dapple listens at ";
const REDIRECTS: &str = "dapple redirects at ";
const READY: &str = "dapple is ready";

/// The descriptors that this process was started with.
#[derive(Default)]
pub(super) struct Started {
    /// Sockets from the predecessor, with names that tell their address.
    handed_over: Vec<Inherited>,
    /// Sockets from a service manager.
    activated: Vec<Inherited>,
    /// The pipe on which the predecessor learns that this process serves.
    ready: Option<Inherited>,
}

impl Started {
    pub(super) fn find() -> Result<Started, String> {
        let failed = |e| format!("cannot use the inherited sockets: {e}");
        let mut started = Started::default();
        for one in dapple_io::listen::inherited().map_err(failed)? {
            match one.name.as_str() {
                READY => started.ready = Some(one),
                name if name.starts_with(LISTENS) || name.starts_with(REDIRECTS) => {
                    started.handed_over.push(one);
                }
                _ => started.activated.push(one),
            }
        }
        Ok(started)
    }

    /// Takes the sockets of a service manager, including those that the predecessor had from it.
    pub(super) fn take_activated(&mut self) -> Vec<Inherited> {
        let mut all = std::mem::take(&mut self.activated);
        all.extend(self.take(LISTENS));
        all
    }

    /// Takes the sockets that the predecessor had at an address.
    pub(super) fn take_listening(&mut self, at: &str) -> Vec<Inherited> {
        self.take(&format!("{LISTENS}{at}"))
    }

    /// Takes the sockets that the predecessor had at an address that only redirects.
    pub(super) fn take_redirecting(&mut self, at: &str) -> Vec<Inherited> {
        self.take(&format!("{REDIRECTS}{at}"))
    }

    fn take(&mut self, name: &str) -> Vec<Inherited> {
        self.handed_over.extract_if(.., |one| one.name == name).collect()
    }

    /// Returns `true` if there is a predecessor, which keeps serving if this process cannot.
    pub(super) fn has_predecessor(&self) -> bool {
        self.ready.is_some()
    }

    /// Tells the predecessor, if there is one, that this process serves.
    pub(super) fn tell_ready(self) {
        use std::io::Write;
        if let Some(ready) = self.ready {
            // An error only means that the predecessor is gone.
            let _ = std::fs::File::from(ready.fd).write_all(b"\n");
        }
    }
}

/// The reason why there is no new process.
pub(super) enum NotStarted {
    Failed(String),
    /// The server was told to end meanwhile.
    ToldToEnd,
}

/// The program and the arguments of a new process.
pub(super) struct Successor {
    program: PathBuf,
    args: Vec<OsString>,
    /// The name of each address of the listener, as on the command line.
    names: Vec<String>,
    redirects: Option<String>,
}

impl Successor {
    /// Finds the program's file. This must happen at the start, because the current folder may
    /// change later.
    pub(super) fn new(names: Vec<String>, redirects: Option<String>) -> Result<Successor, String> {
        let program = program().map_err(|e| format!("cannot find this program's own file: {e}"))?;
        Ok(Successor { program, args: std::env::args_os().skip(1).collect(), names, redirects })
    }

    /// Starts the new process, waits until it serves, and returns its id. After that the old
    /// process may end.
    ///
    /// # Errors
    ///
    /// Returns the reason why the new process does not serve. The process has ended then.
    pub(super) fn start(
        &self,
        listener: &Listener,
        redirect: Option<&Listener>,
        signals: &Signals,
    ) -> Result<u32, NotStarted> {
        if std::process::id() == 1 {
            // The end of process 1 ends all processes of its container.
            let why = "process 1 cannot be replaced: start this program from an init";
            return Err(NotStarted::Failed(why.to_owned()));
        }
        let failed = |e: io::Error| {
            NotStarted::Failed(format!("cannot start {}: {e}", self.program.display()))
        };
        let (told, ready) = io::pipe().map_err(failed)?;
        let mut all = vec![Inherited { name: READY.to_owned(), fd: ready.into() }];
        for (name, sockets) in self.names.iter().zip(listener.sockets().map_err(failed)?) {
            let name = format!("{LISTENS}{name}");
            all.extend(sockets.into_iter().map(|fd| Inherited { name: name.clone(), fd }));
        }
        if let Some((name, redirect)) = self.redirects.as_ref().zip(redirect) {
            let name = format!("{REDIRECTS}{name}");
            let sockets = redirect.sockets().map_err(failed)?.into_iter().flatten();
            all.extend(sockets.map(|fd| Inherited { name: name.clone(), fd }));
        }
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        pass_on(&mut command, all).map_err(failed)?;
        let mut child = unpinned(|| command.spawn()).map_err(failed)?;
        // Close our copies of the descriptors, or the pipe would not end with the new process.
        drop(command);
        wait(&mut child, told, signals).map(|()| child.id()).inspect_err(|_| {
            let _ = child.kill();
            let _ = child.wait();
        })
    }
}

/// Returns the absolute path of the program as it was called, so that a symbolic link is resolved
/// again at the next start.
fn program() -> io::Result<PathBuf> {
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    match called.components().count() {
        // The shell found the program in `PATH`, or the path is not known.
        0 | 1 => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let mut all = std::env::split_paths(&path).map(|folder| folder.join(&called));
            let found = all.find(|program| program.is_file()).map(std::path::absolute);
            found.unwrap_or_else(std::env::current_exe)
        }
        _ => std::path::absolute(called),
    }
}

/// Waits until the child reports that it serves.
fn wait(child: &mut Child, mut told: PipeReader, signals: &Signals) -> Result<(), NotStarted> {
    let failed =
        |e: io::Error| NotStarted::Failed(format!("cannot read from the new process: {e}"));
    rustix::io::ioctl_fionbio(&told, true).map_err(|e| failed(e.into()))?;
    let start = clock::now();
    while clock::now() - start < PATIENCE {
        if signals.are_to_end() {
            return Err(NotStarted::ToldToEnd);
        }
        match told.read(&mut [0]) {
            Ok(1..) => return Ok(()),
            // The pipe ends together with the child, or a moment before.
            Ok(0) => {
                if let Some(status) = child.try_wait().map_err(failed)? {
                    let why = format!("the new process exited ({status}) before it served");
                    return Err(NotStarted::Failed(why));
                }
                dapple::sync::sleep(LOOKS);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => dapple::sync::sleep(LOOKS),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(e)),
        }
    }
    let why = format!("the new process did not serve within {} s", PATIENCE.as_secs());
    Err(NotStarted::Failed(why))
}
