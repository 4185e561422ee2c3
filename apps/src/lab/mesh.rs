//! Nodes of one process that send each other messages over TCP, on the loopback interface.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use dapple::{Handle, clock};
use dapple_io::Io;
use dapple_io::tcp::{Accepting, ConnOptions, Listener, TcpStream, Transport, TransportOptions};

/// The longest time that any wait of an experiment takes.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

/// The connections of one node, indexed by the node at the other end.
pub(super) type Links = Vec<Option<Transport>>;

/// Returns a builder for the runtime of some nodes. Long events are intended, so stalls are
/// reported only after [`LIMIT`].
pub(super) fn runtime() -> dapple::Builder {
    dapple_io::runtime().stall_after(LIMIT)
}

fn options() -> TransportOptions {
    // A link may carry nothing for a whole experiment, so its idle timeout is very long.
    let conn = ConnOptions { idle_timeout: 100 * LIMIT, ..ConnOptions::default() };
    TransportOptions { max_message: 1 << 24, conn, ..TransportOptions::default() }
}

/// Listens on a free port, and calls `receive` with each message, in the step that dequeues it.
/// There is no backpressure, because an experiment sends a fixed number of messages.
///
/// # Errors
///
/// Returns the system's error if the port cannot be opened.
pub(super) fn listen(
    handle: &Handle,
    receive: impl Fn(&[u8]) + Send + Sync + 'static,
) -> io::Result<Listener> {
    let receive = Arc::new(receive);
    let accepting = Accepting::OnColor(handle.new_color());
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    Io::of(handle).listen(local, accepting, move |stream, cx| {
        let receive = Arc::clone(&receive);
        stream.deliver(&cx.new_color(), options(), move |message, _| receive(message.bytes()));
    })
}

/// Connects each node with its `neighbors`, in one direction. Each node is given as the handle of
/// its runtime and the address that it listens on.
///
/// # Errors
///
/// Returns a message that names the connection that failed, or says that the nodes did not connect
/// within [`LIMIT`].
pub(super) fn connect(
    nodes: &[(Handle, SocketAddr)],
    neighbors: impl Fn(usize) -> Vec<usize>,
) -> Result<Vec<Links>, String> {
    let (tx, rx) = mpsc::channel();
    let mut wanted = 0;
    for (from, (handle, _)) in nodes.iter().enumerate() {
        let io = Io::of(handle);
        for to in neighbors(from) {
            let (color, tx) = (handle.new_color(), tx.clone());
            let own = color.clone();
            io.connect_then(nodes[to].1, &color, move |stream, _| {
                let link = |stream: TcpStream| stream.deliver(&own, options(), |_, _| {});
                let _ = tx.send((from, to, stream.map(link)));
            });
            wanted += 1;
        }
    }
    let mut links: Vec<Links> = vec![vec![None; nodes.len()]; nodes.len()];
    for _ in 0..wanted {
        let late = |_| "the nodes could not connect within 120 s".to_owned();
        let (from, to, link) = rx.recv_timeout(LIMIT).map_err(late)?;
        links[from][to] = Some(link.map_err(|e| format!("a connection of {from} to {to}: {e}"))?);
    }
    Ok(links)
}

/// Waits until `is_so` returns `true`; returns `None` if that takes longer than [`LIMIT`].
pub(super) fn wait_until(is_so: impl Fn() -> bool) -> Option<()> {
    let began = clock::now();
    while !is_so() {
        if clock::now() - began > LIMIT {
            return None;
        }
        dapple::sync::sleep(Duration::from_millis(1));
    }
    Some(())
}
