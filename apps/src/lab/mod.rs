//! `dapple lab`: experiments, for anyone to run.

mod chart;
mod colors;
mod machine;
mod report;
#[cfg(feature = "sim")]
mod storm;

use clap::{ArgMatches, Command};

pub(crate) fn command() -> Command {
    let lab = Command::new("lab")
        .about("Experiments with the runtime")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(colors::command());
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

pub(crate) fn main(args: &ArgMatches) -> Result<(), String> {
    match args.subcommand() {
        Some(("colors", args)) => colors::main(args),
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
