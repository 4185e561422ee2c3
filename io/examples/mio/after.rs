//! The server of `before.rs` on dapple, with a color per client, so that callbacks run on all
//! cores.
//!
//! `cargo run -p dapple-io --example mio-after -- 127.0.0.1:7007`, and then
//! `echo 1000 | nc -N 127.0.0.1 7007`.

use std::io;
use std::net::TcpStream;

use dapple::Colored;
use dapple_io::tcp::Accepting;
use dapple_io::{ColoredExt, Interest, Io, Registration};

use client::Client;

#[path = "client.rs"]
mod client;

/// A client and the registration that calls it. The registration's callback owns this value, so the
/// client is dropped with the registration.
struct Watched {
    client: Client<TcpStream>,
    registration: Option<Registration>,
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7007".to_owned());
    let address = address.parse().map_err(io::Error::other)?;
    let rt = dapple_io::runtime().build()?;
    let io = Io::of(&rt.handle());
    let also_io = io.clone();
    let listener = io.listen(address, Accepting::PerWorker, move |stream, cx| {
        let Ok(socket) = stream.into_fd().map(TcpStream::from) else { return };
        // A watched descriptor stays open until its registration ends, so the registration gets a
        // duplicate.
        let (Ok(fd), io) = (socket.try_clone(), also_io.clone()) else { return };
        let client = Client::new(socket);
        let color = cx.handle().color_builder().label("client").build();
        let watched = Colored::new(&color, Watched { client, registration: None });
        let both = (Interest::READABLE | Interest::WRITABLE).edge_triggered();
        let me = watched.clone();
        watched.post(move |watched, _| {
            let registered = me.on_ready(&io, fd, both, |watched: &mut Watched, _, _| {
                if !watched.client.ready().unwrap_or(false) {
                    watched.registration = None;
                }
            });
            watched.registration = registered.ok();
        });
    })?;
    println!("listening on {}", listener.local_addr());
    io.wait_for_signal(&[libc::SIGTERM, libc::SIGINT])?;
    Ok(())
}
