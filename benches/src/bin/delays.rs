//! Delays caused by bad neighbors. First, a color that never runs out of events, among 1,000 equal
//! ones. Second, an event that blocks its worker after it has posted another event. Third, the cost
//! of the sentinel, which watches for such workers.
//!
//! `cargo run --release -p dapple-benches --bin delays`

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use clap::{Arg, Command, value_parser};
use dapple::{Color, Cx, Handle, Runtime, StealPolicy};
use dapple_benches::measure::median;
use dapple_benches::workloads::tokio_actor;

const POLICIES: [(&str, StealPolicy); 3] = [
    ("cost-aware", StealPolicy::CostAware),
    ("eager", StealPolicy::Eager),
    ("off", StealPolicy::Off),
];

/// The number of equal colors next to the greedy one.
const EQUAL: usize = 1_000;

/// The time for which an event blocks its worker.
const HOLD: Duration = Duration::from_millis(50);

fn runtime(workers: usize, policy: StealPolicy) -> Runtime {
    Runtime::builder().workers(workers).steal_policy(policy).build().expect("a runtime")
}

/// The share of one color.
#[derive(Default)]
struct Share {
    events: AtomicU64,
    /// The end of the last measured event, in nanoseconds since the start.
    last: AtomicU64,
    longest: AtomicU64,
}

/// The state of 1,000 equal colors that post to themselves, next to a greedy color.
struct Crowd {
    shares: Vec<Share>,
    stop: AtomicBool,
    start: Instant,
}

fn equal(crowd: Arc<Crowd>, i: usize, cx: &mut Cx) {
    let share = &crowd.shares[i];
    let events = share.events.load(Relaxed);
    // A clock reading costs more than the event. Every 16th event is enough, because a turn has
    // several events.
    if events.is_multiple_of(16) {
        let now = crowd.start.elapsed().as_nanos() as u64;
        let waited = now - share.last.load(Relaxed);
        share.longest.fetch_max(waited, Relaxed);
        share.last.store(now, Relaxed);
    }
    share.events.store(events + 1, Relaxed);
    if !crowd.stop.load(Relaxed) {
        cx.post_here(move |cx| equal(crowd, i, cx));
    }
}

fn greedy(crowd: Arc<Crowd>, cx: &mut Cx) {
    // One of 1,000 events of this color, so its queue is never empty.
    if !crowd.stop.load(Relaxed) {
        cx.post_here(move |cx| greedy(crowd, cx));
    }
}

fn fairness(workers: usize, policy: (&str, StealPolicy), time: Duration) {
    let rt = runtime(workers, policy.1);
    let crowd = Arc::new(Crowd {
        shares: (0..EQUAL).map(|_| Share::default()).collect(),
        stop: AtomicBool::new(false),
        start: Instant::now(),
    });
    let also = Arc::clone(&crowd);
    rt.handle().post_uncolored(move |cx| {
        let color = cx.new_color();
        for _ in 0..1_000 {
            let crowd = Arc::clone(&also);
            cx.post(&color, move |cx| greedy(crowd, cx));
        }
        let colors: Vec<Color> = (0..EQUAL).map(|_| cx.new_color()).collect();
        for (i, color) in colors.iter().enumerate() {
            let crowd = Arc::clone(&also);
            cx.post(color, move |cx| equal(crowd, i, cx));
        }
    });
    std::thread::sleep(time);
    crowd.stop.store(true, Relaxed);
    rt.wait_idle();
    let events: Vec<f64> = crowd.shares.iter().map(|s| s.events.load(Relaxed) as f64).collect();
    let (sum, squares) = (events.iter().sum::<f64>(), events.iter().map(|x| x * x).sum::<f64>());
    let all = rt.metrics().events() as f64;
    let longest = crowd.shares.iter().map(|s| s.longest.load(Relaxed)).max().unwrap_or(0);
    println!(
        "  {:<11} {:>2} {:>10.4} {:>12.3} {:>14.2} {:>10.1}",
        policy.0,
        workers,
        sum * sum / (EQUAL as f64 * squares),
        (all - sum) / (sum / EQUAL as f64),
        longest as f64 / 1e6,
        all / time.as_secs_f64() / 1e6,
    );
}

