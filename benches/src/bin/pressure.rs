//! More work than there is time for. First, what a priority class is worth under full load of a
//! lower class (C7). Second, what happens to goodput when requests arrive faster than they can be
//! served (C8, E14).
//!
//! `cargo run --release -p dapple-benches --bin pressure`

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::{Arg, Command, value_parser};
use dapple::{Color, Cx, Handle, Priority, Runtime};
use dapple_benches::measure::{monotonic_nanos, resident, run_first, sleep_exactly, sleep_until};
use dapple_benches::openloop::percentiles::Percentiles;
use dapple_benches::openloop::service::{Speed, spin};

/// The number of colors that make the load.
const LOADS: usize = 256;

/// The duration of a load event, in nanoseconds.
const LOAD_NANOS: u64 = 10_000;

/// The time between two probes, in nanoseconds.
const PROBE_EVERY: u64 = 1_000_000;

/// The service time of a request, in nanoseconds.
const SERVICE_NANOS: u64 = 1_000_000;

/// The deadline of a request, in nanoseconds. A later answer is of no use.
const DEADLINE: u64 = 100_000_000;

/// The maximum number of requests in flight, where there is a bound.
const PERMITS: usize = 64;

/// The length of a window, in nanoseconds. Its requests are counted together.
const WINDOW: u64 = 100_000_000;

fn load(stop: Arc<AtomicBool>, steps: u64, cx: &mut Cx) {
    spin(steps);
    if !stop.load(Relaxed) {
        cx.post_here(move |cx| load(stop, steps, cx));
    }
}

fn color(h: &Handle, class: Priority) -> Color {
    h.color_builder().priority(class).build()
}

/// Runs `f` on a thread that has priority over the workers. On a machine with few cores, a client
/// that waits for a core would otherwise be measured instead of the server.
///
/// The workers must have been started before, because threads inherit this priority.
fn in_time<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|s| {
        let first = s.spawn(|| {
            sleep_exactly();
            if !run_first() {
                eprintln!(
                    "SCHED_FIFO is not permitted: requests are late when the workers take all \
                     cores"
                );
            }
            f()
        });
        first.join().expect("it does not panic")
    })
}

/// Returns the delays, in nanoseconds, of events that are posted about every millisecond.
fn probe(h: &Handle, class: Priority, time: Duration) -> Vec<u64> {
    let (color, delays) = (color(h, class), Arc::new(Mutex::new(Vec::new())));
    let start = monotonic_nanos();
    for n in 1..=time.as_nanos() as u64 / PROBE_EVERY {
        // The offset keeps the probes out of step with everything else.
        sleep_until(start + n * PROBE_EVERY + n * 7_919 % (PROBE_EVERY / 2));
        let (delays, posted) = (Arc::clone(&delays), monotonic_nanos());
        color.post(move |_| {
            let delay = monotonic_nanos() - posted;
            delays.lock().expect("nobody panics").push(delay);
        });
    }
    // Waits for the last probes. Their class is served soon, or there is no load.
    color.call(|_| ()).join().expect("it does not panic");
    std::mem::take(&mut *delays.lock().expect("nobody panics"))
}

fn classes(workers: usize, time: Duration) {
    let steps = Speed::measure().steps(LOAD_NANOS);
    let rows = [
        ("nothing", None, Priority::High),
        ("low", Some(Priority::Low), Priority::High),
        ("normal", Some(Priority::Normal), Priority::High),
        ("normal", Some(Priority::Normal), Priority::Normal),
    ];
    for (name, beside, class) in rows {
        let rt = Runtime::builder().workers(workers).build().expect("a runtime");
        let h = rt.handle();
        let stop = Arc::new(AtomicBool::new(false));
        if let Some(beside) = beside {
            for _ in 0..LOADS {
                let stop = Arc::clone(&stop);
                color(&h, beside).post(move |cx| load(stop, steps, cx));
            }
        }
        let found = Percentiles::of(in_time(|| probe(&h, class, time)));
        stop.store(true, Relaxed);
        rt.wait_idle();
        println!(
            "  {:>2} {:<10} {:<8} {:>10.1} {:>10.1} {:>10.1}",
            workers,
            name,
            format!("{class:?}").to_lowercase(),
            found.p50 as f64 / 1e3,
            found.p99 as f64 / 1e3,
            found.max as f64 / 1e3,
        );
    }
}

/// The counts of one window of time.
#[derive(Clone, Copy, Default)]
struct Window {
    offered: u64,
    refused: u64,
    useful: u64,
    late: u64,
    resident: u64,
}

/// Returns the number of requests per second that the workers can serve.
fn capacity(rt: &Runtime, steps: u64) -> f64 {
    let n = 1_000;
    let start = monotonic_nanos();
    for _ in 0..n {
        rt.handle().post_uncolored(move |_| spin(steps));
    }
    rt.wait_idle();
    f64::from(n) * 1e9 / (monotonic_nanos() - start) as f64
}

