//! `dapple files DIR`: serves a folder that people mount, over WebDAV and TLS 1.3 (N7, N9).
//!
//! * [`serve`]: the login, and the answers to requests. [`https`] has the connections.
//! * [`dav`]: from a request to its response.
//! * [`share`]: the folder.
//! * [`path`]: paths in the folder.
//! * [`meta`]: a domain with locks, properties, and the changes that are under way.
//! * [`recover`]: the recovery after the server was killed.
//! * [`pace`]: the choice of where small changes are made.
//! * [`announce`](self::announce): the text that is printed when the server is ready.
//! * [`monitor`]: the dashboard.
//!
//! Every connection is a task with a color of its own, and so is every stream of HTTP/2. Blocking
//! calls run on the blocking pool. [`pace`] describes an exception.

mod announce;
mod dav;
#[cfg(any(test, dapple_fuzzing))]
pub(crate) mod fuzzing;
mod meta;
mod monitor;
mod pace;
mod path;
mod recover;
mod serve;
mod share;

use std::io::{self, BufRead, IsTerminal, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use dapple_io::Io;
use dapple_io::tcp::Accepting;

use self::dav::Dav;
use self::meta::Meta;
use self::meta::store::Store;
use self::monitor::Monitor;
use self::serve::Server;
use self::share::Share;
use self::share::remove::Trash;
use crate::common::https::connections::Connections;
use crate::common::https::identity::{Identity, Tls};
use crate::common::https::{self, Https};
use crate::common::login::{Login, UserFile};
use crate::common::process::{self, Signals};
use crate::common::qr;
use crate::common::runtime::{self, seconds};
use crate::common::target;

/// The number of descriptors that belong to no connection.
const OTHER_DESCRIPTORS: u64 = 200;

/// The number of descriptors that a connection may need: its socket, a file, and the folders on the
/// path to it.
const PER_CONNECTION: u64 = 8;

/// The time for which a client may take nothing of a response.
const WRITE_SILENCE: Duration = Duration::from_secs(60);

/// The maximum size of a request's head, in bytes.
const MOST_HEAD: usize = 64 * 1024;

/// The maximum number of connections without a setting. Each connection may use memory.
const MOST_CONNECTIONS: u64 = 10_000;

pub(crate) fn command() -> Command {
    let state = Arg::new("state")
        .long("state")
        .value_name("DIR")
        .global(true)
        .value_parser(value_parser!(PathBuf))
        .help(
            "The folder for the key, the certificate and the users [default: \
             ~/.local/state/dapple]",
        );
    Command::new("files")
        .about("Serves a folder that people can mount: WebDAV over TLS 1.3")
        .long_about(
            "Serves the files of DIR over WebDAV and TLS 1.3. Every desktop can mount them \
             without further software.\n\nThe first start creates the server's key. Each start \
             prints the key's pin and how to mount the folder. If there is no user yet (see \
             `dapple files user add`), it also prints a one-time password.",
        )
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
        .subcommand(users_command())
        .arg(
            Arg::new("dir")
                .value_name("DIR")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The folder to serve"),
        )
        .args(of_address())
        .arg(state)
        .args(of_server())
        .args(runtime::args())
        .args(of_limits())
}

/// Returns the options for the server's address and names.
fn of_address() -> [Arg; 2] {
    [
        Arg::new("listen")
            .long("listen")
            .value_name("ADDRESS:PORT")
            .value_parser(value_parser!(SocketAddr))
            .default_value("127.0.0.1:8443")
            .help(
                "The address to listen on, such as 0.0.0.0:8443 for all networks. Port 0 lets the \
                 system choose a port",
            ),
        Arg::new("name")
            .long("name")
            .value_name("HOST")
            .value_parser(name_or_address)
            .action(ArgAction::Append)
            .help("A host name or address that clients use, for the certificate. May be repeated"),
    ]
}

/// Returns the options for how the server serves.
fn of_server() -> [Arg; 5] {
    [
        Arg::new("cert")
            .long("cert")
            .value_name("FILE")
            .requires("key")
            .value_parser(value_parser!(PathBuf))
            .help("A certificate with its chain (PEM), in place of the self-signed one"),
        Arg::new("key")
            .long("key")
            .value_name("FILE")
            .requires("cert")
            .value_parser(value_parser!(PathBuf))
            .help("The private key of --cert (PEM)"),
        Arg::new("tls12").long("tls12").action(ArgAction::SetTrue).help(
            "Also allow TLS 1.2, which Windows 10 and most proxies in front of this server need",
        ),
        Arg::new("prefix").long("prefix").value_name("PATH").value_parser(target::prefix).help(
            "The path that every URL begins with, such as /files. For a proxy that passes it on",
        ),
        Arg::new("no-sync").long("no-sync").action(ArgAction::SetTrue).help(
            "Do not wait for the disk after a write. Faster, but a power failure can lose the \
             write",
        ),
    ]
}

/// Returns the options for the limits and the dashboard.
fn of_limits() -> [Arg; 3] {
    [
        Arg::new("dashboard")
            .long("dashboard")
            .action(ArgAction::SetTrue)
            .help("Serve a live dashboard at /_dapple/ to users who log in"),
        Arg::new("max-connections")
            .long("max-connections")
            .value_name("N")
            .value_parser(value_parser!(u64).range(1..))
            .help(
                "The most connections [default: what the descriptor limit allows, at most 10000]",
            ),
        seconds(
            "idle-timeout",
            "120",
            "Close a connection after this time without a request, or with an incomplete one",
        ),
    ]
}

fn users_command() -> Command {
    let name = || Arg::new("name").value_name("NAME").required(true).help("The user");
    Command::new("user")
        .about("Manages users. A running server notices changes")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("add")
                .about("Adds a user, or changes the password and rights of one")
                .arg(name())
                .arg(
                    Arg::new("read-only")
                        .long("read-only")
                        .action(ArgAction::SetTrue)
                        .help("Let the user read, but not change anything"),
                )
                .arg(
                    Arg::new("password-stdin")
                        .long("password-stdin")
                        .action(ArgAction::SetTrue)
                        .help("Read the password from the first line of the standard input"),
                ),
        )
        .subcommand(Command::new("remove").about("Removes a user").arg(name()))
        .subcommand(Command::new("list").about("Lists the users"))
}

