//! What the clients do, and what it took.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::cpu::nanos_of;
use crate::loginload::client::Login;
use crate::measure::process_cpu_nanos;

/// Who does what.
#[derive(Clone, Debug)]
pub struct Load {
    /// How many clients log in again and again.
    pub logins: usize,
    /// How many stay and ask.
    pub askers: usize,
    /// After what time each of them asks again, if it has been answered.
    pub period: Duration,
    /// How long to measure, after half a second of warming up.
    pub lasts: Duration,
    /// The processes whose CPU time is counted.
    pub servers: Vec<libc::pid_t>,
}

/// What it took.
#[derive(Clone, Debug)]
pub struct Took {
    /// What each login took, from connecting on.
    pub logins: Vec<Duration>,
    /// What each answer took.
    pub answers: Vec<Duration>,
    /// The time that was measured.
    pub wall: Duration,
    /// CPU time of the servers in it.
    pub servers: Duration,
    /// CPU time of this program in it.
    pub own: Duration,
}

/// What one client has measured; only what began while it was counted.
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

/// The value below which so many of a hundred are; zero if there is none.
pub fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times
        .get((times.len() * percent / 100).min(times.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

impl Load {
    /// Loads, and measures.
    ///
    /// # Errors
    ///
    /// Those of the connections, and when a server is no process.
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
