//! A restart without a lost connection: at SIGUSR2 the server starts itself anew, with the command
//! line that it had, and hands over the sockets that it listens on. When the new process serves,
//! the old one answers what was begun, and ends. If the new one does not come up, the old one goes
//! on.

use std::ffi::OsString;
use std::io::{self, PipeReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use dapple::{clock, unpinned};
use dapple_io::listen::{Inherited, Listener, pass_on};

use crate::common::process::Signals;

/// How long a new process may take until it serves.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often to check.
const LOOKS: Duration = Duration::from_millis(10);

/// Names of what is handed over: the sockets of an address, with the address as the command line
/// has it behind, or nothing for those of a service manager; the sockets of the address that only
/// redirects; and the pipe by which the new process tells that it serves.
const LISTENS: &str = "dapple listens at ";
const REDIRECTS: &str = "dapple redirects at ";
const READY: &str = "dapple is ready";

/// What this process was started with.
#[derive(Default)]
pub(super) struct Started {
    /// Sockets of a process before it: what for, and where.
    handed_over: Vec<Inherited>,
    /// Sockets of a service manager.
    activated: Vec<Inherited>,
    /// Where the process before it learns that this one serves.
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

    /// Takes the sockets of a service manager, also those that a process before this one had from
    /// it.
    pub(super) fn take_activated(&mut self) -> Vec<Inherited> {
        let mut all = std::mem::take(&mut self.activated);
        all.extend(self.take(LISTENS));
        all
    }

    /// Takes the sockets that a process before this one had at an address.
    pub(super) fn take_listening(&mut self, at: &str) -> Vec<Inherited> {
        self.take(&format!("{LISTENS}{at}"))
    }

    /// As [`take_listening`](Self::take_listening), of those that only redirect.
    pub(super) fn take_redirecting(&mut self, at: &str) -> Vec<Inherited> {
        self.take(&format!("{REDIRECTS}{at}"))
    }

    fn take(&mut self, name: &str) -> Vec<Inherited> {
        self.handed_over.extract_if(.., |one| one.name == name).collect()
    }

    /// Says whether there is a process before this one, which goes on if this one cannot serve.
    pub(super) fn has_predecessor(&self) -> bool {
        self.ready.is_some()
    }

    /// Tells the process before this one, if there is one, that this one serves.
    pub(super) fn tell_ready(self) {
        use std::io::Write;
        if let Some(ready) = self.ready {
            // If it has gone meanwhile, nobody waits for it.
            let _ = std::fs::File::from(ready.fd).write_all(b"\n");
        }
    }
}

/// Why there is no new process.
pub(super) enum NotStarted {
    Failed(String),
    /// The server was told to end meanwhile.
    ToldToEnd,
}

/// Whom to start, and with what.
pub(super) struct Successor {
    program: PathBuf,
    args: Vec<OsString>,
    /// For each address of the listener, what the command line calls it.
    names: Vec<String>,
    redirects: Option<String>,
}

impl Successor {
    /// To be called at the start: the folder that the program was started in may change later.
    pub(super) fn new(names: Vec<String>, redirects: Option<String>) -> Result<Successor, String> {
        let program = program().map_err(|e| format!("cannot find this program's own file: {e}"))?;
        Ok(Successor { program, args: std::env::args_os().skip(1).collect(), names, redirects })
    }

    /// Starts it, and waits until it serves. The process before it may end then.
    ///
    /// # Errors
    ///
    /// Why it does not; it has ended then.
    pub(super) fn start(
        &self,
        listener: &Listener,
        redirect: Option<&Listener>,
        signals: &Signals,
    ) -> Result<u32, NotStarted> {
        if std::process::id() == 1 {
            // With it all processes of its container end.
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
        // Our ends of what it has: or the pipe would never end.
        drop(command);
        wait(&mut child, told, signals).map(|()| child.id()).inspect_err(|_| {
            let _ = child.kill();
            let _ = child.wait();
        })
    }
}

/// The program as it was called, so that a link is followed when it is started again; absolute.
fn program() -> io::Result<PathBuf> {
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    match called.components().count() {
        // It was looked for in the PATH, or is not told.
        0 | 1 => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let mut all = std::env::split_paths(&path).map(|folder| folder.join(&called));
            let found = all.find(|program| program.is_file()).map(std::path::absolute);
            found.unwrap_or_else(std::env::current_exe)
        }
        _ => std::path::absolute(called),
    }
}

/// Waits until the child says that it serves.
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
            // The pipe ends with it, or a moment before.
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
