//! What `dapple web` makes of a folder in addition to its files (N8): listings, zips, a page for
//! missing files, fields by path, hidden files.
mod common;

use std::fs;
use std::io::{BufRead, Cursor, Read};
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use common::Web;

/// Creates a folder inside an outer folder that must not be reachable.
fn folder() -> tempfile::TempDir {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("root");
    fs::create_dir_all(root.join("sub/deep")).unwrap();
    fs::create_dir_all(root.join("paged")).unwrap();
    fs::create_dir_all(root.join(".well-known")).unwrap();
    for (name, contents) in [
        ("a.txt", "0123456789"),
        ("b<&>.txt", "b"),
        ("paged/index.html", "<h1>paged</h1>"),
        ("sub/c.js", "let c;"),
        ("sub/deep/d.txt", "dd"),
        (".env", "SECRET"),
        (".well-known/security.txt", "Contact: us"),
    ] {
        fs::write(root.join(name), contents).unwrap();
    }
    fs::write(outer.path().join("secret"), "SECRET").unwrap();
    symlink("../secret", root.join("out")).unwrap();
    symlink("a.txt", root.join("alias")).unwrap();
    outer
}

fn start(outer: &tempfile::TempDir, args: &[&str]) -> Web {
    Web::start(Some(&outer.path().join("root")), args)
}

