//! Failed logins are slowed down: after each failure the next attempt from the same address has to wait, twice as long each time. And
//! passwords are hashed for a limited number of clients at once, wherever they are.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dapple::Handle;
use futures_channel::oneshot;

/// What one waits after the first failure,
const FIRST: Duration = Duration::from_millis(250);
/// and at most.
const LONGEST: Duration = Duration::from_secs(8);

/// Nobody waits longer for a turn; who would have to is told to come again.
const PATIENCE: Duration = Duration::from_secs(8);

/// After so long failures are forgotten.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// Addresses that are known, at most; the longest forgotten go first.
const MOST_ADDRESSES: usize = 10_000;

/// Logins that wait for the hashing of others, at most.
const MOST_WAITING: usize = 64;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    /// Not before so many seconds have passed.
    NotBefore(u64),
}

struct Address {
    failures: u32,
    /// When the next attempt may be made.
    next: Instant,
}

pub(super) struct Throttle {
    addresses: Mutex<HashMap<IpAddr, Address>>,
    hashing: Mutex<Hashing>,
}

struct Hashing {
    free: usize,
    waiting: VecDeque<oneshot::Sender<()>>,
}

/// A place among those whose passwords are hashed.
pub(super) struct Place<'a>(&'a Throttle);

impl Throttle {
    pub(super) fn new(workers: usize) -> Throttle {
        // One worker at least is for those who have logged in.
        let hashing = Hashing { free: workers.saturating_sub(1).max(1), waiting: VecDeque::new() };
        Throttle { addresses: Mutex::default(), hashing: Mutex::new(hashing) }
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, Address>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hashing(&self) -> MutexGuard<'_, Hashing> {
        self.hashing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until an attempt may be made from there.
    pub(super) async fn wait(&self, peer: IpAddr, handle: &Handle) -> Turn {
        match self.reserve(peer, Instant::now()) {
            Err(turn) => turn,
            Ok(until) => {
                handle.sleep_until(until).await;
                Turn::Now
            }
        }
    }

    /// Takes a turn. Several attempts at once have one each, one after the other.
    fn reserve(&self, peer: IpAddr, now: Instant) -> Result<Instant, Turn> {
        let mut addresses = self.addresses();
        let Some(address) = addresses.get_mut(&network(peer)) else { return Ok(now) };
        let turn = address.next.max(now);
        if turn > now + PATIENCE {
            return Err(Turn::NotBefore((turn - now).as_secs().max(1)));
        }
        address.next = turn + delay(address.failures);
        Ok(turn)
    }

    pub(super) fn succeeded(&self, peer: IpAddr) {
        self.addresses().remove(&network(peer));
    }

    /// Says how many failures there have been from there.
    pub(super) fn failed(&self, peer: IpAddr) -> u32 {
        self.failed_at(peer, Instant::now())
    }

    fn failed_at(&self, peer: IpAddr, now: Instant) -> u32 {
        let mut addresses = self.addresses();
        if addresses.len() >= MOST_ADDRESSES {
            addresses.retain(|_, address| address.next + FORGOTTEN > now);
            if addresses.len() >= MOST_ADDRESSES {
                let oldest = addresses.iter().min_by_key(|(_, address)| address.next);
                let oldest = oldest.map(|(peer, _)| *peer);
                oldest.map(|peer| addresses.remove(&peer));
            }
        }
        let address = addresses.entry(network(peer)).or_insert(Address { failures: 0, next: now });
        if address.next + FORGOTTEN < now {
            address.failures = 0;
        }
        address.failures = address.failures.saturating_add(1);
        address.next = address.next.max(now + delay(address.failures));
        address.failures
    }

    /// Waits for a place among those whose passwords are hashed; `None`: too many wait.
    pub(super) async fn place(&self) -> Option<Place<'_>> {
        let turn = {
            let mut hashing = self.hashing();
            if hashing.free > 0 {
                hashing.free -= 1;
                None
            } else if hashing.waiting.len() < MOST_WAITING {
                let (tell, told) = oneshot::channel();
                hashing.waiting.push_back(tell);
                Some(told)
            } else {
                return None;
            }
        };
        if let Some(told) = turn {
            told.await.ok()?;
        }
        Some(Place(self))
    }
}

impl Drop for Place<'_> {
    /// The place goes to the next one who still waits.
    fn drop(&mut self) {
        let mut hashing = self.0.hashing();
        while let Some(next) = hashing.waiting.pop_front() {
            if next.send(()).is_ok() {
                return;
            }
        }
        hashing.free += 1;
    }
}

fn delay(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        n => FIRST.saturating_mul(1 << (n - 1).min(16)).min(LONGEST),
    }
}

/// An IPv6 network is one neighbour, however many addresses it has.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX)).into(),
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_failure_makes_the_next_attempt_wait_longer() {
        let throttle = Throttle::new(2);
        let start = Instant::now();
        let (one, other) = (peer("10.0.0.1"), peer("10.0.0.2"));
        assert_eq!(throttle.reserve(one, start), Ok(start));
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..10 {
            throttle.failed_at(one, now);
            let turn = throttle.reserve(one, now).unwrap();
            waits.push(turn - now);
            now = turn;
        }
        assert_eq!(waits[..3], [FIRST, FIRST * 2, FIRST * 4]);
        assert_eq!(waits[9], LONGEST);
        assert_eq!(throttle.reserve(other, start), Ok(start), "another address does not wait");
        throttle.succeeded(one);
        assert_eq!(throttle.reserve(one, now), Ok(now));
    }

    #[test]
    fn attempts_at_once_wait_for_each_other_and_not_for_ever() {
        let throttle = Throttle::new(2);
        let (now, one) = (Instant::now(), peer("10.0.0.1"));
        for _ in 0..4 {
            throttle.failed_at(one, now);
        }
        let turns: Vec<_> = (0..6).map(|_| throttle.reserve(one, now)).collect();
        assert_eq!(turns[0], Ok(now + FIRST * 8));
        assert_eq!(turns[1], Ok(now + FIRST * 16));
        assert_eq!(turns[5], Err(Turn::NotBefore(10)));
    }

    #[test]
    fn networks_and_forgetting() {
        let throttle = Throttle::new(2);
        let now = Instant::now();
        assert_eq!(throttle.failed_at(peer("2001:db8::1"), now), 1);
        assert_eq!(throttle.failed_at(peer("2001:db8::2"), now), 2);
        assert_eq!(throttle.failed_at(peer("2001:db8:0:1::1"), now), 1);
        assert_eq!(throttle.failed_at(peer("::ffff:10.0.0.1"), now), 1);
        assert_eq!(throttle.failed_at(peer("10.0.0.1"), now), 2);
        assert_eq!(throttle.failed_at(peer("10.0.0.1"), now + FORGOTTEN * 2), 1);
    }

    #[test]
    fn no_flood_of_addresses_fills_the_memory() {
        let throttle = Throttle::new(2);
        let now = Instant::now();
        for n in 0..MOST_ADDRESSES as u32 + 100 {
            throttle.failed_at(IpAddr::from(n.to_be_bytes()), now);
        }
        assert_eq!(throttle.addresses().len(), MOST_ADDRESSES);
    }
}
