//! The key-value server, step 3, which goes a step too far: the keys are in 16 shards, each with a
//! color. A request goes to its shard's color, and a `Sequencer` puts the replies in order.
//!
//! `cargo run --release -p dapple-io --example kv-shards -- 127.0.0.1:6379 FILE WORKERS`, and then
//! `redis-cli`.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::{Arc, Weak};

use dapple::{Colored, ColoredSet, Cx, Handle, Sequencer};
use dapple_io::codec::Reader;
use dapple_io::stream::{Conn, Connection, Protocol};
use dapple_io::tcp::Accepting;

use asked::Asked;
use resp::{Request, Requests, bulk, request};
use run::{limits, run};
use saves::{Saves, to_bytes};
use store::{Outcome, Store};

#[path = "asked.rs"]
mod asked;
#[path = "resp.rs"]
mod resp;
#[path = "run.rs"]
mod run;
#[path = "saves.rs"]
mod saves;
#[path = "store.rs"]
mod store;

const SHARDS: usize = 16;

/// The maximum number of requests of one connection that are in flight.
const AT_ONCE: usize = 64;

struct Server {
    handle: Handle,
    shards: Vec<Colored<Store>>,
    hash: RandomState,
    saves: Arc<Saves>,
    asked: Asked,
}

impl Server {
    /// Returns the shard of the request's key, which is the first argument.
    fn shard(&self, request: &Request) -> &Colored<Store> {
        &self.shards[request.get(1).map_or(0, |key| self.hash.hash_one(key) as usize % SHARDS)]
    }

    fn execute(self: &Arc<Self>, request: Request, then: impl FnOnce(Vec<u8>) + Send + 'static) {
        let server = Arc::clone(self);
        self.shard(&request).post(move |shard, _| {
            let outcome = shard.execute(&request);
            server.carry_out(outcome, &request, then);
        });
    }

    /// Begins a save of all shards as they are at one moment.
    fn save(self: &Arc<Self>) {
        let server = Arc::clone(self);
        let all: Vec<_> = self.shards.iter().map(Colored::shared).collect();
        all.post(move |shards, _| {
            let (asked, bytes) = (server.asked.take(), to_bytes(shards));
            let handle = server.handle.clone();
            let write = move || {
                let reply = server.saves.save(&bytes);
                if server.asked.end(asked, &reply) {
                    server.save();
                }
            };
            handle.offload(write).detach();
        });
    }

    fn carry_out(
        self: &Arc<Self>,
        outcome: Outcome,
        request: &Request,
        then: impl FnOnce(Vec<u8>) + Send + 'static,
    ) {
        let reply = match outcome {
            Outcome::Reply(reply) => reply,
            Outcome::Expires { reply, key, life, after } => {
                self.shard(request).post_after(after, move |store, _| store.expire(&key, life));
                reply
            }
            Outcome::Work(work) => return self.handle.post_uncolored(|_| then(work.run())),
            Outcome::Save => {
                if self.asked.begin(Box::new(then)) {
                    self.save();
                }
                return;
            }
            Outcome::Figures => bulk(Some(self.handle.metrics().to_string().as_bytes())),
        };
        then(reply);
    }
}

struct Client {
    requests: Reader<Requests>,
    /// The replies, in the order of the requests. `None` comes after the last reply, and closes the
    /// connection.
    replies: Sequencer<Option<Vec<u8>>>,
    has_ended: bool,
    server: Arc<Server>,
}

impl Client {
    fn reply(&mut self, reply: Option<&[u8]>, conn: &mut Conn) {
        match reply {
            Some(reply) => conn.send(reply),
            None => conn.close(),
        }
        if !self.has_ended {
            conn.resume();
        }
    }

    /// Takes no more requests. The connection closes when the earlier requests have their replies.
    fn ends(&mut self, conn: &mut Conn) {
        conn.pause();
        self.has_ended = true;
        self.replies.reserve().complete(None);
    }
}

impl Protocol for Client {
    fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
        while !self.has_ended {
            if self.replies.len() >= AT_ONCE {
                return conn.pause();
            }
            match self.requests.try_next(conn) {
                Ok(Some(message)) => {
                    let Some((request, _)) = request(&message) else { return };
                    let place = self.replies.reserve();
                    self.server.execute(request, move |reply| place.complete(Some(reply)));
                }
                Ok(None) => return,
                Err(_) => self.ends(conn),
            }
        }
    }

    fn on_eof(&mut self, conn: &mut Conn, _: &mut Cx) {
        self.ends(conn);
    }
}

fn main() -> io::Result<()> {
    run(|h, io, options| {
        let shard = || Colored::new(&h.color_builder().label("shard").build(), Store::default());
        let shards = std::iter::repeat_with(shard).take(SHARDS).collect();
        let (handle, saves) = (h.clone(), Arc::clone(&options.saves));
        let server = Arc::new(Server {
            handle,
            shards,
            hash: RandomState::new(),
            saves,
            asked: Asked::default(),
        });
        for request in options.saves.load()? {
            server.execute(request, drop);
        }
        io.listen(options.address, Accepting::PerWorker, move |stream, _| {
            let server = Arc::clone(&server);
            let color = server.handle.color_builder().label("connection").build();
            let client = |me: Weak<Connection<Client>>| {
                let replies = Sequencer::new(&color, move |reply: Option<Vec<u8>>, _| {
                    let Some(me) = me.upgrade() else { return };
                    me.with(move |client, conn, _| client.reply(reply.as_deref(), conn));
                });
                Client { requests: Reader::new(Requests), replies, has_ended: false, server }
            };
            stream.serve_with(&color, limits(), client);
        })
    })
}
