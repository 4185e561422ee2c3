//! The load: what the clients do, and the measurement.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::cpu::nanos_of;
use crate::loginload::client::Login;
use crate::measure::process_cpu_nanos;

/// The settings of a load.
#[derive(Clone, Debug)]
pub struct Load {
    /// The number of clients that log in again and again.
    pub logins: usize,
    /// The number of clients that stay and ask.
    pub askers: usize,
    /// The time for which a client waits after an answer before it asks again.
    pub period: Duration,
    /// The duration of the measurement, which follows 0.5 s of warming up.
    pub lasts: Duration,
    /// The processes whose CPU time is counted, with their descendants.
    pub servers: Vec<libc::pid_t>,
}

/// The result of a load.
#[derive(Clone, Debug)]
pub struct Took {
    /// The duration of each login, from connecting on.
    pub logins: Vec<Duration>,
    /// The duration of each answer.
    pub answers: Vec<Duration>,
    /// The time that was measured.
    pub wall: Duration,
    /// The CPU time of the servers in that time.
    pub servers: Duration,
    /// The CPU time of this program in that time.
    pub own: Duration,
}

/// The measurements of one client. Only actions that begin while `counts` is set are recorded.
struct Counted<'a> {
    counts: &'a AtomicBool,
    times: Vec<Duration>,
}

impl Counted<'_> {
    fn time<T>(&mut self, what: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let (counts, began) = (self.counts.load(Relaxed), Instant::now());
        let done = what()?;
        if counts {
            self.times.push(began.elapsed());
        }
        Ok(done)
    }
}

/// Returns the value below which `percent` of 100 values lie, or zero if there is no value. Sorts
/// `times`.
pub fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times
        .get((times.len() * percent / 100).min(times.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

impl Load {
    /// Runs the load, and measures it.
    ///
    /// # Errors
    ///
    /// Returns the errors of the connections, and an error if a server process does not exist.
    pub fn run(&self, login: &Login) -> io::Result<Took> {
        let (ends, counts) = (&AtomicBool::new(false), &AtomicBool::new(false));
        let counted = || Counted { counts, times: Vec::new() };
        thread::scope(|scope| {
            let logins: Vec<_> = (0..self.logins)
                .map(|_| {
                    scope.spawn(move || {
                        let mut counted = counted();
                        while !ends.load(Relaxed) {
                            counted.time(|| login.connect())?.go()?;
                        }
                        io::Result::Ok(counted.times)
                    })
                })
                .collect();
            let askers: Vec<_> = (0..self.askers)
                .map(|_| {
                    scope.spawn(move || {
                        let mut counted = counted();
                        let mut client = login.connect()?;
                        while !ends.load(Relaxed) {
                            counted.time(|| client.ask("select 1"))?;
                            thread::sleep(self.period);
                        }
                        client.go()?;
                        io::Result::Ok(counted.times)
                    })
                })
                .collect();
            thread::sleep(Duration::from_millis(500));
            let servers = nanos_of(&self.servers);
            let (began, own) = (Instant::now(), process_cpu_nanos());
            counts.store(true, Relaxed);
            thread::sleep(self.lasts);
            counts.store(false, Relaxed);
            let (wall, own) = (began.elapsed(), process_cpu_nanos() - own);
            let after = nanos_of(&self.servers);
            ends.store(true, Relaxed);
            let all = |clients: Vec<thread::ScopedJoinHandle<'_, io::Result<Vec<Duration>>>>| {
                let times = clients.into_iter().map(|c| c.join().expect("no client panics"));
                times.collect::<io::Result<Vec<_>>>().map(|times| times.concat())
            };
            let (logins, answers) = (all(logins)?, all(askers)?);
            let servers = Duration::from_nanos(after? - servers?);
            Ok(Took { logins, answers, wall, servers, own: Duration::from_nanos(own) })
        })
    }
}
