//! The dashboard: its answers, and what a browser shows of them.

#[path = "../common/tool.rs"]
mod tool;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dapple::{Domain, Histogramming, Runtime};
use dapple_io::Io;
use dapple_io::dashboard::Dashboard;
use serde_json::Value;

use crate::tool::tool;

/// Returns the status of the answer to a request, and the whole answer.
fn ask(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

fn get(address: SocketAddr, path: &str, host: &str) -> (u16, String) {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
}

fn data(dashboard: &Dashboard, query: &str) -> Value {
    let response = dashboard.get("data.json", Some(query)).unwrap();
    serde_json::from_str(response.body()).unwrap()
}

/// Waits until an interval that began after this call has ended.
fn next_interval(dashboard: &Dashboard) -> Value {
    let first = data(dashboard, "after=1000000")["next"].as_u64().unwrap();
    let start = Instant::now();
    loop {
        let data = data(dashboard, "");
        if data["next"].as_u64().unwrap() >= first + 2 {
            return data;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "it does not go on");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// A runtime with a known load, and its dashboard.
struct Loaded {
    /// Lets the domain's event end. It is dropped first, because the runtime waits for that event.
    _leave: mpsc::Sender<()>,
    rt: Runtime,
    dashboard: Dashboard,
    /// The line from which events are posted to the hot color.
    line: u32,
    _domain: Domain<u32>,
}

fn load() -> Loaded {
    let rt = dapple_io::runtime()
        .workers(3)
        .histograms(Histogramming::Exact)
        .stall_after(Duration::from_millis(10))
        .on_stall(|_| ())
        .on_ticket_stall(|_| ())
        .build()
        .unwrap();
    let h = rt.handle();
    let dashboard = Dashboard::builder(&h)
        .title("A <b>test</b>")
        .counter("Responses", "good", || 7)
        .gauge("Things open", || 42)
        .build();
    let known = h.histogram("known");
    h.post_default(move |_| {
        let values = [(990, 1_000_000), (9, 10_000_000), (1, 100_000_000)];
        values.iter().for_each(|(n, nanos)| (0..*n).for_each(|_| known.record_nanos(*nanos)));
    });
    let hot = h.color_builder().label("<img src=x onerror=window.wasRun=1>").build();
    let line = line!() + 2;
    for _ in 0..20 {
        h.post(&hot, |_| spin(Duration::from_millis(3)));
    }
    let slow = h.color_builder().label("slow").build();
    h.post(&slow, |_| std::thread::sleep(Duration::from_millis(50)));
    let domain = Domain::builder().label("bank").read_write(&h, 0);
    let (leave, left) = mpsc::channel::<()>();
    let left = Mutex::new(left);
    domain.global(move |_| {
        let _ = left.lock().unwrap().recv();
    });
    Loaded { _leave: leave, rt, dashboard, line, _domain: domain }
}

#[test]
fn what_it_tells_is_what_the_metrics_say() {
    let loaded = load();
    let data = next_interval(&loaded.dashboard);
    let metrics = loaded.rt.metrics();
    let known = metrics.own_histogram("known").unwrap();
    let series: Vec<&str> =
        data["series"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    assert_eq!(series, ["queue_delay", "run_time", "known"]);
    let range = &data["range"]["series"][2];
    assert_eq!(range["count"], 1_000);
    let shares = [0.5, 0.9, 0.99, 0.999, 0.9999, 1.0];
    for (share, value) in shares.iter().zip(range["quantiles"].as_array().unwrap()) {
        assert_eq!(value.as_u64().unwrap(), known.value_at_quantile(*share), "{share}");
    }
    // Each event is counted in exactly one second.
    let rows = data["rows"].as_array().unwrap();
    let names = data["counters"].as_array().unwrap();
    let sum = |name: &str| -> u64 {
        let at = names.iter().position(|known| known == name).unwrap();
        rows.iter().map(|row| row["counters"][at].as_u64().unwrap()).sum()
    };
    assert!((22..60).contains(&sum("events")), "{}", sum("events"));
    assert!(sum("stalls") >= 1);
    let in_rows: u64 = rows.iter().map(|row| row["series"][2]["count"].as_u64().unwrap_or(0)).sum();
    assert_eq!(in_rows, 1_000);
    // The cells of the map have each value once, with four rows for each doubling.
    let with = rows.iter().find(|row| row["series"][2]["count"] == 1_000).unwrap();
    let cells: Vec<u64> = with["series"][2]["cells"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_u64().unwrap())
        .collect();
    let row = |nanos: f64| (nanos.log2() * 4.0) as u64;
    assert_eq!(cells, [row(1e6), 990, row(1e7), 9, row(1e8), 1]);
    // The busy time is the CPU time that the system reports for the threads.
    let busy: f64 = rows
        .iter()
        .map(|row| {
            let of_all: f64 =
                row["busy"].as_array().unwrap().iter().map(|share| share.as_f64().unwrap()).sum();
            of_all * row["seconds"].as_f64().unwrap()
        })
        .sum();
    let used: Duration = metrics.by_worker().iter().map(|worker| worker.cpu_time).sum();
    assert!(busy > 0.02 && busy <= used.as_secs_f64() + 0.01, "{busy} of {used:?}");
    // The hot color and the sleeping one have the greatest parts of the run time.
    let places = data["range"]["places"].as_array().unwrap();
    let hot =
        places.iter().find(|p| p["site"].as_str().unwrap().contains(&format!(":{}:", loaded.line)));
    let hot = hot.unwrap();
    assert_eq!(hot["sampled"], 20);
    assert!(hot["run"].as_u64().unwrap() >= 60_000_000, "{hot}");
    assert_eq!(
        (&data["domains"][0]["label"], &data["domains"][0]["doing"]),
        (&"bank".into(), &"in global".into())
    );
    assert!(data["stalls"].as_array().unwrap().iter().any(|stall| stall["label"] == "slow"));
    assert_eq!(
        rows[0]["own"],
        Value::from(vec![0, 42]),
        "a counter by its growth, a gauge as it is"
    );
}

#[test]
fn an_answer_has_only_what_is_asked_for() {
    let loaded = load();
    let all = next_interval(&loaded.dashboard);
    let next = all["next"].as_u64().unwrap();
    let none = data(&loaded.dashboard, &format!("after={next}"));
    assert!(none["rows"].as_array().unwrap().len() <= 1);
    let nothing = data(&loaded.dashboard, "last=5&until=0");
    assert_eq!(nothing["range"]["series"][2]["count"], 0);
    let odd = data(&loaded.dashboard, "after=x&last=99999999999999999999&until=-1&&=&a");
    assert_eq!(odd["range"]["series"][2]["count"], 1_000);
    let log = loaded.dashboard.get("histograms.hlog", Some("last=60")).unwrap();
    assert_eq!(log.headers()["content-disposition"], "attachment; filename=\"dapple.hlog\"");
    let lines = log.body().lines().filter(|line| line.starts_with("Tag=own/known,"));
    assert_eq!(lines.count(), 1, "{}", log.body());
    assert!(loaded.dashboard.get("nothing", None).is_none() && !Dashboard::has("nothing"));
    assert!(["", "data.json", "dashboard.js"].iter().all(|name| Dashboard::has(name)));
    let names = ["", "dashboard.css", "dashboard.js"];
    let len: usize =
        names.iter().map(|name| loaded.dashboard.get(name, None).unwrap().body().len()).sum();
    assert!(len <= 100_000, "{len} bytes");
}

#[test]
fn it_listens_on_this_machine_only() {
    let rt = dapple_io::runtime().workers(1).build().unwrap();
    let (io, dashboard) = (Io::of(&rt.handle()), Dashboard::new(&rt.handle()));
    let error = dashboard.listen(&io, "0.0.0.0:0".parse().unwrap()).unwrap_err();
    assert!(error.to_string().contains("no password"), "{error}");
    let listener = dashboard.listen(&io, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr();
    let (status, page) = get(address, "/", &address.to_string());
    assert_eq!(status, 200);
    assert!(page.contains("content-security-policy: default-src 'none'"), "{page}");
    assert_eq!(get(address, "/data.json?last=60", "localhost").0, 200);
    assert_eq!(get(address, "/nothing", "localhost").0, 404);
    // These are names of other sites, which may resolve to this address.
    assert_eq!(get(address, "/data.json", "evil.example").0, 421);
    assert_eq!(get(address, "/data.json", "127.0.0.1.evil.example").0, 421);
    let post =
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let (status, answer) = ask(address, post);
    assert!(status == 405 && answer.contains("allow: GET, HEAD"), "{answer}");
    let head = "HEAD /dashboard.js HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let (status, answer) = ask(address, head);
    assert!(status == 200 && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn it_ends_with_its_last_clone() {
    let rt = dapple_io::runtime().workers(1).build().unwrap();
    let known = Arc::new(());
    let kept = Arc::clone(&known);
    let dashboard = Dashboard::builder(&rt.handle())
        .gauge("known", move || Arc::strong_count(&kept) as u64)
        .build();
    drop(dashboard);
    rt.wait_idle();
    assert_eq!(Arc::strong_count(&known), 1);
}

#[test]
fn a_browser_shows_what_the_metrics_say() {
    let (Some(_), Some(mut node)) = (tool("chromium"), tool("node")) else { return };
    let loaded = load();
    let io = Io::of(&loaded.rt.handle());
    let listener = loaded.dashboard.listen(&io, "127.0.0.1:0".parse().unwrap()).unwrap();
    next_interval(&loaded.dashboard);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dashboard/page.mjs");
    node.args([script, &format!("http://{}/", listener.local_addr())]);
    node.args(std::env::var_os("DAPPLE_SCREENSHOTS"));
    let output = node.output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found["title"], "A <b>test</b>");
    let metrics = loaded.rt.metrics();
    let known = metrics.own_histogram("known").unwrap();
    let shares = [0.5, 0.9, 0.99, 0.999, 0.9999, 1.0];
    let expected = shares.map(|share| known.value_at_quantile(share));
    assert_eq!(found["quantiles"], Value::from(expected.to_vec()));
    assert_eq!(found["values"], "1,000");
    assert_eq!(found["workers"], 3);
    assert_eq!(found["cards"]["Things open"], "42");
    assert_eq!(found["cards"]["Responses: good"], "0 / s");
    let cell = |table: &str, row: usize, column: usize| found[table][row][column].as_str().unwrap();
    let labels: Vec<&str> =
        (0..found["places"].as_array().unwrap().len()).map(|row| cell("places", row, 0)).collect();
    assert!(labels.contains(&"<img src=x onerror=window.wasRun=1>"), "{labels:?}");
    assert_eq!((cell("domains", 0, 0), cell("domains", 0, 2)), ("bank", "in global"));
    let stalls = found["stalls"].as_array().unwrap();
    assert!(stalls.iter().any(|stall| stall[1] == "slow"), "{stalls:?}");
    let map = found["map"].as_str().unwrap();
    assert!(map.starts_with("Known over the last 60 seconds: 1,000 values, p50 1 ms"), "{map}");
    assert!(found["heat"].as_u64().unwrap() >= 2, "{found}");
    assert!(found["lines"].as_array().unwrap().iter().all(|line| line.as_u64().unwrap() > 5));
    assert_eq!(found["paused"], "true");
    assert!(found["download"].as_str().unwrap().contains("last=60&until="), "{found}");
    assert!(found["column"].as_str().unwrap().contains("values"), "{found}");
}
