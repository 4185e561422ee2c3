//! The cost of an event when there are many other things: many colors, many events that wait in one
//! color, many timers, many waiting sets. Each kind and number is measured in a process of its own,
//! so that no measurement finds memory that another one has freed.
//!
//! Colors are posted to in random order. When they take more memory than the caches hold, most of
//! the time is spent on cache misses. For comparison, the program also measures the time to change
//! the two cache lines of equally many 128-byte cells in the same order, one after the other.
//!
//! `cargo run --release -p dapple-benches --bin growth`

use std::fmt::Write as _;
use std::process::{Command as Process, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::{Arg, Command, value_parser};
use dapple::{Color, Cx, Runtime, Timer};
use dapple_benches::measure::{median, resident, thread_cpu_nanos};
use dapple_benches::random::SplitMix64;

/// A kind of thing that there is much of: its name, the names of its figures (each in nanoseconds
/// of CPU time), and the function that measures them.
type Kind = (&'static str, &'static [&'static str], fn(usize) -> Measured);

const KINDS: [Kind; 4] = [
    ("colors", &["post and run", "change a cell"], colors),
    ("events in one color", &["post", "run"], events),
    (
        "timers",
        &["arm", "cancel one of all and arm it", "arm and cancel another", "cancel"],
        timers,
    ),
    ("waiting sets", &["post", "run"], sets),
];

/// The posts to colors, or the timers in addition to the others, in a run.
const SAMPLES: usize = 1_000_000;

/// The number of events that are posted before they run.
const BURST: usize = 1_024;

/// The figures per event in nanoseconds, and the bytes that each of the many things takes.
struct Measured {
    nanos: Vec<f64>,
    bytes: f64,
}

/// Runs `f` in an event of a new color, and returns its result.
fn in_event<R: Send + 'static>(rt: &Runtime, f: impl FnOnce(&mut Cx) -> R + Send + 'static) -> R {
    rt.handle().new_color().call(f).join().expect("the event runs")
}

fn runtime() -> Runtime {
    let rt = Runtime::builder().workers(1).build().expect("a runtime");
    in_event(&rt, |_| ());
    rt
}

/// Returns the CPU time of `f` per item in nanoseconds, and the result of `f`.
fn each<R>(items: usize, f: impl FnOnce() -> R) -> (f64, R) {
    let begun = thread_cpu_nanos();
    let result = f();
    ((thread_cpu_nanos() - begun) as f64 / items as f64, result)
}

/// Posts up to `BURST` events to random colors. A further event posts the rest.
fn burst(all: Arc<Vec<Color>>, mut random: SplitMix64, left: usize, cx: &mut Cx) {
    for _ in 0..BURST.min(left) {
        let color = &all[random.draw() as usize % all.len()];
        cx.post(color, |cx| {
            std::hint::black_box(cx.worker());
        });
    }
    if left > BURST {
        cx.post_here(move |cx| burst(all, random, left - BURST, cx));
    }
}

fn colors(n: usize) -> Measured {
    let rt = runtime();
    let before = resident();
    let h = rt.handle();
    let all: Arc<Vec<Color>> = Arc::new((0..n).map(|_| h.new_color()).collect());
    let bytes = resident().saturating_sub(before) as f64 / n as f64;
    let cpu = |rt: &Runtime| in_event(rt, |_| thread_cpu_nanos());
    let run = || {
        let (all, begun) = (Arc::clone(&all), cpu(&rt));
        h.post(&h.new_color(), move |cx| burst(all, SplitMix64::new(7), SAMPLES, cx));
        rt.wait_idle();
        (cpu(&rt) - begun) as f64 / SAMPLES as f64
    };
    run();
    let posted = run();
    /// A cell that is as large as a color's memory, and is also reached through a pointer.
    #[repr(align(128))]
    #[derive(Default)]
    struct Cell([AtomicU64; 16]);
    let cells: Vec<Box<Cell>> = (0..n).map(|_| Box::default()).collect();
    let exchange = || {
        let mut random = SplitMix64::new(7);
        // Always 0, but the CPU knows that only when the last cell has arrived, so each access
        // waits for the previous one.
        let mut last = 0;
        for sample in 0..SAMPLES as u64 {
            let Cell(words) = &*cells[(random.draw() + last) as usize % n];
            last =
                (words[0].swap(sample, Ordering::AcqRel) + words[8].load(Ordering::Relaxed)) >> 63;
            words[8].store(sample, Ordering::Relaxed);
        }
    };
    exchange();
    let (exchanged, ()) = each(SAMPLES, exchange);
    Measured { nanos: vec![posted, exchanged], bytes }
}

fn events(n: usize) -> Measured {
    let rt = runtime();
    let color = rt.handle().new_color();
    let before = resident();
    let (posted, begun, bytes) = in_event(&rt, move |cx| {
        let (posted, ()) = each(n, || {
            for _ in 0..n {
                cx.post(&color, |cx| {
                    std::hint::black_box(cx.worker());
                });
            }
        });
        (posted, thread_cpu_nanos(), resident().saturating_sub(before) as f64 / n as f64)
    });
    rt.wait_idle();
    let ended = in_event(&rt, |_| thread_cpu_nanos());
    Measured { nanos: vec![posted, (ended - begun) as f64 / n as f64], bytes }
}

fn timers(n: usize) -> Measured {
    let rt = runtime();
    let before = resident();
    let measured = in_event(&rt, move |cx| {
        let color = cx.new_color();
        let mut random = SplitMix64::new(7);
        // Each timer is due in more than an hour, so none fires.
        let mut delay = move || Duration::from_nanos(3_600_000_000_000 + random.draw() % (1 << 42));
        let mut arm = |cx: &mut Cx| cx.post_after(delay(), &color, |_| ());
        let all = |cx: &mut Cx, arm: &mut dyn FnMut(&mut Cx) -> Timer| {
            (0..n).map(|_| arm(cx)).collect::<Vec<Timer>>()
        };
        let first = all(cx, &mut arm);
        let bytes = resident().saturating_sub(before) as f64 / n as f64;
        let (cancelled, found) = each(n, || first.iter().filter(|timer| timer.cancel()).count());
        assert_eq!(found, n, "none has fired");
        drop(first);
        let (armed, mut all) = each(n, || all(cx, &mut arm));
        let mut random = SplitMix64::new(8);
        let (replaced, ()) = each(SAMPLES, || {
            for _ in 0..SAMPLES {
                let at = random.draw() as usize % n;
                all[at].cancel();
                all[at] = arm(cx);
            }
        });
        let (passing, ()) = each(SAMPLES, || {
            (0..SAMPLES).for_each(|_| {
                arm(cx).cancel();
            });
        });
        drop(all);
        Measured { nanos: vec![armed, replaced, passing, cancelled], bytes }
    });
    rt.wait_idle();
    measured
}

fn sets(n: usize) -> Measured {
    let rt = runtime();
    let (mine, other) = (rt.handle().new_color(), rt.handle().new_color());
    let before = resident();
    let (posted, begun, bytes) = in_event(&rt, move |cx| {
        let (posted, ()) = each(n, || {
            for _ in 0..n {
                cx.post_set(&[mine.exclusive(), other.exclusive()], |cx| {
                    std::hint::black_box(cx.worker());
                });
            }
        });
        (posted, thread_cpu_nanos(), resident().saturating_sub(before) as f64 / n as f64)
    });
    rt.wait_idle();
    let ended = in_event(&rt, |_| thread_cpu_nanos());
    Measured { nanos: vec![posted, (ended - begun) as f64 / n as f64], bytes }
}

/// Measures one kind and number in a process of its own.
fn measure_beside(kind: &str, n: usize) -> Option<Measured> {
    let own = std::env::current_exe().ok()?;
    let output =
        Process::new(own).args(["--only", kind, "--number", &n.to_string()]).output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?;
    let mut figures = line.split_whitespace().map(|figure| figure.parse::<f64>().ok());
    let bytes = figures.next()??;
    Some(Measured { nanos: figures.collect::<Option<_>>()?, bytes })
}

fn main() -> ExitCode {
    let matches = Command::new("growth")
        .about("The cost of an event among many other things")
        .arg(
            Arg::new("rounds")
                .long("rounds")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .default_value("5")
                .help("Runs of each kind and number"),
        )
        .arg(
            Arg::new("largest")
                .long("largest")
                .value_name("N")
                .value_parser(value_parser!(u64).range(10_000..))
                .default_value("10000000")
                .help("The largest number; ten million take up to 4 GB"),
        )
        .arg(Arg::new("only").long("only").value_name("KIND").requires("number").hide(true))
        .arg(
            Arg::new("number")
                .long("number")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .hide(true),
        )
        .get_matches();
    let number = |name| matches.get_one::<u64>(name).map(|n| *n as usize);
    if let (Some(kind), Some(n)) = (matches.get_one::<String>("only"), number("number")) {
        let Some((.., run)) = KINDS.iter().find(|(name, ..)| name == kind) else {
            return ExitCode::FAILURE;
        };
        let measured = run(n);
        let mut line = format!("{}", measured.bytes);
        for nanos in &measured.nanos {
            write!(line, " {nanos}").expect("a string takes everything");
        }
        println!("{line}");
        return ExitCode::SUCCESS;
    }
    let rounds = number("rounds").expect("it has a default");
    let largest = number("largest").expect("it has a default");
    for (kind, what, _) in KINDS {
        println!("\n{kind}, ns of CPU time each, and bytes");
        println!("{:>12}{:>10}  {}", "", "bytes", what.join(", "));
        for n in [10_000, 100_000, 1_000_000, 10_000_000] {
            if n > largest {
                continue;
            }
            let all: Option<Vec<Measured>> = (0..rounds).map(|_| measure_beside(kind, n)).collect();
            let Some(all) = all else {
                eprintln!("growth: {n} {kind} could not be measured");
                return ExitCode::FAILURE;
            };
            let of = |figure: &dyn Fn(&Measured) -> f64| {
                median(&all.iter().map(figure).collect::<Vec<_>>())
            };
            let nanos: Vec<String> =
                (0..what.len()).map(|at| format!("{:8.1}", of(&|m| m.nanos[at]))).collect();
            println!("{n:>12}{:>10.0}  {}", of(&|m| m.bytes), nanos.join("  "));
        }
    }
    ExitCode::SUCCESS
}
