//! A TCP forwarder in callback style. It connects by name within a time limit, forwards both
//! directions with backpressure, and passes on the end of each direction by itself (half-close).
//!
//! `cargo run -p dapple-io --example forward -- 127.0.0.1:8080 example.org:80`

use std::io;
use std::time::Duration;

use dapple::Cx;
use dapple_io::Io;
use dapple_io::stream::{CloseReason, Conn, ConnOptions, Connection, Protocol, Stream};
use dapple_io::tcp::Accepting;

/// The time limit for connecting.
const CONNECT: Duration = Duration::from_secs(3);

/// One side of a forwarded connection. Both sides are on one color, so their callbacks are serial.
struct Side {
    /// `None` until the other side is connected, and after this side has closed.
    other: Option<Connection<Side>>,
}

impl Side {
    /// Calls `f` with the connection of the other side, in a later event.
    fn there(&self, f: impl FnOnce(&mut Conn) + Send + 'static) {
        if let Some(other) = &self.other {
            other.with(move |_, conn, _| f(conn));
        }
    }
}

impl Protocol for Side {
    fn on_open(&mut self, conn: &mut Conn, _: &mut Cx) {
        if self.other.is_none() {
            conn.pause();
        }
    }

    fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
        let Some(other) = self.other.clone().filter(|_| !conn.input().is_empty()) else { return };
        let bytes = conn.input().to_vec();
        conn.consume(bytes.len());
        other.with(move |there, conn, _| {
            conn.send(&bytes);
            if conn.is_congested() {
                there.there(Conn::pause);
            }
        });
    }

    fn on_room(&mut self, _: &mut Conn, _: &mut Cx) {
        self.there(Conn::resume);
    }

    fn on_eof(&mut self, _: &mut Conn, _: &mut Cx) {
        self.there(Conn::shutdown_write);
    }

    fn on_close(&mut self, reason: &CloseReason, _: &mut Cx) {
        match reason {
            CloseReason::Closed => self.there(Conn::close),
            _ => self.there(Conn::abort),
        }
        self.other = None;
    }
}

fn forward(client: Stream, target: &str, cx: &mut Cx) {
    let options = ConnOptions::default();
    let (color, peer) = (cx.new_color(), client.peer_addr());
    let client = client.serve(&color, options, Side { other: None });
    let on = color.clone();
    let connect = Io::of(&cx.handle()).connector(target).within(CONNECT);
    connect.then(&color, move |server, _| match server {
        Ok(server) => {
            let server = server.serve(&on, options, Side { other: Some(client.clone()) });
            client.with(|side, conn, _| {
                side.other = Some(server);
                conn.resume();
            });
        }
        Err(error) => {
            eprintln!("{peer}: {error}");
            client.with(|_, conn, _| conn.abort());
        }
    });
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("forward LISTEN HOST:PORT"));
    };
    let rt = dapple_io::runtime().build()?;
    let io = Io::of(&rt.handle());
    let from = from.parse().map_err(io::Error::other)?;
    let listener =
        io.listen(from, Accepting::PerWorker, move |client, cx| forward(client, &to, cx))?;
    println!("listening on {}", listener.local_addr());
    io.wait_for_signal(&[libc::SIGTERM, libc::SIGINT])?;
    Ok(())
}
