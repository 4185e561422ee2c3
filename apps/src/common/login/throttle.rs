//! Delays after failed logins: each failure makes the next attempt from the same address wait,
//! twice as long each time.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dapple::Handle;
use dapple::clock;

/// The delay after the first failure.
const FIRST: Duration = Duration::from_millis(250);
/// The maximum delay.
const LONGEST: Duration = Duration::from_secs(8);

/// The maximum wait for an attempt. A client that would wait longer is told to come again.
const PATIENCE: Duration = Duration::from_secs(8);

/// The time after which failures are forgotten.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// The maximum number of addresses. When it is reached, those with forgotten failures are removed,
/// or else the oldest one.
const MOST_ADDRESSES: usize = 10_000;

/// The maximum number of failed names per address. Further names are counted together.
const MOST_NAMES: usize = 16;

/// The result of waiting for an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Now,
    /// The attempt may be made after this number of seconds.
    NotBefore(u64),
}

struct Address {
    /// The number of failures by the name that was tried. A successful login under one name does
    /// not clear the failures under other names.
    failures: HashMap<String, u32>,
    /// The time from which the next attempt may be made.
    next: Instant,
}

impl Address {
    fn failures(&self) -> u32 {
        self.failures.values().fold(0, |all, one| all.saturating_add(*one))
    }
}

/// The failures by address, and the delays that follow from them. See the module.
#[derive(Default)]
pub(super) struct Throttle {
    addresses: Mutex<HashMap<IpAddr, Address>>,
}

impl Throttle {
    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, Address>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until an attempt may be made from this address.
    pub(super) async fn wait(&self, peer: IpAddr, handle: &Handle) -> Admission {
        match self.reserve(peer, clock::now()) {
            Err(turn) => turn,
            Ok(until) => {
                handle.sleep_until(until).await;
                Admission::Now
            }
        }
    }

    /// Reserves a time for an attempt. Attempts at the same time get times one after the other.
    fn reserve(&self, peer: IpAddr, now: Instant) -> Result<Instant, Admission> {
        let mut addresses = self.addresses();
        let Some(address) = addresses.get_mut(&network(peer)) else { return Ok(now) };
        let turn = address.next.max(now);
        if turn > now + PATIENCE {
            return Err(Admission::NotBefore((turn - now).as_secs_f64().ceil() as u64));
        }
        address.next = turn + delay(address.failures());
        Ok(turn)
    }

    pub(super) fn succeeded(&self, peer: IpAddr, name: &str) {
        let mut addresses = self.addresses();
        if let Some(address) = addresses.get_mut(&network(peer)) {
            address.failures.remove(name);
            if address.failures.is_empty() {
                addresses.remove(&network(peer));
            }
        }
    }

    /// Counts a failure. Returns the number of failures from the address.
    pub(super) fn failed(&self, peer: IpAddr, name: &str) -> u32 {
        self.failed_at(peer, name, clock::now())
    }

    fn failed_at(&self, peer: IpAddr, name: &str, now: Instant) -> u32 {
        let mut addresses = self.addresses();
        if addresses.len() >= MOST_ADDRESSES {
            addresses.retain(|_, address| address.next + FORGOTTEN > now);
            if addresses.len() >= MOST_ADDRESSES {
                let oldest = addresses.iter().min_by_key(|(_, address)| address.next);
                let oldest = oldest.map(|(peer, _)| *peer);
                oldest.map(|peer| addresses.remove(&peer));
            }
        }
        let unknown = || Address { failures: HashMap::new(), next: now };
        let address = addresses.entry(network(peer)).or_insert_with(unknown);
        if address.next + FORGOTTEN < now {
            address.failures.clear();
        }
        let is_known = address.failures.contains_key(name);
        let name = if is_known || address.failures.len() < MOST_NAMES { name } else { "" };
        let count = address.failures.entry(name.to_owned()).or_default();
        *count = count.saturating_add(1);
        address.next = address.next.max(now + delay(address.failures()));
        address.failures()
    }
}

fn delay(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        n => FIRST.saturating_mul(1 << (n - 1).min(16)).min(LONGEST),
    }
}

/// Returns the network of an address: for IPv6 the first 64 bits, because a client may use all
/// addresses in them.
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
        let throttle = Throttle::default();
        let start = Instant::now();
        let (one, other) = (peer("10.0.0.1"), peer("10.0.0.2"));
        assert_eq!(throttle.reserve(one, start), Ok(start));
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..10 {
            throttle.failed_at(one, "ann", now);
            let turn = throttle.reserve(one, now).unwrap();
            waits.push(turn - now);
            now = turn;
        }
        assert_eq!(waits[..3], [FIRST, FIRST * 2, FIRST * 4]);
        assert_eq!(waits[9], LONGEST);
        assert_eq!(throttle.reserve(other, start), Ok(start), "another address does not wait");
        throttle.succeeded(one, "bob");
        assert!(
            throttle.reserve(one, now).unwrap() > start,
            "another one's success forgives nothing"
        );
        throttle.succeeded(one, "ann");
        assert_eq!(throttle.reserve(one, now), Ok(now));
    }

    #[test]
    fn attempts_at_once_wait_for_each_other_and_not_for_ever() {
        let throttle = Throttle::default();
        let (now, one) = (Instant::now(), peer("10.0.0.1"));
        for _ in 0..4 {
            throttle.failed_at(one, "ann", now);
        }
        let turns: Vec<_> = (0..6).map(|_| throttle.reserve(one, now)).collect();
        assert_eq!(turns[0], Ok(now + FIRST * 8));
        assert_eq!(turns[1], Ok(now + FIRST * 16));
        assert_eq!(turns[5], Err(Admission::NotBefore(10)));
        // A part of a second counts as a whole one.
        let later = now + Duration::from_millis(1);
        assert_eq!(throttle.reserve(one, later), Err(Admission::NotBefore(10)));
    }

    #[test]
    fn networks_and_forgetting() {
        let throttle = Throttle::default();
        let now = Instant::now();
        assert_eq!(throttle.failed_at(peer("2001:db8::1"), "ann", now), 1);
        assert_eq!(throttle.failed_at(peer("2001:db8::2"), "ann", now), 2);
        assert_eq!(throttle.failed_at(peer("2001:db8:0:1::1"), "ann", now), 1);
        assert_eq!(throttle.failed_at(peer("::ffff:10.0.0.1"), "ann", now), 1);
        assert_eq!(throttle.failed_at(peer("10.0.0.1"), "ann", now), 2);
        assert_eq!(throttle.failed_at(peer("10.0.0.1"), "ann", now + FORGOTTEN * 2), 1);
    }

    #[test]
    fn no_flood_of_names_either() {
        let throttle = Throttle::default();
        let (now, one) = (Instant::now(), peer("10.0.0.1"));
        for n in 1..100 {
            assert_eq!(throttle.failed_at(one, &n.to_string(), now), n);
        }
        assert!(throttle.addresses()[&one].failures.len() <= MOST_NAMES + 1);
    }

    #[test]
    fn no_flood_of_addresses_fills_the_memory() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for n in 0..MOST_ADDRESSES as u32 + 100 {
            throttle.failed_at(IpAddr::from(n.to_be_bytes()), "ann", now);
        }
        assert_eq!(throttle.addresses().len(), MOST_ADDRESSES);
    }
}
