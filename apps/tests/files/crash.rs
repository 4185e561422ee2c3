//! SIGKILL in the middle of uploads, moves and patches: afterwards every file is the old one or the
//! new one, with its own properties.
//!
//! `DAPPLE_KILLS` is the number of kills. The default of 20 suits the gate; `.ci/long` uses 300.
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::server::{Client, Place, Server, pattern};

fn kills() -> u64 {
    std::env::var("DAPPLE_KILLS").map_or(20, |kills| kills.parse().unwrap())
}

/// Returns the contents of version `n`. They contain the version and the length, so a reader can
/// tell whether they are whole.
fn version(n: u64) -> Vec<u8> {
    // Every third version is large, because small files and large files are written in different
    // ways.
    let len = if n.is_multiple_of(3) { 1_200_000 + n as usize % 1000 } else { 5_000 };
    let mut bytes = format!("{n:016} {len:08} ").into_bytes();
    bytes.extend(pattern(len, n));
    bytes
}

fn number(bytes: &[u8]) -> u64 {
    let n = std::str::from_utf8(&bytes[..16]).unwrap().parse().unwrap();
    assert!(bytes == version(n), "version {n} is not whole: {} bytes", bytes.len());
    n
}

/// The last version that the server acknowledged, and the last one that was tried.
#[derive(Clone, Copy, Default)]
struct Known {
    acknowledged: u64,
    tried: u64,
}

struct World {
    place: Place,
    /// The uploads to /up.
    up: Mutex<Known>,
    /// The patches of /patched, which has the property.
    patched: Mutex<Known>,
}

fn patch(n: u64) -> String {
    format!(
        "<D:propertyupdate xmlns:D=\"DAV:\"><D:set><D:prop><p xmlns=\"t:\">{n:016}</p></D:prop></D:set></D:propertyupdate>"
    )
}

fn property(client: &mut Client, target: &str) -> Option<u64> {
    let ask = "<propfind xmlns=\"DAV:\"><prop><p xmlns=\"t:\"/></prop></propfind>";
    let found = client.propfind(target, "0", ask);
    let text = found.text();
    let at = text.find("<x:p xmlns:x=\"t:\">")?;
    Some(text[at + 18..at + 34].parse().unwrap())
}

/// Calls `f` with growing numbers until the server is gone or `stop` is set.
fn keep_trying(stop: &AtomicBool, known: &Mutex<Known>, mut f: impl FnMut(u64) -> Option<u16>) {
    while !stop.load(Ordering::Relaxed) {
        let n = {
            let mut known = known.lock().unwrap();
            known.tried += 1;
            known.tried
        };
        match f(n) {
            Some(status) => {
                assert!((200..300).contains(&status), "{status}");
                known.lock().unwrap().acknowledged = n;
            }
            // The server is gone.
            None => return,
        }
    }
}

/// Runs writers of all kinds until the server is gone.
fn work(world: &World, server: &Server, stop: &AtomicBool) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = server.client();
            keep_trying(stop, &world.up, |n| {
                client.try_request("PUT", "/up", "", &version(n)).ok().map(|r| r.status)
            });
        });
        scope.spawn(|| {
            let mut client = server.client();
            keep_trying(stop, &world.patched, |n| {
                let body = patch(n);
                let patched = client.try_request("PROPPATCH", "/patched", "", body.as_bytes());
                patched.ok().map(|r| if r.text().contains(" 200 ") { 200 } else { 500 })
            });
        });
        scope.spawn(|| {
            // Moves a file that has a property back and forth.
            let mut client = server.client();
            while !stop.load(Ordering::Relaxed) {
                for (from, to) in [("/m/a", "/m/b"), ("/m/b", "/m/a")] {
                    let destination = format!("Destination: {to}\r\n");
                    if client.try_request("MOVE", from, &destination, b"").is_err() {
                        return;
                    }
                }
            }
        });
        scope.spawn(|| {
            // Replaces one folder with another.
            let mut client = server.client();
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                let steps = [
                    ("DELETE", "/f/new", String::new(), Vec::new()),
                    ("MKCOL", "/f/new", String::new(), Vec::new()),
                    ("PUT", "/f/new/in", String::new(), version(n * 3 + 1)),
                    ("PROPPATCH", "/f/new/in", String::new(), patch(n * 3 + 1).into_bytes()),
                    ("MOVE", "/f/new", "Destination: /f/current\r\n".to_owned(), Vec::new()),
                ];
                for (method, target, fields, body) in steps {
                    if client.try_request(method, target, &fields, &body).is_err() {
                        return;
                    }
                }
            }
        });
    });
}

