//! The servers on sockets, for clients in another process.

use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dapple::{Color, Runtime};
use dapple_io::Io;
use dapple_io::tcp::{Accepting, Listener, TcpStream, TransportOptions};

use super::super::machine;
use super::run::{Figures, Peer, Setting};
use super::session::{self, Session};
use super::way::{Load, Server, Way};
use super::web::{self, Connection, Http};

/// A running server, which ends when it is dropped.
struct Running {
    listeners: Vec<Listener>,
    _runtimes: Vec<Runtime>,
}

fn start(setting: &Setting, server: Server, way: Way) -> io::Result<Running> {
    let runtimes = way.runtimes(setting.workers, dapple_io::runtime)?;
    let site = Arc::new(web::Files::new());
    let file = session::file();
    let listen = |runtime: &Runtime| {
        let (site, file, handle) = (Arc::clone(&site), Arc::clone(&file), runtime.handle());
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let accepting = Accepting::OnColor(handle.default_color());
        Io::of(&handle).listen(local, accepting, move |stream, cx| {
            let color = way.color(&cx.handle());
            match server {
                Server::Web => serve_web(stream, &color, &site),
                Server::Session => serve_session(stream, &color, Arc::clone(&file)),
            }
        })
    };
    let listeners = runtimes.iter().map(listen).collect::<Result<_, _>>()?;
    Ok(Running { listeners, _runtimes: runtimes })
}

fn serve_web(stream: TcpStream, color: &Color, site: &Arc<web::Files>) {
    let mut peer = Connection::new(site);
    stream.deliver_by(Http, color, TransportOptions::default(), move |message, _| {
        peer.take(message.bytes());
        // The client may have closed the connection, and then needs no reply.
        let _ = message.reply(peer.reply());
    });
}

/// Serves a session, whose first message is its number.
fn serve_session(stream: TcpStream, color: &Color, file: Arc<Vec<u8>>) {
    let mut peer = None;
    stream.deliver(color, TransportOptions::default(), move |message, _| {
        let Some(peer) = &mut peer else {
            let number = message.bytes().first_chunk::<8>().map_or(0, |n| u64::from_le_bytes(*n));
            peer = Some(Session::new(&file, number));
            return;
        };
        peer.take(message.bytes());
        let _ = message.reply(peer.reply());
    });
}

/// Starts a process of clients, and answers all its requests.
///
/// # Errors
///
/// Returns a message if the server or the process cannot be started, or if the clients failed.
pub(super) fn run(
    setting: &Setting,
    server: Server,
    load: Load,
    way: Way,
) -> Result<Figures, String> {
    let failed = |e: io::Error| format!("a server: {e}");
    let running = start(setting, server, way).map_err(failed)?;
    let addresses = running.listeners.iter().map(|listener| listener.local_addr().to_string());
    let addresses: Vec<String> = addresses.collect();
    let program = std::env::current_exe().map_err(|e| format!("the clients' program: {e}"))?;
    let cpu = machine::cpu_nanos();
    let output = Command::new(program)
        .args(["lab", "clients", "--server", server.key(), "--load", load.key()])
        .args(["--sessions", &setting.sessions.to_string()])
        .args(["--clients", &setting.clients.to_string()])
        .args(["--requests", &setting.requests.to_string()])
        .args(addresses)
        .stderr(Stdio::inherit())
        // Ctrl-C at the terminal is for this process only.
        .process_group(0)
        .output()
        .map_err(|e| format!("the clients' process: {e}"))?;
    let cpu = Duration::from_nanos(machine::cpu_nanos() - cpu);
    let told = String::from_utf8_lossy(&output.stdout);
    let mut numbers = told.split_whitespace().map(str::parse::<u64>);
    let (Some(Ok(replies)), Some(Ok(nanos)), true) =
        (numbers.next(), numbers.next(), output.status.success())
    else {
        return Err(format!("the clients failed: {} {told}", output.status));
    };
    let per_second = |time: Duration| replies as f64 / time.as_secs_f64();
    Ok(Figures::of(per_second(Duration::from_nanos(nanos)), per_second(cpu)))
}
