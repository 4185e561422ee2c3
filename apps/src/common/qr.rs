//! The address of a server as a QR code, and the addresses under which others reach this machine.

use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, SocketAddr};

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

/// Returns the addresses of this machine that others can reach, of the family of `listening`. IPv6
/// listeners have both.
pub(crate) fn own_addresses(listening: IpAddr) -> Vec<IpAddr> {
    let is_reachable = |address: &IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => listening.is_ipv6() && !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    // If the system does not list its interfaces, the caller can still use the machine's name.
    let mut all: Vec<IpAddr> =
        if_addrs::get_if_addrs().unwrap_or_default().iter().map(|one| one.ip()).collect();
    all.retain(is_reachable);
    all.sort_unstable();
    all.dedup();
    all
}

/// Returns this machine's address in the network through which it reaches others. If the machine
/// has several networks, such as those of containers, a phone is usually in this one. Nothing is
/// sent.
fn towards_others() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // An address that is reserved for documentation (RFC 5737).
    socket.connect("203.0.113.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Returns the address under which others reach a server that listens at `listening`. Returns
/// `None` if only this machine reaches it, or if no address is known.
pub(crate) fn reachable(listening: SocketAddr) -> Option<SocketAddr> {
    let ip = match listening.ip() {
        ip if ip.is_loopback() => return None,
        ip if ip.is_unspecified() => {
            let all = own_addresses(ip);
            let is_v4 = |ip: &&IpAddr| ip.is_ipv4();
            match towards_others() {
                Some(ip) if all.contains(&ip) => ip,
                _ => *all.iter().find(is_v4).or(all.first())?,
            }
        }
        ip => ip,
    };
    Some(SocketAddr::new(ip, listening.port()))
}

/// Prints an address as a QR code, if the standard output is a terminal. A text that is too long
/// for a code is left out.
pub(crate) fn show(out: &mut impl Write, url: &str) {
    if !io::stdout().is_terminal() {
        return;
    }
    let Ok(code) = QrCode::new(url) else { return };
    let mut picture = code.render::<Dense1x2>();
    let picture = picture.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    // The code is drawn in white on black, in any terminal, so the light modules are drawn.
    for line in picture.lines() {
        let _ = writeln!(out, "\x1b[97;40m{line}\x1b[0m");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_beyond_this_machine_is_shown() {
        let at = |text: &str| reachable(text.parse().unwrap());
        assert_eq!(at("127.0.0.1:80"), None);
        assert_eq!(at("[::1]:80"), None);
        assert_eq!(at("192.0.2.7:8080"), Some("192.0.2.7:8080".parse().unwrap()));
        let all = at("0.0.0.0:80");
        assert!(all.is_none_or(|all| all.port() == 80 && !all.ip().is_unspecified()), "{all:?}");
    }
}
