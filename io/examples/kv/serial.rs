//! A key-value server in callback style, for clients of Redis: the original program, with
//! everything on the default color.
//!
//! `cargo run --release -p dapple-io --example kv-serial -- 127.0.0.1:6379 FILE WORKERS`, and then
//! `redis-cli`.

use std::io;
use std::sync::Arc;

use dapple::{Colored, Cx, Handle};
use dapple_io::codec::Reader;
use dapple_io::stream::{Conn, Protocol};
use dapple_io::tcp::Accepting;

use resp::{Requests, bulk, request};
use run::{limits, run};
use saves::{Saves, to_bytes};
use store::{Outcome, Store};

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
}

impl Server {
    fn carry_out(&self, outcome: Outcome, cx: &mut Cx) -> Vec<u8> {
        match outcome {
            Outcome::Reply(reply) => reply,
            Outcome::Expires { reply, key, life, after } => {
                self.store.post_after(after, move |store, _| store.expire(&key, life));
                reply
            }
            Outcome::Work(work) => work.run(),
            Outcome::Save => self.saves.save(&to_bytes([&*self.store.get_mut(cx)])),
            Outcome::Figures => bulk(Some(self.handle.metrics().to_string().as_bytes())),
        }
    }
}

struct Client {
    requests: Reader<Requests>,
    server: Arc<Server>,
}

impl Protocol for Client {
    fn on_data(&mut self, conn: &mut Conn, cx: &mut Cx) {
        while let Some(message) = self.requests.next(conn) {
            let Some((request, _)) = request(&message) else { return };
            let outcome = self.server.store.get_mut(cx).execute(&request);
            let reply = self.server.carry_out(outcome, cx);
            conn.send(&reply);
        }
    }
}

fn main() -> io::Result<()> {
    run(|h, io, options| {
        let color = h.default_color();
        let store = Colored::new(&color, Store::default());
        let server = Server { handle: h.clone(), store, saves: Arc::clone(&options.saves) };
        let server = Arc::new(server);
        let loaded = Arc::clone(&server);
        let requests = options.saves.load()?;
        h.post_default(move |cx| {
            for request in requests {
                let outcome = loaded.store.get_mut(cx).execute(&request);
                loaded.carry_out(outcome, cx);
            }
        });
        io.listen(options.address, Accepting::OnColor(color.clone()), move |stream, _| {
            let client = Client { requests: Reader::new(Requests), server: Arc::clone(&server) };
            stream.serve(&color, limits(), client);
        })
    })
}
