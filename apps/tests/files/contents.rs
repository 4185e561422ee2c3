//! GET, HEAD and PUT.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::server::{Place, pattern};

#[test]
fn n9_what_is_put_is_got_whole_and_in_part() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    // Around what is written at once, and read at once.
    for len in [0, 1, 4096, 128 * 1024 - 1, 128 * 1024 + 1, 512 * 1024, 512 * 1024 + 1, 3_000_000] {
        let bytes = pattern(len, len as u64);
        assert_eq!(client.put("/file", &bytes), if len == 0 { 201 } else { 204 });
        assert!(fs::read(place.path("file")).unwrap() == bytes, "{len}");
        let got = client.get("/file");
        assert_eq!((got.status, got.body == bytes), (200, true), "{len}");
        assert_eq!(
            client.request("HEAD", "/file", "", b"").field("content-length").unwrap(),
            len.to_string()
        );
    }
    let whole = pattern(3_000_000, 3_000_000);
    let mut part = |range: &str| {
        let got = client.request("GET", "/file", &format!("Range: bytes={range}\r\n"), b"");
        let told = got.field("content-range").map(str::to_owned);
        (got.status, told, got.body)
    };
    assert_eq!(part("5-9"), (206, Some("bytes 5-9/3000000".into()), whole[5..10].to_vec()));
    assert_eq!(part("2999990-").2, whole[2_999_990..]);
    assert_eq!(part("-10").2, whole[2_999_990..]);
    assert!(part("100000-2900000").2 == whole[100_000..2_900_001]);
    assert_eq!((part("3000000-").0, part("3000000-").1), (416, Some("bytes */3000000".into())));
}

#[test]
fn n9_bodies_of_unknown_length() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    for len in [0, 10, 2_000_000] {
        let bytes = pattern(len, 7);
        let mut request =
            client.head("PUT", "/chunked", "Transfer-Encoding: chunked\r\n").into_bytes();
        for chunk in bytes.chunks(99_991) {
            request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            request.extend_from_slice(chunk);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"0\r\n\r\n");
        client.send(&request).unwrap();
        assert!(client.response(true).unwrap().status < 300);
        assert!(fs::read(place.path("chunked")).unwrap() == bytes);
    }
}

#[test]
fn n9_conditions_on_versions() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    let mut put = |fields: &str, body: &[u8]| {
        let response = client.request("PUT", "/f", fields, body);
        (response.status, response.field("etag").unwrap_or_default().to_owned())
    };
    assert_eq!(put("If-Match: *\r\n", b"x").0, 412);
    let (status, one) = put("If-None-Match: *\r\n", b"one");
    assert_eq!(status, 201);
    assert_eq!(put("If-None-Match: *\r\n", b"two").0, 412);
    let (status, two) = put(&format!("If-Match: {one}\r\n"), b"two");
    assert_eq!(status, 204);
    assert_ne!(one, two);
    assert_eq!(put(&format!("If-Match: {one}\r\n"), b"three").0, 412);
    assert_eq!(put("If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n", b"x").0, 412);
    assert_eq!(fs::read(place.path("f")).unwrap(), b"two");
    let mut get = |fields: String| client.request("GET", "/f", &fields, b"");
    assert_eq!(get(format!("If-None-Match: {two}\r\n")).status, 304);
    assert_eq!(get(format!("If-None-Match: {one}\r\n")).status, 200);
    assert_eq!(get(format!("If-Match: {one}\r\n")).status, 412);
    let resumed = get(format!("If-Range: {two}\r\nRange: bytes=1-\r\n"));
    assert_eq!((resumed.status, &resumed.body[..]), (206, &b"wo"[..]));
    assert_eq!(get(format!("If-Range: {one}\r\nRange: bytes=1-\r\n")).status, 200);
    let mut delete = |fields: String| client.request("DELETE", "/f", &fields, b"").status;
    assert_eq!(delete(format!("If-Match: {one}\r\n")), 412);
    assert_eq!(delete(format!("If-Match: {two}\r\n")), 204);
}

