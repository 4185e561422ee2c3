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

/// How long a new process may take until it serves.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often is looked whether it does.
const LOOKS: Duration = Duration::from_millis(10);

/// Names of what is handed over: the sockets of an address, as the command line has it; those
/// without such an address; and what a process says on that it serves.
const LISTENS: &str = "listens at ";
const REDIRECTS: &str = "redirects at ";
const READY: &str = "ready";

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
        let failed = |e| format!("cannot use what was opened: {e}");
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

    /// Tells the process before this one, if there is one, that this one serves.
    pub(super) fn tell_ready(self) {
        use std::io::Write;
        if let Some(ready) = self.ready {
            // If it has gone meanwhile, nobody waits for it.
            let _ = std::fs::File::from(ready.fd).write_all(b"\n");
        }
    }
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
    /// To be called at the start: what is at the program's path may be replaced later.
    pub(super) fn new(names: Vec<String>, redirects: Option<String>) -> Result<Successor, String> {
        let program =
            std::env::current_exe().map_err(|e| format!("cannot find the own program: {e}"))?;
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
    ) -> Result<u32, String> {
        let failed = |e: io::Error| format!("cannot start {}: {e}", self.program.display());
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
        match wait(&mut child, told) {
            Ok(()) => Ok(child.id()),
            Err(why) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(why)
            }
        }
    }
}

/// Waits until the child says that it serves.
fn wait(child: &mut Child, mut told: PipeReader) -> Result<(), String> {
    let failed = |e: io::Error| format!("the new process cannot be heard: {e}");
    rustix::io::ioctl_fionbio(&told, true).map_err(|e| failed(e.into()))?;
    let start = clock::now();
    while clock::now() - start < PATIENCE {
        match told.read(&mut [0]) {
            Ok(1..) => return Ok(()),
            Ok(0) => {
                let status = child.wait().map_err(failed)?;
                return Err(format!("the new process has ended ({status}) before it served"));
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => dapple::sync::sleep(LOOKS),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(e)),
        }
    }
    Err(format!("the new process does not serve after {} s", PATIENCE.as_secs()))
}
