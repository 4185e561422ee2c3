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
use super::pages::{PageOptions, Site};
use super::secure::Front;
use super::server::{Server, Settings};
use crate::common::https;

/// What is listened on.
#[derive(Default)]
pub(super) struct Sockets {
    addresses: Vec<Addr>,
    /// Opened by a process before this one, with their addresses.
    taken_over: Vec<(Addr, Vec<Inherited>)>,
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
        for address in addresses {
            match started.take_listening(&address.to_string()) {
                none if none.is_empty() => sockets.addresses.push(address),
                taken => sockets.taken_over.push((address, taken)),
            }
        }
        sockets
    }
}

/// Listens, and says what the command line calls each address of the listener.
pub(super) fn listen(
    io: &Io,
    sockets: Sockets,
    server: &Arc<Server>,
    front: Option<&Front>,
) -> Result<(Vec<String>, Listener), String> {
    let mut listeners = io.listener().accepting(accepting(io, &server.settings));
    let Sockets { addresses, taken_over, activated } = sockets;
    let all = addresses.iter().chain(taken_over.iter().map(|(address, _)| address));
    let mut names: Vec<String> = all.map(Addr::to_string).collect();
    let shown = match names.is_empty() {
        true => "what was opened".to_owned(),
        false => names.join(", "),
    };
    listeners = addresses.into_iter().fold(listeners, ListenerBuilder::bind);
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
        true => Err("TLS is spoken over TCP only, not over Unix sockets".to_owned()),
        false => {
            // Those of a service manager have no address on the command line.
            names.resize(listener.addrs().len(), String::new());
            Ok((names, listener))
        }
    }
}

fn accepting(io: &Io, settings: &Settings) -> Accepting {
    match settings.serial {
        true => Accepting::OnColor(io.handle().default_color()),
        false => Accepting::PerWorker,
    }
}

/// Sends clients that come to an address without TLS to where `listener` listens.
pub(super) fn redirect(
    io: &Io,
    from: SocketAddr,
    started: &mut Started,
    listener: &Listener,
    server: &Server,
) -> Result<Listener, String> {
    let port = listener.addrs().iter().find_map(Addr::ip).map_or(443, |to| to.port());
    let Settings { options, serial, max_connections, max_per_address, .. } = server.settings;
    let (figures_for, dashboard) = (FiguresFor::Nobody, false);
    let settings =
        Settings { options, serial, figures_for, dashboard, max_connections, max_per_address };
    let nothing = (PageOptions::default(), AnswerOptions::default());
    let server = Arc::new(Server::new(io.handle(), Site::Elsewhere(port), nothing, settings));
    let mut listeners = io.listener().accepting(accepting(io, &server.settings));
    let taken_over = started.take_redirecting(&from.to_string());
    listeners = match taken_over.is_empty() {
        true => listeners.bind(from),
        false => taken_over.into_iter().fold(listeners, |all, one| all.take_over(one.fd)),
    };
    listeners
        .start(move |stream, cx| WebConn::accept(&server, stream, cx))
        .map_err(|e| format!("cannot listen on {from}: {e}"))
}
