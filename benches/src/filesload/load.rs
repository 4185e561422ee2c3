//! The load: what each client asks for, and the measurement.
//!
//! All clients connect first. Then they start together, and the measurement begins. If there are
//! many small files, each client takes the next one that no client has taken yet.

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

/// The files that the clients ask for.
#[derive(Clone, Debug)]
pub enum Files {
    /// One file for all clients.
    One(String),
    /// One file per client: this name, a dot and the client's number.
    Own(String),
    /// This number of files, called `f00000`, `f00001` and so on.
    Many(u64),
}

/// The settings of a load.
pub struct Load {
    /// The server and the user.
    pub site: Site,
    /// The operation of all requests.
    pub op: Op,
    /// The files.
    pub files: Files,
    /// The bytes of each file: those that are uploaded, or those that must arrive, if known.
    pub size: Option<u64>,
    /// The number of requests of each client for its one file, or the number of requests for each
    /// of the many files.
    pub rounds: u64,
    /// The number of clients. Each has a thread and a connection of its own.
    pub clients: usize,
    /// The cores on which the clients run, in turn. They run anywhere if there is none.
    pub cores: Vec<usize>,
    /// Whether the clients wait without sleeping. This suits clients that share no core with the
    /// server.
    pub spin: bool,
    /// The only cipher that is offered.
    pub cipher: CipherSuite,
    /// The server's processes. Their descendants are counted without being listed.
    pub servers: Vec<libc::pid_t>,
}

/// The result of a load.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// The bytes of the files that were transferred.
    pub bytes: u64,
    /// The number of requests.
    pub requests: u64,
    /// The time from the first request to the last response.
    pub wall: Duration,
    /// The CPU time of this process, without the time in which its clients only waited.
    pub client_cpu: Duration,
    /// The CPU time of the server's processes, if any were given.
    pub server_cpu: Option<Duration>,
}

/// The state that the threads share.
struct Shared<'a> {
    load: &'a Load,
    next: AtomicU64,
    failed: AtomicBool,
    pattern: Vec<u8>,
}

impl Load {
    /// Connects all clients, runs the load, and measures it.
    ///
    /// # Errors
    ///
    /// Returns the first error: of a connection, of a response, of a core that a client cannot be
    /// pinned to, or of the server's processes.
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
            // Clients that end because another one has failed report no error.
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

/// What one client has done.
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
                return Err(io::Error::other(format!("cannot pin a thread to core {id}")));
            }
        }
        if load.spin {
            self.connection.never_sleep()?;
        }
        let (mut bytes, mut requests) = (0, 0);
        while let Some(name) = self.next_name(requests) {
            // Relaxed: the flag guards no other data.
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
                // Relaxed: only the number itself is shared.
                let n = self.shared.next.fetch_add(1, Relaxed);
                (n < count * load.rounds).then(|| format!("f{:05}", n % count))
            }
        }
    }

    /// Sends one request, and waits for the response. Returns the bytes of the file.
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
            // A server that refuses a body responds early and closes. That response says why.
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