#[test]
fn n8_a_folder_is_listed_only_if_that_is_asked_for() {
    let folder = folder();
    let web = start(&folder, &[]);
    assert_eq!((web.get("/").status, web.get("/sub/").status), (404, 404));
    let web = start(&folder, &["--list"]);
    let page = web.get("/");
    assert_eq!((page.status, page.field("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.field("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"));
    let text = page.text();
    for link in ["./sub/", "./paged/", "./a.txt", "./b%3C&amp;%3E.txt", "./alias", "./.well-known/"]
    {
        assert!(text.contains(&format!("href=\"{link}\"")), "{link}: {text}");
    }
    assert!(!text.contains("SECRET") && !text.contains(".env") && !text.contains("\"./out\""));
    assert!(text.contains("b&lt;&amp;&gt;.txt") && !text.contains("b<&>"));
    assert_eq!(web.get("/paged/").text(), "<h1>paged</h1>");
    assert_eq!(web.get("/sub").field("location"), Some("/sub/"));
    assert_eq!(web.get("/nothing/").status, 404);
    assert_eq!(web.get("/a.txt/").status, 404);
    let json = web.get("/sub/?json&sort=size&order=desc");
    assert_eq!(json.field("content-type"), Some("application/json"));
    let lines: Vec<&str> = json.text().lines().collect();
    assert_eq!(lines[0], "{\"path\":\"/sub/\",\"members\":[");
    assert!(
        lines[1].starts_with("{\"name\":\"deep\",\"type\":\"folder\",\"size\":0,\"modified\":\"2")
    );
    assert!(lines[2].starts_with("{\"name\":\"c.js\",\"type\":\"file\",\"size\":6,"));
    assert!(lines[2].ends_with("\"href\":\"./c.js\"}") && lines[3] == "],\"complete\":true}");
    let mut client = web.connect();
    assert_eq!(client.get("/sub/", "Accept: application/json\r\n").text(), {
        let again = client.get("/sub/?json", "");
        again.text().to_owned()
    });
    client.send(b"HEAD /sub/ HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = client.response(false);
    assert!(head.status == 200 && head.field("content-length").unwrap() != "0");
    assert_eq!(client.get("/a.txt", "").text(), "0123456789", "and nothing in between");
}

#[test]
fn n8_long_work_is_answered_in_order_beside_other_requests() {
    let folder = folder();
    let web = start(&folder, &["--list"]);
    let mut client = web.connect();
    let mut requests = String::new();
    for _ in 0..15 {
        for target in ["/sub/?json", "/a.txt", "/nothing", "/?zip", "/sub/deep/?json", "/a.txt"] {
            requests += &format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        }
    }
    client.send(requests.as_bytes());
    for _ in 0..15 {
        assert!(client.response(true).text().starts_with("{\"path\":\"/sub/\""));
        assert_eq!(client.response(true).text(), "0123456789");
        assert_eq!(client.response(true).status, 404);
        assert!(client.response(true).body.starts_with(b"PK"));
        assert!(client.response(true).text().starts_with("{\"path\":\"/sub/deep/\""));
        assert_eq!(client.response(true).text(), "0123456789");
    }
    // A malformed request is also answered in its turn, and ends the connection.
    client.send(b"GET /sub/ HTTP/1.1\r\nHost: x\r\n\r\nNONSENSE\r\n\r\n");
    assert_eq!((client.response(true).status, client.response(true).status), (200, 400));
    assert!(client.is_closed());
    let mut client = web.connect();
    client.send(b"GET /?zip HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(client.response(true).body.starts_with(b"PK") && client.is_closed());
}

#[test]
fn n8_a_folder_as_a_zip_has_all_that_is_served_of_it() {
    let folder = folder();
    let large: Vec<u8> = (0..3_000_000u32).map(|i| (i / 7) as u8).collect();
    fs::write(folder.path().join("root/sub/large"), &large).unwrap();
    let web = start(&folder, &["--list"]);
    let zip = web.get("/?zip");
    assert_eq!(zip.field("content-type"), Some("application/zip"));
    assert!(zip.field("content-disposition").unwrap().contains("filename=\"files.zip\""));
    let mut archive = zip::ZipArchive::new(Cursor::new(zip.body)).unwrap();
    let mut names: Vec<String> =
        archive.file_names().map(|name| name.unwrap().into_owned()).collect();
    names.retain(|name| !name.ends_with('/'));
    names.sort();
    let expected = [
        ".well-known/security.txt",
        "a.txt",
        "alias",
        "b<&>.txt",
        "paged/index.html",
        "sub/c.js",
        "sub/deep/d.txt",
        "sub/large",
    ];
    assert_eq!(names, expected);
    let mut contents = Vec::new();
    archive.by_name("sub/large").unwrap().read_to_end(&mut contents).unwrap();
    assert!(contents == large);
    // An HTTP/1.0 client sees the end of the body when the connection ends.
    let old = web.raw(b"GET /sub/deep/?zip HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(!old.to_lowercase().contains("chunked") && old.contains("Connection: close"));
    assert!(old.contains("d.txt") && old.ends_with("\0\0"));
    let mut client = web.connect();
    client.send(b"HEAD /sub/?zip HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.response(false).field("content-type"), Some("application/zip"));
    assert_eq!(client.get("/a.txt", "").text(), "0123456789", "and nothing in between");
}

#[test]
fn n8_a_client_that_reads_nothing_costs_little_memory() {
    let folder = folder();
    let large: Vec<u8> = (0..30_000_000u32).map(|i| (i / 7) as u8).collect();
    fs::write(folder.path().join("root/sub/large"), &large).unwrap();
    let web = start(&folder, &["--list", "--workers", "2"]);
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", web.child.id())).unwrap().count();
    assert_eq!(web.get("/a.txt").status, 200);
    let before = descriptors();
    // Each client asks for more than it takes. With 16 such clients, there is no room for another
    // request.
    let requests = b"GET /?zip HTTP/1.1\r\nHost: x\r\n\r\n".repeat(30);
    let mut clients: Vec<_> = (0..16).map(|_| web.connect()).collect();
    clients.iter_mut().for_each(|client| client.send(&requests));
    let refused = || web.get("/sub/?json");
    let begin = Instant::now();
    while refused().status != 503 {
        assert!(begin.elapsed() < Duration::from_secs(20), "the limit is never reached");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(refused().field("retry-after"), Some("1"));
    assert_eq!(web.get("/a.txt").text(), "0123456789");
    assert!(descriptors() < before + 16 * 12, "a connection holds some files, not all");
    drop(clients);
    let begin = Instant::now();
    while refused().status != 200 || descriptors() > before {
        assert!(begin.elapsed() < Duration::from_secs(20), "what they held stays");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn n8_a_body_that_is_sent_at_the_end_of_the_program_is_sent_whole_and_is_the_last_one() {
    let folder = folder();
    let large: Vec<u8> = (0..30_000_000u32).map(|i| (i / 7) as u8).collect();
    fs::write(folder.path().join("root/sub/large"), &large).unwrap();
    let web = start(&folder, &["--list"]);
    let mut client = web.connect();
    client.send(b"GET /sub/?zip HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(!client.stream.fill_buf().unwrap().is_empty(), "it has begun");
    web.signal(libc::SIGTERM);
    std::thread::sleep(Duration::from_millis(100));
    let zip = client.response(true);
    assert!(zip.body.len() > large.len());
    zip::ZipArchive::new(Cursor::new(zip.body)).unwrap();
    assert!(client.is_closed());
    let (status, rest) = web.end();
    assert!(status == Some(0) && rest.contains("all connections were closed in order"), "{rest}");
}

#[test]
fn n8_several_bodies_without_chunks_end_with_the_first() {
    let folder = folder();
    let web = start(&folder, &["--list"]);
    let one = "GET /sub/deep/?zip HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let all = web.raw(one.repeat(5).as_bytes());
    assert_eq!(all.matches("200 OK").count(), 1);
    assert!(all.ends_with("\0\0"));
}

#[test]
fn n8_a_site_has_a_page_for_what_is_not_there() {
    let folder = folder();
    let root = folder.path().join("root");
    fs::write(root.join("404.html"), "<h1>gone</h1>").unwrap();
    let web = start(&folder, &[]);
    let mut client = web.connect();
    for target in ["/nothing", "/sub/", "/a.txt/b", "/.env", "/out", "/../x"] {
        for _ in 0..2 {
            let gone = client.get(target, "If-None-Match: *\r\nRange: bytes=0-1\r\n");
            assert_eq!((gone.status, gone.text()), (404, "<h1>gone</h1>"), "{target}");
            let version = ["etag", "last-modified", "accept-ranges"].map(|f| gone.field(f));
            assert_eq!(version, [None; 3]);
            assert_eq!(gone.field("cache-control"), Some("no-cache"));
            assert_eq!(gone.field("content-type"), Some("text/html; charset=utf-8"));
        }
    }
    fs::write(root.join("index.html"), "<h1>app</h1>").unwrap();
    let web = start(&folder, &["--spa", "--prefix", "/app"]);
    for outside in ["/robots", "/", "/app/../x"] {
        assert_eq!(web.get(outside).status, 404, "{outside}");
    }
    assert_eq!(web.get("/app/route").text(), "<h1>app</h1>");
    let web = start(&folder, &["--spa"]);
    for (target, status, text) in [
        ("/route/of/app", 200, "<h1>app</h1>"),
        ("/route/", 200, "<h1>app</h1>"),
        ("/missing.js", 404, "<h1>gone</h1>"),
        ("/a.txt", 200, "0123456789"),
    ] {
        let response = web.get(target);
        assert_eq!((response.status, response.text()), (status, text), "{target}");
    }
}

#[test]
fn n8_what_begins_with_a_dot_or_leads_out_is_served_only_if_asked_for() {
    let folder = folder();
    let web = start(&folder, &[]);
    assert_eq!((web.get("/.env").status, web.get("/out").status), (404, 404));
    assert_eq!(web.get("/.well-known/security.txt").text(), "Contact: us");
    let web = start(&folder, &["--hidden", "--follow-links"]);
    assert_eq!((web.get("/.env").text(), web.get("/out").text()), ("SECRET", "SECRET"));
    assert_eq!(web.get("/../secret").status, 404);
}

#[test]
fn n8_a_single_file_is_a_site() {
    let folder = folder();
    fs::write(folder.path().join("root/a.txt.gz"), "another file").unwrap();
    let web = Web::start(Some(&folder.path().join("root/a.txt")), &["--list"]);
    let itself = web.connect().get("/", "Accept-Encoding: gzip\r\n");
    assert_eq!(itself.text(), "0123456789");
    assert_eq!((web.get("/").text(), web.get("/a.txt").text()), ("0123456789", "0123456789"));
    for other in ["/sub/", "/sub/c.js", "/alias", "/index.html", "/paged/"] {
        assert_eq!(web.get(other).status, 404, "{other}");
    }
}

#[test]
fn n8_behind_a_prefix_every_link_holds() {
    let folder = folder();
    let web = start(&folder, &["--prefix", "/docs/v1/", "--list"]);
    assert_eq!(web.get("/docs/v1/a.txt").text(), "0123456789");
    assert_eq!(web.get("/docs/v1").field("location"), Some("/docs/v1/"));
    assert_eq!(web.get("/docs/v1/sub?x").field("location"), Some("/docs/v1/sub/?x"));
    for outside in ["/", "/a.txt", "/docs/v1a.txt", "/docs/v12/a.txt", "/docs/"] {
        assert_eq!(web.get(outside).status, 404, "{outside}");
    }
    assert!(web.get("/docs/v1/sub/").text().contains("<a href=\"../\">Files</a>"));
}

#[test]
fn n8_fields_follow_from_the_path() {
    let folder = folder();
    let headers = folder.path().join("headers");
    fs::write(&headers, "/*\n  X-Frame-Options: DENY\n/sub/*\n  Content-Type: text/x\n").unwrap();
    let web = start(&folder, &[]);
    let mut client = web.connect();
    let plain = client.get("/a.txt", "");
    assert_eq!(plain.field("cache-control"), Some("no-cache"));
    assert_eq!(plain.field("x-content-type-options"), Some("nosniff"));
    assert_eq!(plain.field("access-control-allow-origin"), None);
    assert_eq!(client.get("/nothing", "").field("x-content-type-options"), Some("nosniff"));
    let headers = headers.to_str().unwrap();
    let args = ["--headers", headers, "--cache-control", "*.js=max-age=60", "--cors"];
    let web = start(&folder, &args);
    let mut client = web.connect();
    let script = client.get("/sub/c.js", "");
    for (name, value) in [
        ("cache-control", "max-age=60"),
        ("content-type", "text/x"),
        ("x-frame-options", "DENY"),
        ("access-control-allow-origin", "*"),
    ] {
        assert_eq!(script.field(name), Some(value));
    }
    let tag = script.field("etag").unwrap();
    let again = client.get("/sub/c.js", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((again.status, again.field("cache-control")), (304, Some("max-age=60")));
    assert_eq!(client.get("/a.txt", "").field("cache-control"), Some("no-cache"));
    client.send(
        b"OPTIONS /a.txt HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\n\
          Access-Control-Request-Method: GET\r\n\r\n",
    );
    let preflight = client.response(true);
    assert_eq!((preflight.status, preflight.field("content-length")), (204, None));
    assert_eq!(preflight.field("allow"), Some("GET, HEAD, OPTIONS"));
    assert_eq!(preflight.field("access-control-allow-origin"), Some("*"));
    assert!(preflight.field("access-control-allow-headers").unwrap().contains("Range"));
    assert_eq!(client.get("/a.txt", "").text(), "0123456789");
}
