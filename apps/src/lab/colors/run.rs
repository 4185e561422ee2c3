//! Sessions, their requests, and the ways in which they are colored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dapple::{Colored, Runtime, StealPolicy};

use super::super::machine;
use super::server;
use super::session::{self, Session};
use super::web::{self, Connection};

/// How large it all is.
#[derive(Clone, Copy, Debug)]
pub(in crate::lab) struct Setting {
    pub(super) workers: usize,
    pub(super) sessions: usize,
    /// Clients, each of which waits for its answer before it asks again.
    pub(super) clients: usize,
    /// Of all clients together, in one run of the session server.
    pub(super) requests: usize,
    pub(super) rounds: u32,
}

impl Setting {
    /// So many requests are answered in a run.
    fn all_requests(&self) -> u64 {
        (self.requests / self.clients * self.clients) as u64
    }
}

/// What serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    Web,
    Session,
}

/// For which session a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// For any one, with the same probability.
    Balanced,
    /// For the k-th one with a probability as 1/k (Zipf).
    Skewed,
}

/// How a server is colored, or multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Everything has one color: the program as it was.
    OneColor,
    /// A color for each session, dealt out to the workers; nothing is stolen.
    NotStolen,
    /// A color for each session; whoever is idle steals whatever there is, as in libasync-smp.
    Eager,
    /// A color for each session; what is worth it is stolen.
    CostAware,
    /// A program with one color for each core, which has its part of the sessions.
    Copies,
}

impl Server {
    pub(super) const ALL: [Server; 2] = [Server::Web, Server::Session];

    /// Requests of a run that takes about as long as `requests` of the session server.
    fn as_long(self, requests: usize) -> usize {
        match self {
            Server::Web => 30 * requests,
            Server::Session => requests,
        }
    }

    /// Its name in a command line.
    pub(super) fn key(self) -> &'static str {
        match self {
            Server::Web => "web",
            Server::Session => "session",
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Server::Web => "web server",
            Server::Session => "session server",
        }
    }
}

impl Load {
    pub(super) const ALL: [Load; 2] = [Load::Balanced, Load::Skewed];

    /// Its name in a command line.
    pub(super) fn key(self) -> &'static str {
        match self {
            Load::Balanced => "balanced",
            Load::Skewed => "skewed",
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Load::Balanced => "balanced",
            Load::Skewed => "skewed (Zipf)",
        }
    }

    /// For each of so many sessions the probability that a request is for it or one before.
    pub(super) fn shares(self, sessions: usize) -> Vec<f64> {
        let weight = |nth: usize| match self {
            Load::Balanced => 1.0,
            Load::Skewed => 1.0 / (nth + 1) as f64,
        };
        let all: f64 = (0..sessions).map(weight).sum();
        let sum = |sum: &mut f64, nth: usize| {
            *sum += weight(nth) / all;
            Some(*sum)
        };
        (0..sessions).scan(0.0, sum).collect()
    }
}

impl Way {
    pub(super) const ALL: [Way; 5] =
        [Way::OneColor, Way::NotStolen, Way::Eager, Way::CostAware, Way::Copies];

    pub(super) fn name(self) -> &'static str {
        match self {
            Way::OneColor => "one color",
            Way::NotStolen => "colors, no stealing",
            Way::Eager => "colors, eager stealing",
            Way::CostAware => "colors, cost-aware",
            Way::Copies => "independent copies",
        }
    }

    pub(super) fn policy(self) -> StealPolicy {
        match self {
            Way::NotStolen => StealPolicy::Off,
            Way::Eager => StealPolicy::Eager,
            Way::OneColor | Way::CostAware | Way::Copies => StealPolicy::CostAware,
        }
    }
}

/// What a run has come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    rate: f64,
    per_cpu_second: f64,
}

impl Figures {
    pub(super) fn of(rate: f64, per_cpu_second: f64) -> Figures {
        Figures { rate, per_cpu_second }
    }

    /// Operations a second.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Operations per second of CPU time.
    pub(super) fn per_cpu_second(&self) -> f64 {
        self.per_cpu_second
    }
}

/// The server's end of a connection: what it has been asked, and what it answers.
pub(super) trait Peer: Send + 'static {
    /// Takes in a request that its client makes inside of this process.
    fn receive(&mut self);
    /// Takes in a request that has come.
    fn take(&mut self, request: &[u8]);
    /// The answer.
    fn reply(&mut self) -> &[u8];
}

/// The client's end of a connection.
pub(super) trait Asking: Send + 'static {
    /// The next request.
    fn request(&mut self) -> &[u8];
    /// Says whether the next reply is right.
    fn is_right(&mut self, reply: &[u8]) -> bool;
}

