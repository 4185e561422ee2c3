//! E1, E7, E10, C10: what a process looks like from outside.
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use dapple::{Colored, Histogramming, Measure, Runtime, StealPolicy};

/// Serializes the tests that look at the whole process.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn cpu() -> Duration {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid `timespec` that lives for the whole call.
    let ok = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    assert_eq!(ok, 0);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn e7_an_idle_runtime_burns_no_cpu() {
    let _alone = alone();
    for policy in [StealPolicy::CostAware, StealPolicy::Eager, StealPolicy::Off] {
        // More workers than cores: unpinned, and just as quiet.
        let rt = Runtime::builder().workers(8).steal_policy(policy).build().unwrap();
        for _ in 0..1_000 {
            rt.handle().post_uncolored(|_| ());
        }
        rt.wait_idle();
        // Long enough for the sentinel, if there is one, to retire.
        thread::sleep(Duration::from_millis(200));
        let parks = rt.metrics().parks();
        let before = cpu();
        // The system may charge the process for a few milliseconds of its own work.
        thread::sleep(Duration::from_millis(1_500));
        let used = cpu() - before;
        assert_eq!(rt.metrics().parks(), parks, "{policy:?}: nobody woke up");
        assert!(used < Duration::from_millis(15), "{policy:?}: {used:?} of CPU in 1.5 s");
    }
}

#[test]
#[cfg_attr(dapple_single_slots, ignore = "the sanitizer keeps what is freed")]
fn c10_ten_million_colors_leave_no_trace() {
    let _alone = alone();
    // A debug build does a tenth of the rounds.
    let rounds = if cfg!(debug_assertions) { 10 } else { 100 };
    for policy in [StealPolicy::CostAware, StealPolicy::Eager] {
        let rt = Runtime::builder().workers(2).steal_policy(policy).build().unwrap();
        let h = rt.handle();
        let sum = Arc::new(AtomicU64::new(0));
        let mut after_first = 0;
        for round in 0..rounds {
            // 10,000 at a time, so that the first round has the same peak as all others.
            for _ in 0..10 {
                for i in 0..10_000 {
                    let color = h.new_color();
                    if i % 16 == 0 {
                        Colored::new(&color, [0u64; 4]).post(|v, _| v[0] += 1);
                    }
                    let sum = Arc::clone(&sum);
                    h.post(&color, move |_| {
                        let _ = sum.fetch_add(1, Relaxed);
                    });
                }
                rt.wait_idle();
            }
            if round == 0 {
                after_first = resident_kib();
            }
        }
        assert_eq!(sum.load(Relaxed), rounds * 100_000);
        let at_end = resident_kib();
        assert!(at_end < after_first + 4_096, "{policy:?}: {after_first} KiB, then {at_end} KiB");
    }
}

#[test]
#[cfg_attr(dapple_single_slots, ignore = "the sanitizer keeps what is freed")]
fn runtimes_that_come_and_go_leave_no_trace() {
    let _alone = alone();
    let round = || {
        let rt = Runtime::builder().workers(2).build().unwrap();
        let h = rt.handle();
        for _ in 0..100 {
            let color = h.new_color();
            h.post(&color, |_| ());
            h.post_after(Duration::from_secs(60), &color, |_| ());
        }
    };
    for _ in 0..50 {
        round();
    }
    let before = resident_kib();
    for _ in 0..300 {
        round();
    }
    let after = resident_kib();
    assert!(after < before + 4_096, "{before} KiB, then {after} KiB");
}

#[test]
fn e1_workers_are_pinned_and_named() {
    let _alone = alone();
    let usable = core_ids();
    let rt = Runtime::builder().cores([usable[0]]).thread_name("pin").build().unwrap();
    assert_eq!(rt.workers(), 1, "as many workers as cores are named");
    let (tx, rx) = mpsc::channel();
    rt.handle().post_default(move |_| {
        tx.send((core_ids(), thread::current().name().map(str::to_owned))).unwrap();
    });
    assert_eq!(rx.recv().unwrap(), (vec![usable[0]], Some("pin-0".to_owned())));

    let rt = Runtime::builder().workers(usable.len() + 1).build().unwrap();
    let (tx, rx) = mpsc::channel();
    rt.handle().post_default(move |_| tx.send(core_ids()).unwrap());
    assert_eq!(rx.recv().unwrap(), usable, "more workers than cores run unpinned");
}

