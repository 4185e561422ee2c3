//! `dapple web [DIR]`: a web server for static files (N8).
//!
//! * [`options`]: the command line; [`config`]: settings in a file.
//! * [`server`]: the state that all connections share.
//! * [`conn`]: a connection: requests in, responses out, in callback style.
//! * [`secure`]: connections over TLS, on hyper.
//! * [`sockets`]: the listening sockets. [`handover`]: a restart without a lost connection.
//! * [`http`]: requests, responses, content codings and dates of HTTP/1.1.
//! * [`root`]: the folder; opens what is below it and nothing else.
//! * [`answer`]: decides which response a request gets; [`write`](self::write): writes it.
//! * [`pages`]: finds the page of a path, in the cache or on disk; [`load`]: loads it.
//! * [`page`]: the fields and the contents of a file that is served.
//! * [`compress`]: compresses files for which the site has no compressed version.
//! * [`policy`](self::policy): fields for caches, for safety, and the operator's own.
//! * [`listing`]: the page of a folder that has none.
//! * [`tree`]: the members of a folder's zip.
//! * [`demo`]: the site that is served when no folder is named.
//! * [`monitor`]: what the server shows of itself; [`figures`](self::figures): its own counters.
//!   [`log`](self::log): the access log.
//!
//! Every connection has a color. A request is parsed, looked up and answered in one event of this
//! color, unless the disk has to be read for it. Changes of the cache are posted to the cache's
//! color.

mod answer;
mod compress;
mod config;
mod conn;
mod demo;
mod figures;
#[cfg(any(test, dapple_fuzzing))]
pub(crate) mod fuzzing;
mod handover;
pub(crate) mod http;
mod listing;
mod load;
mod log;
mod monitor;
mod options;
mod page;
mod pages;
mod policy;
mod root;
mod secure;
mod server;
mod sockets;
mod tree;
mod write;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::ArgMatches;
use dapple::Runtime;
use dapple_io::listen::Listener;
use dapple_io::{Addr, Io, SignalRegistration};

use self::handover::{NotStarted, Started, Successor};
use self::log::Log;
use self::monitor::{FiguresFor, Monitor};
use self::options::Options;
use self::secure::Front;
use self::server::Server;
use self::sockets::Sockets;
use crate::common::login::{Login, ONE_TIME_USER, UserFile};
use crate::common::monitor::PATH;
use crate::common::process::{self, Signals, Told};
use crate::common::{qr, runtime};

pub(crate) use options::command;

