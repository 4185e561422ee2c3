//! `dapple lab colors`: measures what colors gain for the programs of the paper on libasync-smp.
//!
//! The paper (Zeldovich and others, USENIX 2003) colors a web server and the file server of SFS. It
//! compares them on four CPUs with independent copies of the unchanged programs, which are an upper
//! bound. Here both servers get their requests from inside the process, so that no client takes a
//! core. Then they are measured again over sockets, with the clients in another process.
//!
//! * [`web`]: small files from memory, over HTTP/1.1;
//! * [`session`]: encrypted replies of 8 KB, with a state for each session;
//! * [`server`], [`clients`]: the same servers over sockets;
//! * [`run`]: sessions and their requests, from inside the process;
//! * [`way`]: the servers, the loads, and the ways to color a server.

pub(super) mod clients;
mod run;
mod server;
mod session;
mod way;
mod web;

use clap::{Arg, ArgMatches, Command, value_parser};

use self::run::Figures;
pub(super) use self::run::Setting;
use self::way::{Load, Server, Way};
use super::machine;
use super::progress::{Ended, Progress};
use super::report::{Report, Table, Verdict};
use super::statistics::{median, ratio};
use crate::common::chart::{Bar, Chart, Group, Plot};

pub(super) fn command() -> Command {
    Command::new("colors")
        .about("A web server and an encrypted session server, colored in five ways (four minutes)")
        .arg(
            Arg::new("rounds")
                .long("rounds")
                .value_name("N")
                .value_parser(value_parser!(u32).range(1..=100))
                .default_value("9")
                .help("Rounds of each way, interleaved; medians are reported"),
        )
}

pub(super) fn run(args: &ArgMatches) -> Result<Report, String> {
    let rounds = args.get_one::<u32>("rounds").copied().unwrap_or(9);
    let setting = match args.get_flag("quick") {
        true => Setting::quick(),
        false => Setting { rounds, ..Setting::full() },
    };
    let mut progress = Progress::begin(setting.seconds())?;
    Ok(experiment(&setting, &mut progress))
}

impl Setting {
    pub(super) fn full() -> Setting {
        let workers = machine::cores();
        // A multiple of the workers, so that all copies have the same number of sessions.
        let sessions = 64usize.next_multiple_of(workers);
        Setting { workers, sessions, clients: 128, requests: 60_000, rounds: 9 }
    }

    pub(super) fn quick() -> Setting {
        Setting { requests: 6_000, rounds: 3, ..Setting::full() }
    }

    /// Returns the expected duration, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        let parts = (Server::ALL.len() * Load::ALL.len()) as f64;
        Source::ALL.map(|source| parts * self.part(source)).iter().sum()
    }

    /// Returns the number of measured rounds, which is smaller with real clients.
    fn rounds_of(&self, source: Source) -> u32 {
        match source {
            Source::Inside => self.rounds,
            Source::Clients => self.rounds.div_ceil(2),
        }
    }

    /// Returns the expected seconds of one server under one load, colored in all ways.
    fn part(&self, source: Source) -> f64 {
        let runs = f64::from(self.rounds_of(source) + 1) * Way::ALL.len() as f64;
        let request = if source == Source::Clients { 14e-6 } else { 8e-6 };
        runs * self.requests as f64 * request
    }
}

/// The results of one way of coloring.
struct Row {
    way: Way,
    figures: Figures,
    /// Operations per second, as a multiple of the rate with one color.
    gain: f64,
}

pub(super) fn experiment(setting: &Setting, progress: &mut Progress) -> Report {
    let Setting { workers, sessions, clients, rounds, .. } = *setting;
    let report = Report {
        name: "colors".to_owned(),
        setting: format!(
            "{workers} workers, {sessions} sessions, {clients} clients, {rounds} rounds"
        ),
        ..Report::default()
    };
    report.complete(progress, |report, progress| {
        let mut groups = Vec::new();
        let ended = measure_all(setting, report, &mut groups, progress);
        if !groups.is_empty() {
            let unit = "operations a second, as a multiple of those of one color";
            let title = format!("What colors bring to two servers on {workers} cores");
            report.charts.push(Chart::new("gains", &title, unit, Plot::Bars(groups)));
        }
        report.remarks = remarks(workers);
        ended
    })
}

/// The origin of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The process itself.
    Inside,
    /// Clients in another process, over sockets.
    Clients,
}

impl Source {
    const ALL: [Source; 2] = [Source::Inside, Source::Clients];
}

fn measure_all(
    setting: &Setting,
    report: &mut Report,
    groups: &mut Vec<Group>,
    progress: &mut Progress,
) -> Result<(), Ended> {
    for source in Source::ALL {
        for (server, load) in Server::ALL.into_iter().flat_map(|s| Load::ALL.map(|load| (s, load)))
        {
            let name = caption(source, server, load);
            let mut all = Way::ALL.map(|way| (way, Vec::new()));
            let ended = measure(setting, (source, server, load), progress, &mut all);
            // An incomplete round does not count.
            let rounds = all.iter().map(|(_, figures)| figures.len()).min().unwrap_or(0);
            all.iter_mut().for_each(|(_, figures)| figures.truncate(rounds));
            if rounds == 0 {
                return ended;
            }
            let rows = rows(&all);
            report.tables.push(table(&name, source, &rows));
            let of = |way: Way| rows.iter().find(|row| row.way == way).map_or(0.0, |row| row.gain);
            let bar = |row: &Row| Bar { name: row.way.name().to_owned(), value: row.gain };
            groups.push(Group { name: name.clone(), bars: rows.iter().map(bar).collect() });
            ended?;
            report.verdicts.extend(match source {
                Source::Inside => verdicts(&name, load, of),
                Source::Clients => vec![verdict_of_clients(&name, of)],
            });
        }
    }
    Ok(())
}

