//! `dapple web [DIR]`: a web server for static files (N8).
//!
//! * [`conn`]: a connection: requests in, responses out, in callback style.
//! * [`http`]: requests, responses, ranges and dates as HTTP/1.1 has them.
//! * [`root`]: the folder; opens what is below it and nothing else.
//! * [`answer`]: which response a request gets; [`page`]: what is served of a file.
//! * [`demo`]: what is served when no folder is named.
//! * [`figures`](self::figures): live figures for monitoring.
//!
//! Every connection has a color. A request is parsed, looked up and answered in one event of it;
//! only changes of the cache are posted, to the cache's color.

mod answer;
mod conn;
mod demo;
mod figures;
pub(crate) mod http;
mod page;
mod root;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use dapple::Runtime;
use dapple_io::Io;
use dapple_io::tcp::{Accepting, ConnOptions, Listener};

use self::answer::Site;
use self::conn::{FiguresFor, Server, WebConn};
use crate::common::process::{self, Signals};
use crate::common::runtime::{self, seconds};

/// Descriptors that belong to no connection: the cache's files, pollers, listeners.
const OTHER_DESCRIPTORS: u64 = 1_200;

/// Descriptors that a connection may need: its socket, and a file that it sends.
const PER_CONNECTION: u64 = 2;

pub(crate) fn command() -> Command {
    Command::new("web")
        .about("Serves the files of a folder over HTTP/1.1")
        .long_about(
            "Serves the files of DIR over HTTP/1.1; without DIR, a built-in demonstration site. \
             Live figures, in the format of OpenMetrics, are at /_dapple/metrics if they are asked \
             for; those of the demonstration site are for loopback peers.",
        )
        .arg(
            Arg::new("dir")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("The folder [default: a built-in demonstration site]"),
        )
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("ADDRESS:PORT")
                .value_parser(value_parser!(SocketAddr))
                .default_value("127.0.0.1:8080")
                .help("Where to listen; port 0 lets the system choose one"),
        )
        .args(runtime::args())
        .arg(
            Arg::new("serial")
                .long("serial")
                .action(ArgAction::SetTrue)
                .help("Run every callback on the default color, one after the other: a baseline"),
        )
        .arg(Arg::new("metrics").long("metrics").action(ArgAction::SetTrue).help(
            "Serve figures at /_dapple/metrics to peers on this machine; if one of them is a \
                     proxy, have it refuse the path",
        ))
        .arg(
            Arg::new("metrics-public")
                .long("metrics-public")
                .action(ArgAction::SetTrue)
                .help("Serve them to everybody"),
        )
        .arg(
            Arg::new("max-connections")
                .long("max-connections")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .help(
                    "Connections at once; more get 503 [default: what the descriptor limit allows]",
                ),
        )
        .arg(
            Arg::new("cache")
                .long("cache")
                .value_name("MIB")
                .value_parser(value_parser!(u64).range(0..=1_048_576))
                .default_value("64")
                .help("Memory for the contents of small files; 0 caches nothing"),
        )
        .arg(seconds(
            "idle-timeout",
            "60",
            "Close a connection on which nothing happens for so long",
        ))
        .arg(seconds("header-timeout", "10", "Close one whose request takes longer than this"))
        .arg(seconds(
            "write-timeout",
            "30",
            "Close one that takes nothing of its response for so long",
        ))
}

pub(crate) fn main(args: &ArgMatches) -> Result<(), String> {
    let address: SocketAddr = *args.get_one("listen").expect("it has a default");
    let serial = args.get_flag("serial");
    let site = Site::open(args.get_one::<PathBuf>("dir").map(PathBuf::as_path))?;
    let descriptors = process::raise_descriptor_limit();
    let rt = runtime::build(args, "web").map_err(|e| format!("cannot start the runtime: {e}"))?;
    let io = Io::of(&rt.handle());
    let shown = site.to_string();
    let figures_for = match (args.get_flag("metrics-public"), args.get_flag("metrics"), &site) {
        (true, _, _) => FiguresFor::Everybody,
        (_, true, _) | (_, _, Site::Demo(_)) => FiguresFor::Loopback,
        _ => FiguresFor::Nobody,
    };

    let limit = |id: &str| Duration::from_secs(*args.get_one(id).expect("it has a default"));
    let options = ConnOptions {
        idle_timeout: limit("idle-timeout"),
        frame_timeout: limit("header-timeout"),
        write_timeout: limit("write-timeout"),
        ..ConnOptions::default()
    };
    let server = Arc::new(Server::new(
        &rt.handle(),
        site,
        conn::Settings {
            options,
            serial,
            figures_for,
            max_connections: args.get_one("max-connections").copied().unwrap_or(
                (descriptors.saturating_sub(OTHER_DESCRIPTORS) / PER_CONNECTION).max(64),
            ),
            cache_bytes: args.get_one::<u64>("cache").expect("it has a default") << 20,
        },
    ));
    let signals = Signals::new(&io).map_err(|e| format!("cannot handle signals: {e}"))?;
    let listener = listen(&io, address, serial, &server)
        .map_err(|e| format!("cannot listen on {address}: {e}"))?;
    announce(&listener, &rt, &shown, serial, figures_for);
    signals.wait();
    drain(rt, &io, listener, &server);
    Ok(())
}

fn listen(
    io: &Io,
    address: SocketAddr,
    serial: bool,
    server: &Arc<Server>,
) -> io::Result<Listener> {
    let accepting = match serial {
        true => Accepting::OnColor(io.handle().default_color()),
        false => Accepting::PerWorker,
    };
    let server = Arc::clone(server);
    io.listen(address, accepting, move |stream, cx| WebConn::accept(&server, stream, cx))
}

fn announce(listener: &Listener, rt: &Runtime, site: &str, serial: bool, figures_for: FiguresFor) {
    let address = listener.local_addr();
    let workers = match (serial, rt.workers()) {
        (true, _) => "one callback at a time".to_owned(),
        (_, 1) => "1 worker".to_owned(),
        (_, n) => format!("{n} workers"),
    };
    // A closed standard output is no reason to stop.
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "Serving {site} at http://{address}/ ({workers})");
    let _ = match figures_for {
        FiguresFor::Nobody => writeln!(out, "Ctrl-C ends it"),
        _ => writeln!(out, "Figures at http://{address}{}; Ctrl-C ends it", figures::PATH),
    };
    let _ = out.flush();
}

/// Idle connections close at once, requests that have begun are answered.
fn drain(rt: Runtime, io: &Io, listener: Listener, server: &Server) {
    server.draining.store(true, Ordering::Relaxed);
    drop(listener);
    io.drain_connections();
    process::end(rt, || server.open_connections());
}
