//! The process: signals that end it, and how many descriptors it may have.

use std::io::{self, Write};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use dapple::Runtime;
use dapple::clock;
use dapple_io::Io;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};

/// How long the end waits for requests that have begun.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// SIGINT and SIGTERM; and SIGUSR2, if it means something.
pub(crate) struct Signals {
    told: mpsc::Receiver<Told>,
    tell: mpsc::Sender<Told>,
    registrations: Vec<dapple_io::SignalRegistration>,
}

/// What a signal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// End.
    End,
    /// Start anew.
    Restart,
}

impl Signals {
    /// The first SIGINT or SIGTERM ends the program in order, the second one at once, even if every
    /// worker is stuck: that is done in the signal's handler.
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

    /// SIGUSR2 means a restart from now on.
    pub(crate) fn restart(&mut self, io: &Io) -> io::Result<()> {
        self.registrations.push(on_signal(io, SIGUSR2, &self.tell, Told::Restart)?);
        Ok(())
    }

    /// Says whether the end has been asked for. A restart that was asked for, too, is under way.
    pub(crate) fn are_to_end(&self) -> bool {
        self.told.try_iter().any(|told| told == Told::End)
    }

    pub(crate) fn wait(&self) -> Told {
        self.told.recv().expect("we have a sender")
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

/// Tells the service manager, if there is one, that the program is ready, or stopping
/// (sd_notify(3)). One that does not listen is none of our business.
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

/// Calls `f`, which may block, at each SIGHUP, as long as what is returned is there.
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

/// Has another process end in order.
pub(crate) fn tell_to_end(process: u32) {
    use rustix::process::{Pid, Signal, kill_process};
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    // If it has ended meanwhile, so much the better.
    let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
}

/// Waits until the connections, which have been told to end, have ended, but for no longer than the
/// limit; then ends the runtime, and says how it went.
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

/// As many descriptors as the system lets us have; returns how many.
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
