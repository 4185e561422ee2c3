//! Large files, odd names, slow clients, a full disk, the shutdown.
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Duration;

use crate::server::{PASSWORD, Place, USER, add_user, pattern};

const GIGABYTE: u64 = 1 << 30;

#[test]
fn n9_a_sparse_file_of_100_gb_is_read_by_range() {
    let place = Place::new();
    let file = fs::File::create(place.path("huge")).unwrap();
    file.set_len(100 * GIGABYTE).unwrap();
    file.write_at(b"far out", 99 * GIGABYTE + 12_345).unwrap();
    let server = place.serve();
    let mut client = server.client();
    let head = client.request("HEAD", "/huge", "", b"");
    assert_eq!(head.field("content-length").unwrap(), (100 * GIGABYTE).to_string());
    let from = 99 * GIGABYTE + 12_340;
    let got =
        client.request("GET", "/huge", &format!("Range: bytes={from}-{}\r\n", from + 16), b"");
    assert_eq!((got.status, &got.body[..]), (206, &b"\0\0\0\0\0far out\0\0\0\0\0"[..]));
    let last = client.request("GET", "/huge", "Range: bytes=-3\r\n", b"");
    assert_eq!(
        last.field("content-range").unwrap(),
        format!("bytes {}-{}/{}", 100 * GIGABYTE - 3, 100 * GIGABYTE - 1, 100 * GIGABYTE)
    );
    assert_eq!(
        client.propfind("/huge", "0", "").all("getcontentlength"),
        [(100 * GIGABYTE).to_string()]
    );
}

#[test]
fn n9_clients_that_take_nothing_hold_no_more_than_their_window() {
    let place = Place::new();
    fs::File::create(place.path("huge")).unwrap().set_len(10 * GIGABYTE).unwrap();
    let server = place.serve();
    server.client().get("/");
    let before = server.memory();
    let mut slow: Vec<_> = (0..30)
        .map(|_| {
            let mut client = server.client();
            let head = client.head("GET", "/huge", "");
            client.send(head.as_bytes()).unwrap();
            client
        })
        .collect();
    thread::sleep(Duration::from_secs(1));
    let each = server.memory().saturating_sub(before) / slow.len() as u64;
    assert!(each < 1536 * 1024, "each of them holds {each} bytes");
    // The slow clients are still served, and so are others.
    for client in &mut slow[..3] {
        let mut some = vec![0; 1_000_000];
        client.stream.read_exact(&mut some).unwrap();
    }
    assert_eq!(server.client().propfind("/", "1", "").status, 207);
}

#[test]
fn n9_names_of_any_bytes() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    client.request("MKCOL", "/d", "", b"");
    let mut names: Vec<Vec<u8>> =
        (1..=255u8).filter(|byte| !b"/.".contains(byte)).map(|byte| vec![byte]).collect();
    names.extend(
        [&b"..."[..], b" . ", b"\xff\xfe\x80", b"%2e%2e", b"a\\b", b"CON"].map(<[u8]>::to_vec),
    );
    names.push(vec![b'n'; 255]);
    let escaped = |name: &[u8]| name.iter().map(|byte| format!("%{byte:02X}")).collect::<String>();
    for (n, name) in names.iter().enumerate() {
        let contents = n.to_string();
        assert_eq!(
            client.put(&format!("/d/{}", escaped(name)), contents.as_bytes()),
            201,
            "{name:?}"
        );
        let file = place.path("d").join(std::ffi::OsStr::from_bytes(name));
        assert_eq!(fs::read_to_string(file).unwrap(), contents);
    }
    let listed = client.propfind("/d", "1", "");
    let hrefs = listed.all("href");
    assert_eq!(hrefs.len(), names.len() + 1);
    for href in hrefs.iter().map(|href| href.replace("&amp;", "&").replace("&apos;", "'")).skip(1) {
        assert_eq!(client.get(&href).status, 200, "{href}");
        assert_eq!(
            client.request("COPY", &href, "Destination: /copy\r\n", b"").status / 100,
            2,
            "{href}"
        );
    }
}

