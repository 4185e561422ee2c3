//! The runtime of a program, as its command line configures it.

use std::io;

use clap::{Arg, ArgMatches, value_parser};
use dapple::{Runtime, StealPolicy};

/// Returns the options for the runtime.
pub(crate) fn args() -> [Arg; 3] {
    [
        Arg::new("workers")
            .long("workers")
            .value_name("N")
            .value_parser(value_parser!(u16).range(1..=1024))
            .help("Worker threads [default: one per usable core]"),
        Arg::new("cores")
            .long("cores")
            .value_name("LIST")
            .value_delimiter(',')
            .value_parser(value_parser!(usize))
            .help("Cores to pin the workers to, such as 0,2 [default: all usable]"),
        Arg::new("steal")
            .long("steal")
            .value_name("POLICY")
            .value_parser(["cost-aware", "eager", "off"])
            .default_value("cost-aware")
            .help("Which colors an idle worker steals from others"),
    ]
}

/// Returns an option for a time limit in seconds.
pub(crate) fn seconds(id: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(id)
        .long(id)
        .value_name("SECONDS")
        .value_parser(value_parser!(u64).range(1..=86_400))
        .default_value(default)
        .help(help)
}

/// Builds a runtime with a reactor, as the options of [`args`] say.
pub(crate) fn build(args: &ArgMatches, name: &str) -> io::Result<Runtime> {
    let mut builder = dapple_io::runtime().thread_name(name);
    if let Some(workers) = args.get_one::<u16>("workers") {
        builder = builder.workers(usize::from(*workers));
    }
    if let Some(cores) = args.get_many::<usize>("cores") {
        builder = builder.cores(cores.copied());
    }
    let policy = match args.get_one::<String>("steal").map(String::as_str) {
        Some("eager") => StealPolicy::Eager,
        Some("off") => StealPolicy::Off,
        _ => StealPolicy::CostAware,
    };
    builder.steal_policy(policy).build()
}