#[test]
fn n9_a_broken_upload_leaves_the_old_file() {
    let place = Place::new();
    let server = place.serve();
    server.client().put("/f", b"the old one");
    for sent in [0, 10, 600_000, 1_999_999] {
        let mut client = server.client();
        let mut request = client.head("PUT", "/f", "Content-Length: 2000000\r\n").into_bytes();
        request.extend(pattern(sent, 1));
        client.send(&request).unwrap();
        // Until the server has had time to write something.
        thread::sleep(Duration::from_millis(50));
        drop(client);
    }
    let uploads = place.folder.join(".dapple/uploads");
    let start = Instant::now();
    while fs::read_dir(&uploads).unwrap().count() > 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "uploads stay behind");
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(server.client().get("/f").body, b"the old one");
}

#[test]
fn n9_what_cannot_be_put() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    fs::create_dir(place.path("folder")).unwrap();
    let mut status =
        |target: &str, fields: &str| client.request("PUT", target, fields, b"x").status;
    assert_eq!(status("/none/f", ""), 409);
    assert_eq!(status("/folder", ""), 405);
    assert_eq!(status("/folder/", ""), 405);
    assert_eq!(status("/", ""), 405);
    assert_eq!(status("/f", "Content-Range: bytes 0-0/5\r\n"), 400);
    assert_eq!(status("/%00", ""), 400);
    assert_eq!(status("/../f", ""), 404);
    assert_eq!(status(&format!("/{}", "n".repeat(256)), ""), 414);
    assert_eq!(status("/f/under", ""), 409);
}

#[test]
fn n9_permissions_stay_and_times_can_be_told() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    client.put("/f", b"one");
    fs::set_permissions(place.path("f"), fs::Permissions::from_mode(0o640)).unwrap();
    let response = client.request("PUT", "/f", "X-OC-Mtime: 1000000000\r\n", b"two");
    assert_eq!(response.field("x-oc-mtime"), Some("accepted"));
    let metadata = fs::metadata(place.path("f")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
    let modified = metadata.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(modified.as_secs(), 1_000_000_000);
    let told = client.get("/f");
    assert_eq!(told.field("last-modified"), Some("Sun, 09 Sep 2001 01:46:40 GMT"));
}

#[test]
fn n9_a_folder_is_a_page_for_browsers() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    fs::create_dir(place.path("sub")).unwrap();
    fs::write(place.path("<i>&\"'.txt"), "x").unwrap();
    fs::write(place.path("sub/in"), "x").unwrap();
    let page = client.get("/");
    let text = page.text();
    assert!(text.contains("href=\"/sub/\"") && !text.contains("<i>"), "{text}");
    assert!(text.contains("&lt;i&gt;&amp;"), "{text}");
    let policy = |page: &crate::server::Response| {
        page.field("content-security-policy").unwrap_or_default().to_owned()
    };
    assert!(policy(&page).contains("script-src 'sha256-"), "{}", policy(&page));
    assert!(!policy(&page).contains("sandbox"), "a sandbox forbids downloads");
    // What strangers have put there runs nothing.
    client.put("/sub/evil.html", b"<script>alert(1)</script>");
    assert_eq!(policy(&client.get("/sub/evil.html")), "sandbox allow-downloads");
    let moved = client.get("/sub");
    assert_eq!((moved.status, moved.field("location")), (301, Some("/sub/")));
    assert!(client.get("/sub/").text().contains("href=\"/\""));
    assert_eq!(client.get("/sub/in/").status, 404);
}

#[test]
fn n9_two_clients_who_write_one_file_never_mix() {
    let place = Place::new();
    let server = Arc::new(place.serve());
    let versions: Vec<Vec<u8>> = (0..4).map(|n| pattern(700_000 + n * 1000, n as u64)).collect();
    let versions = Arc::new(versions);
    server.client().put("/f", &versions[0]);
    let writers: Vec<_> = (0..4)
        .map(|n| {
            let (server, versions) = (Arc::clone(&server), Arc::clone(&versions));
            thread::spawn(move || {
                let mut client = server.client();
                for _ in 0..10 {
                    assert_eq!(client.put("/f", &versions[n]), 204);
                    let got = client.get("/f").body;
                    assert!(versions.contains(&got), "a mixture of {} bytes", got.len());
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}
