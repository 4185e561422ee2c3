//! The access log of `dapple web`.
mod common;
#[path = "../../io/tests/common/tool.rs"]
mod tool;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Web, command};
use tool::tool;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join("a.txt"), "0123456789").unwrap();
    fs::write(folder.path().join("sub/b.txt"), "b").unwrap();
    folder
}

/// Waits until the log has `count` lines, and returns them.
fn lines(log: &Path, count: usize) -> Vec<String> {
    let begin = Instant::now();
    loop {
        let text = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.len() >= count {
            assert_eq!(lines.len(), count, "{lines:?}");
            return lines;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{lines:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_response_has_a_line_in_its_order() {
    let (folder, logs) = (folder(), tempfile::tempdir().unwrap());
    let log = logs.path().join("access.log");
    let web = Web::start(
        Some(folder.path()),
        &["--list", "--workers", "1", "--access-log", log.to_str().unwrap()],
    );
    let mut client = web.connect();
    client.send(
        b"GET /a.txt?x=\"y HTTP/1.1\r\nHost: x\r\nReferer: http://r/\r\nUser-Agent: a\"b\r\n\r\n\
          GET /sub/ HTTP/1.1\r\nHost: x\r\n\r\nHEAD /a.txt HTTP/1.1\r\nHost: x\r\n\r\n\
          GET /sub/?zip HTTP/1.1\r\nHost: x\r\n\r\n\
          GET /a.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=2-4\r\n\r\n\x16bad\r\n\r\n",
    );
    assert_eq!(client.response(true).status, 200);
    let listing = client.response(true).body.len();
    assert_eq!(client.response(false).status, 200);
    let zip = client.response(true).body.len();
    assert_eq!((client.response(true).status, client.response(true).status), (206, 400));
    let lines = lines(&log, 6);
    let expected = [
        "\"GET /a.txt?x=\\\"y HTTP/1.1\" 200 10 \"http://r/\" \"a\\\"b\"".to_owned(),
        format!("\"GET /sub/ HTTP/1.1\" 200 {listing} \"-\" \"-\""),
        "\"HEAD /a.txt HTTP/1.1\" 200 0 \"-\" \"-\"".to_owned(),
        format!("\"GET /sub/?zip HTTP/1.1\" 200 {zip} \"-\" \"-\""),
        "\"GET /a.txt HTTP/1.1\" 206 3 \"-\" \"-\"".to_owned(),
        "\"\\x16bad\" 400 16 \"-\" \"-\"".to_owned(),
    ];
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
        assert!(line.ends_with(&expected), "{line} is not {expected}");
    }
}

#[test]
fn a_log_is_opened_again_at_hangup_and_whole_at_the_end() {
    let (folder, logs) = (folder(), tempfile::tempdir().unwrap());
    let log = logs.path().join("access.log");
    let args = ["--access-log", log.to_str().unwrap(), "--log-format", "json"];
    let web = Web::start(Some(folder.path()), &args);
    for _ in 0..10 {
        assert_eq!(web.get("/a.txt").status, 200);
    }
    lines(&log, 10);
    let old = logs.path().join("access.log.1");
    fs::rename(&log, &old).unwrap();
    web.signal(libc::SIGHUP);
    let begin = Instant::now();
    while !log.exists() {
        assert!(begin.elapsed() < Duration::from_secs(20), "it is not opened again");
        std::thread::sleep(Duration::from_millis(10));
    }
    for _ in 0..500 {
        assert_eq!(web.get("/nothing").status, 404);
    }
    web.signal(libc::SIGTERM);
    assert_eq!(web.end().0, Some(0));
    assert_eq!((lines(&old, 10).len(), lines(&log, 500).len()), (10, 500));
    let line = &lines(&log, 500)[0];
    assert!(line.starts_with("{\"time\":\"2") && line.contains("\"status\":404,\"bytes\":14,"));
    assert!(line.contains("\"method\":\"GET\",\"target\":\"/nothing\",\"version\":\"HTTP/1.1\""));
}

#[test]
fn what_comes_over_tls_is_logged_too() {
    let Some(mut curl) = tool("curl") else { return };
    let (folder, logs) = (folder(), tempfile::tempdir().unwrap());
    let log = logs.path().join("access.log");
    let mut command = command(&["--listen", "127.0.0.1:0", "--tls", "dev", "--access-log"]);
    command.arg(&log).arg(folder.path()).args(["--log-format", "common", "--list"]);
    let web = Web::spawn_at(command, "https://");
    let url = format!("https://{}/a.txt", web.address);
    assert!(curl.args(["-sk", "--http2", &url, "-o", "/dev/null"]).status().unwrap().success());
    let line = &lines(&log, 1)[0];
    assert!(line.ends_with("] \"GET /a.txt HTTP/2.0\" 200 10"), "{line}");
    // The line of a zip, which is made while it is sent, has the final length.
    for (n, version) in ["--http2", "--http1.1"].into_iter().enumerate() {
        let url = format!("https://{}/sub/?zip", web.address);
        let zip = tool("curl").unwrap().args(["-sk", version, &url]).output().unwrap().stdout;
        let line = &lines(&log, 2 + n)[1 + n];
        assert!(line.ends_with(&format!("\" 200 {}", zip.len())), "{line}");
    }
}

#[test]
fn a_log_that_cannot_be_written_is_told_at_the_start() {
    let output = command(&["--access-log", "/does/not/exist"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("cannot write /does/not/exist: "), "{said}");
}