#[test]
fn e1_bad_settings_are_clear_errors() {
    let _alone = alone();
    let error = |b: dapple::Builder| b.build().unwrap_err().to_string();
    assert_eq!(error(Runtime::builder().workers(0)), "a runtime needs at least one worker");
    assert_eq!(error(Runtime::builder().cores([])), "a runtime needs at least one core");
    let first = core_ids()[0];
    assert_eq!(
        error(Runtime::builder().cores([first, first])),
        format!("core {first} is named twice")
    );
    let message = error(Runtime::builder().cores([100_000]));
    assert!(message.starts_with("core 100000 is not one that this process may use ("), "{message}");
}

/// Returns the affinity of the calling thread.
fn core_ids() -> Vec<usize> {
    // SAFETY: all zeros is a valid `cpu_set_t`, and the call writes at most `size_of_val(&set)`
    // bytes.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, size_of_val(&set), &mut set), 0);
        (0..libc::CPU_SETSIZE as usize).filter(|&c| libc::CPU_ISSET(c, &set)).collect()
    }
}

#[test]
fn e10_exact_histograms_count_every_event_by_label() {
    let _alone = alone();
    let rt = Runtime::builder().workers(2).histograms(Histogramming::Exact).build().unwrap();
    let h = rt.handle();
    let color = h.color_builder().label("slow, and odd").build();
    for _ in 0..10 {
        h.post(&color, |_| thread::sleep(Duration::from_millis(2)));
    }
    for _ in 0..1_000 {
        h.post_uncolored(|_| ());
    }
    rt.wait_idle();
    let m = rt.metrics();
    assert_eq!(m.events(), 1_010);
    assert_eq!(m.histogram(Measure::RunTime).unwrap().len(), 1_010);
    assert_eq!(m.histogram(Measure::QueueDelay).unwrap().len(), 1_010);
    let slow = m.histogram_of(Measure::RunTime, "slow, and odd").unwrap();
    assert_eq!(slow.len(), 10);
    assert!(slow.min() >= 1_900_000, "{} ns", slow.min());
    let waited = m.histogram_of(Measure::QueueDelay, "slow, and odd").unwrap();
    assert!(waited.max() >= 15_000_000, "the last one waited for nine others");

    let text = m.to_prometheus();
    assert!(text.contains("dapple_events_total 1010\n"), "{text}");
    assert!(text.contains("dapple_workers 2\n"), "{text}");
    assert!(text.contains("# TYPE dapple_move_seconds gauge\n"), "{text}");
    assert!(text.contains("# TYPE dapple_sentinel_seconds counter\n"), "{text}");
    assert!(text.contains("dapple_run_time_seconds_count{label=\"slow, and odd\"} 10\n"), "{text}");
    assert!(text.contains("dapple_run_time_seconds_bucket{le=\"+Inf\",label=\"\"} 1000"), "{text}");
    assert!(text.ends_with("# EOF\n"));

    let mut log = Vec::new();
    m.write_hlog(&mut log).unwrap();
    let log = String::from_utf8(log).unwrap();
    assert!(log.contains("Tag=run_time/slow__and_odd,"), "{log}");
    use hdrhistogram::serialization::interval_log::IntervalLogIterator;
    let entries = IntervalLogIterator::new(log.as_bytes()).map(Result::unwrap).count();
    assert!(entries >= m.distributions().len());
}

#[test]
fn e10_off_measures_nothing_and_sampled_a_part() {
    let _alone = alone();
    for mode in [Histogramming::Off, Histogramming::Sampled] {
        let rt = Runtime::builder().workers(1).histograms(mode).build().unwrap();
        rt.handle().post_default(|cx| {
            for _ in 0..64_000 {
                cx.post_here(|_| ());
            }
        });
        rt.wait_idle();
        let m = rt.metrics();
        assert_eq!(m.events(), 64_001, "counters are exact");
        match (mode, m.histogram(Measure::RunTime)) {
            (Histogramming::Off, found) => assert!(found.is_none()),
            (_, found) => {
                let n = found.unwrap().len();
                assert!((500..2_000).contains(&n), "one in 64 of 64,000 is not {n}");
            }
        }
    }
}

