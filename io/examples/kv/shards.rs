//! The key-value server, step 3, which is a step too far: the keys in 16 shards, each of which has
//! a color. A request goes to its shard's color; a `Sequencer` puts the replies in order.
//!
//! `cargo run -p dapple-io --example kv-shards -- 127.0.0.1:6379 FILE`, and then `redis-cli`.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use dapple::{Colored, ColoredSet, Cx, Handle, Sequencer};
use dapple_io::codec::Reader;
use dapple_io::stream::{Conn, ConnOptions, Connection, Protocol};
use dapple_io::tcp::Accepting;

use resp::{Request, Requests, bulk, request};
use run::run;
use store::{Outcome, Store, save, saved};

#[path = "resp.rs"]
mod resp;
#[path = "run.rs"]
mod run;
#[path = "store.rs"]
mod store;

const SHARDS: usize = 16;

struct Server {
    handle: Handle,
    shards: Vec<Colored<Store>>,
    hash: RandomState,
    file: PathBuf,
}

impl Server {
    /// That of the key, which is the first argument.
    fn shard(&self, request: &Request) -> &Colored<Store> {
        &self.shards[request.get(1).map_or(0, |key| self.hash.hash_one(key) as usize % SHARDS)]
    }

    fn execute(self: &Arc<Self>, request: Request, then: impl FnOnce(Vec<u8>) + Send + 'static) {
        let server = Arc::clone(self);
        self.shard(&request).post(move |shard, _| match shard.execute(&request) {
            // What is saved is one state: that of all shards at one time.
            Outcome::Save(_) => {
                let saves = Arc::clone(&server);
                let all: Vec<_> = server.shards.iter().map(Colored::shared).collect();
                all.post(move |shards, _| {
                    let bytes = shards.into_iter().flat_map(Store::to_bytes).collect();
                    saves.carry_out(Outcome::Save(bytes), &request, then);
                });
            }
            outcome => server.carry_out(outcome, &request, then),
        });
    }

    fn carry_out(
        &self,
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
            Outcome::Save(bytes) => {
                let file = self.file.clone();
                return drop(self.handle.offload(move || then(save(&file, &bytes))));
            }
            Outcome::Figures => bulk(Some(self.handle.metrics().to_string().as_bytes())),
        };
        then(reply);
    }
}

struct Client {
    requests: Reader<Requests>,
    replies: Sequencer<Vec<u8>>,
    server: Arc<Server>,
}

impl Protocol for Client {
    fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
        while let Some(message) = self.requests.next(conn) {
            let Some((request, _)) = request(&message) else { return };
            let place = self.replies.reserve();
            self.server.execute(request, move |reply| place.complete(reply));
        }
    }
}

fn main() -> io::Result<()> {
    run(|h, io, options| {
        let shard = || Colored::new(&h.color_builder().label("shard").build(), Store::default());
        let shards = std::iter::repeat_with(shard).take(SHARDS).collect();
        let (handle, hash, file) = (h.clone(), RandomState::new(), options.file.clone());
        let server = Arc::new(Server { handle, shards, hash, file });
        for request in saved(&options.file)? {
            server.execute(request, drop);
        }
        io.listen(options.address, Accepting::PerWorker, move |stream, _| {
            let server = Arc::clone(&server);
            let color = server.handle.color_builder().label("connection").build();
            let client = |me: Weak<Connection<Client>>| {
                let replies = Sequencer::new(&color, move |reply: Vec<u8>, _| {
                    let Some(me) = me.upgrade() else { return };
                    me.with(move |_, conn, _| conn.send(&reply));
                });
                Client { requests: Reader::new(Requests), replies, server }
            };
            stream.serve_with(&color, ConnOptions::default(), client);
        })
    })
}
