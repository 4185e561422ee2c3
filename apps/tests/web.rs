//! `dapple web` from the outside: a process, sockets and real files (N8, N5, N6).
mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use common::{Web, command};

/// A served folder with all kinds of files, inside an outer folder that must not be reachable.
struct Folder {
    outer: tempfile::TempDir,
}

impl Folder {
    fn new() -> Folder {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        fs::create_dir_all(root.join("sub/empty")).unwrap();
        fs::write(outer.path().join("secret"), "SECRET").unwrap();
        fs::write(root.join("index.html"), "<h1>root</h1>").unwrap();
        fs::write(root.join("sub/index.html"), "<h1>sub</h1>").unwrap();
        fs::write(root.join("a.txt"), "0123456789").unwrap();
        fs::write(root.join("empty"), "").unwrap();
        fs::write(root.join("with space ä.css"), "x{}").unwrap();
        fs::write(root.join("big.bin"), Folder::big()).unwrap();
        fs::write(root.join("middle.bin"), &Folder::big()[..40_000]).unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink(outer.path(), root.join("up")).unwrap();
        symlink("a.txt", root.join("alias")).unwrap();
        Folder { outer }
    }

    fn root(&self) -> std::path::PathBuf {
        self.outer.path().join("root")
    }

    fn big() -> Vec<u8> {
        (0..3_000_000u32).map(|i| (i / 5) as u8).collect()
    }
}

/// Waits until files that were just written have been unchanged for 50 ms, so that the server
/// caches them.
fn settle() {
    std::thread::sleep(Duration::from_millis(80));
}

#[test]
fn files_folders_types_and_redirects() {
    let folder = Folder::new();
    settle();
    let web = Web::start(Some(&folder.root()), &[]);
    // Two passes: the first one reads from the disk, the second one from the cache.
    for _ in 0..2 {
        let mut client = web.connect();
        let index = client.get("/", "");
        assert_eq!((index.status, index.text()), (200, "<h1>root</h1>"));
        assert_eq!(index.field("content-type"), Some("text/html; charset=utf-8"));
        assert!(index.field("date").unwrap().ends_with(" GMT"));
        assert_eq!(client.get("/sub/", "").text(), "<h1>sub</h1>");
        assert_eq!(client.get("/a.txt?query", "").text(), "0123456789");
        assert_eq!(client.get("/alias", "").text(), "0123456789");
        assert_eq!(client.get("/with%20space%20%C3%A4.css", "").text(), "x{}");
        assert_eq!(client.get("http://anything/a.txt", "").text(), "0123456789");
        let empty = client.get("/empty", "");
        assert_eq!((empty.status, empty.field("content-length")), (200, Some("0")));
        assert_eq!(empty.field("content-type"), Some("application/octet-stream"));
        assert!(client.get("/big.bin", "").body == Folder::big());
        assert!(client.get("/middle.bin", "").body == Folder::big()[..40_000]);
        let redirect = client.get("/sub?q=1", "");
        assert_eq!((redirect.status, redirect.field("location")), (301, Some("/sub/?q=1")));
        for missing in ["/nothing", "/sub/empty/", "/a.txt/", "/a.txt/b", "/sub/nothing"] {
            assert_eq!(client.get(missing, "").status, 404, "{missing}");
        }
    }
}

#[test]
fn no_way_out() {
    let folder = Folder::new();
    let web = Web::start(Some(&folder.root()), &[]);
    let long = format!("/{}", "a".repeat(300));
    for path in [
        "/../secret",
        "/sub/../../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/%2e%2e%2fsecret",
        "/out",
        "/up/secret",
        "/up/",
        "//../secret",
        "/./../secret",
        "/sub/%2E%2E/%2e./secret",
        &long,
    ] {
        let response = web.get(path);
        assert!(matches!(response.status, 404 | 400), "{path}: {}", response.status);
        assert!(!response.text().contains("SECRET"), "{path}");
    }
    for path in ["/%00", "/a.txt%00.html", "/%", "/%4"] {
        assert_eq!(web.get(path).status, 400, "{path}");
    }
}

