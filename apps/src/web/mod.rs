//! `dapple web [DIR]`: a web server for static files (N8).
//!
//! * [`options`]: the command line.
//! * [`conn`]: a connection: requests in, responses out, in callback style.
//! * [`http`]: requests, responses, ranges and dates as HTTP/1.1 has them.
//! * [`root`]: the folder; opens what is below it and nothing else.
//! * [`answer`]: which response a request gets; [`write`](self::write): how it is written.
//! * [`pages`]: where the page of a path comes from; [`load`]: how it is read.
//! * [`page`]: what is served of a file.
//! * [`compress`]: files in codings that nobody has made before.
//! * [`policy`](self::policy): fields for caches, for safety, and the operator's own.
//! * [`listing`]: the page of a folder that has none.
//! * [`tree`]: what a zip of a folder has in it.
//! * [`demo`]: what is served when no folder is named.
//! * [`figures`](self::figures): live figures for monitoring.
//!
//! Every connection has a color. A request is parsed, looked up and answered in one event of it, if
//! no disk has to be read for it; changes of the cache are posted, to the cache's color.

mod answer;
mod compress;
mod conn;
mod demo;
mod figures;
pub(crate) mod http;
mod listing;
mod load;
mod options;
mod page;
mod pages;
mod policy;
mod root;
mod tree;
mod write;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::ArgMatches;
use dapple::Runtime;
use dapple_io::Io;
use dapple_io::tcp::{Accepting, Listener};

use self::conn::{FiguresFor, Server, WebConn};
use self::options::Options;
use crate::common::process::{self, Signals};
use crate::common::runtime;

pub(crate) use options::command;

pub(crate) fn main(args: &ArgMatches) -> Result<(), String> {
    let Options { address, site, paging, answering, settings } =
        Options::of(args, process::raise_descriptor_limit())?;
    let rt = runtime::build(args, "web").map_err(|e| format!("cannot start the runtime: {e}"))?;
    let io = Io::of(&rt.handle());
    let (shown, serial, figures_for) = (site.to_string(), settings.serial, settings.figures_for);
    let server = Arc::new(Server::new(&rt.handle(), site, (paging, answering), settings));
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
