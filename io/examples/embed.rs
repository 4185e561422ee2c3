//! A runtime inside of another event loop: the loop waits for the runtime's descriptor beside its
//! own ones, and gives the runtime a turn when that is readable, or when it is time.
//!
//! The foreign loop is one of mio's here. GLib (`g_source_add_unix_fd`), Qt (`QSocketNotifier`) and
//! winit have the same three parts: a descriptor, a time, and a function that is called. The loop
//! accepts connections itself; what is sent over them is worked on by colors, on all cores, and
//! comes back to the thread of the loop, which is the only one that prints.
//!
//! `cargo run -p dapple-io --example embed -- 127.0.0.1:7000`, and then `nc 127.0.0.1 7000`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Instant;

use dapple::{Color, Cx, Turn};
use dapple_io::Io;
use dapple_io::stream::{Conn, ConnOptions, Protocol};
use mio::net::TcpListener;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

const RUNTIME: Token = Token(0);
const LISTENER: Token = Token(1);

/// Turns of colors in one turn of the runtime; then the loop looks after its own affairs again.
const AT_ONCE: usize = 64;

/// Sends back in capitals what it gets, on a color of its own, and reports to the loop's thread.
struct Shout {
    loop_thread: Color,
}

impl Protocol for Shout {
    fn on_data(&mut self, conn: &mut Conn, cx: &mut Cx) {
        let answer = conn.input().to_ascii_uppercase();
        conn.consume(answer.len());
        conn.send(&answer);
        let (bytes, worker) = (answer.len(), cx.worker());
        cx.post(&self.loop_thread, move |cx| {
            println!("{bytes} bytes by worker {worker}, printed by worker {}", cx.worker());
        });
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let here = dapple_io::runtime().default_here(true).build_here()?;
    let io = Io::of(&here.handle());
    let fd = here.poll_fd().expect("a reactor has one").as_raw_fd();

    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(8));
    let mut listener = TcpListener::bind(address)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    poll.registry().register(&mut SourceFd(&fd), RUNTIME, Interest::READABLE)?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let now = Instant::now();
        let wait = here.next_deadline().map(|time| time.saturating_duration_since(now));
        match poll.poll(&mut events, wait) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        if events.iter().any(|event| event.token() == LISTENER) {
            while let Ok((stream, _)) = listener.accept() {
                // With the thread in the runtime, this is as cheap as in a callback.
                here.enter(|cx| {
                    let shout = Shout { loop_thread: io.handle().default_color() };
                    let stream = io.adopt(std::net::TcpStream::from(stream))?;
                    stream.serve(&cx.new_color(), ConnOptions::default(), shout);
                    io::Result::Ok(())
                })?;
            }
        }
        // The descriptor is readable until a turn has looked at it.
        here.turn(Turn::Poll, AT_ONCE);
    }
}
