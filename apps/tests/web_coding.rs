//! Compressed responses of `dapple web` (N8): files that were compressed in advance, and text that
//! the server compresses itself.
mod common;

use std::fs;
use std::io::Read;
use std::time::{Duration, SystemTime};

use common::{Response, Web};

/// Returns text that compresses well.
fn text(seed: &str) -> String {
    (0..3_000).map(|n| format!("{seed} {} line\n", n % 17)).collect()
}

fn unzipped(bytes: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

fn unbrotlied(bytes: &[u8]) -> String {
    let mut text = String::new();
    brotli::Decompressor::new(bytes, 4096).read_to_string(&mut text).unwrap();
    text
}

/// Waits until files that were just written have been unchanged for 50 ms, so that the server
/// caches them.
fn settle() {
    std::thread::sleep(Duration::from_millis(80));
}

fn coding(response: &Response) -> Option<&str> {
    response.field("content-encoding")
}

#[test]
fn n8_text_is_compressed_for_those_who_take_it_so() {
    let folder = tempfile::tempdir().unwrap();
    let large: String = (0..40).map(|n| text(&n.to_string())).collect();
    fs::write(folder.path().join("a.txt"), text("a")).unwrap();
    fs::write(folder.path().join("large.js"), &large).unwrap();
    let large_len = large.len();
    fs::write(folder.path().join("short.txt"), "short").unwrap();
    fs::write(folder.path().join("a.png"), text("a")).unwrap();
    let mut state = 1u32;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 11) as u8
    };
    let random: Vec<u8> = (0..9_000).map(|_| draw()).collect();
    fs::write(folder.path().join("random.txt"), &random).unwrap();
    settle();
    let web = Web::start(Some(folder.path()), &[]);
    let mut client = web.connect();
    for _ in 0..3 {
        let plain = client.get("/a.txt", "");
        assert_eq!((coding(&plain), plain.text()), (None, &*text("a")));
        assert_eq!(plain.field("vary"), Some("Accept-Encoding"));
        let zipped = client.get("/a.txt", "Accept-Encoding: gzip\r\n");
        assert_eq!((coding(&zipped), unzipped(&zipped.body)), (Some("gzip"), text("a")));
        assert!(zipped.body.len() < 3_000);
        let brotli = client.get("/large.js", "Accept-Encoding: gzip, deflate, br, zstd\r\n");
        assert_eq!((coding(&brotli), unbrotlied(&brotli.body)), (Some("br"), large.clone()));
        for (field, value) in [("vary", "Accept-Encoding"), ("cache-control", "no-cache")] {
            assert_eq!(brotli.field(field), Some(value));
        }
        assert!(brotli.field("content-type").unwrap().contains("javascript"));
        assert_eq!(plain.field("last-modified"), zipped.field("last-modified"));
        let tags = [&plain, &zipped].map(|response| response.field("etag").unwrap().to_owned());
        assert_ne!(tags[0], tags[1]);
        let same = format!("Accept-Encoding: gzip\r\nIf-None-Match: {}\r\n", tags[1]);
        let unchanged = client.get("/a.txt", &same);
        assert_eq!((unchanged.status, unchanged.field("etag")), (304, Some(&*tags[1])));
        assert_eq!(unchanged.field("vary"), Some("Accept-Encoding"));
        let other = format!("Accept-Encoding: gzip\r\nIf-None-Match: {}\r\n", tags[0]);
        assert_eq!(client.get("/a.txt", &other).status, 200);
        let part = client.get("/a.txt", "Accept-Encoding: gzip\r\nRange: bytes=2-9\r\n");
        assert_eq!((part.status, &part.body[..]), (206, &zipped.body[2..=9]));
        client.send(b"HEAD /a.txt HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n");
        let head = client.response(false);
        assert_eq!(head.field("content-length"), Some(&*zipped.body.len().to_string()));
        // Contents that are short, not text, or not made shorter by compression are sent as they
        // are.
        for target in ["/short.txt", "/a.png", "/random.txt"] {
            let response = client.get(target, "Accept-Encoding: gzip, br\r\n");
            assert_eq!((response.status, coding(&response)), (200, None), "{target}");
        }
        for none in ["identity", "gzip;q=0, br;q=0", "deflate"] {
            let response = client.get("/a.txt", &format!("Accept-Encoding: {none}\r\n"));
            assert_eq!(coding(&response), None, "{none}");
        }
    }
    let web = Web::start(Some(folder.path()), &["--no-compress"]);
    assert_eq!(coding(&web.connect().get("/a.txt", "Accept-Encoding: gzip\r\n")), None);
    // The server does not compress a file that its cache cannot keep: large.js takes more than a
    // quarter of 1 MB.
    for cache in ["0", "1"] {
        let web = Web::start(Some(folder.path()), &["--cache", cache]);
        let large = web.connect().get("/large.js", "Accept-Encoding: gzip\r\n");
        assert_eq!((coding(&large), large.text().len()), (None, large_len));
    }
    // The time alone does not say to which of the two versions a range belongs.
    let web = Web::start(Some(folder.path()), &[]);
    let mut client = web.connect();
    let whole = client.get("/a.txt", "Accept-Encoding: gzip\r\n");
    let time = whole.field("last-modified").unwrap();
    let part = format!("Accept-Encoding: gzip\r\nRange: bytes=2-9\r\nIf-Range: {time}\r\n");
    assert_eq!(client.get("/a.txt", &part).status, 200);
    let tag = whole.field("etag").unwrap();
    let part = format!("Accept-Encoding: gzip\r\nRange: bytes=2-9\r\nIf-Range: {tag}\r\n");
    assert_eq!(client.get("/a.txt", &part).status, 206);
}

