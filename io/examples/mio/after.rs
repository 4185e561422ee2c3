//! The server of `before.rs` on dapple: a color per client, whose callbacks run on all cores.
//!
//! `cargo run -p dapple-io --example mio-after -- 127.0.0.1:7007`, and then
//! `echo 1000 | nc -N 127.0.0.1 7007`.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use dapple::Colored;
use dapple_io::{ColoredExt, Interest, Io, Registration};

use client::Client;

#[path = "client.rs"]
mod client;

/// A client, and what calls it; it goes when that does.
struct Watched {
    client: Client<TcpStream>,
    registration: Option<Registration>,
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7007".to_owned());
    let listener = Arc::new(TcpListener::bind(address)?);
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);
    let rt = dapple_io::runtime().build()?;
    let (h, io) = (rt.handle(), Io::of(&rt.handle()));
    let (accepting, also_io) = (Arc::clone(&listener), io.clone());
    let _accepts = io.on_readable(&listener, &h.default_color(), move |_| {
        while let Ok((socket, _)) = accepting.accept() {
            let Ok(()) = socket.set_nonblocking(true) else { continue };
            // What is watched stays open as long as it is.
            let (Ok(fd), io) = (socket.try_clone(), also_io.clone()) else { continue };
            let client = Client::new(socket);
            let watched = Colored::new(&h.new_color(), Watched { client, registration: None });
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
        }
    })?;
    io.wait_for_signal(&[libc::SIGTERM, libc::SIGINT])?;
    Ok(())
}
