//! E10, E12: the figures of a runtime, and whether they lead to the color that others wait for.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use dapple::{Cx, Domain, Histogramming, Measure, Metrics, Runtime, SiteFigures};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).histograms(Histogramming::Exact).build().unwrap()
}

/// Returns the figures of the events that were posted in this line of this file.
fn of_line(metrics: &Metrics, line: u32) -> &SiteFigures {
    let is_it = |f: &&SiteFigures| f.site.file() == file!() && f.site.line() == line;
    metrics.sites().iter().find(is_it).unwrap()
}

#[test]
fn e10_a_program_keeps_histograms_of_its_own() {
    let rt = runtime(2);
    let h = rt.handle();
    let (requests, again) = (h.histogram("request"), h.histogram("request"));
    assert_eq!(requests.name(), "request");
    for n in 0..1_000 {
        let requests = requests.clone();
        h.post(&h.new_color(), move |_| requests.record(Duration::from_micros(n % 100 + 1)));
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..250).for_each(|_| again.record_nanos(5_000_000)));
        }
    });
    h.histogram("nothing");
    rt.wait_idle();
    let metrics = rt.metrics();
    let histogram = metrics.own_histogram("request").unwrap();
    assert_eq!(histogram.len(), 2_000);
    assert_eq!(histogram.count_between(0, 101_000), 1_000);
    let quantile = histogram.value_at_quantile(0.99);
    assert!((4_950_000..5_050_000).contains(&quantile), "{quantile}");
    assert_eq!(metrics.own_histograms().map(|(name, _)| name).collect::<Vec<_>>(), ["request"]);
    assert!(metrics.to_prometheus().contains("dapple_own_seconds_count{name=\"request\"} 2000"));
    let mut hlog = Vec::new();
    metrics.write_hlog(&mut hlog).unwrap();
    assert!(String::from_utf8(hlog).unwrap().contains("Tag=own/request,"));
}

#[test]
fn e10_figures_are_kept_by_the_place_that_posted() {
    let rt = runtime(1);
    let h = rt.handle();
    let color = h.color_builder().label("long").build();
    for _ in 0..3 {
        h.post_default(|_| ());
    }
    let short = line!() - 2;
    for _ in 0..2 {
        h.post(&color, |_| sleep(Duration::from_millis(5)));
    }
    let long = line!() - 2;
    h.post_uncolored(|_| ());
    let uncolored = line!() - 1;
    rt.wait_idle();
    let metrics = rt.metrics();
    let first = &metrics.sites()[0];
    assert_eq!((first.site.line(), first.sampled), (long, 2), "the greatest run time is first");
    assert_eq!(first.label.as_deref(), Some("long"));
    assert!(first.run_time >= Duration::from_millis(10) && first.longest_run < first.run_time);
    assert!(first.mean_run() >= Duration::from_millis(5));
    assert!(first.longest_delay >= Duration::from_millis(5), "the second waits for the first");
    let default = of_line(&metrics, short);
    assert_eq!((default.sampled, default.label.as_deref()), (3, Some("default")));
    assert_eq!(of_line(&metrics, uncolored).label, None);
}

#[test]
fn e10_a_domains_steps_have_its_label() {
    let rt = runtime(1);
    let h = rt.handle();
    let index = Domain::builder().label("index").snapshot(&h, 0);
    // Events without a label that run after a step do not get its domain's label.
    let plain = h.new_color();
    h.post_default(move |cx| {
        index.global(|state| *state.state_mut() += 1);
        cx.post(&plain, |_| ());
        cx.post_uncolored(|_| ());
    });
    let (colored, uncolored) = (line!() - 3, line!() - 2);
    rt.wait_idle();
    let metrics = rt.metrics();
    assert_eq!(metrics.histogram_of(Measure::RunTime, "index").map(|h| h.len()), Some(1));
    assert_eq!(of_line(&metrics, colored).label, None);
    assert_eq!(of_line(&metrics, uncolored).label, None);
}

