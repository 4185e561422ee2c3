//! The TCP forwarder as a program of libevent or libasync does it: non-blocking sockets, a callback
//! when a socket is ready, and buffers of its own. (`forward.rs` does the same with connections.)
//!
//! `cargo run -p dapple-io --example forward_fd -- 127.0.0.1:8080 example.org:80`

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dapple::{Colored, Cx, Timer};
use dapple_io::tcp::{Accepting, Stream};
use dapple_io::{ColoredExt, CxExt, Interest, Io, Registration};

const FULL: usize = 64 * 1024;
const CONNECT: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(30);

/// The bytes of one direction.
#[derive(Default)]
struct Pipe {
    buffer: Vec<u8>,
    eof: bool,
    finished: bool,
}

struct Session {
    /// The client's socket and the server's.
    ends: [Arc<TcpStream>; 2],
    /// The direction from the client to the server, and the direction back.
    pipes: [Pipe; 2],
    watched: Vec<Registration>,
    idle: Option<Timer>,
    last: Instant,
}

impl Session {
    fn begin(client: Stream, server: Stream, cx: &mut Cx) -> io::Result<()> {
        let socket = |end: Stream| io::Result::Ok(Arc::new(TcpStream::from(end.into_fd()?)));
        let ends = [socket(client)?, socket(server)?];
        let (io, also) = (cx.io(), ends.clone());
        let (pipes, last) = (Default::default(), Instant::now());
        let session = Session { ends, pipes, watched: Vec::new(), idle: None, last };
        let session = Colored::new(&cx.color().expect("the event has a color"), session);
        let me = session.clone();
        session.post(move |session, _| {
            for (end, socket) in also.into_iter().enumerate() {
                let ready = move |session: &mut Session, ready: dapple_io::Ready, _: &mut Cx| {
                    session.ready(end, ready.is_readable());
                };
                session.watched.extend(me.on_ready(&io, socket, Interest::READABLE, ready));
            }
            session.idle = Some(me.every(IDLE, |session, _| {
                if session.last.elapsed() >= IDLE {
                    session.end();
                }
            }));
        });
        Ok(())
    }

    /// Handles readiness of one end: reads its bytes into its pipe, and writes what both pipes
    /// contain.
    fn ready(&mut self, end: usize, is_readable: bool) {
        self.last = Instant::now();
        let pipe = &mut self.pipes[end];
        if is_readable && !pipe.eof && pipe.buffer.len() < FULL {
            let mut chunk = [0; 16 * 1024];
            match (&*self.ends[end]).read(&mut chunk) {
                Ok(0) => pipe.eof = true,
                Ok(n) => pipe.buffer.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return self.end(),
            }
        }
        for way in 0..2 {
            if self.flush(way).is_err() {
                return self.end();
            }
        }
        if self.pipes.iter().all(|pipe| pipe.finished) {
            return self.end();
        }
        for (end, watched) in self.watched.iter().enumerate() {
            let reads = !self.pipes[end].eof && self.pipes[end].buffer.len() < FULL;
            let writes = !self.pipes[1 - end].buffer.is_empty();
            match (reads, writes) {
                (true, true) => watched.set_interest(Interest::READABLE | Interest::WRITABLE),
                (true, false) => watched.set_interest(Interest::READABLE),
                (false, true) => watched.set_interest(Interest::WRITABLE),
                (false, false) => watched.pause(),
            }
            if reads || writes {
                watched.resume();
            }
        }
    }

    fn flush(&mut self, way: usize) -> io::Result<()> {
        let (pipe, mut to) = (&mut self.pipes[way], &*self.ends[1 - way]);
        while !pipe.buffer.is_empty() {
            match to.write(&pipe.buffer) {
                Ok(n) => drop(pipe.buffer.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if pipe.eof && !pipe.finished {
            pipe.finished = true;
            to.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    /// Ends the session. The registrations and the timer own the session, so it is dropped with
    /// them.
    fn end(&mut self) {
        self.watched.clear();
        self.idle.take().iter().for_each(|timer| _ = timer.cancel());
    }
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("forward_fd LISTEN HOST:PORT"));
    };
    let rt = dapple_io::runtime().build()?;
    let io = Io::of(&rt.handle());
    let from = from.parse().map_err(io::Error::other)?;
    let listener = io.listen(from, Accepting::PerWorker, move |client, cx| {
        let connect = cx.io().connector(&*to).within(CONNECT);
        connect.then(&cx.new_color(), |server, cx| {
            if let Err(error) = server.and_then(|server| Session::begin(client, server, cx)) {
                eprintln!("{error}");
            }
        });
    })?;
    println!("listening on {}", listener.local_addr());
    io.wait_for_signal(&[libc::SIGTERM, libc::SIGINT])?;
    Ok(())
}
