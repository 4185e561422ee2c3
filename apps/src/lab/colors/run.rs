//! Sessions, their requests, and the ways in which they are colored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dapple::{Color, Cx, Runtime, StealPolicy};

use super::super::machine;
use super::session::{self, Session};
use super::web::{self, Connection};

/// How large it all is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) workers: usize,
    pub(super) sessions: usize,
    /// Of all sessions together, in one run of the session server.
    pub(super) requests: usize,
    pub(super) rounds: u32,
}

/// What serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    Web,
    Session,
}

/// How many requests each session has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// All have the same number.
    Balanced,
    /// The k-th one has a share as 1/k (Zipf).
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

    pub(super) fn name(self) -> &'static str {
        match self {
            Server::Web => "web server",
            Server::Session => "session server",
        }
    }
}

impl Load {
    pub(super) const ALL: [Load; 2] = [Load::Balanced, Load::Skewed];

    pub(super) fn name(self) -> &'static str {
        match self {
            Load::Balanced => "balanced",
            Load::Skewed => "skewed (Zipf)",
        }
    }

    /// How many requests each of so many sessions has.
    fn shares(self, sessions: usize, requests: usize) -> Vec<usize> {
        let weight = |nth: usize| match self {
            Load::Balanced => 1.0,
            Load::Skewed => 1.0 / (nth + 1) as f64,
        };
        let all: f64 = (0..sessions).map(weight).sum();
        let share = |nth| (requests as f64 * weight(nth) / all).round().max(1.0) as usize;
        (0..sessions).map(share).collect()
    }
}

impl Way {
    pub(super) const ALL: [Way; 5] =
        [Way::OneColor, Way::NotStolen, Way::Eager, Way::CostAware, Way::Copies];

    pub(super) fn name(self) -> String {
        match self {
            Way::OneColor => "one color",
            Way::NotStolen => "colors, no stealing",
            Way::Eager => "colors, eager stealing",
            Way::CostAware => "colors, cost-aware",
            Way::Copies => "independent copies",
        }
        .to_owned()
    }

    fn policy(self) -> StealPolicy {
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

/// One end of a connection: what it has been asked, and what it answers.
pub(super) trait Peer: Send + 'static {
    /// Takes in the next request.
    fn receive(&mut self);
    /// Answers it: so many bytes.
    fn reply(&mut self) -> usize;
    /// Says whether there are further requests.
    fn has_more(&self) -> bool;
}

/// What a run counts.
#[derive(Default)]
struct Counts {
    replies: AtomicU64,
    bytes: AtomicU64,
}

/// One request of a session after the other, each in two callbacks, as they stand in the servers of
/// the paper: one for what has come, one for what goes out.
fn serve<P: Peer>(mut peer: Box<P>, counts: Arc<Counts>, cx: &mut Cx) {
    peer.receive();
    cx.post_here(move |cx| {
        let bytes = peer.reply();
        counts.replies.fetch_add(1, Ordering::Relaxed);
        counts.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if peer.has_more() {
            cx.post_here(move |cx| serve(peer, counts, cx));
        }
    });
}

/// Runs all requests of all sessions.
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
    let shares = load.shares(setting.sessions, setting.requests);
    match server {
        Server::Web => {
            let site = Arc::new(web::Site::new());
            web::check(&site)?;
            let peers = shares.iter().map(|share| Connection::new(&site, *share)).collect();
            run_peers(&setting, way, peers)
        }
        Server::Session => {
            let file = session::file();
            session::check(&file)?;
            let sessions = shares.iter().enumerate();
            let peers = sessions.map(|(nth, share)| Session::new(&file, nth as u64, *share));
            run_peers(&setting, way, peers.collect())
        }
    }
}

fn run_peers<P: Peer>(setting: &Setting, way: Way, peers: Vec<P>) -> Result<Figures, String> {
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
    let counts = Arc::new(Counts::default());
    let colors: Vec<Color> = (0..peers.len())
        .map(|nth| {
            let handle = runtimes[nth % runtimes.len()].handle();
            match way {
                Way::OneColor | Way::Copies => handle.default_color(),
                Way::NotStolen | Way::Eager | Way::CostAware => handle.new_color(),
            }
        })
        .collect();
    let requests = setting.requests as f64;
    let (began, cpu) = (Instant::now(), machine::cpu_nanos());
    for (peer, color) in peers.into_iter().zip(&colors) {
        let (peer, counts) = (Box::new(peer), Arc::clone(&counts));
        color.post(move |cx| serve(peer, counts, cx));
    }
    runtimes.iter().for_each(Runtime::wait_idle);
    let (took, cpu) = (began.elapsed(), machine::cpu_nanos() - cpu);
    let replies = counts.replies.load(Ordering::Relaxed) as f64;
    if (replies / requests - 1.0).abs() > 0.01 || counts.bytes.load(Ordering::Relaxed) == 0 {
        return Err(format!("{replies} replies to {requests} requests"));
    }
    let per_second = |time: Duration| replies / time.as_secs_f64();
    Ok(Figures::of(per_second(took), per_second(Duration::from_nanos(cpu))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_answers_every_request() {
        let setting = Setting { workers: 2, sessions: 8, requests: 200, rounds: 1 };
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
        let shares = Load::Skewed.shares(4, 2_500);
        assert_eq!(shares, [1_200, 600, 400, 300]);
        assert_eq!(Load::Balanced.shares(4, 2_500), [625; 4]);
    }
}
