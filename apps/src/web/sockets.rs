//! The listening sockets: at addresses, from a service manager, and from a predecessor.

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

/// The sockets to listen on.
#[derive(Default)]
pub(super) struct Sockets {
    /// The addresses to bind, with their names on the command line.
    addresses: Vec<(String, Addr)>,
    /// The sockets that the predecessor opened, with the command line's names of their addresses.
    taken_over: Vec<(String, Vec<Inherited>)>,
    /// The sockets that a service manager opened.
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
            // Port 0 may be given twice, and then means two ports.
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

/// Listens, paused, and returns the command line's name for each address of the listener.
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
        true => "the sockets of the service manager".to_owned(),
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
            // Sockets of a service manager have no address on the command line.
            names.resize(listener.addrs().len(), String::new());
            Ok((names, listener))
        }
    }
}

/// Stops listening, because the server cannot start. Sockets from a predecessor stay open for it,
/// because it keeps serving.
pub(super) fn give_up(started: &Started, listener: Listener) {
    match started.has_predecessor() {
        true => listener.hand_over(),
        false => drop(listener),
    }
}

fn accepting(io: &Io, settings: &Settings) -> Accepting {
    match settings.serial {
        true => Accepting::OnColor(io.handle().default_color()),
        false => Accepting::PerWorker,
    }
}

/// Starts a paused listener that redirects clients without TLS to where `listener` listens.
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
