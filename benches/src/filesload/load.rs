//! Who asks for what, and what it took.
//!
//! All clients connect first; then they start together, and time is taken. Of many small files each
//! client takes the next that nobody has taken yet.

use std::io;
use std::net::ToSocketAddrs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use rustls::CipherSuite;

use super::config::config;
use super::http::{Answer, Op, Site};
use super::tls::{Connection, READ};
use crate::cpu;
use crate::measure::process_cpu_nanos;

/// Which files.
#[derive(Clone, Debug)]
pub enum Files {
    /// One for all clients.
    One(String),
    /// One for each client: this name, a dot and the client's number.
    Own(String),
    /// So many, which are called `f00000` and so on.
    Many(u64),
}

/// All that has to be known.
pub struct Load {
    /// Where.
    pub site: Site,
    /// What is done with them.
    pub op: Op,
    /// Which files.
    pub files: Files,
    /// Bytes of each: those that are put, or that must arrive, if that is known.
    pub size: Option<u64>,
    /// How often each client asks for its one file, or all together for all the many files.
    pub rounds: u64,
    /// How many ask at once, each by a thread and a connection of its own.
    pub clients: usize,
    /// Where they run, in turn; anywhere if there is none.
    pub cores: Vec<usize>,
    /// Clients wait without sleeping; for such that have their cores to themselves.
    pub spin: bool,
    /// The only cipher that is offered.
    pub cipher: CipherSuite,
    /// The server's processes, without their children.
    pub servers: Vec<libc::pid_t>,
}

/// What was done, and what it took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// Bytes of the files.
    pub bytes: u64,
    /// Requests.
    pub requests: u64,
    /// Time from the first request to the last answer.
    pub wall: Duration,
    /// CPU time of this process, but for that in which it only waited.
    pub client_cpu: Duration,
    /// CPU time of the server's processes, if some were told.
    pub server_cpu: Option<Duration>,
}

/// What the threads share.
struct Shared<'a> {
    load: &'a Load,
    next: AtomicU64,
    failed: AtomicBool,
    pattern: Vec<u8>,
}

impl Load {
    /// Connects, and runs all of it.
    ///
    /// # Errors
    ///
    /// The first thing that went wrong.
    pub fn run(&self) -> io::Result<Took> {
        let authority = &self.site.authority;
        let address = authority
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::other(format!("{authority} has no address")))?;
        let config = config(self.cipher).map_err(io::Error::other)?;
        let connections = (0..self.clients)
            .map(|_| Connection::new(address, self.site.host(), &config))
            .collect::<io::Result<Vec<Connection>>>()
            .map_err(|e| io::Error::new(e.kind(), format!("no connection to {authority}: {e}")))?;
        let shared = Shared {
            load: self,
            next: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            pattern: (0..READ).map(|n| (n * 31 + (n >> 8)) as u8).collect(),
        };
        let servers = || match self.servers.is_empty() {
            true => Ok(None),
            false => cpu::nanos_of(&self.servers).map(Some),
        };
        let server_before = servers()?;
        let (cpu_before, start) = (process_cpu_nanos(), Instant::now());
        let done = std::thread::scope(|s| {
            let mut threads = Vec::new();
            for (number, connection) in connections.into_iter().enumerate() {
                let shared = &shared;
                threads.push(s.spawn(move || Client::new(shared, number, connection).run()));
            }
            // Those that end because another has failed report nothing.
            let ends = threads.into_iter().map(|t| t.join().expect("it does not panic"));
            ends.collect::<Vec<_>>()
        });
        let wall = start.elapsed();
        let mut client_cpu = process_cpu_nanos() - cpu_before;
        let server_cpu = servers()?
            .zip(server_before)
            .map(|(after, before)| Duration::from_nanos(after.saturating_sub(before)));
        let (mut bytes, mut requests) = (0, 0);
        for result in done {
            let done = result?;
            bytes += done.bytes;
            requests += done.requests;
            client_cpu = client_cpu.saturating_sub(done.spun);
        }
        let client_cpu = Duration::from_nanos(client_cpu);
        Ok(Took { bytes, requests, wall, client_cpu, server_cpu })
    }
}

