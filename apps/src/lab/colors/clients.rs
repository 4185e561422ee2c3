//! `dapple lab clients`: the clients of `dapple lab colors`, in a process of their own.
//!
//! Each client sends a request on some session and waits for the reply before it sends the next
//! one. All clients share one color, on one worker. The process prints the number of replies, and
//! the nanoseconds that they took.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};
use dapple::{Colored, Cx, clock};
use dapple_io::Io;
use dapple_io::tcp::{TcpStream, Transport, TransportOptions};

use super::super::draw::Draw;
use super::run::Asking;
use super::way::{self, Load, Server};
use super::{session, web};

/// The longest wait for a connection, and then for all replies.
const LIMIT: Duration = Duration::from_secs(120);

pub(in crate::lab) fn command() -> Command {
    let number = |name: &'static str| {
        Arg::new(name).long(name).required(true).value_parser(value_parser!(u64).range(1..))
    };
    let keys = |keys: &[&'static str]| keys.to_vec();
    Command::new("clients")
        .hide(true)
        .about("The clients of `dapple lab colors`, which starts them")
        .arg(
            Arg::new("server")
                .long("server")
                .required(true)
                .value_parser(keys(&Server::ALL.map(Server::key))),
        )
        .arg(
            Arg::new("load")
                .long("load")
                .required(true)
                .value_parser(keys(&Load::ALL.map(Load::key))),
        )
        .args(["sessions", "clients", "requests"].map(number))
        .arg(
            Arg::new("addresses")
                .num_args(1..)
                .required(true)
                .value_parser(value_parser!(SocketAddr)),
        )
}

/// The state of all clients.
struct Clients {
    ends: Vec<(Transport, Box<dyn Asking>)>,
    shares: Vec<f64>,
    draw: Draw,
    /// The number of copies of the server that have their own clients; see [`way::next_session`].
    copies: usize,
    /// The number of requests still to send; `missing` counts the replies still to come.
    left: u64,
    missing: u64,
    wrong: u64,
    /// Receives the number of wrong replies, or an error if the server has closed a connection.
    over: mpsc::Sender<Result<u64, String>>,
}

impl Clients {
    /// Sends the next request of an idle client of `copy`, on a session that is drawn.
    fn ask(&mut self, copy: usize) {
        let Some(left) = self.left.checked_sub(1) else { return };
        self.left = left;
        let copy = (self.copies, copy % self.copies);
        let session = way::next_session(&self.shares, &mut self.draw, copy);
        let (link, client) = &mut self.ends[session];
        // If the link is closed, `on_close` reports it.
        let _ = link.send(client.request());
    }

    fn has_come(&mut self, session: usize, reply: &[u8]) {
        self.wrong += u64::from(!self.ends[session].1.is_right(reply));
        self.missing = self.missing.saturating_sub(1);
        match self.missing {
            0 => _ = self.over.send(Ok(self.wrong)),
            _ => self.ask(session % self.copies),
        }
    }
}

pub(in crate::lab) fn main(args: &ArgMatches) -> Result<(), String> {
    let key = |name| args.get_one::<String>(name).map_or("", String::as_str);
    let number = |name| args.get_one::<u64>(name).copied().unwrap_or(1);
    let server = Server::ALL.into_iter().find(|server| server.key() == key("server"));
    let load = Load::ALL.into_iter().find(|load| load.key() == key("load"));
    let (server, load) = (server.expect("clap checks it"), load.expect("clap checks it"));
    let (sessions, requests) = (number("sessions") as usize, number("requests"));
    let addresses: Vec<SocketAddr> =
        args.get_many("addresses").into_iter().flatten().copied().collect();
    let failed = |e: std::io::Error| format!("the clients: {e}");
    let rt = dapple_io::runtime().workers(1).pin_cores(false).build().map_err(failed)?;
    let (io, color) = (Io::of(&rt.handle()), rt.handle().new_color());
    let (over, is_over) = mpsc::channel();
    let clients = Colored::new(
        &color,
        Clients {
            ends: Vec::new(),
            shares: load.shares(sessions),
            draw: Draw(7),
            // Under a skewed load the popular sessions stay popular, whichever copy has them.
            copies: if load == Load::Balanced { addresses.len() } else { 1 },
            left: requests,
            missing: requests,
            wrong: 0,
            over,
        },
    );
    let (tx, rx) = mpsc::channel();
    for session in 0..sessions {
        let (all, own, tx) = (clients.clone(), color.clone(), tx.clone());
        let address = addresses[session % addresses.len()];
        io.connect_then(address, &color, move |stream, _| {
            let link = |stream| connected(server, stream, &own, all, session);
            let _ = tx.send((session, stream.map(link)));
        });
    }
    let mut links = HashMap::new();
    for _ in 0..sessions {
        let late = |_| "the clients could not connect within 120 s".to_owned();
        let (session, link) = rx.recv_timeout(LIMIT).map_err(late)?;
        links.insert(session, link.map_err(failed)?);
    }
    let site = Arc::new(web::Files::new());
    let end = |session: usize| -> Option<(Transport, Box<dyn Asking>)> {
        let link = links.remove(&session)?;
        let client: Box<dyn Asking> = match server {
            Server::Web => Box::new(web::Client::new(&site)),
            Server::Session => {
                let number = session as u64;
                let _ = link.send(&number.to_le_bytes());
                Box::new(session::Client::new(number))
            }
        };
        Some((link, client))
    };
    let ends: Vec<_> = (0..sessions).filter_map(end).collect();
    let (began, count) = (clock::now(), number("clients"));
    clients.post(move |clients, _| {
        clients.ends = ends;
        (0..count as usize).for_each(|nth| clients.ask(nth));
    });
    let late = |_| "not all replies came within 120 s".to_owned();
    let wrong = is_over.recv_timeout(LIMIT).map_err(late)??;
    let took = clock::now() - began;
    if wrong > 0 {
        return Err(format!("{wrong} of {requests} replies are wrong"));
    }
    println!("{requests} {}", took.as_nanos());
    Ok(())
}

/// Delivers the replies of a session to `clients`.
fn connected(
    server: Server,
    stream: TcpStream,
    color: &dapple::Color,
    clients: Colored<Clients>,
    session: usize,
) -> Transport {
    let options = TransportOptions::default();
    let all = clients.clone();
    let reply = move |message: dapple_io::tcp::Message, cx: &mut Cx| {
        clients.get_mut(cx).has_come(session, message.bytes());
    };
    let link = match server {
        Server::Web => stream.deliver_by(web::Http, color, options, reply),
        Server::Session => stream.deliver(color, options, reply),
    };
    link.on_close(move |cx| {
        let gone = "the server closed a connection".to_owned();
        let _ = all.get_mut(cx).over.send(Err(gone));
    });
    link
}
