//! Sessions and their requests, from inside the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use dapple::{Colored, Runtime, clock};

use super::super::draw::Draw;
use super::super::machine;
use super::super::mesh::LIMIT;
use super::session::{self, Session};
use super::way::{self, Load, Server, Way};
use super::web::{self, Connection};

/// The size of the experiment.
#[derive(Clone, Copy, Debug)]
pub(in crate::lab) struct Setting {
    pub(super) workers: usize,
    pub(super) sessions: usize,
    /// The number of clients, each of which waits for its reply before it sends the next request.
    pub(super) clients: usize,
    /// The requests of all clients together, in one run of the session server.
    pub(super) requests: usize,
    pub(super) rounds: u32,
}

impl Setting {
    /// Returns the number of requests that are answered in a run.
    fn all_requests(&self) -> u64 {
        (self.requests / self.clients * self.clients) as u64
    }
}

/// The results of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    rate: f64,
    per_cpu_second: f64,
}

impl Figures {
    pub(super) fn of(rate: f64, per_cpu_second: f64) -> Figures {
        Figures { rate, per_cpu_second }
    }

    /// Returns the operations per second.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Returns the operations per second of CPU time.
    pub(super) fn per_cpu_second(&self) -> f64 {
        self.per_cpu_second
    }
}

/// The server's end of a connection: takes requests, and makes replies.
pub(super) trait Peer: Send + 'static {
    /// The number of bytes that a correct reply exceeds.
    const LEAST: usize;
    /// Makes the client's next request inside this process, and takes it.
    fn receive(&mut self);
    /// Takes a request that came over a socket.
    fn take(&mut self, request: &[u8]);
    /// Makes the reply to the oldest request that has none yet.
    fn reply(&mut self) -> &[u8];
}

/// The client's end of a connection.
pub(super) trait Asking: Send + 'static {
    /// Makes the next request.
    fn request(&mut self) -> &[u8];
    /// Returns `true` if the next reply is correct.
    fn is_right(&mut self, reply: &[u8]) -> bool;
}

/// The state that the clients of a run share.
struct World<P: Peer> {
    /// Each session has cache lines of its own, because neighbors belong to different workers.
    sessions: Vec<Colored<CachePadded<P>>>,
    shares: Vec<f64>,
    /// The correct replies of the clients that have finished. Nobody writes here before that,
    /// because contention on a shared cache line would dominate the measurement.
    right: AtomicU64,
    wrong: AtomicU64,
}

/// A client that waits for its reply before it sends the next request, on a session that is drawn.
struct Client {
    left: usize,
    right: u64,
    wrong: u64,
    draw: Draw,
    /// The number of copies, and the copy of this client; see [`way::next_session`].
    copy: (usize, usize),
}

/// Sends one request after the other. Each takes two callbacks on the color of its session, as in
/// the servers of the paper: one for the input, and one for the output.
fn ask<P: Peer>(mut client: Client, world: Arc<World<P>>) {
    let Some(left) = client.left.checked_sub(1) else {
        world.right.fetch_add(client.right, Ordering::Relaxed);
        world.wrong.fetch_add(client.wrong, Ordering::Relaxed);
        return;
    };
    client.left = left;
    let session = way::next_session(&world.shares, &mut client.draw, client.copy);
    let session = world.sessions[session].clone();
    let replies = session.clone();
    session.post(move |peer, _| {
        peer.receive();
        replies.post(move |peer, _| {
            let is_right = peer.reply().len() > P::LEAST;
            client.right += u64::from(is_right);
            client.wrong += u64::from(!is_right);
            ask(client, world);
        });
    });
}

/// Runs all requests from inside the process.
///
/// # Errors
///
/// Returns a message if a runtime cannot be made, or if a reply is wrong or missing.
pub(super) fn run(
    setting: &Setting,
    server: Server,
    load: Load,
    way: Way,
) -> Result<Figures, String> {
    let setting = Setting { requests: server.as_long(setting.requests), ..*setting };
    let sessions = 0..setting.sessions as u64;
    match server {
        Server::Web => {
            let site = Arc::new(web::Files::new());
            web::check(&site)?;
            let peers = sessions.map(|_| Connection::new(&site)).collect();
            run_peers(&setting, load, way, peers)
        }
        Server::Session => {
            let file = session::file();
            session::check(&file)?;
            let peers = sessions.map(|number| Session::new(&file, number)).collect();
            run_peers(&setting, load, way, peers)
        }
    }
}

fn run_peers<P: Peer>(
    setting: &Setting,
    load: Load,
    way: Way,
    peers: Vec<P>,
) -> Result<Figures, String> {
    let failed = |error: std::io::Error| format!("a runtime: {error}");
    let runtimes = way.runtimes(setting.workers, Runtime::builder).map_err(failed)?;
    let color = |nth: usize| way.color(&runtimes[nth % runtimes.len()].handle());
    let shares = load.shares(peers.len());
    let colored = |(nth, peer)| Colored::new(&color(nth), CachePadded::new(peer));
    let sessions = peers.into_iter().enumerate().map(colored).collect();
    let (right, wrong) = (AtomicU64::new(0), AtomicU64::new(0));
    let world = Arc::new(World { sessions, shares, right, wrong });
    let (began, cpu) = (clock::now(), machine::cpu_nanos());
    for nth in 0..setting.clients {
        let (left, draw) = (setting.requests / setting.clients, Draw(nth as u64));
        // Under a skewed load the popular sessions stay popular, whichever copy has them. Otherwise
        // each copy has its own clients.
        let copies = if load == Load::Balanced { runtimes.len() } else { 1 };
        let copy = (copies, nth % copies);
        ask(Client { left, right: 0, wrong: 0, draw, copy }, Arc::clone(&world));
    }
    // A copy that was idle may get posts from another copy afterwards, so the wait is repeated.
    let counted = || world.right.load(Ordering::Relaxed) + world.wrong.load(Ordering::Relaxed);
    while counted() < setting.all_requests() && clock::now() - began < LIMIT {
        runtimes.iter().for_each(Runtime::wait_idle);
    }
    let (took, cpu) = (clock::now() - began, machine::cpu_nanos() - cpu);
    let replies = world.right.load(Ordering::Relaxed);
    if replies != setting.all_requests() {
        return Err(format!("{replies} right replies to {} requests", setting.all_requests()));
    }
    let per_second = |time: Duration| replies as f64 / time.as_secs_f64();
    Ok(Figures::of(per_second(took), per_second(Duration::from_nanos(cpu))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_answers_every_request() {
        let setting = Setting { workers: 2, sessions: 8, clients: 5, requests: 200, rounds: 1 };
        for server in Server::ALL {
            for load in Load::ALL {
                for way in Way::ALL {
                    let figures = run(&setting, server, load, way).unwrap();
                    assert!(figures.rate() > 0.0 && figures.per_cpu_second() > 0.0);
                }
            }
        }
    }
}
