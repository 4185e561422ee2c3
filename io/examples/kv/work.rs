//! The key-value server, step 1: long computations are events without a color, and saves run on the
//! blocking pool. Everything else stays on the default color. The connection is paused meanwhile,
//! so its replies keep their order.
//!
//! `cargo run --release -p dapple-io --example kv-work -- 127.0.0.1:6379 FILE WORKERS`, and then
//! `redis-cli`.

use std::io;
use std::sync::{Arc, Weak};

use dapple::{Colored, Cx, Handle};
use dapple_io::codec::Reader;
use dapple_io::stream::{Conn, Connection, Protocol};
use dapple_io::tcp::Accepting;

use asked::Asked;
use resp::{Requests, bulk, request};
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

impl Protocol for Client {
    fn on_data(&mut self, conn: &mut Conn, cx: &mut Cx) {
        // This is called for room in the out-buffer, too.
        if conn.is_paused() {
            return;
        }
        while let Some(message) = self.requests.next(conn) {
            let Some((request, _)) = request(&message) else { return };
            let outcome = self.server.store.get_mut(cx).execute(&request);
            if let Outcome::Reply(reply) = outcome {
                conn.send(&reply);
                continue;
            }
            conn.pause();
            let me = self.me.clone();
            return self.server.carry_out(outcome, move |reply| {
                let Some(me) = me.upgrade() else { return };
                me.with(move |_, conn, _| {
                    conn.send(&reply);
                    conn.resume();
                });
            });
        }
    }
}

fn main() -> io::Result<()> {
    run(|h, io, options| {
        let color = h.default_color();
        let store = Colored::new(&color, Store::default());
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
        io.listen(options.address, Accepting::OnColor(color.clone()), move |stream, _| {
            let server = Arc::clone(&server);
            let client = |me| Client { requests: Reader::new(Requests), server, me };
            stream.serve_with(&color, limits(), client);
        })
    })
}