pub(crate) fn main(args: &ArgMatches) -> Result<(), String> {
    match args.subcommand() {
        Some(("user", users)) => manage_users(users),
        _ => serve_folder(args),
    }
}

/// Returns the folder of key, certificate and users, and creates it if it does not exist.
fn state_folder(args: &ArgMatches) -> Result<PathBuf, String> {
    let folder = match args.get_one::<PathBuf>("state") {
        Some(folder) => folder.clone(),
        None => {
            let of = |name: &str, below: &str| {
                let folder = std::env::var_os(name).filter(|folder| !folder.is_empty())?;
                Some(PathBuf::from(folder).join(below))
            };
            of("XDG_STATE_HOME", "dapple")
                .or_else(|| of("HOME", ".local/state/dapple"))
                .ok_or("HOME is not set: use --state DIR")?
        }
    };
    let make = || {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)
    };
    make().map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
    Ok(folder)
}

fn manage_users(args: &ArgMatches) -> Result<(), String> {
    let file = UserFile::in_folder(&state_folder(args)?);
    let name = |args: &ArgMatches| args.get_one::<String>("name").expect("required").clone();
    match args.subcommand() {
        Some(("add", args)) => {
            let password = password(args.get_flag("password-stdin"))?;
            let (name, read_only) = (name(args), args.get_flag("read-only"));
            let replaced = file.add(&name, &password, read_only)?;
            let what = if replaced { "Changed" } else { "Added" };
            let rights = if read_only { "may read" } else { "may read and write" };
            say(&format!("{what} {name}, who {rights}"));
        }
        Some(("remove", args)) => {
            let name = name(args);
            if !file.remove(&name)? {
                return Err(format!("there is no user {name}"));
            }
            say(&format!("Removed {name}"));
        }
        _ => {
            for user in file.users()? {
                let rights = if user.read_only { "read-only" } else { "read and write" };
                say(&format!("{}\t{rights}", user.name));
            }
        }
    }
    Ok(())
}

