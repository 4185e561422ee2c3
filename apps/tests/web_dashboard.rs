//! The dashboard of `dapple web`: who may see it, and what it reports.
mod common;
#[path = "../../io/tests/common/tool.rs"]
mod tool;

use std::fs;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use common::{Response, Web, command};
use tool::tool;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.txt"), "0123456789").unwrap();
    folder
}

fn ask(web: &Web, method: &str, target: &str, fields: &str) -> Response {
    let mut client = web.connect();
    client.send(format!("{method} {target} HTTP/1.1\r\n{fields}\r\n").as_bytes());
    client.response(method != "HEAD")
}

const LOCAL: &str = "Host: localhost\r\n";

#[test]
fn nobody_sees_it_unless_it_is_asked_for() {
    let folder = folder();
    fs::create_dir(folder.path().join("_dapple")).unwrap();
    fs::write(folder.path().join("_dapple/own.txt"), "the site's").unwrap();
    fs::write(folder.path().join("_dapple/data.json"), "also").unwrap();
    let web = Web::start(Some(folder.path()), &[]);
    assert_eq!(ask(&web, "GET", "/_dapple/", LOCAL).status, 404);
    assert_eq!(ask(&web, "GET", "/_dapple/data.json", LOCAL).text(), "also");
    let web = Web::start(Some(folder.path()), &["--dashboard"]);
    assert_eq!(ask(&web, "GET", "/_dapple/own.txt", LOCAL).text(), "the site's");
    assert!(ask(&web, "GET", "/_dapple/data.json", LOCAL).text().starts_with('{'));
    assert_eq!(ask(&web, "GET", "/_dapple/metrics", LOCAL).status, 404, "not asked for");
}

#[test]
fn only_this_machine_sees_it() {
    let folder = folder();
    let web = Web::start(Some(folder.path()), &["--dashboard", "--metrics", "--cors"]);
    let moved = ask(&web, "GET", "/_dapple", LOCAL);
    assert_eq!((moved.status, moved.field("location")), (301, Some("/_dapple/")));
    for name in ["", "dashboard.js", "dashboard.css", "data.json", "histograms.hlog"] {
        let target = format!("/_dapple/{name}");
        let page = ask(&web, "GET", &target, LOCAL);
        assert_eq!(page.status, 200, "{name}");
        assert_eq!(page.field("access-control-allow-origin"), None, "it is not of the site");
        assert!(page.field("content-security-policy").unwrap().starts_with("default-src 'none'"));
        let head = ask(&web, "HEAD", &target, LOCAL);
        assert_eq!((head.status, head.field("content-type")), (200, page.field("content-type")));
        for other in ["Host: evil.example\r\n", "Host: localhost\r\nX-Forwarded-For: 1.2.3.4\r\n"] {
            assert_eq!(ask(&web, "GET", &target, other).status, 403, "{name} {other}");
        }
    }
    let metrics = ask(&web, "GET", "/_dapple/metrics", LOCAL);
    assert_eq!((metrics.status, metrics.field("access-control-allow-origin")), (200, None));
    let file = ask(&web, "GET", "/a.txt", LOCAL);
    assert_eq!(file.field("access-control-allow-origin"), Some("*"));
    assert_eq!(ask(&web, "POST", "/_dapple/", LOCAL).status, 405);
}

#[test]
fn it_counts_what_is_asked() {
    let folder = folder();
    let web = Web::start(Some(folder.path()), &["--dashboard"]);
    let mut client = web.connect();
    for _ in 0..200 {
        assert_eq!(client.get("/a.txt", "").status, 200);
    }
    for _ in 0..30 {
        assert_eq!(client.get("/nothing", "").status, 404);
    }
    let start = Instant::now();
    loop {
        let data = ask(&web, "GET", "/_dapple/data.json", LOCAL);
        // The test's own requests for the data are counted as well, so the count may exceed 230.
        if let Some(at) = data.text().find("\"range\":") {
            let range = &data.text()[at..];
            let counts: Vec<u64> = range
                .split("\"count\":")
                .skip(1)
                .map(|rest| rest.split(',').next().unwrap().parse().unwrap())
                .collect();
            let responses = data.text().split("\"own\":[").skip(2).map(|row| {
                let row: Vec<u64> =
                    row.split(']').next().unwrap().split(',').map(|n| n.parse().unwrap()).collect();
                (row[0], row[2])
            });
            let (good, bad) = responses.fold((0, 0), |sum, row| (sum.0 + row.0, sum.1 + row.1));
            if counts.len() == 3 && counts[2] >= 230 {
                assert!((200..230).contains(&good) && bad == 30, "{good} {bad}");
                // The two counters are not read at the same moment, so they may differ by a few
                // requests.
                assert!(counts[2].abs_diff(good + bad) <= 3, "{} {good} {bad}", counts[2]);
                return;
            }
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{}", data.text());
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn over_http_2_it_is_for_this_machine_too() {
    let Some(_) = tool("curl") else { return };
    let folder = folder();
    let mut command = command(&["--listen", "127.0.0.1:0", "--tls", "dev", "--dashboard"]);
    command.arg(folder.path());
    let web = Web::spawn_at(command, "https://");
    let port = web.address.port();
    for version in ["--http2", "--http1.1"] {
        let status = |host: &str| {
            let to = format!("{host}:{port}:127.0.0.1");
            let url = format!("https://{host}:{port}/_dapple/data.json");
            let args = ["-sk", version, "-w", "%{http_code}", "-o", "/dev/null", "--resolve"];
            let output = tool("curl").unwrap().args(args).args([to, url]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!((&*status("localhost"), &*status("evil.example")), ("200", "403"), "{version}");
    }
}

#[test]
fn a_proxy_that_comes_over_a_unix_socket_does_not_see_it() {
    let folder = folder();
    let socket = tempfile::tempdir().unwrap();
    let path = socket.path().join("web");
    let listen = format!("unix:{}", path.display());
    let web = Web::start(Some(folder.path()), &["--listen", &listen, "--dashboard"]);
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let request = "GET /_dapple/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert_eq!(ask(&web, "GET", "/_dapple/", LOCAL).status, 200);
}
