//! The process: signals that end it, and the limit on its descriptors.

use std::io::{self, Write};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use dapple::Runtime;
use dapple::clock;
use dapple_io::Io;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};

/// The time for which a shutdown waits for requests that have begun.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// The signals SIGINT and SIGTERM, and SIGUSR2 if the program can be restarted.
pub(crate) struct Signals {
    told: mpsc::Receiver<Told>,
    tell: mpsc::Sender<Told>,
    registrations: Vec<dapple_io::SignalRegistration>,
}

/// The request that a signal makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The program is to end.
    End,
    /// The program is to start anew.
    Restart,
}

impl Signals {
    /// Registers SIGINT and SIGTERM.
    ///
    /// The first of these signals ends the program in order. The second one ends it at once, in the
    /// signal's handler, so even if every worker is stuck.
    pub(crate) fn new(io: &Io) -> io::Result<Signals> {
        let (tell, told) = mpsc::channel();
        let mut registrations = Vec::new();
        let begun = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            let status = 128 + signal;
            signal_hook::flag::register_conditional_shutdown(signal, status, Arc::clone(&begun))?;
            signal_hook::flag::register(signal, Arc::clone(&begun))?;
            registrations.push(on_signal(io, signal, &tell, Told::End)?);
        }
        Ok(Signals { told, tell, registrations })
    }

    /// Makes SIGUSR2 request a restart from now on.
    pub(crate) fn restart(&mut self, io: &Io) -> io::Result<()> {
        self.registrations.push(on_signal(io, SIGUSR2, &self.tell, Told::Restart)?);
        Ok(())
    }

    /// Returns `true` if an end has been requested. Requests for a restart are dropped, because one
    /// is under way already.
    pub(crate) fn are_to_end(&self) -> bool {
        self.told.try_iter().any(|told| told == Told::End)
    }

    /// Waits for the next request.
    pub(crate) fn wait(&self) -> Told {
        self.told.recv().expect("`self.tell` keeps the channel open")
    }
}

fn on_signal(
    io: &Io,
    signal: i32,
    tell: &mpsc::Sender<Told>,
    what: Told,
) -> io::Result<dapple_io::SignalRegistration> {
    let (tell, color) = (tell.clone(), io.handle().new_color());
    io.on_signal(signal, &color, move |_| tell.send(what).unwrap_or(()))
}

/// Tells the service manager, if there is one, that the program is ready or stopping
/// (sd_notify(3)). A failure is only logged.
pub(crate) fn notify(state: &str) {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&name),
    };
    let send = |address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address);
    if let Err(error) = address.and_then(send) {
        tracing::debug!(%error, "cannot notify the service manager");
    }
}

/// Calls `f`, which may block, on the blocking pool at each SIGHUP, as long as the returned
/// registration exists.
pub(crate) fn on_hangup(
    io: &Io,
    f: impl Fn() + Clone + Send + 'static,
) -> io::Result<dapple_io::SignalRegistration> {
    let color = io.handle().new_color();
    io.on_signal(SIGHUP, &color, move |cx| {
        let f = f.clone();
        cx.offload(f).detach();
    })
}

/// Asks another process to end in order, by SIGTERM.
pub(crate) fn tell_to_end(process: u32) {
    use rustix::process::{Pid, Signal, kill_process};
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    // An error means that the process has ended already.
    let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
}

/// Waits until the connections, which were told to end, have ended, but no longer than `limit`.
/// Then shuts the runtime down and prints the result.
pub(crate) fn end(rt: Runtime, limit: Duration, open_connections: impl Fn() -> u64) {
    let start = clock::now();
    while open_connections() > 0 && clock::now() - start < limit {
        dapple::sync::sleep(Duration::from_millis(5));
    }
    let cut = open_connections();
    let report = rt.shutdown(Duration::from_secs(1));
    let mut out = io::stdout().lock();
    let _ = match (cut, report.stuck_workers.len()) {
        (0, 0) => writeln!(out, "Stopped; all connections were closed in order"),
        (n, stuck) => {
            writeln!(out, "Stopped; {n} connections were cut off, {stuck} workers were stuck")
        }
    };
}

/// Raises the limit on descriptors to the maximum that the system allows. Returns the limit, or
/// 2^20 if it is higher.
pub(crate) fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum.unwrap_or(1 << 20),
        Err(_) => limit.current.unwrap_or(1 << 20),
    }
    .min(1 << 20)
}
