//! The command line of `dapple web`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use dapple_io::Addr;
use dapple_io::tcp::ConnOptions;

use super::answer::AnswerOptions;
use super::config;
use super::log::Format;
use super::monitor::FiguresFor;
use super::pages::{Content, PageOptions};
use super::policy::Policy;
use super::root::Reach;
use super::server::Settings;
use crate::common::runtime::{self, seconds};
use crate::common::target;

/// The number of descriptors that belong to no connection: files of the cache, pollers, listeners.
const OTHER_DESCRIPTORS: u64 = 1_200;

/// The number of descriptors that a connection may need: its socket, and a file that it sends.
const PER_CONNECTION: u64 = 2;

/// The default limit of connections over TLS, because each takes memory.
const MOST_SECURE: u64 = 10_000;

/// The options of a run.
pub(super) struct Options {
    /// The addresses to listen on; if empty, the sockets of a service manager or the default.
    pub(super) addresses: Vec<Addr>,
    pub(super) site: Content,
    pub(super) paging: PageOptions,
    pub(super) answering: AnswerOptions,
    pub(super) settings: Settings,
    pub(super) tls: Option<TlsFrom>,
    /// The access log's file, and the format of its lines.
    pub(super) log: Option<(PathBuf, Format)>,
    /// The file of the users who may log in.
    pub(super) users: Option<PathBuf>,
    /// The address without TLS from which clients are redirected.
    pub(super) redirect_from: Option<SocketAddr>,
}

/// The source of the TLS certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TlsFrom {
    /// A certificate that is made for this run.
    Dev,
    Files {
        certificate: PathBuf,
        key: PathBuf,
    },
}

/// Options that few users need. `-h` leaves them out, so that the others fit on a screen.
const RARE: [&str; 15] = [
    "cache-valid",
    "cores",
    "follow-links",
    "header-timeout",
    "hidden",
    "idle-timeout",
    "log-format",
    "max-connections",
    "max-per-address",
    "metrics-public",
    "no-compress",
    "serial",
    "spa",
    "steal",
    "write-timeout",
];

pub(crate) fn command() -> Command {
    let command = all();
    RARE.into_iter()
        .fold(command, |command, id| command.mut_arg(id, |arg| arg.hide_short_help(true)))
}

fn all() -> Command {
    Command::new("web")
        .about("Serves the files of a folder over HTTP")
        .long_about(
            "Serves the files of DIR over HTTP. Without DIR, it serves a built-in demonstration \
             site, with live metrics at /_dapple/metrics for clients on this machine that use \
             the name localhost or a loopback address. A folder's metrics are served only with \
             --metrics or --metrics-public.",
        )
        .after_long_help(
            "Signals: SIGTERM and SIGINT stop the server after the requests in progress are \
             answered, or after 10 seconds. SIGHUP reloads the certificate and reopens the access \
             log. SIGUSR2 replaces the process by a new one without losing a connection.",
        )
        .arg(
            Arg::new("dir")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("The folder or file to serve [default: a built-in demonstration site]"),
        )
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("ADDRESS:PORT")
                .value_parser(address)
                .action(ArgAction::Append)
                .help(
                    "The address to listen on, or unix:PATH. Port 0 lets the system choose a \
                     port. May be repeated [default: the sockets that a service manager passes, or \
                     127.0.0.1:8080]",
                ),
        )
        .arg(config::arg())
        .arg(flag("check", "Check the settings and exit"))
        .arg(
            Arg::new("tls")
                .long("tls")
                .value_names(["CERT", "KEY"])
                .num_args(1..=2)
                .value_parser(value_parser!(PathBuf))
                .help(
                    "Serve over TLS, with HTTP/2. Takes a certificate with its chain and a \
                     private key (PEM), which SIGHUP reloads, or `dev` for a self-signed \
                     certificate",
                ),
        )
        .arg(
            Arg::new("redirect-from")
                .long("redirect-from")
                .value_name("ADDRESS:PORT")
                .value_parser(value_parser!(SocketAddr))
                .help(
                    "Also listen on this address without TLS, and redirect clients to the address \
                     with TLS",
                ),
        )
        .args(of_site())
        .args(of_fields())
        .args(of_cache())
        .args(of_limits())
        .args(of_figures())
        .args(runtime::args())
        .arg(flag(
            "serial",
            "Run every callback on the default color, one at a time. A baseline for measurements",
        ))
}

fn address(text: &str) -> Result<Addr, String> {
    match text.strip_prefix("unix:") {
        Some("") => Err("a path is missing after unix:".to_owned()),
        Some(path) => Ok(Addr::unix(path)),
        None => text
            .parse::<SocketAddr>()
            .map(Addr::from)
            .map_err(|_| "an address and a port, such as 127.0.0.1:8080, or unix:PATH".to_owned()),
    }
}

