//! A runtime inside another event loop. The loop waits for the runtime's descriptor as well as its
//! own, and gives the runtime a turn when that descriptor is readable or the runtime's next
//! deadline comes.
//!
//! The foreign loop here is mio's. GLib (`g_source_add_unix_fd`), Qt (`QSocketNotifier`) and winit
//! have the same three parts: a descriptor, a time, and a function to call. The loop accepts
//! connections itself. Colors process the connections' input on all cores, and report to the thread
//! of the loop, which is the only one that prints.
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

/// The number of turns of colors in one turn of the runtime, after which the loop handles its own
/// events.
const AT_ONCE: usize = 64;

/// A protocol that sends its input back in capitals, on a color of its own, and reports to the
/// loop's thread.
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
    let fd = here.poll_fd().expect("a runtime with a reactor has a poll descriptor").as_raw_fd();

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
                // Inside `enter` the thread is in the runtime, so this is as cheap as in a
                // callback.
                here.enter(|cx| {
                    let shout = Shout { loop_thread: io.handle().default_color() };
                    let stream = io.adopt(std::net::TcpStream::from(stream))?;
                    stream.serve(&cx.new_color(), ConnOptions::default(), shout);
                    io::Result::Ok(())
                })?;
            }
        }
        // The descriptor stays readable until a turn has polled it.
        here.turn(Turn::Poll, AT_ONCE);
    }
}
