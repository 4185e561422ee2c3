//! A limit on the number of connections from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The connections that are open, by address. See the module.
#[derive(Debug)]
pub(crate) struct PerAddress {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// A counted connection. Dropping it ends the count.
#[derive(Debug)]
#[must_use = "dropping it ends the count"]
pub(crate) struct Counted {
    all: Arc<PerAddress>,
    address: IpAddr,
}

impl PerAddress {
    pub(crate) fn new(most: usize) -> Arc<PerAddress> {
        Arc::new(PerAddress { most, open: Mutex::default() })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more connection from an address. Returns `None` if there are too many.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Counted> {
        let address = whose(address);
        let mut open = self.open();
        let count = open.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Counted { all: Arc::clone(self), address })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.all.open();
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// Returns the address under which a connection counts. For IPv6 it is the network of 64 bits,
/// which usually has one owner.
fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_and_a_network_of_ipv6_is_one() {
        let all = PerAddress::new(2);
        let enter = |address: &str| all.enter(address.parse().unwrap());
        let (one, two) = (enter("1.2.3.4").unwrap(), enter("::ffff:1.2.3.4").unwrap());
        assert!(enter("1.2.3.4").is_none());
        let other = enter("1.2.3.5").unwrap();
        drop(one);
        let again = enter("1.2.3.4").unwrap();
        let (_six, _teen) = (enter("2001:db8::1").unwrap(), enter("2001:db8::2").unwrap());
        assert!(enter("2001:db8::3").is_none() && enter("2001:db8:0:1::3").is_some());
        drop((two, other, again));
        assert_eq!(all.open().len(), 1, "nothing is kept of who has gone");
    }
}