/// Reads a password: twice from the terminal without echo, or one line from the standard input.
fn password(from_stdin: bool) -> Result<String, String> {
    let failed = |e: io::Error| format!("cannot read the password: {e}");
    if from_stdin {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map_err(failed)?;
        let line = line.strip_suffix('\n').unwrap_or(&line);
        return Ok(line.strip_suffix('\r').unwrap_or(line).to_owned());
    }
    if !io::stdin().is_terminal() {
        return Err("there is no terminal to ask for the password: use --password-stdin".to_owned());
    }
    let one = rpassword::prompt_password("Password: ").map_err(failed)?;
    let other = rpassword::prompt_password("Again: ").map_err(failed)?;
    if one == other { Ok(one) } else { Err("the two passwords differ".to_owned()) }
}

fn serve_folder(args: &ArgMatches) -> Result<(), String> {
    let address: SocketAddr = *args.get_one("listen").expect("it has a default");
    let folder: &PathBuf = args.get_one("dir").expect("required");
    let state = state_folder(args)?;
    let descriptors = process::raise_descriptor_limit();
    let addresses =
        if address.ip().is_unspecified() { qr::own_addresses(address.ip()) } else { vec![] };
    let names = names(args, address.ip(), &addresses);
    let tls = if args.get_flag("tls12") { Tls::TwoAndThree } else { Tls::Three };
    if let Some(prefix) = args.get_one::<String>("prefix") {
        path::set_prefix(prefix);
    }
    let identity = match (args.get_one::<PathBuf>("cert"), args.get_one::<PathBuf>("key")) {
        (Some(certificate), Some(key)) => Identity::of_files(certificate, key, tls)?,
        _ => Identity::own(&state, &names, tls)?,
    };
    let secrets = [args.get_one("key"), args.get_one("cert"), Some(&state)];
    secrets.into_iter().flatten().try_for_each(|secret: &PathBuf| check_outside(folder, secret))?;
    let (share, store, leftovers) = open(folder, !args.get_flag("no-sync"))?;
    let mut shown = share.to_string();
    if share.is_read_only() {
        shown.push_str(" (read-only)");
    }

    let rt = runtime::build(args, "files").map_err(|e| format!("cannot start the runtime: {e}"))?;
    let (io, handle) = (Io::of(&rt.handle()), rt.handle());
    let (login, password) = Login::new(&handle, UserFile::in_folder(&state))?;
    let meta = Meta::new(&handle, store).map_err(|e| e.to_string())?;
    let connections = Arc::new(Connections::new(most_connections(args, descriptors)));
    let shows_dashboard = args.get_flag("dashboard");
    let site = Arc::new(Server {
        handle: handle.clone(),
        monitor: shows_dashboard.then(|| Monitor::new(&handle, &connections)),
        login: Arc::new(login),
        dav: Dav::new(Arc::new(share), meta, &names, &handle),
    });
    site.dav.clear_up(leftovers);
    let server = Arc::new(front(args, &identity, site, connections));
    let signals = Signals::new(&io).map_err(|e| format!("cannot handle signals: {e}"))?;
    let accepting = Arc::clone(&server);
    let on_accept = move |stream, cx: &mut dapple::Cx| https::accept(&accepting, stream, cx);
    let listener = io
        .listen(address, Accepting::PerWorker, on_accept)
        .map_err(|e| format!("cannot listen on {address}: {e}"))?;
    // The server runs on if the standard output is closed.
    let mut out = io::stdout().lock();
    let ready = announce::Ready {
        share: &shown,
        address: listener.local_addr(),
        name: &shown_name(args, listener.local_addr().ip(), &names),
        addresses: &addresses,
        identity: &identity,
        password: password.as_deref(),
        has_dashboard: shows_dashboard,
    };
    let _ = announce::announce(&mut out, &ready);
    if let Some(address) = qr::reachable(listener.local_addr()) {
        let prefix = path::DavPath::root().href(true);
        qr::show(&mut out, &format!("https://{address}{prefix}"));
    }
    let _ = out.flush();
    drop(out);
    signals.wait();
    drop(listener);
    server.connections.drain();
    process::end(rt, process::DRAIN_LIMIT, || server.connections.count() as u64);
    Ok(())
}

