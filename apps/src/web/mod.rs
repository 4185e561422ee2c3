//! `dapple web [DIR]`: a web server for static files (N8).
//!
//! * [`options`]: the command line.
//! * [`server`]: what all connections share.
//! * [`conn`]: a connection: requests in, responses out, in callback style.
//! * [`secure`]: connections over TLS, on hyper.
//! * [`http`]: requests, responses, ranges and dates as HTTP/1.1 has them.
//! * [`root`]: the folder; opens what is below it and nothing else.
//! * [`answer`]: which response a request gets; [`write`](self::write): how it is written.
//! * [`pages`]: where the page of a path comes from; [`load`]: how it is read.
//! * [`page`]: what is served of a file.
//! * [`compress`]: files in codings that nobody has made before.
//! * [`policy`](self::policy): fields for caches, for safety, and the operator's own.
//! * [`listing`]: the page of a folder that has none. [`gate`]: how many at once.
//! * [`tree`]: what a zip of a folder has in it.
//! * [`demo`]: what is served when no folder is named.
//! * [`figures`](self::figures): live figures for monitoring. [`log`](self::log): the access log.
//!
//! Every connection has a color. A request is parsed, looked up and answered in one event of it, if
//! no disk has to be read for it; changes of the cache are posted, to the cache's color.

mod answer;
mod compress;
mod conn;
mod demo;
mod figures;
mod gate;
pub(crate) mod http;
mod listing;
mod load;
mod log;
mod options;
mod page;
mod pages;
mod policy;
mod root;
mod secure;
mod server;
mod tree;
mod write;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::ArgMatches;
use dapple::Runtime;
use dapple_io::tcp::{Accepting, Listener};
use dapple_io::{Io, SignalRegistration};

use self::conn::WebConn;
use self::log::Log;
use self::options::Options;
use self::secure::Front;
use self::server::{FiguresFor, Server};
use crate::common::https;
use crate::common::process::{self, Signals};
use crate::common::runtime;

pub(crate) use options::command;

pub(crate) fn main(args: &ArgMatches) -> Result<(), String> {
    let Options { address, site, paging, answering, settings, tls, log } =
        Options::of(args, process::raise_descriptor_limit())?;
    let rt = runtime::build(args, "web").map_err(|e| format!("cannot start the runtime: {e}"))?;
    let io = Io::of(&rt.handle());
    let shown = site.to_string();
    let log = log.map(|(path, format)| {
        let failed = |e| format!("cannot write {}: {e}", path.display());
        Log::open(&path, format, &rt.handle()).map_err(failed)
    });
    let log = log.transpose()?;
    let both = (paging, answering);
    let server = Arc::new(Server::new(&rt.handle(), site, both, settings, log.clone()));
    let front = tls.map(|from| Front::new(&server, from, address.ip()).map(Arc::new));
    let front = front.transpose()?;
    let failed = |e: io::Error| format!("cannot handle signals: {e}");
    let signals = Signals::new(&io).map_err(failed)?;
    let _reload = reload_at_hangup(&io, front.clone(), log.clone()).map_err(failed)?;
    let front = front.as_deref();
    let listener = listen(&io, address, &server, front)
        .map_err(|e| format!("cannot listen on {address}: {e}"))?;
    announce(&listener, &rt, &shown, &server, front);
    signals.wait();
    drain(rt, &io, listener, &server, front);
    log.into_iter().for_each(|log| log.end());
    Ok(())
}

/// At SIGHUP the certificate is read again, and the log opened again; without either of them, it
/// ends the program.
fn reload_at_hangup(
    io: &Io,
    front: Option<Arc<Front>>,
    log: Option<Arc<Log>>,
) -> io::Result<Option<SignalRegistration>> {
    if front.is_none() && log.is_none() {
        return Ok(None);
    }
    let reload = move || {
        front.iter().for_each(|front| front.reload());
        log.iter().for_each(|log| log.open_again());
    };
    process::on_hangup(io, reload).map(Some)
}

fn listen(
    io: &Io,
    address: SocketAddr,
    server: &Arc<Server>,
    front: Option<&Front>,
) -> io::Result<Listener> {
    let accepting = match server.settings.serial {
        true => Accepting::OnColor(io.handle().default_color()),
        false => Accepting::PerWorker,
    };
    match front {
        None => {
            let server = Arc::clone(server);
            io.listen(address, accepting, move |stream, cx| WebConn::accept(&server, stream, cx))
        }
        Some(front) => {
            let https = Arc::clone(&front.https);
            io.listen(address, accepting, move |stream, cx| https::accept(&https, stream, cx))
        }
    }
}

fn announce(listener: &Listener, rt: &Runtime, site: &str, server: &Server, front: Option<&Front>) {
    let (address, settings) = (listener.local_addr(), &server.settings);
    let workers = match (settings.serial, rt.workers()) {
        (true, _) => "one callback at a time".to_owned(),
        (_, 1) => "1 worker".to_owned(),
        (_, n) => format!("{n} workers"),
    };
    let scheme = if front.is_some() { "https" } else { "http" };
    // A closed standard output is no reason to stop.
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "Serving {site} at {scheme}://{address}/ ({workers})");
    if let Some(front) = front {
        let _ = writeln!(out, "SHA-256 of its certificate: {}", front.fingerprint);
    }
    let _ = match settings.figures_for {
        FiguresFor::Nobody => writeln!(out, "Ctrl-C ends it"),
        _ => writeln!(out, "Figures at {scheme}://{address}{}; Ctrl-C ends it", figures::PATH),
    };
    let _ = out.flush();
}

/// Idle connections close at once, requests that have begun are answered.
fn drain(rt: Runtime, io: &Io, listener: Listener, server: &Server, front: Option<&Front>) {
    server.draining.store(true, Ordering::Relaxed);
    drop(listener);
    io.drain_connections();
    front.into_iter().for_each(|front| front.https.connections.drain());
    let secure = || front.map_or(0, |front| front.https.connections.count() as u64);
    process::end(rt, || server.open_connections() + secure());
}