pub(crate) fn main(args: &ArgMatches) -> Result<(), String> {
    let args = &config::with_file(args)?;
    let Options { addresses, site, paging, answering, settings, tls, log, users, redirect_from } =
        Options::of(args, process::raise_descriptor_limit())?;
    let own = addresses.iter().find_map(Addr::ip).map_or(Ipv4Addr::LOCALHOST.into(), |ip| ip.ip());
    if args.get_flag("check") {
        tls.map(|from| secure::identity(&from, own)).transpose()?;
        users.map(|file| UserFile::at(&file).users()).transpose()?;
        log.map(|(path, _)| Log::check(&path)).transpose()?;
        return writeln!(io::stdout(), "The settings are valid: {site} would be served")
            .map_err(|e| e.to_string());
    }
    let mut started = Started::find()?;
    let chosen = Sockets::choose(addresses, &mut started);
    let rt = runtime::build(args, "web").map_err(|e| format!("cannot start the runtime: {e}"))?;
    let io = Io::of(&rt.handle());
    let shown = site.to_string();
    let log = log.map(|(path, format)| {
        let failed = |e| format!("cannot write {}: {e}", path.display());
        Log::open(&path, format, &rt.handle()).map_err(failed)
    });
    let log = log.transpose()?;
    let login = users.map(|file| Login::new(&rt.handle(), UserFile::at(&file))).transpose()?;
    let (login, password) = login.map_or((None, None), |(login, p)| (Some(Arc::new(login)), p));
    let both = (paging, answering);
    let mut server = Server::new(&rt.handle(), site, both, settings);
    (server.log, server.login) = (log.clone(), login);
    let server = Arc::new(server);
    if server.settings.dashboard {
        Monitor::show_dashboard(&server);
    }
    let front = tls.map(|from| Front::new(&server, from, own).map(Arc::new));
    let front = front.transpose()?;
    let failed = |e: io::Error| format!("cannot handle signals: {e}");
    let mut signals = Signals::new(&io).map_err(failed)?;
    let _reload = reload_at_hangup(&io, front.clone(), log.clone()).map_err(failed)?;
    let front = front.as_deref();
    let (names, listener) = sockets::listen(&io, chosen, &started, &server, front)?;
    let prepared = prepare(&io, redirect_from, names, &mut started, &listener, &server);
    let prepared = prepared.and_then(|all| signals.restart(&io).map(|()| all).map_err(failed));
    let (successor, redirect) = match prepared {
        Ok(prepared) => prepared,
        Err(why) => {
            sockets::give_up(&started, listener);
            return Err(why);
        }
    };
    // Nothing can fail from here on.
    redirect.iter().for_each(|(redirect, _)| redirect.resume());
    listener.resume();
    announce(&listener, &rt, &shown, &server, front, password.as_deref());
    process::notify("READY=1");
    started.tell_ready();
    let (redirect, redirecting) = redirect.unzip();
    let all = [Some(Arc::clone(&server)), redirecting];
    let servers: Vec<Arc<Server>> = all.into_iter().flatten().collect();
    let end = wait_for_end(&signals, &successor, &listener, redirect.as_ref());
    let limit = stop_listening(&end, listener, redirect, &servers);
    io.drain_connections();
    front.into_iter().for_each(|front| front.https.connections.drain());
    process::end(rt, limit, || servers.iter().map(|server| server.open_connections()).sum());
    log.into_iter().for_each(|log| log.end());
    Ok(())
}

/// Stops accepting connections, and returns the time limit for requests in progress.
fn stop_listening(
    end: &End,
    listener: Listener,
    redirect: Option<Listener>,
    servers: &[Arc<Server>],
) -> Duration {
    let drain = || servers.iter().for_each(|one| one.draining.store(true, Ordering::Relaxed));
    match end {
        End::ForGood => {
            process::notify("STOPPING=1");
            drop(redirect);
            drain();
            drop(listener);
            process::DRAIN_LIMIT
        }
        End::HasSuccessor => {
            servers.iter().for_each(|one| one.has_successor.store(true, Ordering::Relaxed));
            redirect.into_iter().for_each(Listener::hand_over);
            listener.hand_over();
            drain();
            SUCCEEDED_LIMIT
        }
    }
}

/// The time limit for responses that have begun, when another process already serves.
const SUCCEEDED_LIMIT: Duration = Duration::from_secs(3_600);

/// The listener that redirects, and its server.
type Redirect = (Listener, Arc<Server>);

/// Prepares everything else that the server needs before it serves: the restart, and the redirect.
fn prepare(
    io: &Io,
    redirect_from: Option<SocketAddr>,
    names: Vec<String>,
    started: &mut Started,
    listener: &Listener,
    server: &Server,
) -> Result<(Successor, Option<Redirect>), String> {
    let redirects = redirect_from.map(|from| from.to_string());
    let successor = Successor::new(names, redirects)?;
    let redirect = redirect_from.map(|from| sockets::redirect(io, from, started, listener, server));
    Ok((successor, redirect.transpose()?))
}

/// The reason why the server ends.
enum End {
    ForGood,
    /// Another process serves now.
    HasSuccessor,
}