/// Blocks the thread, like a handler that computes for too long.
fn hold() {
    let end = Instant::now() + HOLD;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

/// Returns the delays, in milliseconds, of events that were posted by an event which then blocks
/// its worker.
fn behind_a_held_worker(rounds: u32, post: impl Fn(mpsc::Sender<Duration>)) -> Vec<f64> {
    (0..rounds)
        .map(|_| {
            let (tx, rx) = mpsc::channel();
            post(tx);
            let delay = rx.recv().expect("the posted event runs");
            // Waits until the event that blocks its worker has ended.
            std::thread::sleep(HOLD + Duration::from_millis(5));
            delay.as_secs_f64() * 1e3
        })
        .collect()
}

fn on_dapple(h: &Handle, tx: mpsc::Sender<Duration>) {
    let (one, other) = (h.new_color(), h.new_color());
    h.post(&one, move |cx| {
        let posted = Instant::now();
        cx.post(&other, move |_| tx.send(posted.elapsed()).expect("somebody waits"));
        hold();
    });
}

fn held(rounds: u32) {
    let print = |system: &str, delays: Vec<f64>| {
        let worst = delays.iter().copied().fold(0.0, f64::max);
        println!("  {system:<20} {:>10.3} {worst:>10.3}", median(&delays));
    };
    for (name, policy) in POLICIES {
        let rt = runtime(2, policy);
        let delays = behind_a_held_worker(rounds, |tx| on_dapple(&rt.handle(), tx));
        print(&format!("dapple {name}"), delays);
    }
    let rt = tokio_actor::runtime(2);
    let on_tokio = |tx: mpsc::Sender<Duration>| {
        rt.spawn(async move {
            let posted = Instant::now();
            tokio::spawn(async move { tx.send(posted.elapsed()).expect("somebody waits") });
            hold();
        });
    };
    print("tokio", behind_a_held_worker(rounds, on_tokio));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("a pool");
    let on_rayon = |tx: mpsc::Sender<Duration>| {
        pool.spawn(move || {
            let posted = Instant::now();
            rayon::spawn(move || tx.send(posted.elapsed()).expect("somebody waits"));
            hold();
        });
    };
    print("rayon", behind_a_held_worker(rounds, on_rayon));
}

/// Measures the cost of watching one busy worker: the sentinel's CPU time divided by the wall time.
fn sentinel(time: Duration) {
    fn chain(stop: Arc<AtomicBool>, cx: &mut Cx) {
        if !stop.load(Relaxed) {
            cx.post_here(move |cx| chain(stop, cx));
        }
    }
    let rt = runtime(2, StealPolicy::CostAware);
    let stop = Arc::new(AtomicBool::new(false));
    let also = Arc::clone(&stop);
    rt.handle().post(&rt.handle().new_color(), move |cx| chain(also, cx));
    std::thread::sleep(time);
    let m = rt.metrics();
    stop.store(true, Relaxed);
    rt.wait_idle();
    let share = m.sentinel_nanos() as f64 / time.as_nanos() as f64;
    println!(
        "  {} looks a second, {:.2} % of a core; moving a cache line to and fro takes {} ns",
        (m.sentinel_looks() as f64 / time.as_secs_f64()) as u64,
        100.0 * share,
        m.move_nanos(),
    );
}

fn main() -> ExitCode {
    let args = Command::new("delays")
        .about(
            "Delays caused by bad neighbors: a greedy color, and an event that blocks its worker",
        )
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .value_name("S")
                .default_value("2")
                .value_parser(value_parser!(u32).range(1..=600))
                .help("Time of each run with a greedy color"),
        )
        .arg(
            Arg::new("rounds")
                .long("rounds")
                .value_name("N")
                .default_value("31")
                .value_parser(value_parser!(u32).range(1..=10_000))
                .help("Events that hold their worker, per system"),
        )
        .get_matches();
    let seconds = *args.get_one::<u32>("seconds").expect("it has a default");
    let rounds = *args.get_one::<u32>("rounds").expect("it has a default");
    let time = Duration::from_secs(u64::from(seconds));

    println!("1,000 equal colors next to a greedy one");
    println!(
        "  {:<11} {:>2} {:>10} {:>12} {:>14} {:>10}",
        "policy", "w", "Jain", "greedy:equal", "longest ms", "M events/s"
    );
    for workers in [1, 2] {
        for policy in POLICIES {
            fairness(workers, policy, time);
        }
    }
    println!("\nan event posted by one that then holds its worker for {} ms", HOLD.as_millis());
    println!("  {:<20} {:>10} {:>10}", "two workers", "median ms", "worst ms");
    held(rounds);
    println!("\nthe sentinel, while the other worker runs tiny events");
    sentinel(time);
    ExitCode::SUCCESS
}
