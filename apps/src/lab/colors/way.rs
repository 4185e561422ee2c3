//! The servers, the loads, and the ways to color a server.

use std::io;

use dapple::{Builder, Color, Handle, Runtime, StealPolicy};

use super::super::draw::Draw;

/// A server that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    Web,
    Session,
}

/// The distribution of requests among the sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// All sessions are equally probable.
    Balanced,
    /// The probability of the k-th session is proportional to 1/k (Zipf).
    Skewed,
}

/// A way to color a server, or to run copies of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Everything has one color, as in the original program.
    OneColor,
    /// Each session has a color, which is dealt out to a worker. Nothing is stolen.
    NotStolen,
    /// Each session has a color. An idle worker steals any color, as in libasync-smp.
    Eager,
    /// Each session has a color. Colors are stolen if that is worth its cost.
    CostAware,
    /// Each core has an independent copy with one color, which serves its part of the sessions.
    Copies,
}

impl Server {
    pub(super) const ALL: [Server; 2] = [Server::Web, Server::Session];

    /// Returns the number of requests that take about as long as `requests` of the session server.
    pub(super) fn as_long(self, requests: usize) -> usize {
        match self {
            Server::Web => 30 * requests,
            Server::Session => requests,
        }
    }

    /// Returns the server's name on the command line.
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

    /// Returns the load's name on the command line.
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

    /// Returns the cumulative probabilities of `sessions` sessions: each for itself and all before
    /// it.
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

    /// Returns the color for a new session.
    pub(super) fn color(self, handle: &Handle) -> Color {
        match self {
            Way::OneColor | Way::Copies => handle.default_color(),
            Way::NotStolen | Way::Eager | Way::CostAware => handle.new_color(),
        }
    }

    /// Makes one runtime, or a copy for each worker. `builder` makes the builder of each runtime.
    ///
    /// # Errors
    ///
    /// Returns the system's error if a runtime cannot be started.
    pub(super) fn runtimes(
        self,
        workers: usize,
        builder: fn() -> Builder,
    ) -> io::Result<Vec<Runtime>> {
        match self {
            Way::Copies => {
                let copy = |_| builder().workers(1).build();
                (0..workers).map(copy).collect()
            }
            _ => Ok(vec![builder().workers(workers).steal_policy(self.policy()).build()?]),
        }
    }

    fn policy(self) -> StealPolicy {
        match self {
            Way::NotStolen => StealPolicy::Off,
            Way::Eager => StealPolicy::Eager,
            Way::OneColor | Way::CostAware | Way::Copies => StealPolicy::CostAware,
        }
    }
}

/// Draws the session of a client's next request. Sessions are dealt out to `copies` copies of the
/// program, and the client only asks sessions of the `nth` copy. If `copies` is 1, it may ask any
/// session.
pub(super) fn next_session(
    shares: &[f64],
    draw: &mut Draw,
    (copies, nth): (usize, usize),
) -> usize {
    let drawn = (draw.next() >> 11) as f64 / (1u64 << 53) as f64;
    let session = shares.partition_point(|share| *share < drawn).min(shares.len() - 1);
    session - session % copies + nth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skewed_load_has_shares_as_zipf_has_them() {
        let near = |shares: Vec<f64>, wanted: [f64; 4]| {
            shares.iter().zip(wanted).all(|(share, wanted)| (share - wanted).abs() < 1e-9)
        };
        assert!(near(Load::Skewed.shares(4), [0.48, 0.72, 0.88, 1.0]));
        assert!(near(Load::Balanced.shares(4), [0.25, 0.5, 0.75, 1.0]));
        // Requests follow these probabilities.
        let (shares, mut draw) = (Load::Skewed.shares(4), Draw(1));
        let mut counts = [0; 4];
        (0..100_000).for_each(|_| counts[next_session(&shares, &mut draw, (1, 0))] += 1);
        assert!((47_000..49_000).contains(&counts[0]), "{counts:?}");
        assert!((11_500..12_500).contains(&counts[3]), "{counts:?}");
        // The second of two copies has every other session.
        let ask = |_| next_session(&shares, &mut draw, (2, 1));
        assert!((0..100).map(ask).all(|session| session % 2 == 1));
    }
}
