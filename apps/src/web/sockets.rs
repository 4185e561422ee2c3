//! Where the server listens: at addresses, on sockets of a service manager, and on those of a
//! process before this one.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use dapple_io::listen::{Accepting, Inherited, Listener, ListenerBuilder};
use dapple_io::{Addr, Io};

use super::answer::AnswerOptions;
use super::conn::WebConn;
use super::handover::Started;
use super::monitor::FiguresFor;
use super::pages::{Content, PageOptions};
use super::secure::Front;
use super::server::{Server, Settings};
use crate::common::https;

/// What is listened on.
#[derive(Default)]
pub(super) struct Sockets {
    /// With what the command line calls them.
    addresses: Vec<(String, Addr)>,
    /// Opened by a process before this one, with what the command line calls their address.
    taken_over: Vec<(String, Vec<Inherited>)>,
    /// Opened by a service manager.
    activated: Vec<Inherited>,
}

impl Sockets {
    pub(super) fn choose(addresses: Vec<Addr>, started: &mut Started) -> Sockets {
        let mut sockets = Sockets::default();
        let is_told = !addresses.is_empty();
        if !is_told {
            sockets.activated = started.take_activated();
        }
        let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)).into();
        let addresses = match is_told || !sockets.activated.is_empty() {
            true => addresses,
            false => vec![default],
        };
        for (at, address) in addresses.iter().enumerate() {
            // Port 0 may be there twice, and mean two.
            let name = match addresses[..at].iter().filter(|other| *other == address).count() {
                0 => address.to_string(),
                n => format!("{address} ({})", n + 1),
            };
            match started.take_listening(&name) {
                none if none.is_empty() => sockets.addresses.push((name, address.clone())),
                taken => sockets.taken_over.push((name, taken)),
            }
        }
        sockets
    }
}

/// Listens, paused, and says what the command line calls each address of the listener.
pub(super) fn listen(
    io: &Io,
    sockets: Sockets,
    started: &Started,
    server: &Arc<Server>,
    front: Option<&Front>,
) -> Result<(Vec<String>, Listener), String> {
    let mut listeners = io.listener().accepting(accepting(io, &server.settings)).paused();
    let Sockets { addresses, taken_over, activated } = sockets;
    let of_addresses = addresses.iter().map(|(name, _)| name);
    let all = of_addresses.chain(taken_over.iter().map(|(name, _)| name));
    let mut names: Vec<String> = all.cloned().collect();
    let shown = match names.is_empty() {
        true => "what was opened".to_owned(),
        false => names.join(", "),
    };
    let addresses = addresses.into_iter().map(|(_, address)| address);
    listeners = addresses.fold(listeners, ListenerBuilder::bind);
    listeners = taken_over
        .into_iter()
        .flat_map(|(_, sockets)| sockets)
        .fold(listeners, |all, one| all.take_over(one.fd));
    listeners = activated.into_iter().fold(listeners, |all, one| all.adopt(one.fd));
    let listening = match front {
        None => {
            let server = Arc::clone(server);
            listeners.start(move |stream, cx| WebConn::accept(&server, stream, cx))
        }
        Some(front) => {
            let https = Arc::clone(&front.https);
            listeners.start(move |stream, cx| https::accept(&https, stream, cx))
        }
    };
    let listener = listening.map_err(|e| format!("cannot listen on {shown}: {e}"))?;
    match front.is_some() && listener.addrs().iter().any(|address| address.ip().is_none()) {
        true => {
            give_up(started, listener);
            Err("TLS works over TCP only, not over Unix sockets".to_owned())
        }
        false => {
            // Those of a service manager have no address on the command line.
            names.resize(listener.addrs().len(), String::new());
            Ok((names, listener))
        }
    }
}

/// Listens no more, as the server cannot start. What a process before this one has handed over is
/// left to it, which goes on.
pub(super) fn give_up(started: &Started, listener: Listener) {
    match started.has_predecessor() {
        true => listener.leave(),
        false => drop(listener),
    }
}

fn accepting(io: &Io, settings: &Settings) -> Accepting {
    match settings.serial {
        true => Accepting::OnColor(io.handle().default_color()),
        false => Accepting::PerWorker,
    }
}

/// Sends clients that come to an address without TLS to where `listener` listens; it is paused.
pub(super) fn redirect(
    io: &Io,
    from: SocketAddr,
    started: &mut Started,
    listener: &Listener,
    server: &Server,
) -> Result<(Listener, Arc<Server>), String> {
    let port = listener.addrs().iter().find_map(Addr::ip).map_or(443, |to| to.port());
    let Settings { options, serial, max_connections, max_per_address, .. } = server.settings;
    let (figures_for, dashboard) = (FiguresFor::Nobody, false);
    let settings =
        Settings { options, serial, figures_for, dashboard, max_connections, max_per_address };
    let nothing = (PageOptions::default(), AnswerOptions::default());
    let server = Arc::new(Server::new(io.handle(), Content::Elsewhere(port), nothing, settings));
    let mut listeners = io.listener().accepting(accepting(io, &server.settings)).paused();
    let taken_over = started.take_redirecting(&from.to_string());
    listeners = match taken_over.is_empty() {
        true => listeners.bind(from),
        false => taken_over.into_iter().fold(listeners, |all, one| all.take_over(one.fd)),
    };
    let accepting = Arc::clone(&server);
    let listener = listeners
        .start(move |stream, cx| WebConn::accept(&accepting, stream, cx))
        .map_err(|e| format!("cannot listen on {from}: {e}"))?;
    Ok((listener, server))
}