fn read(folder: &Path, name: &str) -> Option<u64> {
    fs::read(folder.join(name)).ok().map(|bytes| number(&bytes))
}

/// Checks what has to be true after a restart.
fn check(world: &World, server: &Server) {
    let folder = &world.place.folder;
    let mut client = server.client();
    let is_known = |known: &Mutex<Known>, found: u64, what: &str| {
        let mut known = known.lock().unwrap();
        assert!(
            (known.acknowledged..=known.tried).contains(&found),
            "{what}: found {found}, acknowledged {}, tried {}",
            known.acknowledged,
            known.tried
        );
        known.acknowledged = found;
    };
    is_known(&world.up, read(folder, "up").unwrap(), "upload");
    is_known(&world.patched, property(&mut client, "/patched").unwrap(), "patch");
    // The file is in exactly one place, and its property is with it.
    let there: Vec<&str> =
        ["/m/a", "/m/b"].into_iter().filter(|at| client.get(at).status == 200).collect();
    assert_eq!(there.len(), 1, "{there:?}");
    assert_eq!(property(&mut client, there[0]), Some(1));
    let other = if there[0] == "/m/a" { "/m/b" } else { "/m/a" };
    client.put(other, b"x");
    assert_eq!(property(&mut client, other), None, "the property is in one place only");
    client.request("DELETE", other, "", b"");
    if there[0] == "/m/b" {
        client.request("MOVE", "/m/b", "Destination: /m/a\r\n", b"");
    }
    // The current folder is whole, either the old one or the new one. The folder that is to replace
    // it may be missing.
    let current = read(folder, "f/current/in").unwrap();
    assert_eq!(property(&mut client, "/f/current/in"), Some(current));
    if let Some(new) = read(folder, "f/new/in") {
        assert!(new != current, "a folder is in two places");
    }
    let corner = folder.join(".dapple");
    for name in ["uploads", "trash"] {
        assert_eq!(fs::read_dir(corner.join(name)).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn n9_a_server_that_is_killed_leaves_old_or_new_files_and_no_mixture() {
    let place = Place::new();
    for name in ["m", "f", "f/current"] {
        fs::create_dir(place.path(name)).unwrap();
    }
    fs::write(place.path("up"), version(0)).unwrap();
    fs::write(place.path("patched"), "x").unwrap();
    fs::write(place.path("m/a"), "moved to and fro").unwrap();
    fs::write(place.path("f/current/in"), version(1)).unwrap();
    let world = World { place, up: Mutex::default(), patched: Mutex::default() };
    let mut server = world.place.serve();
    let mut client = server.client();
    for (target, n) in [("/patched", 0), ("/m/a", 1), ("/f/current/in", 1)] {
        client.request("PROPPATCH", target, "", patch(n).as_bytes());
    }
    drop(client);
    for n in 0..kills() {
        let stop = Arc::new(AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| work(&world, &server, &stop));
            // The server is killed at a different moment in each round.
            thread::sleep(Duration::from_micros(20_000 + (n * 7_919_111) % 180_000));
            server.signal(libc::SIGKILL);
            stop.store(true, Ordering::Relaxed);
        });
        drop(server);
        server = world.place.serve();
        check(&world, &server);
    }
    let tried = world.up.lock().unwrap().tried + world.patched.lock().unwrap().tried;
    assert!(tried > kills(), "the writers did nothing");
}
