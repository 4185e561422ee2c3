//! An echo server in callback style, over TCP and over a Unix socket.
//!
//! `cargo run -p dapple-io --example echo -- 127.0.0.1:7000 /tmp/echo.sock`, and then `nc
//! 127.0.0.1 7000` or `socat - UNIX-CONNECT:/tmp/echo.sock`.

use std::io;
use std::net::SocketAddr;

use dapple::Cx;
use dapple_io::stream::{Conn, ConnOptions, Protocol};
use dapple_io::{Addr, Io};

/// A protocol that sends its input back. While the peer does not read, the server reads nothing
/// from it.
struct Echo;

impl Protocol for Echo {
    fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
        if !conn.is_congested() {
            let input = conn.take_input();
            conn.send(input.bytes());
            let used = input.bytes().len();
            conn.give_input_back(input, used);
        }
    }
}

fn main() -> io::Result<()> {
    let rt = dapple_io::runtime().build()?;
    let io = Io::of(&rt.handle());
    let mut listener = io.listener();
    for address in std::env::args().skip(1) {
        listener = listener.bind(match address.parse::<SocketAddr>() {
            Ok(address) => address.into(),
            Err(_) => Addr::unix(address),
        });
    }
    let listener = listener.start(|stream, cx| {
        stream.serve(&cx.new_color(), ConnOptions::default(), Echo);
    })?;
    for address in listener.addrs() {
        println!("listening on {address}");
    }
    io.wait_for_signal(&[libc::SIGTERM, libc::SIGINT])?;
    Ok(())
}