#[test]
fn e6_off_never_steals_and_eager_does() {
    let _alone = alone();
    for (policy, steals) in [(StealPolicy::Off, false), (StealPolicy::Eager, true)] {
        let rt = Runtime::builder().workers(2).steal_policy(policy).build().unwrap();
        let h = rt.handle();
        h.post_default(|cx| {
            for _ in 0..200 {
                cx.post_uncolored(|_| thread::sleep(Duration::from_micros(200)));
            }
        });
        rt.wait_idle();
        assert_eq!(rt.metrics().steals() > 0, steals, "{policy:?}");
    }
}

#[test]
fn e16_block_on_wakes_from_any_thread() {
    let _alone = alone();
    let rt = Runtime::new().unwrap();
    let h = rt.handle();
    let state: Arc<Mutex<(bool, Option<std::task::Waker>)>> = Arc::default();
    let also = Arc::clone(&state);
    h.post_after(Duration::from_millis(5), &h.default_color(), move |_| {
        let mut state = also.lock().unwrap();
        state.0 = true;
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    });
    let answer = rt.block_on(std::future::poll_fn(|cx| {
        let mut state = state.lock().unwrap();
        if state.0 {
            return std::task::Poll::Ready(42);
        }
        state.1 = Some(cx.waker().clone());
        std::task::Poll::Pending
    }));
    assert_eq!(answer, 42);
}

/// I15: one of the idle workers watches an open ticket, not all of them.
#[test]
fn i15_one_worker_looks_after_open_tickets() {
    let _alone = alone();
    let rt = Runtime::builder().workers(4).stall_after(Duration::from_millis(40)).build().unwrap();
    let d = dapple::Domain::snapshot(&rt.handle(), ());
    let kept = std::sync::Arc::new(std::sync::Mutex::new(None));
    let place = std::sync::Arc::clone(&kept);
    d.anon_then(move |a| {
        *place.lock().unwrap() = Some(a);
        std::panic::resume_unwind(Box::new("kept"))
    });
    rt.wait_idle();
    std::thread::sleep(Duration::from_millis(200));
    let (parks, begin) = (rt.metrics().parks(), std::time::Instant::now());
    std::thread::sleep(Duration::from_secs(1));
    let looks = begin.elapsed().as_millis() as u64 / 10;
    let parks = rt.metrics().parks() - parks;
    assert!(parks <= looks + looks / 4 + 5, "{parks} wake-ups, one worker looks {looks} times");
    assert!(rt.metrics().ticket_stalls() >= 1, "and it is reported");
    drop(kept.lock().unwrap().take());
}

