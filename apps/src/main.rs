//! The programs of dapple, one subcommand each: `dapple web`, `dapple files`.
#![forbid(unsafe_code)]

mod common;
mod files;
mod web;

use std::io::Write;
use std::process::ExitCode;

use clap::Command;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// The exit status of a command line or a setting that is no good.
const BAD_USAGE: u8 = 2;

fn main() -> ExitCode {
    // Not what libraries say: strangers can make some of them say a lot.
    let own = Targets::new().with_target("dapple", LevelFilter::WARN);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    tracing_subscriber::registry().with(layer.with_filter(own)).init();
    let command = Command::new("dapple")
        .about("Programs on the dapple executor")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(web::command())
        .subcommand(files::command());
    let matches = match command.try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return usage(&error),
    };
    let outcome = match matches.subcommand() {
        Some(("web", args)) => web::main(args),
        Some(("files", args)) => files::main(args),
        _ => unreachable!("clap knows the subcommands"),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("dapple: {message}");
            ExitCode::from(BAD_USAGE)
        }
    }
}

/// Help and version as clap prints them; an error in one line.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Whoever has closed the pipe does not want to know.
        let _ = write!(std::io::stdout(), "{}", error.render());
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        eprint!("{text}");
    } else {
        // What is missing stands on lines of its own.
        let said = text.lines().map(str::trim).take_while(|line| !line.is_empty());
        let line = said.collect::<Vec<_>>().join(" ");
        eprintln!("dapple: {} (try --help)", line.trim_start_matches("error: "));
    }
    ExitCode::from(BAD_USAGE)
}
