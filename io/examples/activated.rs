//! A server that is started when a client connects (socket activation, as inetd does it), and that
//! exits when no client has connected for some seconds. It tells each client the time.
//!
//! `systemd-socket-activate -l 7013 target/debug/examples/activated 5`, and then `nc 127.0.0.1
//! 7013`. The argument is the number of seconds without a client, by default 60. The next client
//! starts the server again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::Duration;

use dapple::Cx;
use dapple_io::Io;
use dapple_io::listen::inherited;
use dapple_io::stream::{Conn, ConnOptions, Protocol};

struct Time;

impl Protocol for Time {
    fn on_open(&mut self, conn: &mut Conn, cx: &mut Cx) {
        let since = cx.handle().wall_clock().duration_since(std::time::UNIX_EPOCH);
        let seconds = since.unwrap_or_default().as_secs();
        conn.send(format!("{seconds}\n").as_bytes());
        conn.close();
    }

    fn on_data(&mut self, _: &mut Conn, _: &mut Cx) {}
}

fn main() -> io::Result<()> {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(60);
    let rt = dapple_io::runtime().build()?;
    let io = Io::of(&rt.handle());
    let descriptors = inherited()?;
    if descriptors.is_empty() {
        return Err(io::Error::other("no socket was passed: see systemd-socket-activate(1)"));
    }
    let clients = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&clients);
    let listener = descriptors.into_iter().fold(io.listener(), |all, one| all.adopt(one.fd));
    let listener = listener.start(move |stream, cx| {
        counted.fetch_add(1, Relaxed);
        stream.serve(&cx.new_color(), ConnOptions::default(), Time);
    })?;
    eprintln!("activated, listening on {}", listener.addrs()[0]);
    let (end, ends) = mpsc::channel();
    let mut before = 0;
    let idle = Duration::from_secs(seconds);
    let timer = rt.handle().every(idle, &rt.handle().default_color(), move |_| {
        let now = clients.load(Relaxed);
        if now == before {
            let _ = end.send(());
        }
        before = now;
    });
    let _ = ends.recv();
    timer.cancel();
    // Clients that have connected meanwhile are still served. The next process serves later ones.
    drop(listener);
    rt.shutdown(Duration::from_secs(5));
    Ok(())
}