/// What a client has done.
struct Done {
    bytes: u64,
    requests: u64,
    spun: u64,
}

struct Client<'a> {
    shared: &'a Shared<'a>,
    number: usize,
    connection: Connection,
    head: String,
    answer: Answer,
}

impl<'a> Client<'a> {
    fn new(shared: &'a Shared<'a>, number: usize, connection: Connection) -> Self {
        let (head, answer) = (String::new(), Answer::default());
        Self { shared, number, connection, head, answer }
    }

    fn run(mut self) -> io::Result<Done> {
        let (shared, load) = (self.shared, self.shared.load);
        if !load.cores.is_empty() {
            let id = load.cores[self.number % load.cores.len()];
            if !core_affinity::set_for_current(CoreId { id }) {
                shared.failed.store(true, Relaxed);
                return Err(io::Error::other(format!("core {id} cannot be had")));
            }
        }
        if load.spin {
            self.connection.never_sleep()?;
        }
        let (mut bytes, mut requests) = (0, 0);
        while let Some(name) = self.next_name(requests) {
            // Relaxed: nothing else is read because of it.
            if shared.failed.load(Relaxed) {
                break;
            }
            bytes += self.ask(&name).map_err(|e| {
                shared.failed.store(true, Relaxed);
                io::Error::new(e.kind(), format!("{} {name}: {e}", load.op.name()))
            })?;
            requests += 1;
        }
        Ok(Done { bytes, requests, spun: self.connection.spun_nanos() })
    }

    fn next_name(&self, asked: u64) -> Option<String> {
        let load = self.shared.load;
        match &load.files {
            Files::One(_) | Files::Own(_) if asked == load.rounds => None,
            Files::One(name) => Some(name.clone()),
            Files::Own(name) => Some(format!("{name}.{}", self.number)),
            Files::Many(count) => {
                // Relaxed: the number itself is all that is shared.
                let n = self.shared.next.fetch_add(1, Relaxed);
                (n < count * load.rounds).then(|| format!("f{:05}", n % count))
            }
        }
    }

    /// Bytes of the file.
    fn ask(&mut self, name: &str) -> io::Result<u64> {
        let load = self.shared.load;
        let size = load.size.unwrap_or_default();
        load.site.request(load.op, name, size, &mut self.head);
        self.answer.reset();
        let sent = match load.op {
            Op::Get => self.connection.send(self.head.as_bytes(), &[]),
            Op::Put => self.send_body(size),
        };
        let answered = match sent {
            Ok(()) => self.receive(),
            // A server that refuses a body answers early and closes: that answer tells why.
            Err(error) => match self.receive() {
                Err(refused) if refused.kind() == io::ErrorKind::Other => Err(refused),
                _ => Err(error),
            },
        };
        answered?;
        match load.op {
            Op::Put => Ok(size),
            Op::Get if load.size.is_some_and(|size| size != self.answer.length) => {
                Err(io::Error::other(format!("{} bytes instead of {size}", self.answer.length)))
            }
            Op::Get => Ok(self.answer.length),
        }
    }

    fn send_body(&mut self, size: u64) -> io::Result<()> {
        let pattern = &self.shared.pattern;
        let part = |left: u64| &pattern[..left.min(READ as u64) as usize];
        let first = part(size.min((READ - self.head.len()) as u64));
        self.connection.send(self.head.as_bytes(), first)?;
        let mut left = size - first.len() as u64;
        while left > 0 {
            let next = part(left);
            self.connection.send(&[], next)?;
            left -= next.len() as u64;
        }
        Ok(())
    }

    fn receive(&mut self) -> io::Result<()> {
        let Self { connection, answer, shared, .. } = self;
        while !answer.is_complete() {
            connection.receive(&mut |bytes| answer.take(shared.load.op, bytes))?;
        }
        Ok(())
    }
}
