//! How clients reach the server and what it serves: proxies, prefixes, TLS versions, read-only
//! folders. Also, what strangers can make it write to its log.
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use crate::server::{PASSWORD, Place, Server, USER, dapple};
use crate::tool::tool;

#[test]
fn n9_destinations_as_clients_and_proxies_write_them() {
    let place = Place::new();
    let server = place.serve_with(&["--name", "files.example.org"]);
    let mut client = server.client();
    let host = "localhost";
    for (destination, fields, name) in [
        (format!("https://{host}/a b"), "", "a b"),
        (format!("https://{host}/a^b{{c}}|d"), "", "a^b{c}|d"),
        (format!("https://{host}/\u{e4}"), "", "\u{e4}"),
        (format!("https://{host}/%C3%A4%20%5E"), "", "\u{e4} ^"),
        ("/plain".to_owned(), "", "plain"),
        // Behind a proxy that replaces `Host`: either the proxy adds the public name, or the server
        // knows its own name.
        ("https://public.example/p1".to_owned(), "X-Forwarded-Host: public.example\r\n", "p1"),
        ("https://public.example/p2".to_owned(), "Forwarded: for=x;host=public.example\r\n", "p2"),
        ("https://files.example.org/p3".to_owned(), "", "p3"),
        ("https://files.example.org:8443/p4".to_owned(), "", "p4"),
    ] {
        assert!(matches!(client.put("/from", b"x"), 201 | 204));
        let fields = format!("Destination: {destination}\r\n{fields}");
        let response = client.request("MOVE", "/from", &fields, b"");
        assert_eq!(response.status, 201, "{fields}");
        assert!(place.path(name).exists(), "{name}");
    }
    client.put("/from", b"x");
    for (destination, status) in [
        ("https://elsewhere.example/x", 502),
        ("ftp://localhost/x", 400),
        ("https://localhost/%00", 400),
        ("https://localhost/../x", 404),
    ] {
        let fields = format!("Destination: {destination}\r\n");
        assert_eq!(client.request("MOVE", "/from", &fields, b"").status, status, "{destination}");
    }
}

#[test]
fn n9_a_prefix_stands_before_every_url() {
    let place = Place::new();
    fs::create_dir(place.path("folder")).unwrap();
    let server = place.serve_with(&["--prefix", "/my/files"]);
    assert!(server.said.contains(&format!("https://{}/my/files/\n", server.address)));
    let mut client = server.client();
    assert_eq!(client.put("/my/files/folder/f", b"x"), 201);
    assert_eq!(client.put("/folder/g", b"x"), 404);
    assert_eq!(client.get("/my/filesystem").status, 404);
    let listed = client.propfind("/my/files/folder/", "1", "");
    assert_eq!(listed.all("href"), ["/my/files/folder/", "/my/files/folder/f"]);
    let fields = "Destination: https://localhost/my/files/g\r\n";
    assert_eq!(client.request("MOVE", "/my/files/folder/f", fields, b"").status, 201);
    assert!(place.path("g").exists());
    let fields = "Destination: /g2\r\n";
    assert_eq!(client.request("COPY", "/my/files/g", fields, b"").status, 404);
    assert_eq!(client.get("/my/files/folder").field("location"), Some("/my/files/folder/"));
    // Without the trailing slash, the page's links would point outside the prefix.
    let bare = client.get("/my/files");
    assert_eq!((bare.status, bare.field("location")), (301, Some("/my/files/")));
    assert_eq!(client.get("/my/files/folder?zip").field("location"), Some("/my/files/folder/?zip"));
    for bad in ["files", "/a//b", "/a/../b", "/a b"] {
        let output = dapple(&["--prefix", bad]).arg(&place.folder).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{bad}");
    }
}

#[test]
fn n7_who_speaks_http_to_the_tls_port_is_told() {
    let place = Place::new();
    let server = place.serve();
    for request in
        ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PROPFIND / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0"]
    {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("https://"), "{answer}");
    }
}

#[test]
fn n7_tls_1_2_is_spoken_if_asked_for() {
    let place = Place::new();
    let server = place.serve_with(&["--tls12"]);
    for (version, protocol) in [("--tls-max", "1.2"), ("--tls-max", "1.3")] {
        let Some(mut curl) = tool("curl") else { return };
        let output = curl
            .args(["-sk", version, protocol, "-o", "/dev/null", "-w", "%{http_code}"])
            .args(["-u", &format!("{USER}:{PASSWORD}")])
            .arg(server.url())
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"200", "{protocol}: {output:?}");
    }
}

