//! `dapple web` and odd requests, dates and content types (RFC 9110, RFC 9112).
mod common;

use std::fs;
use std::time::{Duration, SystemTime};

use common::Web;

/// Creates a folder with one file of each kind that these tests need.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, contents) in [
        ("a.txt", &b"0123456789"[..]),
        ("latin.txt", b"gr\xfc\xdfe"),
        ("utf.txt", "grüße".as_bytes()),
        ("says.html", b"<meta charset=iso-8859-1><p>gr\xfc\xdfe"),
        ("plain.html", "<p>grüße".as_bytes()),
        ("sheet.css", b"@charset \"iso-8859-1\"; a {}"),
        ("data.json", b"{}"),
        ("feed.xml", b"<?xml version='1.0' encoding='iso-8859-1'?><a/>"),
        ("module.ts", b"export const a: number = 1;"),
        ("empty.txt", b""),
    ] {
        fs::write(folder.path().join(name), contents).unwrap();
    }
    folder
}

/// Sends the request exactly as given, and returns the status.
fn status(web: &Web, request: &str) -> u16 {
    let mut client = web.connect();
    client.send(request.as_bytes());
    client.response(!request.starts_with("HEAD")).status
}

#[test]
fn hosts_that_are_none_are_refused() {
    let folder = folder();
    let web = Web::start(Some(folder.path()), &[]);
    for host in ["a b", "a/b", "u@a", "a,b", "a:b", "", "a\tb", ":80", "[::1", "a?b", "a:70000"] {
        for version in ["1.0", "1.1"] {
            let request = format!("GET /a.txt HTTP/{version}\r\nHost: {host}\r\n\r\n");
            assert_eq!(status(&web, &request), 400, "{request}");
        }
        // In an absolute URL, these bytes end the host.
        if host.contains(['/', '?']) {
            continue;
        }
        let absolute = format!("GET http://{host}/a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(status(&web, &absolute), 400, "{absolute}");
    }
    for host in ["a", "a:80", "127.0.0.1:8080", "[::1]:80", "a_b.example", "xn--a.example"] {
        let request = format!("GET /a.txt HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(status(&web, &request), 200, "{request}");
    }
    assert_eq!(status(&web, "GET /a.txt HTTP/1.0\r\n\r\n"), 200);
}

#[test]
fn encodings_of_a_body_are_known_or_refused_and_the_connection_ends() {
    let folder = folder();
    let web = Web::start(Some(folder.path()), &[]);
    for (fields, expected) in [
        ("Transfer-Encoding: xchunked", 501),
        ("Transfer-Encoding: identity", 501),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: chunked, gzip", 501),
        ("Transfer-Encoding: chunked, chunked", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding:", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 3", 400),
        ("Content-Length: 3\r\nTransfer-Encoding: chunked", 400),
        ("Content-Length: 3\r\nContent-Length: 4", 400),
        ("Content-Length: 3, 3", 400),
        ("Content-Length: +3", 400),
        ("Content-Length: 0x3", 400),
        ("Content-Length: 99999999999999999999", 400),
        ("Transfer-Encoding: chunked", 200),
        ("Content-Length: 3", 200),
    ] {
        let mut client = web.connect();
        client.send(
            format!("GET /a.txt HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\nGET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
        );
        let response = client.response(true);
        assert_eq!(response.status, expected, "{fields}");
        assert_eq!(response.field("connection"), Some("close"), "{fields}");
        assert!(client.is_closed(), "what follows is no request: {fields}");
    }
    let old = "GET /a.txt HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(status(&web, old), 400);
}

#[test]
fn a_refusal_of_head_has_no_body_and_all_that_others_have() {
    let folder = folder();
    let web = Web::start(Some(folder.path()), &[]);
    let long = format!("HEAD /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(10_000));
    let fields = format!("HEAD / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "x".repeat(20_000));
    for (request, expected) in [
        ("HEAD /a.txt HTTP/1.1\r\n\r\n", 400),
        ("HEAD /a.txt HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("HEAD /a.txt HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        ("HEAD /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("HEAD /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("HEAD /a.txt HTTP/1.1\r\nHost: a\r\nIf-Match: \"x\"\r\n\r\n", 412),
        ("HEAD /a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n", 501),
        (&long, 414),
        (&fields, 431),
    ] {
        let mut client = web.connect();
        client.send(request.as_bytes());
        client.send(b"GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let response = client.response(false);
        assert_eq!(response.status, expected, "{request}");
        assert!(response.field("date").is_some(), "{request}");
        assert!(response.field("content-length").is_some(), "{request}");
        // After the head, either the connection ends or the next response follows, but never a
        // body.
        if response.field("connection") == Some("close") {
            assert!(client.is_closed(), "{request}");
        } else {
            assert_eq!(client.response(true).text(), "0123456789", "{request}");
        }
    }
}

#[test]
fn request_lines_versions_and_methods() {
    let folder = folder();
    let web = Web::start(Some(folder.path()), &[]);
    for (line, expected) in [
        ("GET /a.txt HTTP/1.1", 200),
        ("GET /a.txt HTTP/1.2", 200),
        ("GET /a.txt HTTP/1.9", 200),
        ("GET /a.txt HTTP/2.0", 505),
        ("GET /a.txt HTTP/0.9", 505),
        ("GET /a.txt HTTP/1.10", 400),
        ("GET /a.txt HTTP/1", 400),
        ("GET /a.txt HTTP/x.y", 400),
        ("GET /a.txt http/1.1", 400),
        ("GET /a.txt FOO", 400),
        ("GET /a.txt", 400),
        ("GET", 400),
        ("GET  /a.txt HTTP/1.1", 400),
        ("GET /a b HTTP/1.1", 400),
        ("POST /a.txt HTTP/1.1", 405),
        ("DELETE /a.txt HTTP/1.1", 405),
        ("TRACE /a.txt HTTP/1.1", 405),
        ("FOO /a.txt HTTP/1.1", 501),
        ("get /a.txt HTTP/1.1", 501),
        ("G<T /a.txt HTTP/1.1", 400),
    ] {
        assert_eq!(status(&web, &format!("{line}\r\nHost: x\r\n\r\n")), expected, "{line}");
    }
    let mut client = web.connect();
    client.send(b"PUT /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.response(true).field("allow"), Some("GET, HEAD, OPTIONS"));
    client.send(b"GET /a.txt HTTP/1.2\r\nHost: x\r\n\r\nGET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.response(true).text(), "0123456789");
    assert_eq!(client.response(true).text(), "0123456789", "the connection stays");
}

#[test]
fn a_file_of_the_future_was_modified_when_it_is_sent() {
    let folder = folder();
    let path = folder.path().join("a.txt");
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(3_600)).unwrap();
    let web = Web::start(Some(folder.path()), &[]);
    let mut client = web.connect();
    for _ in 0..2 {
        let response = client.get("/a.txt", "");
        let modified = response.field("last-modified").unwrap().to_owned();
        assert_eq!(Some(&*modified), response.field("date"));
        // The date therefore does not prove that the file has not changed since.
        let field = format!("If-Modified-Since: {modified}\r\n");
        assert_eq!(client.get("/a.txt", &field).status, 200);
        let part = client.get("/a.txt", "Range: bytes=0-1\r\n");
        assert_eq!((part.status, part.text()), (206, "01"));
        assert_eq!(part.field("last-modified"), part.field("date"));
        assert_eq!(part.field("content-length"), Some("2"));
        let tag = format!("If-None-Match: {}\r\n", response.field("etag").unwrap());
        assert_eq!(client.get("/a.txt", &tag).status, 304);
    }
    // A file that is older than the Unix epoch.
    file.set_modified(SystemTime::UNIX_EPOCH - Duration::from_secs(86_400)).unwrap();
    std::thread::sleep(Duration::from_millis(80));
    let response = client.get("/a.txt", "");
    assert_eq!(response.field("last-modified"), Some("Wed, 31 Dec 1969 00:00:00 GMT"));
    let field = "If-Modified-Since: Wed, 31 Dec 1969 00:00:00 GMT\r\n";
    assert_eq!(client.get("/a.txt", field).status, 304);
    let field = "If-Modified-Since: Tue, 30 Dec 1969 00:00:00 GMT\r\n";
    assert_eq!(client.get("/a.txt", field).status, 200);
}

#[test]
fn ranges_of_nothing_and_units_in_any_case() {
    let folder = folder();
    let web = Web::start(Some(folder.path()), &[]);
    let mut client = web.connect();
    for range in ["bytes=0-", "bytes=-5", "bytes=0-9"] {
        let response = client.get("/empty.txt", &format!("Range: {range}\r\n"));
        assert_eq!((response.status, response.text()), (200, ""), "{range}");
    }
    assert_eq!(client.get("/empty.txt", "Range: bytes=1-\r\n").status, 416);
    let response = client.get("/a.txt", "Range: BYTES=2-3\r\n");
    assert_eq!((response.status, response.text()), (206, "23"));
    assert_eq!(client.get("/a.txt", "Range: lines=2-3\r\n").status, 200);
}

#[test]
fn types_say_what_is_known() {
    let folder = folder();
    let web = Web::start(Some(folder.path()), &[]);
    let large = "ä".repeat(100_000);
    fs::write(folder.path().join("large.txt"), &large).unwrap();
    let mut client = web.connect();
    for (name, expected) in [
        ("latin.txt", "text/plain"),
        ("utf.txt", "text/plain; charset=utf-8"),
        ("says.html", "text/html"),
        ("plain.html", "text/html; charset=utf-8"),
        ("sheet.css", "text/css"),
        ("data.json", "application/json; charset=utf-8"),
        ("feed.xml", "text/xml"),
        ("module.ts", "text/plain; charset=utf-8"),
        ("large.txt", "text/plain; charset=utf-8"),
    ] {
        let response = client.get(&format!("/{name}"), "");
        assert_eq!(response.field("content-type"), Some(expected), "{name}");
    }
}

#[test]
fn figures_are_shown_to_whom_they_are_for() {
    let folder = folder();
    fs::create_dir(folder.path().join("_dapple")).unwrap();
    fs::write(folder.path().join("metrics"), "the user's").unwrap();
    fs::write(folder.path().join("_dapple/metrics"), "the user's, too").unwrap();
    let path = "/_dapple/metrics";
    // Without the option, both paths are ordinary files.
    let web = Web::start(Some(folder.path()), &[]);
    assert_eq!(web.get("/metrics").text(), "the user's");
    assert_eq!(web.get(path).text(), "the user's, too");
    for args in [&["--metrics"][..], &["--metrics-public"]] {
        let web = Web::start(Some(folder.path()), args);
        assert_eq!(web.get("/metrics").text(), "the user's");
        let mut client = web.connect();
        assert!(client.get(path, "").text().contains("web_connections_open"));
        // The page of another site has its own name resolve to this machine.
        let expected = if args == ["--metrics"] { 403 } else { 200 };
        client.send(format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n").as_bytes());
        assert_eq!(client.response(true).status, expected, "{args:?}, another site's name");
        // A proxy on this machine asks on behalf of another host.
        for field in ["Via: 1.1 x", "Forwarded: for=1.2.3.4", "X-Forwarded-For: 1.2.3.4"] {
            let response = client.get(path, &format!("{field}\r\n"));
            assert_eq!(response.status, expected, "{args:?}, {field}");
        }
    }
    let demo = Web::start(None, &[]);
    assert_eq!(demo.get(path).status, 200);
    let icon = demo.get("/favicon.ico");
    assert_eq!((icon.status, &icon.body[..4]), (200, &[0, 0, 1, 0][..]));
}

#[test]
fn what_is_no_file_is_not_found_and_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status();
    assert!(made.unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    std::os::unix::fs::symlink("pipe", folder.path().join("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("dangling")).unwrap();
    std::os::unix::fs::symlink("loop", folder.path().join("loop")).unwrap();
    let web = Web::start(Some(folder.path()), &[]);
    for name in ["pipe", "socket", "link", "dangling", "loop", "pipe/x", "dangling/"] {
        assert_eq!(web.get(&format!("/{name}")).status, 404, "{name}");
    }
}
