//! Load on a file server over TLS 1.3, by a client that is cheaper than the server.
//!
//! `cargo run --release -p dapple-benches --bin filesload -- --help`

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use dapple_benches::filesload::config::CIPHERS;
use dapple_benches::filesload::http::{Op, Site};
use dapple_benches::filesload::load::{Files, Load, Took};

const LONG_ABOUT: &str = "\
Load on a server of files over TLS 1.3, by requests of HTTP/1.1 on connections that are kept

Prints a line: what was done, bytes, requests, wall time, CPU time of the client and of the server, \
gigabytes (10^9 bytes) per CPU second of the server, megabytes per second, requests per CPU second of \
the server. Connecting is not part of it. The status and the length of each answer are checked; if one \
is wrong the program says so and ends with status 1. Certificates are not verified.";

fn command() -> Command {
    Command::new("filesload")
        .about("Load on a server of files over TLS 1.3")
        .long_about(LONG_ABOUT)
        .arg(one("url", "URL").required(true).help("The folder: https://HOST:PORT/PATH"))
        .arg(one("user", "NAME:PASSWORD").help("The user (Basic authentication)"))
        .arg(
            one("op", "OP")
                .value_parser(Op::ALL.map(Op::name))
                .required(true)
                .help("The operation"),
        )
        .arg(one("file", "NAME").help("One file"))
        .arg(Arg::new("own").long("own").action(ArgAction::SetTrue).requires("file").help(
            "Each client has a file of its own: the name, a dot and the client's number; always \
             on with put",
        ))
        .arg(
            one("many", "COUNT")
                .value_parser(value_parser!(u64).range(1..=10_000_000))
                .help("Files f00000 and so on, distributed over the clients"),
        )
        .group(ArgGroup::new("files").args(["file", "many"]).required(true))
        .arg(
            one("size", "BYTES")
                .value_parser(value_parser!(u64))
                .required_if_eq("op", "put")
                .help("The size of each file: uploaded, or expected"),
        )
        .arg(
            one("rounds", "R")
                .value_parser(value_parser!(u64).range(1..=1_000_000))
                .default_value("1")
                .help("Requests per client for one file, or requests for each of many"),
        )
        .arg(
            one("clients", "N")
                .value_parser(value_parser!(u16).range(1..=1_000))
                .default_value("1")
                .help("Threads, each with a connection"),
        )
        .arg(
            one("cores", "LIST")
                .value_parser(value_parser!(usize))
                .value_delimiter(',')
                .help("Where the threads run, in turn [default: anywhere]"),
        )
        .arg(Arg::new("spin").long("spin").action(ArgAction::SetTrue).help(
            "Clients wait without sleeping, so that waking them costs the server nothing; use it \
             only if they share no core with the server. Their time of waiting is not counted as \
             CPU time",
        ))
        .arg(
            one("cipher", "CIPHER")
                .value_parser(CIPHERS.map(|(name, _)| name))
                .default_value(CIPHERS[0].0)
                .help("The only one that is offered"),
        )
        .arg(
            one("server-pid", "PID")
                .value_parser(value_parser!(libc::pid_t).range(1..))
                .value_delimiter(',')
                .action(ArgAction::Append)
                .help("A process of the server; its descendants are counted as well"),
        )
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print it as JSON"))
}

fn one(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value)
}

/// Returns all values of an option.
fn all<T: Clone + Send + Sync + 'static>(args: &ArgMatches, id: &str) -> Vec<T> {
    args.get_many(id).map_or_else(Vec::new, |told| told.cloned().collect())
}

fn load(args: &ArgMatches) -> Result<Load, String> {
    let text = |id: &str| args.get_one::<String>(id).map(String::as_str);
    let number = |id: &str| args.get_one::<u64>(id).copied();
    let op = Op::ALL.into_iter().find(|op| text("op") == Some(op.name())).expect("it is required");
    let files = match number("many") {
        Some(count) => Files::Many(count),
        None => {
            let name = text("file").expect("it is required").to_owned();
            match args.get_flag("own") || op == Op::Put {
                true => Files::Own(name),
                false => Files::One(name),
            }
        }
    };
    let cipher = CIPHERS.into_iter().find(|c| text("cipher") == Some(c.0));
    Ok(Load {
        site: Site::new(text("url").expect("it is required"), text("user"))?,
        op,
        files,
        size: number("size"),
        rounds: number("rounds").expect("it has a default"),
        clients: usize::from(*args.get_one::<u16>("clients").expect("it has a default")),
        cores: all(args, "cores"),
        spin: args.get_flag("spin"),
        cipher: cipher.expect("it has a default").1,
        servers: all(args, "server-pid"),
    })
}

fn print(op: Op, took: &Took, as_json: bool) {
    let (wall, client) = (took.wall.as_secs_f64(), took.client_cpu.as_secs_f64());
    let server = took.server_cpu.map(|t| t.as_secs_f64());
    let giga = took.bytes as f64 / 1e9;
    let rate = giga * 1e3 / wall;
    let per_cpu = |of: f64| server.map(|cpu| of / cpu.max(1e-9));
    let (giga_per_cpu, requests_per_cpu) = (per_cpu(giga), per_cpu(took.requests as f64));
    if as_json {
        let line = serde_json::json!({
            "op": op.name(),
            "bytes": took.bytes,
            "requests": took.requests,
            "wall_s": wall,
            "client_cpu_s": client,
            "server_cpu_s": server,
            "gb_per_server_cpu_s": giga_per_cpu,
            "mb_per_s": rate,
            "requests_per_server_cpu_s": requests_per_cpu,
        });
        return println!("{line}");
    }
    let or_dash = |n: Option<f64>, digits: usize| {
        n.map_or_else(|| "-".to_owned(), |n| format!("{n:.digits$}"))
    };
    println!(
        "{} {} B, {} requests, {wall:.3} s, client CPU {client:.3} s, server CPU {} s, {} GB/CPU s, \
         {rate:.0} MB/s, {} requests/CPU s",
        op.name(),
        took.bytes,
        took.requests,
        or_dash(server, 3),
        or_dash(giga_per_cpu, 3),
        or_dash(requests_per_cpu, 0),
    );
}

fn main() -> ExitCode {
    let args = command().get_matches();
    let run = || {
        let load = load(&args)?;
        let took = load.run().map_err(|e| e.to_string())?;
        print(load.op, &took, args.get_flag("json"));
        Ok::<(), String>(())
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("filesload: {error}");
            ExitCode::FAILURE
        }
    }
}
