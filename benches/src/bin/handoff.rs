//! The cost of a handover to a sleeping core. Two colors, at home on two pinned workers, post to
//! each other, and each worker sleeps while the other one works. For comparison, the program also
//! measures the system alone: two pinned threads that wake each other by a futex, or by an eventfd
//! and epoll.
//!
//! `cargo run --release -p dapple-benches --bin handoff`

use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

use clap::{Arg, Command, value_parser};
use core_affinity::CoreId;
use dapple::{Color, Cx, Runtime, StealPolicy};
use dapple_benches::measure::{Took, median, time};

/// A way for one thread to wait for the other: its name, and a function that measures a number of
/// handovers.
type Way = (&'static str, fn(u64) -> Took);

const WAYS: [Way; 4] = [
    ("futex", futex),
    ("eventfd and epoll", epoll),
    ("dapple", plain),
    ("dapple with io", with_io),
];

/// Runs `body` on two threads on two cores. Its arguments are the thread's number and the number of
/// rounds.
fn on_two_cores(hops: u64, body: impl Fn(usize, u64) + Sync) -> Took {
    let cores = core_affinity::get_core_ids().expect("the cores are known");
    let (ready, body) = (Barrier::new(3), &body);
    thread::scope(|scope| {
        let threads: Vec<_> = cores[..2]
            .iter()
            .enumerate()
            .map(|(n, core): (usize, &CoreId)| {
                let ready = &ready;
                scope.spawn(move || {
                    let is_pinned = core_affinity::set_for_current(*core);
                    ready.wait();
                    assert!(is_pinned, "a thread can be pinned");
                    body(n, hops / 2);
                })
            })
            .collect();
        ready.wait();
        time(hops, || threads.into_iter().for_each(|thread| thread.join().expect("no panic")))
    })
}

fn futex_call(word: &AtomicU32, operation: libc::c_int, value: u32) {
    // SAFETY: `word` outlives the call, and the null timeout means that there is none.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            operation | libc::FUTEX_PRIVATE_FLAG,
            value,
            std::ptr::null::<libc::timespec>(),
        );
    }
}

/// Measures two threads that each sleep on a futex word of their own.
fn futex(hops: u64) -> Took {
    let turns = [AtomicU32::new(1), AtomicU32::new(0)];
    on_two_cores(hops, |me, rounds| {
        for _ in 0..rounds {
            while turns[me].swap(0, Ordering::SeqCst) == 0 {
                futex_call(&turns[me], libc::FUTEX_WAIT, 0);
            }
            turns[1 - me].store(1, Ordering::SeqCst);
            futex_call(&turns[1 - me], libc::FUTEX_WAKE, 1);
        }
    })
}

/// Measures two threads that each wait in epoll for an eventfd of their own. The eventfd is
/// edge-triggered, so it reports each write.
fn epoll(hops: u64) -> Took {
    // SAFETY: both calls take only numbers.
    let pair = [0, 1].map(|_| unsafe { (libc::epoll_create1(0), libc::eventfd(0, 0)) });
    for (epoll, event) in pair {
        let events = (libc::EPOLLIN | libc::EPOLLET) as u32;
        let mut wanted = libc::epoll_event { events, u64: 0 };
        // SAFETY: the pointer is to the live `wanted`. The kernel checks the descriptors.
        let ok = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, event, &mut wanted) };
        assert_eq!(ok, 0, "epoll takes an eventfd");
    }
    let wake = |event| {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: `one` is live and has the 8 bytes that the call reads.
        let written = unsafe { libc::write(event, one.as_ptr().cast(), one.len()) };
        assert_eq!(written, 8);
    };
    let took = on_two_cores(hops, |me, rounds| {
        for round in 0..rounds {
            if me + round as usize > 0 {
                let mut found = [libc::epoll_event { events: 0, u64: 0 }; 8];
                // SAFETY: `found` is live and has room for the 8 events that the call may write.
                let n = unsafe { libc::epoll_wait(pair[me].0, found.as_mut_ptr(), 8, -1) };
                assert_eq!(n, 1);
            }
            wake(pair[1 - me].1);
        }
    });
    for (epoll, event) in pair {
        // SAFETY: both descriptors are open, and the threads that used them have ended.
        unsafe { (libc::close(epoll), libc::close(event)) };
    }
    took
}