#[test]
fn e10_a_wait_for_a_busy_color_beside_an_idle_worker_is_told() {
    const LONG: Duration = Duration::from_millis(80);
    let waits = |workers| {
        let rt = runtime(workers);
        // Long enough for the other worker to reach its first sleep.
        sleep(LONG / 2);
        rt.handle().post_default(|cx| {
            cx.post_here(|_| ());
            sleep(LONG);
        });
        let line = line!() - 3;
        rt.wait_idle();
        of_line(&rt.metrics(), line).clone()
    };
    let two = waits(2);
    assert!(two.longest_delay >= LONG, "{two:?}");
    assert!(two.idle_delay >= LONG / 2 && two.idle_delay <= two.queue_delay, "{two:?}");
    let one = waits(1);
    assert!(one.longest_delay >= LONG, "{one:?}");
    assert!(one.idle_delay < LONG / 2, "nobody is idle: {one:?}");
}

#[test]
fn e10_the_table_names_labels_and_places() {
    let rt = runtime(2);
    assert!(rt.metrics().to_string().ends_with("no event was sampled"));
    let h = rt.handle();
    let color = h.color_builder().label("parse").build();
    for _ in 0..3 {
        h.post(&color, |_| sleep(Duration::from_millis(1)));
        h.post_default(|_| ());
    }
    let (parse, default) = (line!() - 3, line!() - 2);
    rt.wait_idle();
    let table = rt.metrics().to_string();
    println!("{table}");
    let row = |of: &str| table.lines().find(|line| line.contains(of)).unwrap().to_owned();
    assert!(table.starts_with("2 workers, up "), "{table}");
    assert!(row("parse ").split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() > 50.0);
    assert!(row(&format!("{}:{parse}", file!())).ends_with("(parse)"));
    assert!(row(&format!("{}:{default}", file!())).ends_with("(default)"));
    // The precision limits the number of sites.
    let of = |places: usize| format!("{:.places$}", rt.metrics()).matches(file!()).count();
    assert_eq!((of(1), of(9)), (2, 4));
    assert!(table.lines().all(|line| line.len() < 130), "{table}");
}