/// What a run shares.
struct World<P: Peer> {
    sessions: Vec<Colored<P>>,
    shares: Vec<f64>,
    replies: AtomicU64,
    bytes: AtomicU64,
}

/// A client that waits for its answer before it asks again, some session or other.
struct Client {
    left: usize,
    /// Its random numbers: a multiplicative congruential generator.
    state: u64,
    /// Of so many copies of a program it asks the how-manieth one; it asks the only one otherwise.
    copy: (usize, usize),
}

/// The session for which a number between zero and one stands.
pub(super) fn drawn_session(shares: &[f64], drawn: u64) -> usize {
    let drawn = (drawn >> 11) as f64 / (1u64 << 53) as f64;
    shares.partition_point(|share| *share < drawn).min(shares.len() - 1)
}

impl Client {
    fn next_session(&mut self, shares: &[f64]) -> usize {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
        let session = drawn_session(shares, self.state);
        let (copies, nth) = self.copy;
        // Sessions are dealt out to the copies.
        if copies > 1 { (session - session % copies + nth).min(shares.len() - 1) } else { session }
    }
}

/// One request after the other, each in two callbacks on the color of its session, as they stand in
/// the servers of the paper: one for what has come, one for what goes out.
fn ask<P: Peer>(mut client: Client, world: Arc<World<P>>) {
    let Some(left) = client.left.checked_sub(1) else { return };
    client.left = left;
    let session = world.sessions[client.next_session(&world.shares)].clone();
    let replies = session.clone();
    session.post(move |peer, _| {
        peer.receive();
        replies.post(move |peer, _| {
            let bytes = peer.reply().len();
            world.replies.fetch_add(1, Ordering::Relaxed);
            world.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            ask(client, world);
        });
    });
}

/// Runs all requests.
///
/// # Errors
///
/// What the system says when a runtime cannot be made, or that an answer was wrong.
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
            let site = Arc::new(web::Site::new());
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
    let runtimes: Vec<Runtime> = match way {
        Way::Copies => {
            let copy = |core| Runtime::builder().workers(1).cores([core]).build();
            (0..setting.workers).map(copy).collect::<Result<_, _>>().map_err(failed)?
        }
        _ => {
            let builder = Runtime::builder().workers(setting.workers).steal_policy(way.policy());
            vec![builder.build().map_err(failed)?]
        }
    };
    let color = |nth: usize| server::color(way, &runtimes[nth % runtimes.len()].handle());
    let (replies, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    let shares = load.shares(peers.len());
    let colored = |(nth, peer)| Colored::new(&color(nth), peer);
    let sessions = peers.into_iter().enumerate().map(colored).collect();
    let world = Arc::new(World { sessions, shares, replies, bytes });
    let (began, cpu) = (Instant::now(), machine::cpu_nanos());
    for nth in 0..setting.clients {
        let (left, state) = (setting.requests / setting.clients, nth as u64 * 7_919 + 1);
        // What is popular is so whichever copy has it; otherwise each copy has its own clients.
        let copies = if load == Load::Balanced { runtimes.len() } else { 1 };
        ask(Client { left, state, copy: (copies, nth % copies) }, Arc::clone(&world));
    }
    // What one copy posts to another one may come when that has been found at rest.
    while world.replies.load(Ordering::Relaxed) < setting.all_requests() {
        runtimes.iter().for_each(Runtime::wait_idle);
    }
    let (took, cpu) = (began.elapsed(), machine::cpu_nanos() - cpu);
    let replies = world.replies.load(Ordering::Relaxed);
    if replies != setting.all_requests() || world.bytes.load(Ordering::Relaxed) == 0 {
        return Err(format!("{replies} replies to {} requests", setting.all_requests()));
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

    #[test]
    fn a_skewed_load_has_shares_as_zipf_has_them() {
        let near = |shares: Vec<f64>, wanted: [f64; 4]| {
            shares.iter().zip(wanted).all(|(share, wanted)| (share - wanted).abs() < 1e-9)
        };
        assert!(near(Load::Skewed.shares(4), [0.48, 0.72, 0.88, 1.0]));
        assert!(near(Load::Balanced.shares(4), [0.25, 0.5, 0.75, 1.0]));
        // Requests come as often as that says.
        let (shares, mut client) =
            (Load::Skewed.shares(4), Client { left: 0, state: 1, copy: (1, 0) });
        let mut counts = [0; 4];
        (0..100_000).for_each(|_| counts[client.next_session(&shares)] += 1);
        assert!((47_000..49_000).contains(&counts[0]), "{counts:?}");
        assert!((11_500..12_500).contains(&counts[3]), "{counts:?}");
    }
}