fn flag(id: &'static str, help: &'static str) -> Arg {
    Arg::new(id).long(id).action(ArgAction::SetTrue).help(help)
}

/// Returns the options that select what is served, and under which paths.
fn of_site() -> [Arg; 6] {
    [
        Arg::new("users")
            .long("users")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help(
                "Require a login by one of the users in this file, which `dapple files user \
                 --state DIR` keeps as DIR/users. If the file has no user, a one-time user and \
                 password are printed",
            ),
        flag(
            "list",
            "List a folder that has no index.html, with a link to download it as a zip. ?json \
             lists it as JSON",
        ),
        flag(
            "spa",
            "Serve /index.html for paths that do not exist and whose last part has no dot \
             (single-page applications)",
        ),
        Arg::new("prefix")
            .long("prefix")
            .value_name("PATH")
            .value_parser(target::prefix)
            .help("The path that every URL begins with, such as /docs"),
        flag("hidden", "Also serve names that begin with a dot. .well-known is always served"),
        flag("follow-links", "Follow symbolic links that point outside the folder"),
    ]
}

/// Returns the options for fields of responses.
fn of_fields() -> [Arg; 3] {
    [
        Arg::new("cache-control")
            .long("cache-control")
            .value_name("PATTERN=VALUE")
            .action(ArgAction::Append)
            .help(
                "The Cache-Control of matching files, such as '*.js=public, max-age=3600'. May be \
                 repeated; the last match wins [default: no-cache: clients revalidate on every \
                 request]",
            ),
        Arg::new("headers")
            .long("headers")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("Extra response headers by path, in the format of Netlify's _headers file"),
        Arg::new("cors")
            .long("cors")
            .value_name("ORIGIN")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("*")
            .help("Allow cross-origin requests from every origin, or only from --cors=ORIGIN"),
    ]
}

fn of_cache() -> [Arg; 3] {
    [
        Arg::new("cache")
            .long("cache")
            .value_name("MIB")
            .value_parser(value_parser!(u64).range(0..=1_048_576))
            .default_value("64")
            .help(
                "The size of the cache for the contents of small files. 0 turns off the cache and \
                 compression",
            ),
        flag(
            "no-compress",
            "Do not compress text on the fly. Precompressed files beside a file (.br, .zst, .gz) \
             are still used if they are not older",
        ),
        Arg::new("cache-valid")
            .long("cache-valid")
            .value_name("MILLISECONDS")
            .value_parser(value_parser!(u64).range(0..=86_400_000))
            .default_value("0")
            .help(
                "Serve a cached file for this time without checking whether it has changed. 0 \
                 checks for every batch of requests",
            ),
    ]
}

fn of_limits() -> [Arg; 5] {
    [
        Arg::new("max-per-address")
            .long("max-per-address")
            .value_name("N")
            .value_parser(value_parser!(u64).range(1..))
            .help(
                "The most connections from one IPv4 address or IPv6 /64 network. Further ones get \
                 a 503; over TLS they are closed [default: no limit of its own]",
            ),
        Arg::new("max-connections")
            .long("max-connections")
            .value_name("N")
            .value_parser(value_parser!(u64).range(1..))
            .help(
                "The most connections. Further ones get a 503; over TLS they are closed [default: \
                 what the descriptor limit allows, over TLS at most 10000]",
            ),
        seconds("idle-timeout", "60", "Close a connection after this time without activity"),
        seconds(
            "header-timeout",
            "10",
            "Close a connection whose request header takes longer than this. Over TLS, \
             --idle-timeout applies instead",
        ),
        seconds(
            "write-timeout",
            "30",
            "Close a connection whose client reads nothing of its response for this time",
        ),
    ]
}

fn of_figures() -> [Arg; 5] {
    [
        Arg::new("access-log")
            .long("access-log")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help(
                "Append a line for each response to this file, which SIGHUP reopens. - is the \
                 standard output",
            ),
        Arg::new("log-format")
            .long("log-format")
            .value_name("FORMAT")
            .value_parser(["common", "combined", "json"])
            .default_value("combined")
            .help("The format of the access log"),
        flag(
            "dashboard",
            "Serve a live dashboard at /_dapple/ to browsers on this machine or, with --users, to \
             users who log in. If a proxy runs on this machine, use --users or let the proxy \
             refuse the path",
        ),
        flag(
            "metrics",
            "Serve metrics (OpenMetrics) at /_dapple/metrics to clients on this machine that use \
             the name localhost or a loopback address. If one of them is a proxy, let it refuse \
             the path",
        ),
        flag("metrics-public", "Serve metrics at /_dapple/metrics to every client"),
    ]
}