/// Runs one test of this program in a process of its own, and returns its standard error.
fn told_by(test: &str) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture", "--ignored"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
#[ignore = "run by another test, in a process without a subscriber"]
fn stalls() {
    let rt = Runtime::builder().workers(2).stall_after(Duration::from_millis(5)).build().unwrap();
    rt.handle().post_default(|_| sleep(Duration::from_millis(50)));
    rt.wait_idle();
    // A watching worker reports the stall while the event runs, or the event's own worker does so
    // after its end. That may be later than `wait_idle`.
    while rt.metrics().stalls() == 0 {
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn e12_a_stall_is_written_to_standard_error_if_there_is_no_subscriber() {
    let told = told_by("stalls");
    let line = told.lines().find(|line| line.starts_with("dapple: ")).unwrap_or_default();
    assert!(line.contains(file!()) && line.contains("label: default"), "{told}");
    assert!(line.contains(" ms"), "{told}");
}

#[test]
fn e10_a_busy_worker_is_seen_to_be_busy() {
    let rt = Runtime::builder().workers(2).build().unwrap();
    let h = rt.handle();
    let color = h.new_color();
    let used = |metrics: &Metrics| -> Duration {
        metrics.by_worker().iter().map(|worker| worker.cpu_time).sum()
    };
    let before = rt.metrics();
    h.post(&color, |_| {
        let begin = std::time::Instant::now();
        while begin.elapsed() < Duration::from_millis(100) {
            std::hint::spin_loop();
        }
    });
    rt.wait_idle();
    let after = rt.metrics();
    let spent = used(&after) - used(&before);
    // Other programs may use the machine too.
    assert!(spent >= Duration::from_millis(20), "{spent:?}");
    assert!(spent <= Duration::from_millis(300), "{spent:?}");
    // The clocks of the threads are gone, but the time still counts.
    rt.shutdown(Duration::from_secs(10));
    assert!(used(&h.metrics()) >= used(&after));
}

#[test]
fn e10_a_total_is_the_sum_of_the_workers_figures() {
    let rt = runtime(2);
    let h = rt.handle();
    let running = Arc::new(AtomicBool::new(true));
    for _ in 0..4 {
        let running = Arc::clone(&running);
        h.post_default(move |cx| keep_posting(&running, cx));
    }
    // The workers keep counting while the metrics are read.
    let (mut reads, begin) = (0, Instant::now());
    loop {
        let metrics = rt.metrics();
        reads += 1;
        let sum = |pick: fn(&dapple::WorkerFigures) -> u64| -> u64 {
            metrics.by_worker().iter().map(pick).sum()
        };
        assert_eq!(sum(|worker| worker.events), metrics.events());
        assert_eq!(sum(|worker| worker.turns), metrics.turns());
        assert_eq!(sum(|worker| worker.steals), metrics.steals());
        assert_eq!(sum(|worker| worker.colors_stolen), metrics.colors_stolen());
        assert_eq!(sum(|worker| worker.parks), metrics.parks());
        if reads >= 500 && metrics.events() > 500 {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "the workers do not run");
    }
    running.store(false, Ordering::Relaxed);
    rt.wait_idle();
}

/// Posts itself to a new color, as long as `running` is true.
fn keep_posting(running: &Arc<AtomicBool>, cx: &mut Cx) {
    if running.load(Ordering::Relaxed) {
        let running = Arc::clone(running);
        let color = cx.new_color();
        cx.post(&color, move |cx| keep_posting(&running, cx));
    }
}

#[test]
fn e12_the_latest_stalls_are_kept() {
    let rt = Runtime::builder()
        .workers(1)
        .stall_after(Duration::from_millis(5))
        .on_stall(|_| ())
        .build()
        .unwrap();
    let h = rt.handle();
    let color = h.color_builder().label("slow").build();
    let line = line!() + 2;
    for _ in 0..60 {
        h.post(&color, |_| sleep(Duration::from_millis(7)));
    }
    rt.wait_idle();
    let metrics = rt.metrics();
    // The first events may count as one stall, because they are not known to be long yet.
    assert!(metrics.stalls() >= 32, "{}", metrics.stalls());
    let stalls = metrics.latest_stalls();
    assert_eq!(stalls.len(), 32, "the latest ones");
    for stall in stalls {
        assert_eq!((stall.site.file(), stall.site.line()), (file!(), line));
        assert_eq!((stall.label.as_deref(), stall.worker), (Some("slow"), 0));
        assert!(stall.running >= Duration::from_millis(5), "{stall:?}");
    }
    assert!(stalls.is_sorted_by_key(|stall| stall.at));
}

#[test]
fn e12_domains_with_open_tickets_are_seen() {
    let rt = runtime(2);
    let h = rt.handle();
    let domains: Vec<_> = (0..600)
        .map(|n| Domain::builder().label(&format!("kind {}", n % 3)).read_write(&h, n))
        .collect();
    assert!(h.open_domains(usize::MAX).is_empty());
    let (leave, left) = std::sync::mpsc::channel::<()>();
    let left = std::sync::Mutex::new(left);
    let (enter, entered) = std::sync::mpsc::channel();
    let line = line!() + 1;
    domains[577].global(move |_| {
        enter.send(()).unwrap();
        left.lock().unwrap().recv().unwrap();
    });
    entered.recv().unwrap();
    domains[577].global(|_| ());
    let first = h.open_domains(usize::MAX);
    assert_eq!(first.len(), 1);
    sleep(Duration::from_millis(20));
    let open = h.open_domains(1);
    assert_eq!((open[0].label.as_deref(), open[0].uncommitted), (Some("kind 1"), 2));
    assert_eq!((open[0].ticket, open[0].site.line()), (first[0].ticket, line));
    assert_eq!(open[0].doing.to_string(), "in global");
    assert!(open[0].waiting >= Duration::from_millis(20), "{:?}", open[0].waiting);
    assert!(h.open_domains(0).is_empty());
    leave.send(()).unwrap();
    rt.wait_idle();
    assert!(h.open_domains(usize::MAX).is_empty());
}
