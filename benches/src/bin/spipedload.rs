//! Load on the original spiped, and on spiped ported to dapple.
//!
//! `cargo run --release -p dapple-benches --bin spipedload -- --help`

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use aws_lc_rs::rand;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use dapple_benches::measure::median;
use dapple_benches::spipedload::load::{Came, Load, What};

const LONG_ABOUT: &str = "\
Load on spiped as it is, and on dapple

benches/ports/spiped/build.sh makes the three folders. Programs are measured in turn, and medians \
are printed: of bytes, what `spiped -e` encrypts of what connections send as fast as it takes it; \
of connections, how many clients `spiped -d` answers that connect, exchange keys, get one byte and \
go. The other end of the encryption is this program, which makes no key exchange of its own and \
throws encrypted bytes away unseen. CPU time is spiped's.";

fn command() -> Command {
    let folder = |name: &'static str, help: &'static str| {
        Arg::new(name).required(true).value_parser(value_parser!(PathBuf)).help(help)
    };
    let number = |name: &'static str, default: &'static str, most: u64| {
        let parser = value_parser!(u64).range(1..=most);
        Arg::new(name).long(name).value_name("N").default_value(default).value_parser(parser)
    };
    Command::new("spipedload")
        .about("Load on spiped as it is, and on dapple")
        .long_about(LONG_ABOUT)
        .arg(folder("plain", "Folder of spiped as it is"))
        .arg(folder("uncolored", "Folder of spiped with dapple's events"))
        .arg(folder("colored", "Folder of spiped with a color per connection"))
        .arg(number("rounds", "5", 1_000).help("How often each is measured"))
        .arg(number("millis", "3000", 600_000).help("Milliseconds of a measurement"))
        .arg(number("connections", "8", 500).help("Connections at a time"))
        .arg(
            Arg::new("only")
                .long("only")
                .value_name("WHAT")
                .action(ArgAction::Append)
                .value_parser(What::ALL.map(What::name))
                .help("Measure this alone"),
        )
}

fn run(matches: &ArgMatches) -> io::Result<()> {
    let folder = |name: &str| matches.get_one::<PathBuf>(name).expect("it is required");
    let number = |name: &str| *matches.get_one::<u64>(name).expect("it has a default");
    let runs = [
        ("as it is", folder("plain"), 1),
        ("dapple, no colors, 1 worker", folder("uncolored"), 1),
        ("dapple, colors, 1 worker", folder("colored"), 1),
        ("dapple, colors, 2 workers", folder("colored"), 2),
    ];
    let scratch = std::env::temp_dir().join(format!("spipedload-{}", std::process::id()));
    std::fs::create_dir(&scratch)?;
    let _scratch = Scratch(scratch.clone());
    let mut key = [0; 32];
    rand::fill(&mut key).map_err(|_| io::Error::other("no random bytes"))?;
    std::fs::write(scratch.join("key"), key)?;
    let load = Load {
        folder: &scratch,
        connections: number("connections") as usize,
        lasts: Duration::from_millis(number("millis")),
    };
    let only: Vec<&String> = matches.get_many("only").unwrap_or_default().collect();
    for what in What::ALL {
        if !only.is_empty() && !only.iter().any(|name| *name == what.name()) {
            continue;
        }
        let mut all: Vec<Vec<Came>> = vec![Vec::new(); runs.len()];
        for _ in 0..number("rounds") {
            for ((_, folder, workers), came) in runs.iter().zip(&mut all) {
                came.push(load.measure(what, folder, *workers)?);
            }
        }
        print_table(what, &runs.map(|(name, ..)| name), &all);
    }
    Ok(())
}

/// The temporary folder, which is removed at the end.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn print_table(what: What, names: &[&str], all: &[Vec<Came>]) {
    let middle =
        |came: &[Came], of: fn(&Came) -> f64| median(&came.iter().map(of).collect::<Vec<_>>());
    let base = middle(&all[0], |came| came.per_second);
    println!(
        "\n{:<30} {:>9} {:>7} {:>12} {:>8} {:>13}",
        what.name(),
        "per s",
        "ratio",
        "CPU us each",
        "cores",
        "client cores"
    );
    for (name, came) in names.iter().zip(all) {
        let per_second = middle(came, |came| came.per_second);
        println!(
            "  {name:<28} {per_second:>9.0} {:>7.2} {:>12.1} {:>8.2} {:>13.2}",
            per_second / base,
            middle(came, |came| came.cpu) / 1e3,
            middle(came, |came| came.cores),
            middle(came, |came| came.own_cores),
        );
    }
    println!("  in {}", what.unit());
}

fn main() -> ExitCode {
    match run(&command().get_matches()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("spipedload: {error}");
            ExitCode::FAILURE
        }
    }
}