impl Options {
    /// Reads the options; `descriptors` is the number of descriptors that the process may open.
    pub(super) fn of(args: &ArgMatches, descriptors: u64) -> Result<Options, String> {
        let reach =
            Reach { has_hidden: args.get_flag("hidden"), leads_out: args.get_flag("follow-links") };
        let tls = tls(args)?;
        let dir = args.get_one::<PathBuf>("dir").map(PathBuf::as_path);
        let dir = match (folder_behind_tls(args), dir) {
            (Some(one), Some(other)) => {
                let (one, other) = (one.display(), other.display());
                return Err(format!("there are two folders, {one} and {other}"));
            }
            (behind_tls, dir) => behind_tls.or(dir),
        };
        let site = Content::open(dir, reach)?;
        let figures_for = match (args.get_flag("metrics-public"), args.get_flag("metrics"), &site) {
            (true, _, _) => FiguresFor::Everybody,
            (_, true, _) | (_, _, Content::Demo(_)) => FiguresFor::Loopback,
            _ => FiguresFor::Nobody,
        };
        if tls.is_none() && args.contains_id("redirect-from") {
            return Err("--redirect-from needs --tls".to_owned());
        }
        let mut policy = policy(args)?;
        if let Some(TlsFrom::Files { .. }) = tls {
            policy.be_strict();
        }
        let number = |id: &str| *args.get_one::<u64>(id).expect("it has a default");
        let limit = |id: &str| Duration::from_secs(number(id));
        let most = (descriptors.saturating_sub(OTHER_DESCRIPTORS) / PER_CONNECTION).max(64);
        let most = if tls.is_some() { most.min(MOST_SECURE) } else { most };
        Ok(Options {
            addresses: args.get_many("listen").into_iter().flatten().cloned().collect(),
            site,
            paging: PageOptions {
                cache_bytes: number("cache") << 20,
                cache_valid: Duration::from_millis(number("cache-valid")),
                // Without a cache, each request would compress the file again.
                compresses: !args.get_flag("no-compress") && number("cache") > 0,
                policy,
            },
            answering: AnswerOptions {
                prefix: args.get_one::<String>("prefix").cloned().unwrap_or_default(),
                is_single_page_app: args.get_flag("spa"),
                lists: args.get_flag("list"),
            },
            settings: Settings {
                options: ConnOptions {
                    idle_timeout: limit("idle-timeout"),
                    frame_timeout: limit("header-timeout"),
                    write_timeout: limit("write-timeout"),
                    ..ConnOptions::default()
                },
                serial: args.get_flag("serial"),
                figures_for,
                dashboard: args.get_flag("dashboard"),
                max_per_address: args
                    .get_one::<u64>("max-per-address")
                    .map(|most| usize::try_from(*most).unwrap_or(usize::MAX)),
                max_connections: args.get_one("max-connections").copied().unwrap_or(most),
            },
            tls,
            users: args.get_one("users").cloned(),
            redirect_from: args.get_one("redirect-from").copied(),
            log: args.get_one::<PathBuf>("access-log").map(|path| (path.clone(), format(args))),
        })
    }
}

fn format(args: &ArgMatches) -> Format {
    match args.get_one::<String>("log-format").map(String::as_str) {
        Some("common") => Format::Common,
        Some("json") => Format::Json,
        _ => Format::Combined,
    }
}

fn tls_values(args: &ArgMatches) -> Vec<&PathBuf> {
    args.get_many("tls").into_iter().flatten().collect()
}

/// Returns the second value of `--tls dev`, which is taken as the folder.
pub(super) fn folder_behind_tls(args: &ArgMatches) -> Option<&Path> {
    match tls_values(args)[..] {
        [dev, folder] if dev.as_os_str() == "dev" => Some(folder),
        _ => None,
    }
}

/// Returns the source of the certificate.
fn tls(args: &ArgMatches) -> Result<Option<TlsFrom>, String> {
    match tls_values(args)[..] {
        [] => Ok(None),
        [dev] | [dev, _] if dev.as_os_str() == "dev" => Ok(Some(TlsFrom::Dev)),
        [certificate, key] => {
            let (certificate, key) = (certificate.clone(), key.clone());
            Ok(Some(TlsFrom::Files { certificate, key }))
        }
        _ => Err("--tls takes a certificate and a key, or `dev`".to_owned()),
    }
}

fn policy(args: &ArgMatches) -> Result<Policy, String> {
    let mut policy = Policy::default();
    if let Some(file) = args.get_one::<PathBuf>("headers") {
        policy.add_file(file)?;
    }
    if let Some(origin) = args.get_one::<String>("cors") {
        policy.share_with(origin).map_err(|e| format!("--cors: {e}"))?;
    }
    for rule in args.get_many::<String>("cache-control").into_iter().flatten() {
        policy.add_cache_control(rule).map_err(|e| format!("--cache-control: {e}"))?;
    }
    Ok(policy)
}