#[test]
fn head_has_the_fields_and_no_body() {
    let folder = Folder::new();
    let web = Web::start(Some(&folder.root()), &[]);
    let mut client = web.connect();
    for target in ["/a.txt", "/big.bin", "/nothing", "/sub"] {
        let get = client.get(target, "");
        client.send(format!("HEAD {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        let head = client.response(false);
        assert_eq!(head.status, get.status);
        assert_eq!(head.field("content-length"), get.field("content-length"));
    }
    assert_eq!(client.get("/a.txt", "").text(), "0123456789", "still in step");
}

#[test]
fn conditions_and_ranges() {
    let folder = Folder::new();
    let web = Web::start(Some(&folder.root()), &[]);
    let mut client = web.connect();
    let first = client.get("/a.txt", "");
    let (etag, date) = (first.field("etag").unwrap(), first.field("last-modified").unwrap());
    for fields in [format!("If-None-Match: {etag}\r\n"), format!("If-Modified-Since: {date}\r\n")] {
        let again = client.get("/a.txt", &fields);
        assert_eq!((again.status, again.field("etag")), (304, Some(etag)));
    }
    assert_eq!(client.get("/a.txt", "If-Match: \"other\"\r\nRange: bytes=1-2\r\n").status, 412);
    assert_eq!(client.get("/a.txt", &format!("If-Match: {etag}\r\n")).status, 200);
    let old = "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    assert_eq!(client.get("/a.txt", old).status, 200);
    for (target, whole) in [("/a.txt", b"0123456789".to_vec()), ("/big.bin", Folder::big())] {
        let len = whole.len();
        for (range, from, to) in
            [("2-5", 2, 5), ("7-", 7, len - 1), ("-4", len - 4, len - 1), ("3-9999999", 3, len - 1)]
        {
            let part = client.get(target, &format!("Range: bytes={range}\r\n"));
            assert_eq!(part.status, 206, "{target} {range}");
            assert!(part.body == whole[from..=to], "{target} {range}");
            let expected = format!("bytes {from}-{to}/{len}");
            assert_eq!(part.field("content-range"), Some(&expected[..]));
        }
        let beyond = client.get(target, &format!("Range: bytes={len}-\r\n"));
        assert_eq!(beyond.status, 416);
        assert_eq!(beyond.field("content-range"), Some(&format!("bytes */{len}")[..]));
        let several = client.get(target, "Range: bytes=0-1,-3\r\n");
        let kind = several.field("content-type").unwrap();
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
        let own = first_of(&mut client, target, "content-type");
        let mut expected = Vec::new();
        for (from, to) in [(0, 1), (len - 3, len - 1)] {
            expected.extend_from_slice(
                format!(
                    "\r\n--{boundary}\r\nContent-Type: {own}\r\n\
                     Content-Range: bytes {from}-{to}/{len}\r\n\r\n"
                )
                .as_bytes(),
            );
            expected.extend_from_slice(&whole[from..=to]);
        }
        expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        assert!(several.status == 206 && several.body == expected, "{:?}", several.head);
        let overlapping = client.get(target, "Range: bytes=0-1,1-2\r\n");
        assert!(overlapping.status == 200 && overlapping.body == whole);
    }
}

fn first_of(client: &mut common::Client, target: &str, field: &str) -> String {
    client.get(target, "").field(field).unwrap().to_owned()
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let folder = Folder::new();
    let web = Web::start(Some(&folder.root()), &[]);
    let mut client = web.connect();
    let targets = ["/a.txt", "/big.bin", "/nothing", "/", "/middle.bin", "/sub"];
    let mut requests = String::new();
    for _ in 0..20 {
        for target in targets {
            requests += &format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        }
    }
    client.send(requests.as_bytes());
    for _ in 0..20 {
        assert_eq!(client.response(true).text(), "0123456789");
        assert!(client.response(true).body == Folder::big());
        assert_eq!(client.response(true).status, 404);
        assert_eq!(client.response(true).text(), "<h1>root</h1>");
        assert_eq!(client.response(true).body.len(), 40_000);
        assert_eq!(client.response(true).status, 301);
    }
}

/// E9: files that are not in memory are read on the blocking pool. The responses still come in
/// order.
#[test]
fn e9_cold_files_are_served_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let contents = |n: usize| -> Vec<u8> { (0..n).map(|i| (i * 13 + n) as u8).collect() };
    let sizes = [100, 15_000, 70_000, 3_000_000, 0, 16 * 1024, 16 * 1024 + 1];
    for size in sizes {
        let path = folder.path().join(size.to_string());
        std::fs::write(&path, contents(size)).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        file.sync_all().unwrap();
        // Evicts the file from the page cache, if its file system has one.
        // SAFETY: `posix_fadvise` takes no pointers, and `file` keeps the descriptor open during
        // the call.
        unsafe {
            libc::posix_fadvise(
                std::os::fd::AsRawFd::as_raw_fd(&file),
                0,
                0,
                libc::POSIX_FADV_DONTNEED,
            );
        }
    }
    let web = Web::start(Some(folder.path()), &["--workers", "1"]);
    let mut requests = String::new();
    for size in sizes {
        requests += &format!(
            "GET /{size} HTTP/1.1\r\nHost: x\r\n\r\nGET /missing HTTP/1.1\r\nHost: x\r\n\r\n"
        );
    }
    let mut client = web.connect();
    client.send(requests.as_bytes());
    for size in sizes {
        let answer = client.response(true);
        assert_eq!((answer.status, answer.body == contents(size)), (200, true), "{size} bytes");
        assert_eq!(client.response(true).status, 404);
    }
}

#[test]
fn http_1_0_and_connection_fields() {
    let web = Web::start(None, &[]);
    let old = web.raw(b"GET /style.css HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\n\r\n");
    assert_eq!(old.matches("HTTP/1.1 200").count(), 1);
    assert!(old.contains("Connection: close"));
    let mut client = web.connect();
    for _ in 0..2 {
        client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(client.response(true).field("connection"), Some("keep-alive"));
    }
    let mut client = web.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(client.response(true).status, 200);
    assert!(client.is_closed());
}

#[test]
fn a_replaced_file_is_noticed_at_once() {
    let folder = Folder::new();
    let web = Web::start(Some(&folder.root()), &[]);
    let path = folder.root().join("version");
    let mut client = web.connect();
    for round in 0..60 {
        // The file keeps its size and changes many times a second, alternately in place and by
        // renaming.
        let text = format!("version {round:04}");
        if round % 2 == 0 {
            fs::write(&path, &text).unwrap();
        } else {
            let other = folder.root().join("other");
            fs::write(&other, &text).unwrap();
            fs::rename(&other, &path).unwrap();
        }
        if round % 10 == 0 {
            settle();
        }
        for _ in 0..3 {
            assert_eq!(client.get("/version", "").text(), text);
        }
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(client.get("/version", "").status, 404);
}

/// N8: `--cache-valid` is the time in milliseconds for which a cached file is not checked.
#[test]
fn a_replaced_file_is_noticed_when_its_time_is_over() {
    let folder = Folder::new();
    let path = folder.root().join("version");
    fs::write(&path, "old").unwrap();
    settle();
    let (hours, short) = (["--cache-valid", "86400000"], ["--cache-valid", "300"]);
    let [hours, short] = [hours, short].map(|args| Web::start(Some(&folder.root()), &args));
    for web in [&hours, &short] {
        // A file is added to the cache after it was sent, so only later requests find it there.
        for _ in 0..50 {
            assert_eq!(web.get("/version").text(), "old");
        }
        settle();
        assert_eq!(web.get("/version").text(), "old");
    }
    let replaced = Instant::now();
    fs::write(folder.root().join("other"), "new").unwrap();
    fs::rename(folder.root().join("other"), &path).unwrap();
    while short.get("/version").text() == "old" {
        assert!(replaced.elapsed() < Duration::from_secs(20), "it stays old");
    }
    assert_eq!(hours.get("/version").text(), "old", "the file is not checked");
}

#[test]
fn errors_have_short_bodies_and_limits_hold() {
    let web = Web::start(None, &[]);
    let status = |request: &[u8]| -> u16 {
        let answer = web.raw(request);
        assert!(answer.len() < 400, "{answer}");
        answer.split(' ').nth(1).unwrap_or_else(|| panic!("{answer:?}")).parse().unwrap()
    };
    assert_eq!(status(b"GARBAGE\r\n\r\n"), 400);
    assert_eq!(status(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"), 400);
    assert_eq!(status(b"GET / HTTP/1.1\r\n\r\n"), 400);
    assert_eq!(status(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"), 405);
    assert_eq!(status(b"DELETE /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), 405);
    assert_eq!(status(b"GET / HTTP/2.7\r\n\r\n"), 505);
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(9_000));
    assert_eq!(status(long.as_bytes()), 414);
    let fields = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "x".repeat(17_000));
    assert_eq!(status(fields.as_bytes()), 431);
}

#[test]
fn ten_megabytes_of_header_get_431_and_disturb_nobody() {
    let web = Web::start(None, &["--workers", "1"]);
    let mut client = web.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n");
    let field = format!("Field: {}\r\n", "x".repeat(10_000));
    for _ in 0..1_000 {
        if client.stream.get_mut().write_all(field.as_bytes()).is_err() {
            break;
        }
    }
    // The client keeps sending, so a reset may destroy the response. If the response arrives, it is
    // a 431.
    let mut answer = Vec::new();
    let _ = client.stream.read_to_end(&mut answer);
    if !answer.is_empty() {
        assert!(answer.starts_with(b"HTTP/1.1 431 "));
    }
    assert_eq!(web.get("/").status, 200);
}

#[test]
fn slow_and_silent_clients_lose_their_connections() {
    let args = ["--header-timeout", "1", "--idle-timeout", "1", "--workers", "1"];
    let web = Web::start(None, &args);
    let start = Instant::now();
    let mut silent = web.connect();
    let mut half = web.connect();
    half.send(b"GET / HTTP/1.1\r\nHo");
    let mut drip = web.connect();
    let dripper = std::thread::spawn(move || {
        for byte in b"GET / HTTP/1.1\r\nHost: a-very-long-name-of-a-host\r\n".iter().cycle() {
            if drip.stream.get_mut().write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    assert!(silent.is_closed() && half.is_closed());
    dripper.join().unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(web.get("/").status, 200, "everybody else is served");
    let metrics = web.get("/_dapple/metrics");
    assert!(metrics.text().contains("web_timeouts_total 3\n"), "{}", metrics.text());
}

#[test]
fn the_connection_limit_answers_503() {
    let web = Web::start(None, &["--max-connections", "3"]);
    let mut held: Vec<_> = (0..3).map(|_| web.connect()).collect();
    for client in &mut held {
        assert_eq!(client.get("/", "").status, 200);
    }
    let mut fourth = web.connect();
    assert_eq!(fourth.response(true).status, 503);
    assert!(fourth.is_closed());
    drop(fourth);
    drop(held.pop());
    let start = Instant::now();
    loop {
        // The server needs a moment to notice that a connection was closed.
        let mut client = web.connect();
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        if client.response(true).status == 200 {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60));
    }
}

#[test]
fn metrics_tell_what_happened_and_the_demo_site_is_whole() {
    for args in [&["--workers", "2"][..], &["--serial"], &["--steal", "off"], &["--steal", "eager"]]
    {
        let web = Web::start(None, args);
        let mut client = web.connect();
        for path in ["/", "/style.css", "/figures.js", "/about/"] {
            assert_eq!(client.get(path, "").status, 200, "{path}");
        }
        assert_eq!(client.get("/about", "").status, 301);
        assert_eq!(client.get("/nothing", "").status, 404);
        let metrics = client.get("/_dapple/metrics", "");
        assert!(metrics.field("content-type").unwrap().starts_with("application/openmetrics-text"));
        let text = metrics.text();
        for line in [
            "web_connections_open 1\n",
            "web_connections_total 1\n",
            "web_responses_total{class=\"2xx\"} 4\n",
            "web_responses_total{class=\"3xx\"} 1\n",
            "web_responses_total{class=\"4xx\"} 1\n",
            "dapple_panics_total 0\n",
            "dapple_steals_total ",
            "dapple_wakeups_total ",
        ] {
            assert!(text.contains(line), "{line:?} in {text}");
        }
        // A worker hands its samples over when it sleeps, which it may not have done yet.
        for line in ["dapple_queue_delay_seconds_bucket", "dapple_run_time_seconds_bucket"] {
            let end = Instant::now() + Duration::from_secs(30);
            while !client.get("/_dapple/metrics", "").text().contains(line) {
                assert!(Instant::now() < end, "no {line:?} in 30 s");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

#[test]
fn signals_drain_and_a_second_one_ends() {
    let folder = Folder::new();
    let big = vec![7u8; 30_000_000];
    fs::write(folder.root().join("huge.bin"), &big).unwrap();
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let web = Web::start(Some(&folder.root()), &[]);
        let mut idle = web.connect();
        assert_eq!(idle.get("/", "").status, 200);
        // A download that has begun is finished.
        let mut busy = web.connect();
        busy.send(b"GET /huge.bin HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut start = [0; 1000];
        busy.stream.read_exact(&mut start).unwrap();
        web.signal(signal);
        assert!(idle.is_closed());
        let mut rest = Vec::new();
        busy.stream.read_to_end(&mut rest).unwrap();
        assert!(rest.len() + 1000 > big.len());
        let (status, said) = web.end();
        assert_eq!(status, Some(0));
        assert!(said.contains("closed in order"), "{said}");
    }
    // After two signals, the server does not wait for the download.
    let web = Web::start(Some(&folder.root()), &[]);
    let mut busy = web.connect();
    busy.send(b"GET /huge.bin HTTP/1.1\r\nHost: x\r\n\r\n");
    busy.stream.read_exact(&mut [0; 100]).unwrap();
    web.signal(libc::SIGTERM);
    while std::net::TcpStream::connect(web.address).is_ok() {
        std::thread::sleep(Duration::from_millis(1));
    }
    web.signal(libc::SIGTERM);
    assert_eq!(web.end().0, Some(128 + libc::SIGTERM));
}

/// N5: the number of connections from one address is limited.
#[test]
fn n5_an_address_has_so_many_connections() {
    let web = Web::start(None, &["--max-per-address", "3"]);
    let mut three: Vec<_> = (0..3).map(|_| web.connect()).collect();
    for client in &mut three {
        assert_eq!(client.get("/", "").status, 200);
    }
    let mut fourth = web.connect();
    let refused = fourth.response(false);
    assert_eq!((refused.status, refused.field("retry-after")), (503, Some("1")));
    three.pop();
    let begin = Instant::now();
    loop {
        let mut client = web.connect();
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        if client.response(true).status == 200 {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "nobody is let in again");
    }
}

#[test]
fn bad_command_lines_are_one_line_and_status_2() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "/*\n  Date: today\n").unwrap();
    let file = file.path().to_str().unwrap();
    let cases: [(&[&str], &str); 13] = [
        (&["/does/not/exist"], "cannot serve /does/not/exist: "),
        (&["--headers", file], ":2: date follows from the file and the request"),
        (&["--headers", "/does/not/exist"], "cannot read /does/not/exist: "),
        (&["--cache-control", "nonsense"], "--cache-control: \"nonsense\" is not PATTERN=VALUE"),
        (&["--cors=nonsense"], "--cors: \"nonsense\" is neither * nor an origin"),
        (&["--prefix", "a b"], "a path such as /"),
        (&["--cache-valid", "-1"], "unexpected argument '-1'"),
        (&["--listen", &taken], "cannot listen on "),
        (&["--listen", "nonsense"], "invalid value 'nonsense'"),
        (&["--frobnicate"], "unexpected argument '--frobnicate'"),
        (&["--workers", "0"], "invalid value '0'"),
        (&["--cores", "4000"], "core 4000 is not one that this process may use"),
        (&["--steal", "everything"], "invalid value 'everything'"),
    ];
    for (args, expected) in cases {
        let output = command(args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.starts_with("dapple: ") && said.contains(expected), "{args:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn e1_taskset_decides_the_number_of_workers() {
    // SAFETY: a zeroed `cpu_set_t` is a valid empty set. The call writes at most the given size to
    // `set`, which outlives it.
    let first = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, size_of_val(&set), &mut set), 0);
        (0..libc::CPU_SETSIZE as usize).find(|&c| libc::CPU_ISSET(c, &set)).unwrap()
    };
    let mut command = std::process::Command::new("taskset");
    command.args(["-c", &first.to_string(), env!("CARGO_BIN_EXE_dapple"), "web"]);
    command.args(["--listen", "127.0.0.1:0"]);
    let web = Web::spawn(command);
    assert!(web.get("/_dapple/metrics").text().contains("dapple_workers 1\n"));
}

#[test]
fn e7_open_connections_cost_no_cpu_and_little_memory() {
    let web = Web::start(None, &[]);
    let proc_file =
        |name: &str| fs::read_to_string(format!("/proc/{}/{name}", web.child.id())).unwrap();
    let resident = || -> u64 {
        let status = proc_file("status");
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let ticks = || -> u64 {
        let stat = proc_file("stat");
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let mut clients: Vec<_> = (0..50).map(|_| web.connect()).collect();
    clients.iter_mut().for_each(|c| assert_eq!(c.get("/", "").status, 200));
    let before = resident();
    let mut more: Vec<_> = (0..400).map(|_| web.connect()).collect();
    more.iter_mut().for_each(|c| assert_eq!(c.get("/", "").status, 200));
    let each = (resident().saturating_sub(before)) * 1024 / 400;
    assert!(each < 4096, "{each} bytes per idle connection");
    std::thread::sleep(Duration::from_millis(300));
    let idle = ticks();
    std::thread::sleep(Duration::from_millis(500));
    assert!(ticks() - idle <= 1, "an idle server burns CPU");
}
