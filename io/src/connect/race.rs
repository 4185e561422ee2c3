//! The order and the timing of connection attempts: "Happy Eyeballs" (RFC 8305).
//!
//! This is a step function, which does no I/O. The addresses of the two families alternate,
//! beginning with the family of the first address (section 4). An attempt begins when the one
//! before has failed, or has been under way for the attempt delay of 250 ms (section 5). The first
//! attempt that succeeds wins.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The delay after which the next address is tried in parallel, as RFC 8305 recommends.
pub(super) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The state of the attempts to reach one host.
#[derive(Debug)]
pub(super) struct Race {
    left: VecDeque<SocketAddr>,
    running: usize,
    /// When the next attempt begins, if none fails before.
    next_at: Option<Instant>,
    error: Option<io::Error>,
}

/// The next step of a race.
#[derive(Debug)]
pub(super) enum Next {
    /// An attempt to connect to this address begins.
    Begin(SocketAddr),
    /// The running attempts are waited for, but only until this time, if there is one.
    Wait(Option<Instant>),
    /// All addresses have failed. This is the first error.
    Lost(io::Error),
}

impl Race {
    pub(super) fn new(addresses: Vec<SocketAddr>) -> Race {
        let left = take_turns(addresses);
        Race { left, running: 0, next_at: None, error: None }
    }

    pub(super) fn next(&mut self, now: Instant) -> Next {
        let is_due = self.running == 0 || self.next_at.is_some_and(|at| at <= now);
        if is_due && let Some(address) = self.left.pop_front() {
            self.running += 1;
            self.next_at = (!self.left.is_empty()).then(|| now + ATTEMPT_DELAY);
            return Next::Begin(address);
        }
        if self.running > 0 {
            return Next::Wait(self.next_at.filter(|_| !self.left.is_empty()));
        }
        let none = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        Next::Lost(self.error.take().unwrap_or_else(none))
    }

    /// Records that an attempt has failed.
    pub(super) fn failed(&mut self, error: io::Error, now: Instant) {
        self.running -= 1;
        // The next attempt begins at once.
        self.next_at = Some(now);
        // The first error is kept.
        self.error.get_or_insert(error);
    }
}

/// Returns the addresses in an order in which the two families alternate.
fn take_turns(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else { return VecDeque::new() };
    let (mut own, mut other): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first);
    let mut all = VecDeque::new();
    while !own.is_empty() || !other.is_empty() {
        all.extend(own.pop_front());
        all.extend(other.pop_front());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn begins(race: &mut Race, now: Instant) -> SocketAddr {
        match race.next(now) {
            Next::Begin(address) => address,
            other => panic!("{other:?}"),
        }
    }

    fn refused() -> io::Error {
        io::ErrorKind::ConnectionRefused.into()
    }

    #[test]
    fn families_take_turns() {
        let all = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"].map(address);
        let turns = take_turns(all.to_vec());
        let wanted = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"].map(address);
        assert_eq!(turns, wanted);
        let all = ["1.1.1.1:1", "[::1]:1", "1.1.1.2:1"].map(address);
        assert_eq!(take_turns(all.to_vec()), ["1.1.1.1:1", "[::1]:1", "1.1.1.2:1"].map(address));
        assert!(take_turns(Vec::new()).is_empty());
    }

    #[test]
    fn the_next_one_begins_after_the_delay_or_a_failure() {
        let now = Instant::now();
        let all = ["[::1]:1", "1.1.1.1:1", "1.1.1.2:1"].map(address);
        let mut race = Race::new(all.to_vec());
        assert_eq!(begins(&mut race, now), all[0]);
        assert!(matches!(race.next(now), Next::Wait(Some(at)) if at == now + ATTEMPT_DELAY));
        assert_eq!(begins(&mut race, now + ATTEMPT_DELAY), all[1]);
        let later = now + ATTEMPT_DELAY + Duration::from_millis(1);
        race.failed(refused(), later);
        assert_eq!(begins(&mut race, later), all[2]);
        assert!(matches!(race.next(later + ATTEMPT_DELAY), Next::Wait(None)));
        race.failed(io::ErrorKind::TimedOut.into(), later);
        race.failed(io::ErrorKind::HostUnreachable.into(), later);
        match race.next(later) {
            Next::Lost(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn no_address_is_an_error() {
        match Race::new(Vec::new()).next(Instant::now()) {
            Next::Lost(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
            other => panic!("{other:?}"),
        }
    }
}