fn plain(hops: u64) -> Took {
    dapple(Runtime::builder(), hops)
}

fn with_io(hops: u64) -> Took {
    dapple(dapple_io::runtime(), hops)
}

fn dapple(builder: dapple::Builder, hops: u64) -> Took {
    let rt = builder.workers(2).steal_policy(StealPolicy::Off).build().expect("a runtime");
    let colors = colors_at_home_on(&rt);
    let (tell, told) = mpsc::channel();
    time(hops, || {
        let both = Arc::clone(&colors);
        rt.handle().post(&colors[0], move |cx| hop(hops - 1, both, tell, cx));
        told.recv().expect("the last hop tells");
    })
}

/// Finds a color for each worker by creating colors until both workers have one.
fn colors_at_home_on(rt: &Runtime) -> Arc<[Color; 2]> {
    let mut found: [Option<Color>; 2] = [None, None];
    while found.iter().any(Option::is_none) {
        let color = rt.handle().new_color();
        let (tell, told) = mpsc::channel();
        rt.handle().post(&color, move |cx| tell.send(cx.worker()).expect("it waits"));
        let worker = told.recv().expect("the event runs");
        found[worker] = Some(color);
    }
    Arc::new(found.map(|color| color.expect("there is one")))
}

fn hop(left: u64, colors: Arc<[Color; 2]>, tell: mpsc::Sender<()>, cx: &mut Cx) {
    if left == 0 {
        return tell.send(()).expect("it waits");
    }
    let next = colors[left as usize % 2].clone();
    cx.post(&next, move |cx| hop(left - 1, colors, tell, cx));
}

fn main() -> ExitCode {
    let number = |name: &'static str, default: &'static str| {
        Arg::new(name)
            .long(name)
            .value_parser(value_parser!(u64).range(1..))
            .value_name("N")
            .default_value(default)
    };
    let matches = Command::new("handoff")
        .about("The cost of a handover between two sleeping cores")
        .arg(number("rounds", "15").help("Rounds; each runs every way once"))
        .arg(number("hops", "4000").help("Hand-overs of a run"))
        .get_matches();
    let number = |name: &str| *matches.get_one::<u64>(name).expect("it has a default");
    let (rounds, hops) = (number("rounds"), number("hops").next_multiple_of(2));
    if core_affinity::get_core_ids().is_none_or(|cores| cores.len() < 2) {
        eprintln!("handoff: this needs two cores");
        return ExitCode::FAILURE;
    }
    let mut runs: [Vec<Took>; WAYS.len()] = Default::default();
    for _ in 0..rounds {
        for ((_, run), runs) in WAYS.iter().zip(&mut runs) {
            // Leftover work of the previous run must not count for this one.
            thread::sleep(Duration::from_millis(5));
            runs.push(run(hops));
        }
    }
    println!("{:<20}{:>12}{:>12}{:>12}", "", "us a hop", "CPU us", "x futex");
    for ((name, _), own) in WAYS.iter().zip(&runs) {
        let of = |what: fn(&Took) -> f64| median(&own.iter().map(what).collect::<Vec<_>>()) / 1e3;
        let ratios: Vec<f64> = own.iter().zip(&runs[0]).map(|(a, b)| a.wall / b.wall).collect();
        println!(
            "{name:<20}{:>12.2}{:>12.2}{:>12.2}",
            of(|took| took.wall),
            of(|took| took.cpu),
            median(&ratios)
        );
    }
    ExitCode::SUCCESS
}
