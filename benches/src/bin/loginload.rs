//! Load on a PostgreSQL connection pooler, by clients that log in over TLS.
//!
//! `cargo run --release -p dapple-benches --bin loginload -- --help`

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};
use dapple_benches::loginload::client::Login;
use dapple_benches::loginload::load::{Load, percentile};

const LONG_ABOUT: &str = "Load on a PostgreSQL connection pooler, by clients that log in over \
                          TLS

Clients log in again and again, without resuming sessions, ask \
                          nothing and go; others stay and ask `select 1`. Prints a line of JSON: \
                          logins per second, their p50 and p99 in milliseconds, p50 and p99 of \
                          answers in milliseconds, CPU time of the servers in microseconds per \
                          login, and the cores that servers and clients have used. Certificates \
                          are not verified.";

fn command() -> Command {
    let number = |name: &'static str, default: &'static str, most: u64| {
        let parser = value_parser!(u64).range(0..=most);
        Arg::new(name).long(name).value_name("N").default_value(default).value_parser(parser)
    };
    let text = |name: &'static str| Arg::new(name).long(name).value_name("TEXT");
    Command::new("loginload")
        .about("Load on a PostgreSQL connection pooler")
        .long_about(LONG_ABOUT)
        .arg(
            Arg::new("to")
                .value_name("ADDRESS:PORT")
                .required(true)
                .value_parser(value_parser!(SocketAddr))
                .help("Where the pooler is"),
        )
        .arg(text("user").default_value("postgres").help("The user, and the database"))
        .arg(text("password").default_value("").help("The user's password"))
        .arg(number("logins", "8", 1_000).help("Clients that log in again and again"))
        .arg(number("askers", "2", 1_000).help("Clients that stay and ask"))
        .arg(number("period", "5", 60_000).help("Milliseconds until a client asks again"))
        .arg(number("millis", "3000", 600_000).help("Milliseconds of the measurement"))
        .arg(
            Arg::new("server")
                .long("server")
                .value_name("PID,..")
                .value_delimiter(',')
                .value_parser(value_parser!(libc::pid_t))
                .help("Processes whose CPU time is counted"),
        )
}

fn run(matches: &ArgMatches) -> io::Result<()> {
    let number = |name: &str| *matches.get_one::<u64>(name).expect("it has a default");
    let text = |name: &str| matches.get_one::<String>(name).expect("it has a default").clone();
    let to = *matches.get_one::<SocketAddr>("to").expect("it is required");
    let login = Login::new(to, text("user"), text("password"))?;
    let load = Load {
        logins: number("logins") as usize,
        askers: number("askers") as usize,
        period: Duration::from_millis(number("period")),
        lasts: Duration::from_millis(number("millis")),
        servers: matches.get_many("server").unwrap_or_default().copied().collect(),
    };
    let mut took = load.run(&login)?;
    let millis = |times: &mut [Duration], percent| percentile(times, percent).as_secs_f64() * 1e3;
    let wall = took.wall.as_secs_f64();
    let line = serde_json::json!({
        "logins_per_s": took.logins.len() as f64 / wall,
        "login_p50_ms": millis(&mut took.logins, 50),
        "login_p99_ms": millis(&mut took.logins, 99),
        "answer_p50_ms": millis(&mut took.answers, 50),
        "answer_p99_ms": millis(&mut took.answers, 99),
        "server_us_per_login": took.servers.as_secs_f64() * 1e6 / took.logins.len().max(1) as f64,
        "server_cores": took.servers.as_secs_f64() / wall,
        "client_cores": took.own.as_secs_f64() / wall,
    });
    println!("{line}");
    Ok(())
}

fn main() -> ExitCode {
    match run(&command().get_matches()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loginload: {error}");
            ExitCode::FAILURE
        }
    }
}