/// The memory of a peak is freed, even if one item of it stays: timers, tasks, places, waiters,
/// tickets.
#[test]
#[cfg_attr(dapple_single_slots, ignore = "the sanitizer keeps what is freed")]
fn memory_of_a_peak_is_given_back() {
    let _alone = alone();
    const N: usize = 300_000;
    // Without this, large blocks come from this thread's heap after the first time, and the top of
    // that heap is never trimmed.
    // SAFETY: `mallopt` has no preconditions.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 128 * 1024) };
    let rt = Runtime::builder().workers(2).build().unwrap();
    let h = rt.handle();
    let color = h.new_color();
    let hour = Duration::from_secs(3_600);
    let begin = resident_kib();
    let sequencer = dapple::Sequencer::new(&color, |_: u64, _| ());
    let place = dapple::Rendezvous::<usize, u64>::new(&color);
    let peaks: [(&str, &dyn Fn()); 6] = [
        ("timers", &|| {
            let timers: Vec<_> = (0..N).map(|_| h.post_after(hour, &color, |_| ())).collect();
            let (last, others) = timers.split_last().unwrap();
            last.is_armed().then_some(()).expect("the last one stays for now");
            others.iter().for_each(|timer| assert!(timer.cancel()));
        }),
        ("tasks", &|| {
            let spawn = |_| h.spawn(&color, std::future::pending::<()>());
            let tasks: Vec<_> = (0..N).map(spawn).collect();
            tasks.iter().skip(1).for_each(|task| task.abort());
        }),
        ("places", &|| {
            let places: Vec<_> = (0..N).map(|_| sequencer.reserve()).collect();
            drop(places);
        }),
        ("triggers", &|| {
            let triggers: Vec<_> = (0..N).map(|n| place.trigger(n)).collect();
            triggers.into_iter().for_each(|trigger| {
                let _ = trigger.fire(5);
            });
            place.all(|arrived, _| assert_eq!(arrived.len(), N));
        }),
        ("waiters", &|| {
            let trigger = place.trigger(0);
            (0..N).for_each(|_| place.all(|_, _| ()));
            drop(trigger);
        }),
        ("tickets", &|| {
            let d = dapple::Domain::snapshot(&h, ());
            let (go, wait) = std::sync::mpsc::channel::<()>();
            d.none(move |_| {
                let _ = wait.recv();
            });
            (0..N).for_each(|_| d.none(|_| ()));
            drop(go);
            rt.wait_idle();
            (0..100).for_each(|_| d.none(|_| ()));
            rt.wait_idle();
            // The domain is leaked, as a program keeps its domains, so its memory would stay too.
            std::mem::forget(d);
        }),
    ];
    for (what, peak) in peaks {
        peak();
        rt.wait_idle();
        // SAFETY: `malloc_trim` has no preconditions.
        unsafe { libc::malloc_trim(0) };
        let before = resident_kib();
        for _ in 0..3 {
            peak();
            rt.wait_idle();
        }
        // SAFETY: `malloc_trim` has no preconditions.
        unsafe { libc::malloc_trim(0) };
        let after = resident_kib();
        assert!(before < begin + 40_000, "{what}: {begin} KiB, then {before}");
        assert!(after < before + 5_000, "{what}: {before} KiB, then {after}");
    }
}

/// E10: a label may contain any characters, and every format keeps it apart from its own syntax.
#[test]
fn e10_labels_are_escaped_in_every_format() {
    let _alone = alone();
    let rt =
        Runtime::builder().workers(1).histograms(dapple::Histogramming::Exact).build().unwrap();
    let h = rt.handle();
    let labels = [
        "say \"hi\"",
        "a\nevil_total 99",
        "C:\\new",
        "a b",
        "a,b",
        "a_b",
        "a%20b",
        "\u{1b}[31m",
        "{x=\"y\"}",
        "",
    ];
    for label in labels {
        h.color_builder().label(label).build().post(|_| ());
    }
    rt.wait_idle();
    let text = rt.metrics().to_prometheus();
    let count = |line: &&str| line.starts_with("dapple_run_time_seconds_count{");
    let counts: Vec<&str> = text.lines().filter(count).collect();
    // One series per label, and one for events without a label, which includes the empty label.
    assert_eq!(counts.len(), labels.len(), "{counts:#?}");
    for label in labels {
        let escaped = label.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        let line = format!("dapple_run_time_seconds_count{{label=\"{escaped}\"}} 1");
        assert!(counts.contains(&&*line), "{line}: {counts:#?}");
    }
    assert!(!text.lines().any(|line| line.starts_with("evil")));
    assert_eq!(text.lines().last(), Some("# EOF"));

    let mut log = Vec::new();
    rt.metrics().write_hlog(&mut log).unwrap();
    let log = String::from_utf8(log).unwrap();
    let tags: std::collections::BTreeSet<&str> = log
        .lines()
        .filter_map(|line| line.strip_prefix("Tag=run_time/")?.split(',').next())
        .collect();
    let expected = [
        "say_\"hi\"",
        "a_evil_total_99",
        "C:\\new",
        "a_b",
        "a_b~2",
        "a_b~3",
        "a%20b",
        "_[31m",
        "{x=\"y\"}",
    ];
    assert_eq!(tags, expected.into_iter().collect());
}

#[test]
fn e16_a_handle_waits_until_nothing_runs() {
    let _alone = alone();
    let rt = Runtime::builder().workers(2).build().unwrap();
    let (h, color) = (rt.handle(), rt.handle().new_color());
    let runs = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for _ in 0..100 {
        let runs = runs.clone();
        h.post(&color, move |_| {
            runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
    }
    h.wait_idle();
    assert_eq!(runs.load(std::sync::atomic::Ordering::Relaxed), 100);
    drop(rt);
    // For a runtime that has ended, it returns at once.
    h.wait_idle();
}