#[test]
fn n8_what_is_compressed_shows_every_change_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.html");
    let web = Web::start(Some(folder.path()), &[]);
    let mut client = web.connect();
    for round in 0..12 {
        fs::write(&path, text(&round.to_string())).unwrap();
        if round % 2 == 0 {
            settle();
        }
        for _ in 0..4 {
            let response = client.get("/a.html", "Accept-Encoding: br\r\n");
            // A file that may still change without a new version is not compressed.
            let shown = match coding(&response) {
                Some("br") => unbrotlied(&response.body),
                coding => {
                    assert!(coding.is_none() && round % 2 != 0);
                    response.text().to_owned()
                }
            };
            assert_eq!(shown, text(&round.to_string()));
        }
    }
}

#[test]
fn n8_compression_keeps_responses_in_order_for_many_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..8 {
        fs::write(folder.path().join(format!("{n}.css")), text(&n.to_string())).unwrap();
    }
    settle();
    let web = Web::start(Some(folder.path()), &["--workers", "2"]);
    let mut clients: Vec<_> = (0..16).map(|_| web.connect()).collect();
    let mut requests = String::new();
    for n in (0..8).chain(0..8) {
        requests += &format!("GET /{n}.css HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n");
        requests += &format!("GET /{n}.css HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    for client in &mut clients {
        client.send(requests.as_bytes());
    }
    for client in &mut clients {
        for n in (0..8).chain(0..8) {
            let (zipped, plain) = (client.response(true), client.response(true));
            assert_eq!((coding(&zipped), coding(&plain)), (Some("gzip"), None));
            assert_eq!(unzipped(&zipped.body), text(&n.to_string()));
            assert_eq!(plain.text(), text(&n.to_string()));
        }
    }
}

#[test]
fn n8_a_file_that_somebody_has_compressed_is_sent_if_it_is_not_older() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, contents: &str, age: u64| {
        let path = folder.path().join(name);
        fs::write(&path, contents).unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    };
    write("a.js", "let original;", 100);
    write("a.js.br", "as brotli", 100);
    write("a.js.gz", "as gzip", 50);
    write("a.js.zst", "as zstd, but old", 101);
    settle();
    let web = Web::start(Some(folder.path()), &["--no-compress"]);
    let mut client = web.connect();
    let mut get = |list: &str| {
        let response = client.get("/a.js", &format!("Accept-Encoding: {list}\r\n"));
        (coding(&response).map(str::to_owned), response.text().to_owned())
    };
    for _ in 0..3 {
        assert_eq!(get("gzip, br, zstd"), (Some("br".into()), "as brotli".into()));
        assert_eq!(get("gzip, zstd"), (Some("gzip".into()), "as gzip".into()));
        assert_eq!(get("zstd"), (None, "let original;".into()));
    }
    // A change or removal of a compressed file shows at once.
    write("a.js.br", "as brotli, again", 40);
    assert_eq!(get("br"), (Some("br".into()), "as brotli, again".into()));
    fs::remove_file(folder.path().join("a.js.br")).unwrap();
    assert_eq!(get("br, gzip"), (Some("gzip".into()), "as gzip".into()));
    // A newer original makes its compressed files out of date.
    write("a.js", "let changed;", 10);
    assert_eq!(get("br, gzip"), (None, "let changed;".into()));
    let mut own = web.connect();
    let itself = own.get("/a.js.gz", "Accept-Encoding: gzip\r\n");
    assert_eq!((coding(&itself), itself.text()), (None, "as gzip"));
}