#[test]
fn n7_who_listens_everywhere_says_where() {
    let place = Place::new();
    let mut command = dapple(&["--listen", "0.0.0.0:0", "--state"]);
    command.arg(&place.state).arg(&place.folder);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    while !said.contains("Ctrl-C") {
        assert!(std::io::BufRead::read_line(&mut out, &mut said).unwrap() > 0, "{said}");
    }
    // Finds the address from which this machine reaches others. Connecting a UDP socket sends
    // nothing.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let own = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    if let Ok(own) = own
        && !own.ip().is_loopback()
    {
        assert!(said.contains(&format!("https://{}:", own.ip())), "{} in {said}", own.ip());
        let names = fs::read_to_string(place.state.join("cert.pem")).unwrap();
        assert!(names.lines().next().unwrap().contains(&own.ip().to_string()), "{names}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A read-only folder is served all the same, and no client is told that it can be changed.
#[test]
fn n9_a_folder_that_cannot_be_changed() {
    // SAFETY: `geteuid` takes no arguments, changes nothing and cannot fail.
    if unsafe { libc::geteuid() } == 0 && !can_mount() {
        eprintln!("skipped: root can change everything, and mounting is not permitted here");
        return;
    }
    let place = Place::new();
    fs::write(place.path("f"), "x").unwrap();
    let unmount = make_read_only(&place);
    let server = place.serve();
    let mut client = server.client();
    assert!(server.said.contains("(read-only)"), "{}", server.said);
    assert_eq!(client.get("/f").body, b"x");
    assert_eq!(client.propfind("/", "1", "").all("href"), ["/", "/f"]);
    assert_eq!(client.request("OPTIONS", "/", "", b"").field("dav"), Some("1, 3"));
    assert_eq!(client.put("/g", b"x"), 403);
    assert_eq!(client.request("DELETE", "/f", "", b"").status, 403);
    drop((client, server));
    unmount();
    // A folder that was served while it was writable contains the server's own folder, `.dapple`.
    drop(place.serve());
    let unmount = make_read_only(&place);
    let server = place.serve();
    assert_eq!(server.client().get("/f").body, b"x");
    assert_eq!(server.client().get("/.dapple/lock").status, 404);
    assert_eq!(server.client().put("/g", b"x"), 403);
    drop(server);
    unmount();
}

fn can_mount() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "none"]).arg(folder.path()).status();
    let mounted = mounted.is_ok_and(|status| status.success());
    if mounted {
        let _ = Command::new("umount").arg(folder.path()).status();
    }
    mounted
}

fn make_read_only(place: &Place) -> Box<dyn FnOnce()> {
    let folder = place.folder.clone();
    // SAFETY: `geteuid` takes no arguments, changes nothing and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
        return Box::new(move || {
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        });
    }
    let run = |args: &[&str]| {
        assert!(Command::new("mount").args(args).arg(&folder).status().unwrap().success());
    };
    run(&["--bind", folder.to_str().unwrap()]);
    run(&["-o", "remount,ro,bind"]);
    Box::new(move || {
        assert!(Command::new("umount").arg(&folder).status().unwrap().success());
    })
}

/// Strangers can send any nonsense. A library that logged each complaint would fill the disk.
#[test]
fn n6_a_peer_without_a_password_fills_no_log() {
    let place = Place::new();
    let log = place.state.join("log");
    let mut command = dapple(&["--listen", "127.0.0.1:0", "--state"]);
    command.arg(&place.state).arg(&place.folder);
    command.stderr(fs::File::create(&log).unwrap());
    let server = Server::spawn(command, &place.state);
    let mut client = server.client_that_speaks(&[b"h2"]);
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    // Acknowledgments of pings that nobody sent.
    let ack = b"\0\0\x08\x06\x01\0\0\0\0abcdefgh";
    for _ in 0..200 {
        if client.send(&ack.repeat(100)).is_err() {
            break;
        }
    }
    for _ in 0..100 {
        let mut stream = TcpStream::connect(server.address).unwrap();
        let _ = stream.write_all(b"\x16\x03\x01\0\x05hello, this is no handshake");
    }
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(server.client().get("/").status, 200);
    let size = fs::metadata(&log).unwrap().len();
    assert!(size < 1_000, "{}", fs::read_to_string(&log).unwrap());
}