fn remarks(workers: usize) -> Vec<String> {
    vec![
        format!(
            "beyond {workers} cores nothing can be measured here; the paper has four CPUs, on \
             which colors brought 1.5 x to its web server and 2.5 x to its file server"
        ),
        "the paper's servers get their requests over a network; these from inside of the process, \
         by clients that wait for each answer, and once over sockets: then the clients, in a \
         process of their own with one worker, take most of a core"
            .to_owned(),
        "SFS encrypted with ARC4 and a MAC of SHA-1; here it is ChaCha20-Poly1305 with a counter"
            .to_owned(),
    ]
}

fn caption(source: Source, server: Server, load: Load) -> String {
    let clients = if source == Source::Clients { ", real clients" } else { "" };
    format!("{}, {}{clients}", server.name(), load.name())
}

/// Measures all ways in each round, one after the other.
fn measure(
    setting: &Setting,
    (source, server, load): (Source, Server, Load),
    progress: &mut Progress,
    all: &mut [(Way, Vec<Figures>)],
) -> Result<(), Ended> {
    let what = format!("colors: {}", caption(source, server, load));
    let (rounds, count) = (setting.rounds_of(source) as usize, all.len());
    // The first round is a warm-up. Each round begins with another way.
    for round in 0..=rounds {
        progress.step(&what, setting.part(source) / (rounds + 1) as f64)?;
        for nth in (0..count).map(|nth| (nth + round) % count) {
            let (way, figures) = &mut all[nth];
            let measured = match source {
                Source::Inside => run::run(setting, server, load, *way)?,
                Source::Clients => server::run(setting, server, load, *way)?,
            };
            if round > 0 {
                figures.push(measured);
            }
        }
    }
    Ok(())
}

fn rows(all: &[(Way, Vec<Figures>)]) -> Vec<Row> {
    let rates = |figures: &[Figures]| figures.iter().map(Figures::rate).collect::<Vec<f64>>();
    let one_color = rates(&all[0].1);
    let row = |(way, figures): &(Way, Vec<Figures>)| {
        let gain = ratio(&rates(figures), &one_color);
        let cpu = median(figures.iter().map(Figures::per_cpu_second).collect());
        Row { way: *way, figures: Figures::of(median(rates(figures)), cpu), gain }
    };
    all.iter().map(row).collect()
}

fn table(name: &str, source: Source, rows: &[Row]) -> Table {
    let cpu = match source {
        Source::Inside => "per CPU second, clients and server",
        Source::Clients => "per CPU second of the server",
    };
    let mut table = Table::new(name, ["", "operations/s", "x one color", cpu]);
    for Row { way, figures, gain } in rows {
        let (rate, cpu) = (figures.rate(), figures.per_cpu_second());
        table.add([
            way.name().to_owned(),
            format!("{rate:.0}"),
            format!("{gain:.2}"),
            format!("{cpu:.0}"),
        ]);
    }
    table
}

/// Checks that colors lose nothing (E3). Clients that take a core of their own may leave nothing to
/// gain.
fn verdict_of_clients(name: &str, of: impl Fn(Way) -> f64) -> Verdict {
    let (aware, copies) = (of(Way::CostAware), of(Way::Copies));
    Verdict::of(
        &format!("{name}: colors do not lose against one color (0.95 x)"),
        format!("{aware:.2} x ({copies:.2} x with independent copies)"),
        || aware >= 0.95,
    )
}

/// Checks what the paper and this runtime claim about a load.
fn verdicts(name: &str, load: Load, of: impl Fn(Way) -> f64) -> Vec<Verdict> {
    let (none, eager, aware) = (of(Way::NotStolen), of(Way::Eager), of(Way::CostAware));
    let copies = of(Way::Copies);
    let mut verdicts = Vec::new();
    let measured = format!("{aware:.2} x and {copies:.2} x one color");
    verdicts.push(match load {
        Load::Balanced => {
            let expected = format!("{name}: colors are within 5 % of independent copies");
            Verdict::of(&expected, measured, || aware >= 0.95 * copies)
        }
        Load::Skewed => {
            let expected = format!("{name}: colors are ahead of independent copies");
            Verdict::of(&expected, measured, || aware > copies)
        }
    });
    let expected = format!("{name}: cost-aware stealing is never below 0.98 of none");
    let measured = format!(
        "{aware:.2} x, compared with {none:.2} x without stealing ({eager:.2} x with eager \
         stealing)"
    );
    verdicts.push(Verdict::of(&expected, measured, || aware >= 0.98 * none));
    verdicts
}