/// Creates the state that all connections share, with its limits.
fn front(
    args: &ArgMatches,
    identity: &Identity,
    site: Arc<Server>,
    connections: Arc<Connections>,
) -> Https<Server> {
    Https {
        handle: site.handle.clone(),
        tls: Arc::clone(&identity.config).into(),
        site,
        per_address: None,
        connections,
        write_silence: WRITE_SILENCE,
        most_head: MOST_HEAD,
        idle: Duration::from_secs(*args.get_one("idle-timeout").expect("it has a default")),
    }
}

fn most_connections(args: &ArgMatches, descriptors: u64) -> usize {
    let allowed = descriptors.saturating_sub(OTHER_DESCRIPTORS) / PER_CONNECTION;
    let most = args.get_one("max-connections").copied();
    let most: u64 = most.unwrap_or(allowed.clamp(64, MOST_CONNECTIONS));
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// Checks that a secret is outside of the folder, because a user who can read the folder must not
/// be able to read the server's key.
fn check_outside(folder: &Path, secret: &Path) -> Result<(), String> {
    let real = |path: &Path| path.canonicalize().map_err(|e| format!("{}: {e}", path.display()));
    let folder =
        folder.canonicalize().map_err(|e| format!("cannot serve {}: {e}", folder.display()))?;
    if real(secret)?.starts_with(&folder) {
        return Err(format!(
            "{} contains secrets and would be served: use --state DIR with a folder outside of {}",
            secret.display(),
            folder.display()
        ));
    }
    Ok(())
}

/// Opens the folder and its store, and finishes the changes of a server that was killed. The
/// returned trash is still to be removed.
fn open(folder: &Path, sync: bool) -> Result<(Share, Store, Vec<Trash>), String> {
    let failed = |e: &dyn std::fmt::Display| format!("cannot serve {}: {e}", folder.display());
    let share = Share::open(folder, sync).map_err(|e| match e.kind() {
        io::ErrorKind::ResourceBusy => failed(&"another server already serves this folder"),
        _ => failed(&e),
    })?;
    if share.is_read_only() {
        let store = Store::in_memory().map_err(|e| failed(&e))?;
        return Ok((share, store, Vec::new()));
    }
    let store = Store::open(&share.corner().join("properties.redb")).map_err(|e| failed(&e))?;
    let is_all = recover::recover(&share, &store).map_err(|e| failed(&e))?;
    let leftovers = share.leftovers(is_all).map_err(|e| failed(&e))?;
    Ok((share, store, leftovers))
}

/// Parses a host name or an address. It is written into the certificate, into a line of text before
/// the certificate, and into commands that people paste.
fn name_or_address(text: &str) -> Result<String, String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '*');
    match !text.is_empty() && text.chars().all(is_good) {
        true => Ok(text.to_owned()),
        false => Err("a name of letters, digits, dots and hyphens, or an address".to_owned()),
    }
}

/// Returns the names in the certificate: those of the command line, that of this machine, and its
/// addresses.
fn names(args: &ArgMatches, address: IpAddr, addresses: &[IpAddr]) -> Vec<String> {
    let mut names: Vec<String> = args.get_many("name").into_iter().flatten().cloned().collect();
    let mut add = |name: String| {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    };
    add("localhost".to_owned());
    add("127.0.0.1".to_owned());
    add("::1".to_owned());
    add(host_name());
    if !address.is_unspecified() {
        add(address.to_string());
    }
    addresses.iter().for_each(|address| add(address.to_string()));
    names
}

fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let is_name =
        |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
    if is_name(&name) { name } else { String::new() }
}

/// Returns the name under which clients reach the server, as far as is known.
fn shown_name(args: &ArgMatches, address: IpAddr, names: &[String]) -> String {
    match args.get_one::<String>("name") {
        Some(name) => name.clone(),
        None if address.is_unspecified() => match host_name() {
            name if name.is_empty() => names[0].clone(),
            name => name,
        },
        None => address.to_string(),
    }
}

/// Prints a line. An error is ignored, because a reader that has closed the pipe (as `head -1`
/// does) does not need the line.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
