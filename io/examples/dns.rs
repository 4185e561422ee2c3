//! A DNS forwarder in callback style. It passes the questions of clients on to a name server,
//! repeats a question that gets no answer, and passes the answers back.
//!
//! `cargo run -p dapple-io --example dns -- 127.0.0.1:5353 9.9.9.9:53`, and then `dig @127.0.0.1 -p
//! 5353 example.org`.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use dapple::{Colored, Cx, Timer};
use dapple_io::datagram::{
    Datagram, DatagramOptions, DatagramProtocol, DatagramSocket, Datagrams, Outbox,
};
use dapple_io::{Addr, Io};

/// The delay before a question is asked again, up to [`TIMES`] times in all.
const AGAIN: Duration = Duration::from_millis(250);
const TIMES: u8 = 8;

/// The maximum number of questions that wait for an answer. Further questions are dropped.
const MOST: usize = 10_000;

/// The length of a message's header, in bytes (RFC 1035, 4.1.1).
const HEADER: usize = 12;

/// A question that waits for its answer.
struct Question {
    client: Addr,
    /// The client's number for the question.
    number: [u8; 2],
    /// The message to the name server, with the forwarder's own number.
    message: Vec<u8>,
    times: u8,
    again: Timer,
}

/// Both sockets and the open questions, on one color.
struct Forwarder {
    clients: Option<Datagrams<FromClients>>,
    server: Option<Datagrams<FromServer>>,
    open: HashMap<u16, Question>,
    /// Draws numbers that an attacker cannot guess.
    random: RandomState,
    drawn: u64,
}

impl Forwarder {
    fn asks(&mut self, me: &Colored<Forwarder>, client: Addr, message: &[u8]) {
        if message.len() < HEADER || message[2] & 0x80 != 0 || self.open.len() >= MOST {
            return;
        }
        let number = loop {
            self.drawn += 1;
            let number = self.random.hash_one(self.drawn) as u16;
            if !self.open.contains_key(&number) {
                break number;
            }
        };
        let mut passed = message.to_vec();
        passed[..2].copy_from_slice(&number.to_be_bytes());
        let again = me.every(AGAIN, move |forwarder, _| forwarder.ask(number));
        let number_there = [message[0], message[1]];
        let question = Question { client, number: number_there, message: passed, times: 0, again };
        self.open.insert(number, question);
        self.ask(number);
    }

    /// Asks the name server, or gives up after [`TIMES`] attempts.
    fn ask(&mut self, number: u16) {
        let Some(question) = self.open.get_mut(&number) else { return };
        question.times += 1;
        if question.times > TIMES {
            question.again.cancel();
            self.open.remove(&number);
            return;
        }
        let message = question.message.clone();
        if let Some(server) = &self.server {
            server.with(move |_, out, _| out.send(&message));
        }
    }

    fn answers(&mut self, message: &[u8]) {
        let Some(number) = message.first_chunk().map(|number| u16::from_be_bytes(*number)) else {
            return;
        };
        // An answer repeats the question right after the header.
        let is_answer = |question: &Question| {
            let end = question.message.len().min(question_end(&question.message));
            message.len() >= end
                && message[2] & 0x80 != 0
                && message[HEADER..end].eq_ignore_ascii_case(&question.message[HEADER..end])
        };
        if !self.open.get(&number).is_some_and(is_answer) {
            return;
        }
        let Some(question) = self.open.remove(&number) else { return };
        question.again.cancel();
        let mut answer = message.to_vec();
        answer[..2].copy_from_slice(&question.number);
        if let Some(clients) = &self.clients {
            clients.with(move |_, out, _| out.send_to_addr(&answer, &question.client));
        }
    }
}

/// Returns the offset at which the first question of a message ends: its name, its type and its
/// class.
fn question_end(message: &[u8]) -> usize {
    let mut at = HEADER;
    while let Some(length) = message.get(at).filter(|length| **length != 0) {
        at += 1 + usize::from(*length);
    }
    at + 5
}

struct FromClients(Colored<Forwarder>);

impl DatagramProtocol for FromClients {
    fn on_datagram(&mut self, datagram: Datagram<'_>, _: &mut Outbox, cx: &mut Cx) {
        let (me, client) = (self.0.clone(), datagram.from());
        self.0.run_here(cx, |forwarder, _| forwarder.asks(&me, client, datagram.bytes()));
    }
}

struct FromServer(Colored<Forwarder>);

impl DatagramProtocol for FromServer {
    fn on_datagram(&mut self, datagram: Datagram<'_>, _: &mut Outbox, cx: &mut Cx) {
        self.0.run_here(cx, |forwarder, _| forwarder.answers(datagram.bytes()));
    }

    fn on_error(&mut self, error: io::Error, _: &mut Outbox, _: &mut Cx) {
        eprintln!("the name server: {error}");
    }
}

fn main() -> io::Result<()> {
    let parse = |text: Option<String>| text.and_then(|text| text.parse::<SocketAddr>().ok());
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(server)) = (parse(arguments.next()), parse(arguments.next())) else {
        return Err(io::Error::other("dns LISTEN NAME-SERVER, each as 127.0.0.1:53"));
    };
    let rt = dapple_io::runtime().workers(1).build()?;
    let io = Io::of(&rt.handle());
    let color = rt.handle().new_color();
    let forwarder = Forwarder {
        clients: None,
        server: None,
        open: HashMap::new(),
        random: RandomState::new(),
        drawn: 0,
    };
    let forwarder = Colored::new(&color, forwarder);
    let clients = io.bind_udp(listen)?;
    println!("listening on {}", clients.local_addr());
    let any: SocketAddr = if server.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }.parse().unwrap();
    let upstream = DatagramSocket::bind(&io, any)?;
    upstream.connect(server)?;
    let options = DatagramOptions { max_datagram: 4_096, ..DatagramOptions::default() };
    let clients = clients.serve(&color, options, FromClients(forwarder.clone()));
    let upstream = upstream.serve(&color, options, FromServer(forwarder.clone()));
    forwarder.post(move |forwarder, _| {
        (forwarder.clients, forwarder.server) = (Some(clients), Some(upstream));
    });
    io.wait_for_signal(&[libc::SIGTERM, libc::SIGINT])?;
    Ok(())
}
