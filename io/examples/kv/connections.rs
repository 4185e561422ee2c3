//! The key-value server, step 2: a color per connection, which reads, parses and writes there. The
//! store stays on the default color. All requests of one read go there as one event.
//!
//! `cargo run --release -p dapple-io --example kv-connections -- 127.0.0.1:6379 FILE WORKERS`, and
//! then `redis-cli`.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Weak};

use dapple::{Colored, Cx, Handle};
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

/// The maximum number of requests that a connection sends to the store at once.
const AT_ONCE: usize = 64;

struct Server {
    handle: Handle,
    store: Colored<Store>,
    saves: Arc<Saves>,
    asked: Asked,
}

impl Server {
    fn save(self: &Arc<Self>) {
        let server = Arc::clone(self);
        self.store.post(move |store, _| {
            let (asked, bytes) = (server.asked.take(), to_bytes([&*store]));
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

    fn carry_out(self: &Arc<Self>, outcome: Outcome, then: impl FnOnce(Vec<u8>) + Send + 'static) {
        let reply = match outcome {
            Outcome::Reply(reply) => reply,
            Outcome::Expires { reply, key, life, after } => {
                self.store.post_after(after, move |store, _| store.expire(&key, life));
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
    server: Arc<Server>,
    me: Weak<Connection<Client>>,
}

impl Client {
    /// Sends the replies in their order. The connection resumes when all of them have been sent.
    fn reply(&mut self, mut outcomes: VecDeque<Outcome>, conn: &mut Conn) {
        while let Some(outcome) = outcomes.pop_front() {
            if let Outcome::Reply(reply) = outcome {
                conn.send(&reply);
                continue;
            }
            let me = self.me.clone();
            return self.server.carry_out(outcome, move |reply| {
                let Some(me) = me.upgrade() else { return };
                me.with(move |client, conn, _| {
                    conn.send(&reply);
                    client.reply(outcomes, conn);
                });
            });
        }
        conn.resume();
    }
}

impl Protocol for Client {
    fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
        // This is called for room in the out-buffer, too.
        if conn.is_paused() {
            return;
        }
        let mut requests: Vec<Request> = Vec::new();
        while requests.len() < AT_ONCE
            && let Ok(Some(message)) = self.requests.try_next(conn)
        {
            requests.extend(request(&message).map(|(request, _)| request));
        }
        if requests.is_empty() {
            // An invalid request closes the connection, now that the requests before it have their
            // replies.
            self.requests.next(conn);
            return;
        }
        conn.pause();
        let me = self.me.clone();
        self.server.store.post(move |store, _| {
            let outcomes = requests.iter().map(|request| store.execute(request)).collect();
            let Some(me) = me.upgrade() else { return };
            me.with(move |client, conn, _| client.reply(outcomes, conn));
        });
    }
}

fn main() -> io::Result<()> {
    run(|h, io, options| {
        let store = Colored::new(&h.default_color(), Store::default());
        let asked = Asked::default();
        let server = Server { handle: h.clone(), store, saves: Arc::clone(&options.saves), asked };
        let server = Arc::new(server);
        let loaded = Arc::clone(&server);
        let requests = options.saves.load()?;
        h.post_default(move |cx| {
            for request in requests {
                let outcome = loaded.store.get_mut(cx).execute(&request);
                loaded.carry_out(outcome, drop);
            }
        });
        io.listen(options.address, Accepting::PerWorker, move |stream, _| {
            let server = Arc::clone(&server);
            let color = server.handle.color_builder().label("connection").build();
            let client = |me| Client { requests: Reader::new(Requests), server, me };
            stream.serve_with(&color, limits(), client);
        })
    })
}