fn overload(bounded: bool, workers: usize, phases: &[(f64, Duration)]) -> (f64, Vec<Window>) {
    let rt = Runtime::builder().workers(workers).build().expect("a runtime");
    let h = rt.handle();
    let steps = Speed::measure().steps(SERVICE_NANOS);
    let capacity = capacity(&rt, steps);
    let windows: u64 = phases.iter().map(|p| p.1.as_nanos() as u64 / WINDOW).sum();
    let noted = Arc::new(Mutex::new(vec![Window::default(); windows as usize + 1]));
    let door = match bounded {
        true => h.color_builder().capacity(PERMITS).build(),
        false => h.new_color(),
    };
    let spec = Spec { capacity, steps, windows };
    let found = in_time(|| request(&h, &door, spec, phases, &noted));
    rt.shutdown(Duration::ZERO);
    (capacity, found)
}

/// The capacity in requests per second, the cost of a request in steps, and the number of windows.
#[derive(Clone, Copy)]
struct Spec {
    capacity: f64,
    steps: u64,
    windows: u64,
}

/// Sends requests by a schedule. Returns what happened in each window.
fn request(
    h: &Handle,
    door: &Color,
    spec: Spec,
    phases: &[(f64, Duration)],
    noted: &Arc<Mutex<Vec<Window>>>,
) -> Vec<Window> {
    let Spec { capacity, steps, windows } = spec;
    let start = monotonic_nanos();
    let window_of = move |now: u64| ((now - start) / WINDOW).min(windows) as usize;
    let mut arrives = start;
    let mut end = start;
    let mut last = 0;
    for (load, time) in phases {
        end += time.as_nanos() as u64;
        let gap = (1e9 / (capacity * load)) as u64;
        while arrives < end {
            sleep_until(arrives);
            let at = window_of(arrives);
            if at != last {
                last = at;
                let resident = resident();
                noted.lock().expect("nobody panics")[at].resident = resident;
            }
            let arrived = arrives;
            arrives += gap;
            let Ok(permit) = door.try_reserve() else {
                let mut noted = noted.lock().expect("nobody panics");
                noted[at].offered += 1;
                noted[at].refused += 1;
                continue;
            };
            noted.lock().expect("nobody panics")[at].offered += 1;
            let noted = Arc::clone(noted);
            h.post_uncolored(move |_| {
                spin(steps);
                let now = monotonic_nanos();
                let mut noted = noted.lock().expect("nobody panics");
                let window = &mut noted[window_of(now)];
                match now - arrived <= DEADLINE {
                    true => window.useful += 1,
                    false => window.late += 1,
                }
                drop(noted);
                drop(permit);
            });
        }
    }
    noted.lock().expect("nobody panics").clone()
}

fn print_overload(name: &str, workers: usize, time: Duration) {
    let after = 2 * time;
    let phases = [(0.5, time), (0.9, time), (1.5, time), (0.5, after)];
    let (capacity, windows) = overload(name == "permits", workers, &phases);
    let mut at = 0;
    for (load, time) in phases {
        let n = (time.as_nanos() as u64 / WINDOW) as usize;
        let these = &windows[at..at + n];
        let per_second = |of: fn(&Window) -> u64| {
            these.iter().map(of).sum::<u64>() as f64 * 1e9 / (n as u64 * WINDOW) as f64
        };
        println!(
            "  {:>2} {:<8} {:>4.1} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.1}",
            workers,
            name,
            load,
            per_second(|w| w.offered) / capacity,
            per_second(|w| w.useful) / capacity,
            per_second(|w| w.late) / capacity,
            per_second(|w| w.refused) / capacity,
            these.last().map_or(0.0, |w| w.resident as f64 / 1e6),
        );
        at += n;
    }
    let calm = &windows[at - (after.as_nanos() as u64 / WINDOW) as usize..at];
    let recovered = calm.iter().position(|w| w.late == 0 && w.refused == 0);
    match recovered {
        Some(n) => println!("     recovered within {:.1} s", (n + 1) as f64 / 10.0),
        None => println!("     not recovered after {:.1} s", after.as_secs_f64()),
    }
}

fn main() -> ExitCode {
    let args = Command::new("pressure")
        .about("Priorities under full load, and goodput under overload")
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .value_name("S")
                .default_value("3")
                .value_parser(value_parser!(u32).range(1..=600))
                .help("Time of each run, and of each phase of an overload"),
        )
        .get_matches();
    let seconds = *args.get_one::<u32>("seconds").expect("it has a default");
    let time = Duration::from_secs(u64::from(seconds));
    println!(
        "delay of an event that arrives from outside now and then, beside {LOADS} colors of 10 us events"
    );
    println!(
        "  {:>2} {:<10} {:<8} {:>10} {:>10} {:>10}",
        "w", "load", "class", "p50 us", "p99 us", "worst us"
    );
    for workers in [1, 2] {
        classes(workers, time);
    }
    println!("\nrequests of 1 ms, useful within 100 ms, in parts of what the workers can serve");
    println!(
        "  {:>2} {:<8} {:>4} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "w", "door", "load", "offered", "goodput", "late", "refused", "MB"
    );
    for workers in [1, 2] {
        for name in ["permits", "open"] {
            print_overload(name, workers, time);
        }
    }
    ExitCode::SUCCESS
}
