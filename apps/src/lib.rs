//! The programs of dapple, one subcommand each: `dapple web`, `dapple files`, `dapple event-run`,
//! `dapple lab`, `dapple hist`.
//!
//! The library contains the code of the binary. It is not an API for others to build on.
#![forbid(unsafe_code)]

mod common;
mod event_run;
mod files;
#[cfg(any(test, dapple_fuzzing))]
pub mod fuzzing;
mod hist;
mod lab;
mod web;

use std::io::Write;
use std::process::ExitCode;

use clap::{Arg, ArgAction, Command};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// The exit status after an invalid command line, or when the subcommand fails.
const BAD_USAGE: u8 = 2;

/// Runs the subcommand that this process's command line names.
///
/// # Errors
///
/// Returns exit status 2, after a line on the standard error, if the command line is invalid or the
/// subcommand fails.
pub fn main() -> ExitCode {
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return usage(&error),
    };
    tell_on_standard_error(matches.get_count("verbose"));
    let outcome = match matches.subcommand() {
        Some(("web", args)) => web::main(args),
        Some(("files", args)) => files::main(args),
        Some(("event-run", args)) => event_run::main(args),
        Some(("lab", args)) => lab::main(args),
        Some(("hist", args)) => hist::main(args),
        _ => unreachable!("clap knows the subcommands"),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("dapple: {}", escaped(&message));
            ExitCode::from(BAD_USAGE)
        }
    }
}

/// Sends the program's log to the standard error.
fn tell_on_standard_error(verbosity: u8) {
    let level = match verbosity {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    // The log lines of libraries are left out, because strangers can make some libraries log a lot.
    let own = Targets::new().with_target("dapple", level);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    tracing_subscriber::registry().with(layer.with_filter(own)).init();
}

/// Returns the option for the verbosity of the log, which every subcommand has.
fn verbose() -> Arg {
    Arg::new("verbose").short('v').long("verbose").action(ArgAction::Count).global(true).help(
        "Log more to the standard error: -v adds reloads and restarts, -vv why connections end",
    )
}

fn command() -> Command {
    Command::new("dapple")
        .about("Programs on the dapple executor")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(verbose())
        .subcommand(web::command())
        .subcommand(files::command())
        .subcommand(event_run::command())
        .subcommand(lab::command())
        .subcommand(hist::command())
}

/// Writes help and version to the standard output, and every other message of clap to the standard
/// error.
fn usage(error: &clap::Error) -> ExitCode {
    let text = told(error);
    if !error.use_stderr() {
        // A reader that has closed the pipe does not need the text.
        let _ = write!(std::io::stdout(), "{text}");
        return ExitCode::SUCCESS;
    }
    eprint!("{text}");
    ExitCode::from(BAD_USAGE)
}

/// Returns the line with control characters escaped, so that a terminal takes none of it for a
/// command.
fn escaped(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    for c in line.chars() {
        match c.is_control() {
            true => text.extend(c.escape_default()),
            false => text.push(c),
        }
    }
    text
}

/// Returns clap's text: help and version unchanged, an error in one line.
fn told(error: &clap::Error) -> String {
    use clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    let text = error.render().to_string();
    if !error.use_stderr() || error.kind() == DisplayHelpOnMissingArgumentOrSubcommand {
        return text;
    }
    // clap lists missing arguments on lines of their own, so the first paragraph is joined.
    let said = text.lines().map(str::trim).take_while(|line| !line.is_empty());
    let line = said.collect::<Vec<_>>().join(" ");
    let line = escaped(line.trim_start_matches("error: "));
    format!("dapple: {line} (try --help)\n")
}