#[test]
fn n9_a_full_disk_says_so_and_loses_nothing() {
    let place = Place::new();
    let Some(server) = place.serve_with_disk("") else { return };
    let mut client = server.client();
    let one = pattern(1_000_000, 1);
    assert_eq!(client.put("/one", &one), 201);
    assert_eq!(
        server.client().put("/large", &pattern(20_000_000, 2)),
        507,
        "at once, or in the middle"
    );
    assert_eq!(client.get("/large").status, 404);
    // Fills the disk until nothing fits.
    let mut n = 0;
    while client.put(&format!("/filler{n}"), &pattern(400_000, 3)) == 201 {
        n += 1;
        assert!(n < 30, "the disk does not fill");
    }
    while client.put(&format!("/little{n}"), &pattern(4_000, 3)) == 201 {
        n += 1;
        assert!(n < 1000, "the disk does not fill");
    }
    assert_eq!(client.put("/one", &pattern(900_000, 4)), 507);
    assert!(client.get("/one").body == one, "the old one is there");
    let copied = client.request("COPY", "/one", "Destination: /copy\r\n", b"");
    assert_eq!((copied.status, client.get("/copy").status), (507, 404));
    let patch = format!(
        "<D:propertyupdate xmlns:D=\"DAV:\"><D:set><D:prop><x>{}</x></D:prop></D:set></D:propertyupdate>",
        "x".repeat(200_000)
    );
    let patched = client.request("PROPPATCH", "/one", "", patch.as_bytes());
    assert!(patched.status == 507 || patched.text().contains(" 507 "), "{patched:?}");
    assert_eq!(client.propfind("/", "1", "").status, 207, "reading still works");
    assert_eq!(client.request("MOVE", "/one", "Destination: /two\r\n", b"").status / 100, 2);
    assert_eq!(client.request("DELETE", "/filler0", "", b"").status, 204);
    assert_eq!(client.put("/new", b"there is room again"), 201);
    // The store of properties works again as well, as soon as the server notices the free space.
    let patch = patch.replace(&"x".repeat(200_000), "little");
    let works = (0..20).any(|_| {
        thread::sleep(Duration::from_millis(250));
        client.request("PROPPATCH", "/new", "", patch.as_bytes()).text().contains(" 200 ")
    });
    assert!(works && client.propfind("/new", "0", "").text().contains("little"));
    assert!(client.get("/two").body == one);
}

#[test]
fn n9_the_end_waits_for_what_has_begun() {
    let place = Place::new();
    let mut server = place.serve();
    let (mut idle, mut busy) = (server.client(), server.client());
    idle.get("/");
    let body = pattern(1_000_000, 5);
    let head = busy.head("PUT", "/f", &format!("Content-Length: {}\r\n", body.len()));
    busy.send(&[head.as_bytes(), &body[..500_000]].concat()).unwrap();
    thread::sleep(Duration::from_millis(200));
    server.signal(libc::SIGTERM);
    thread::sleep(Duration::from_millis(200));
    busy.send(&body[500_000..]).unwrap();
    assert_eq!(busy.response(true).unwrap().status, 201);
    assert!(idle.try_request("GET", "/", "", b"").is_err(), "idle ones are closed");
    drop((idle, busy));
    let mut rest = String::new();
    server.out.read_to_string(&mut rest).unwrap();
    assert!(server.child.wait().unwrap().success());
    assert!(rest.contains("closed in order"), "{rest}");
    assert!(fs::read(place.path("f")).unwrap() == body);
}

#[test]
fn n9_requests_that_are_no_good_end_nothing() {
    let place = Place::new();
    let server = place.serve();
    for request in [
        "GET",
        "\r\n\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "PUT /f HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "PROPFIND / HTTP/1.1\r\nHost: x\r\nDepth: -1\r\n\r\n",
        "BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let mut client = server.client();
        client
            .send(
                request
                    .replace("Host: x\r\n", &format!("Host: x\r\n{}", client.authorization))
                    .as_bytes(),
            )
            .unwrap();
        if request.ends_with('\n') && request.contains("Host") {
            let status = client.response(true).unwrap().status;
            assert!((400..=501).contains(&status), "{request:?}: {status}");
        }
    }
    let mut client = server.client();
    let long = format!("X: {}\r\n", "y".repeat(600_000));
    assert!(client.try_request("GET", "/", &long, b"").map_or(true, |r| r.status == 431));
    assert_eq!(server.client().get("/").status, 200);
}

#[test]
fn n5_connections_on_which_nothing_happens_end() {
    let place = Place::new();
    let server = place.serve_with(&["--idle-timeout", "1"]);
    let mut used = server.client();
    used.get("/");
    // Two connections that never send a request, one over HTTP/2 and one over HTTP/1.1.
    let mut silent =
        [server.client_that_speaks(&[b"h2"]), server.client_that_speaks(&[b"http/1.1"])];
    for client in silent.iter_mut().chain([&mut used]) {
        let mut rest = Vec::new();
        // The server may close the connection in order or reset it.
        let _ = client.stream.read_to_end(&mut rest);
    }
    assert_eq!(server.client().get("/").status, 200);
}

#[test]
fn n9_there_is_a_limit_of_connections() {
    let place = Place::new();
    let server = place.serve_with(&["--max-connections", "3"]);
    let mut open: Vec<_> = (0..3).map(|_| server.client()).collect();
    for client in &mut open {
        assert_eq!(client.get("/").status, 200);
    }
    assert!(server.client().try_request("GET", "/", "", b"").is_err());
    open.pop();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(server.client().get("/").status, 200);
    assert_eq!(open[0].get("/").status, 200);
}

#[test]
fn n9_a_user_who_is_removed_is_out() {
    let place = Place::new();
    add_user(&place.state, "bob", &[]);
    let server = place.serve();
    let mut bob = server.client_of("bob", PASSWORD);
    assert_eq!(bob.get("/").status, 200);
    let removed =
        crate::server::dapple(&["user", "remove", "bob", "--state"]).arg(&place.state).output();
    assert!(removed.unwrap().status.success());
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(bob.get("/").status, 401);
    assert_eq!(server.client_of(USER, PASSWORD).get("/").status, 200);
}
