//! GET, HEAD and PUT.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::server::{Client, Place, pattern};

#[test]
fn n9_what_is_put_is_got_whole_and_in_part() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    // Lengths around the sizes of one write and one read.
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

/// Longer than the 50 ms for which a file must be unchanged before the server keeps its contents in
/// memory.
const UNTOUCHED: Duration = Duration::from_millis(80);

/// Files that were requested before are kept in memory. Each change of such a file shows at once,
/// no matter who makes it.
#[test]
fn n9_a_small_file_that_is_kept_shows_every_change() {
    a_small_file_that_is_kept_shows_every_change(&Place::new());
}

#[test]
fn n9_in_memory_a_small_file_that_is_kept_shows_every_change() {
    Place::in_memory().iter().for_each(a_small_file_that_is_kept_shows_every_change);
}

fn a_small_file_that_is_kept_shows_every_change(place: &Place) {
    let server = place.serve();
    let (mut client, file) = (server.client(), place.path("small"));
    fs::create_dir(place.path("folder")).unwrap();
    let keep = |client: &mut Client, contents: &str| {
        assert_eq!(client.get("/small").text(), contents, "at once");
        thread::sleep(UNTOUCHED);
        let etags: Vec<String> = (0..4)
            .map(|_| {
                let got = client.get("/small");
                assert_eq!((got.status, got.text()), (200, contents));
                got.field("etag").unwrap().to_owned()
            })
            .collect();
        assert!(etags.iter().all(|etag| *etag == etags[0]), "{etags:?}");
        let same = format!("If-None-Match: {}\r\n", etags[0]);
        assert_eq!(client.request("GET", "/small", &same, b"").status, 304);
        let part = client.request("GET", "/small", "Range: bytes=1-2\r\n", b"");
        assert_eq!((part.status, part.text()), (206, &contents[1..3]));
        let head = client.request("HEAD", "/small", "", b"");
        assert_eq!(head.field("content-length").unwrap(), contents.len().to_string());
        assert_eq!(client.get("/small/").status, 404, "it is no folder");
        etags[0].clone()
    };
    fs::write(&file, "first").unwrap();
    let first = keep(&mut client, "first");
    fs::write(&file, "other").unwrap();
    let other = keep(&mut client, "other");
    assert_ne!(first, other);
    fs::write(place.path("new"), "third").unwrap();
    fs::rename(place.path("new"), &file).unwrap();
    keep(&mut client, "third");
    assert_eq!(client.put("/small", b"fourth"), 204);
    keep(&mut client, "fourth");
    fs::rename(&file, place.path("folder/small")).unwrap();
    std::os::unix::fs::symlink("folder/small", &file).unwrap();
    assert_eq!(client.get("/small").status, 404, "a link to the same contents");
    fs::remove_file(&file).unwrap();
    // The file is also kept when it is reached through a folder.
    thread::sleep(UNTOUCHED);
    for _ in 0..4 {
        assert_eq!(client.get("/folder/small").text(), "fourth");
    }
    fs::rename(place.path("folder"), place.path("renamed")).unwrap();
    assert_eq!(client.get("/folder/small").status, 404);
    fs::rename(place.path("renamed"), place.path("folder")).unwrap();
    for _ in 0..4 {
        assert_eq!(client.get("/folder/small").text(), "fourth");
    }
    fs::rename(place.path("folder"), place.path("renamed")).unwrap();
    std::os::unix::fs::symlink("renamed", place.path("folder")).unwrap();
    assert_eq!(client.get("/folder/small").status, 404, "the same file, behind a link");
    assert_eq!(client.get("/renamed/small").text(), "fourth");
}

/// On a fast disk, the server makes these uploads on its workers after 32 quick ones on the
/// blocking pool.
#[test]
fn n9_many_small_files_are_put_each_in_turn() {
    many_small_files_are_put_each_in_turn(&Place::new());
}

#[test]
fn n9_in_memory_many_small_files_are_put_each_in_turn() {
    Place::in_memory().iter().for_each(many_small_files_are_put_each_in_turn);
}

fn many_small_files_are_put_each_in_turn(place: &Place) {
    const CLIENTS: u64 = 3;
    const ROUNDS: usize = 120;
    let server = place.serve();
    // The number of clients that created the file of each round. All clients try, and one succeeds.
    let created = [const { AtomicUsize::new(0) }; ROUNDS];
    thread::scope(|scope| {
        for n in 0..CLIENTS {
            let (mut client, created) = (server.client(), &created);
            scope.spawn(move || {
                for (round, created) in created.iter().enumerate() {
                    let (name, bytes) = (format!("file-{n}-{}", round / 3), pattern(round, n));
                    let expected = if round % 3 == 0 { 201 } else { 204 };
                    assert_eq!(client.put(&format!("/{name}"), &bytes), expected);
                    assert!(fs::read(place.path(&name)).unwrap() == bytes);
                    let create = "If-None-Match: *\r\n";
                    match client.request("PUT", &format!("/one-{round}"), create, &bytes).status {
                        201 => drop(created.fetch_add(1, Ordering::Relaxed)),
                        status => assert_eq!(status, 412),
                    }
                    let wrong = format!("OC-Checksum: SHA1:{}\r\n", "0".repeat(40));
                    let refused = client.request("PUT", &format!("/{name}"), &wrong, b"else");
                    assert_eq!(refused.status, 400);
                    assert!(fs::read(place.path(&name)).unwrap() == bytes);
                }
                assert_eq!(client.put("/no/such/folder", b"x"), 409);
                assert_eq!(client.put("/", b"x"), 405);
            });
        }
    });
    assert!(created.iter().all(|created| created.load(Ordering::Relaxed) == 1), "{created:?}");
    let names = fs::read_dir(&place.folder).unwrap().count();
    assert_eq!(
        names,
        CLIENTS as usize * ROUNDS / 3 + ROUNDS + 1,
        "the files and the server's own folder"
    );
    let begun = fs::read_dir(place.path(".dapple/uploads")).unwrap().count();
    assert_eq!(begun, 0, "nothing is left of those that were refused");
}

/// A client that disconnects at any moment leaves the old file or the new one, and no claim.
#[test]
fn n9_a_client_who_goes_away_holds_nothing_up() {
    a_client_who_goes_away_holds_nothing_up(&Place::new());
}

#[test]
fn n9_in_memory_a_client_who_goes_away_holds_nothing_up() {
    Place::in_memory().iter().for_each(a_client_who_goes_away_holds_nothing_up);
}

fn a_client_who_goes_away_holds_nothing_up(place: &Place) {
    let server = place.serve();
    let mut stays = server.client();
    for round in 0..60_u64 {
        let (old, new) = (pattern(300, 2 * round), pattern(300, 2 * round + 1));
        assert!(stays.put("/file", &old) < 300);
        // Several clients, so that some of them wait for the claims of others.
        let all: Vec<Client> = (0..4)
            .map(|_| {
                let mut goes = server.client();
                let head = goes.head("PUT", "/file", "Content-Length: 300\r\n");
                goes.send(&[head.as_bytes(), &new].concat()).unwrap();
                goes
            })
            .collect();
        thread::sleep(Duration::from_micros(50 * (round % 20)));
        drop(all);
        let got = fs::read(place.path("file")).unwrap();
        assert!(got == old || got == new);
        assert_eq!(stays.put("/file", b"still"), 204, "the claim is free again");
    }
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
        // Gives the server time to write some of the body.
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
    // Scripts in uploaded files do not run.
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
