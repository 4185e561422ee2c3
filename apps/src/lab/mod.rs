//! `dapple lab`: experiments that anyone can run.

mod all;
mod colors;
mod contingency;
mod draw;
mod machine;
mod mesh;
mod page;
mod progress;
mod report;
mod statistics;
#[cfg(feature = "sim")]
mod storm;
mod stream;

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

pub(crate) fn command() -> Command {
    let lab = Command::new("lab")
        .about("Experiments with the runtime")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(all::command())
        .subcommand(measured(colors::command()))
        .subcommand(colors::clients::command())
        .subcommand(measured(contingency::command()))
        .subcommand(measured(stream::command()));
    #[cfg(feature = "sim")]
    return lab.subcommand(storm::command());
    #[cfg(not(feature = "sim"))]
    lab.subcommand(
        Command::new("storm")
            .about("Random programs under seeds (needs a build with the feature sim)")
            .allow_external_subcommands(true)
            .disable_help_flag(true)
            .arg(
                clap::Arg::new("any").num_args(..).trailing_var_arg(true).allow_hyphen_values(true),
            ),
    )
}

/// Adds the arguments of an experiment that has a report.
fn measured(command: Command) -> Command {
    let others: Vec<_> = command.get_arguments().map(|arg| arg.get_id().clone()).collect();
    command
        .arg(
            Arg::new("quick")
                .long("quick")
                .action(ArgAction::SetTrue)
                .conflicts_with_all(others)
                .help("A short run of a few seconds, to see that it works"),
        )
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("A folder for charts (SVG)"),
        )
}

fn run(
    args: &ArgMatches,
    experiment: fn(&ArgMatches) -> Result<report::Report, String>,
) -> Result<(), String> {
    let folder = args.get_one::<PathBuf>("out").map(PathBuf::as_path);
    folder.map_or(Ok(()), report::prepare)?;
    experiment(args)?.publish(folder)
}

pub(crate) fn main(args: &ArgMatches) -> Result<(), String> {
    match args.subcommand() {
        Some(("colors", args)) => run(args, colors::run),
        Some(("all", args)) => all::main(args),
        Some(("clients", args)) => colors::clients::main(args),
        Some(("contingency", args)) => run(args, contingency::run),
        Some(("stream", args)) => run(args, stream::run),
        #[cfg(feature = "sim")]
        Some(("storm", args)) => storm::main(args),
        #[cfg(not(feature = "sim"))]
        Some(("storm", _)) => {
            Err("this program was built without the simulation; in dapple's sources: cargo run \
                 --release -p dapple-apps --features sim -- lab storm"
                .to_owned())
        }
        _ => unreachable!("clap knows the subcommands"),
    }
}