fn wait_for_end(
    signals: &Signals,
    successor: &Successor,
    listener: &Listener,
    redirect: Option<&Listener>,
) -> End {
    loop {
        if signals.wait() == Told::End {
            return End::ForGood;
        }
        match successor.start(listener, redirect, signals) {
            Ok(process) => {
                process::notify(&format!("MAINPID={process}"));
                tracing::info!(process, "a new process serves now");
                if signals.are_to_end() {
                    // The signal was meant for the server, whichever process it is.
                    process::tell_to_end(process);
                }
                return End::HasSuccessor;
            }
            Err(NotStarted::ToldToEnd) => return End::ForGood,
            Err(NotStarted::Failed(why)) => tracing::error!("the old process keeps serving: {why}"),
        }
    }
}

/// Makes SIGHUP reload the certificate and reopen the log.
fn reload_at_hangup(
    io: &Io,
    front: Option<Arc<Front>>,
    log: Option<Arc<Log>>,
) -> io::Result<SignalRegistration> {
    // Reloads must not overlap, or the older one could win.
    let one = Arc::new(Mutex::new(()));
    let reload = move || {
        let _one = one.lock().unwrap_or_else(PoisonError::into_inner);
        front.iter().for_each(|front| front.reload());
        log.iter().for_each(|log| log.open_again());
    };
    process::on_hangup(io, reload)
}

fn announce(
    listener: &Listener,
    rt: &Runtime,
    site: &str,
    server: &Server,
    front: Option<&Front>,
    password: Option<&str>,
) {
    let settings = &server.settings;
    let workers = match (settings.serial, rt.workers()) {
        (true, _) => "one callback at a time".to_owned(),
        (_, 1) => "1 worker".to_owned(),
        (_, n) => format!("{n} workers"),
    };
    let scheme = if front.is_some() { "https" } else { "http" };
    // A closed standard output is no reason to stop.
    let mut out = io::stdout().lock();
    let url = |address: &Addr| match address.ip() {
        Some(ip) => format!("{scheme}://{ip}/"),
        None => address.to_string(),
    };
    let urls: Vec<String> = listener.addrs().iter().map(url).collect();
    let _ = writeln!(out, "Serving {site} at {} ({workers})", urls.join(", "));
    if let Some(address) = listener.addrs().iter().filter_map(Addr::ip).find_map(qr::reachable) {
        let url = format!("{scheme}://{address}{}/", server.answers.prefix());
        let _ = writeln!(out, "For other machines: {url}");
        qr::show(&mut out, &url);
    }
    if let Some(front) = front {
        let _ = writeln!(out, "SHA-256 of its certificate: {}", front.fingerprint);
    }
    if let Some(password) = password {
        let _ = writeln!(out, "User {ONE_TIME_USER}, one-time password {password}");
    }
    if server.login.is_some() && front.is_none() {
        let _ = writeln!(out, "Passwords are sent unencrypted: use --tls");
    }
    if settings.dashboard {
        let _ = match (dashboard_at(listener), urls.first(), &server.login) {
            (Some(local), ..) => writeln!(out, "Dashboard at {scheme}://{local}{PATH}"),
            (None, Some(url), Some(_)) => {
                writeln!(out, "Dashboard at {}{PATH}", url.trim_end_matches('/'))
            }
            _ => writeln!(
                out,
                "Nobody can see the dashboard: listen on 127.0.0.1 as well, or use --users"
            ),
        };
    }
    let _ = match settings.figures_for {
        FiguresFor::Nobody => writeln!(out, "Ctrl-C stops it"),
        _ => writeln!(out, "Metrics at {PATH}{}; Ctrl-C stops it", figures::NAME),
    };
    let _ = out.flush();
}

/// Returns the address at which a browser on this machine finds the dashboard.
fn dashboard_at(listener: &Listener) -> Option<SocketAddr> {
    let local = |address: SocketAddr| match address.ip() {
        ip if ip.is_loopback() => Some(address),
        IpAddr::V4(ip) if ip.is_unspecified() => Some((Ipv4Addr::LOCALHOST, address.port()).into()),
        IpAddr::V6(ip) if ip.is_unspecified() => Some((Ipv6Addr::LOCALHOST, address.port()).into()),
        _ => None,
    };
    listener.addrs().iter().filter_map(Addr::ip).find_map(local)
}
