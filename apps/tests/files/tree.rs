//! MKCOL, DELETE, COPY, MOVE.
use std::fs;
use std::path::Path;

use crate::server::{Client, Place};

fn tree(place: &Place, name: &str) {
    fs::create_dir_all(place.path(name).join("deep/er")).unwrap();
    fs::write(place.path(name).join("file"), name).unwrap();
    fs::write(place.path(name).join("deep/er/file"), format!("{name} below")).unwrap();
}

fn read(place: &Place, name: &str) -> String {
    fs::read_to_string(place.path(name)).unwrap_or_default()
}

fn transfer(client: &mut Client, method: &str, from: &str, to: &str, fields: &str) -> u16 {
    let fields = format!("Destination: https://localhost{to}\r\n{fields}");
    client.request(method, from, &fields, b"").status
}

/// Waits up to 10 s until the server's folder holds no uploads and no deleted files.
fn is_clean(place: &Place) {
    let corner = place.folder.join(".dapple");
    let count = |name: &str| fs::read_dir(corner.join(name)).unwrap().count();
    for _ in 0..1000 {
        if count("uploads") + count("trash") == 0 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{} uploads and {} deleted things are left", count("uploads"), count("trash"));
}

#[test]
fn n9_folders_are_made_and_deleted() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    let mut status = |method: &str, target: &str| client.request(method, target, "", b"").status;
    assert_eq!(status("MKCOL", "/a"), 201);
    assert_eq!(status("MKCOL", "/a/"), 405);
    assert_eq!(status("MKCOL", "/a/b/"), 201);
    assert_eq!(status("MKCOL", "/x/y"), 409);
    assert_eq!(status("MKCOL", "/"), 405);
    assert_eq!(status("DELETE", "/"), 403);
    assert_eq!(status("DELETE", "/none"), 404);
    tree(&place, "a/b/c");
    assert_eq!(status("DELETE", "/a"), 204);
    assert!(!place.path("a").exists());
    fs::write(place.path("f"), "x").unwrap();
    assert_eq!(status("DELETE", "/f"), 204);
    assert_eq!(client.request("MKCOL", "/c", "", b"<x/>").status, 415);
    is_clean(&place);
}

#[test]
fn n9_copies() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    tree(&place, "a");
    assert_eq!(transfer(&mut client, "COPY", "/a", "/b", ""), 201);
    assert_eq!(read(&place, "b/deep/er/file"), "a below");
    assert_eq!(read(&place, "a/deep/er/file"), "a below");
    let times = |name: &str| fs::metadata(place.path(name)).unwrap().modified().unwrap();
    assert_eq!(times("a/file"), times("b/file"));
    fs::write(place.path("b/more"), "x").unwrap();
    assert_eq!(transfer(&mut client, "COPY", "/a/", "/b/", "Overwrite: F\r\n"), 412);
    assert!(place.path("b/more").exists());
    assert_eq!(transfer(&mut client, "COPY", "/a/", "/b/", ""), 204);
    assert!(!place.path("b/more").exists(), "the old folder is replaced, not added to");
    assert_eq!(transfer(&mut client, "COPY", "/a", "/c", "Depth: 0\r\n"), 201);
    assert_eq!(fs::read_dir(place.path("c")).unwrap().count(), 0);
    assert_eq!(transfer(&mut client, "COPY", "/a/file", "/b", ""), 204);
    assert_eq!(read(&place, "b"), "a");
    assert_eq!(transfer(&mut client, "COPY", "/a", "/b", ""), 204);
    assert_eq!(read(&place, "b/file"), "a");
    is_clean(&place);
}

#[test]
fn n9_moves() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    tree(&place, "a");
    tree(&place, "b");
    fs::write(place.path("b/more"), "x").unwrap();
    assert_eq!(transfer(&mut client, "MOVE", "/a", "/b", "Overwrite: F\r\n"), 412);
    assert_eq!(transfer(&mut client, "MOVE", "/a", "/b", ""), 204);
    assert_eq!((read(&place, "b/file"), place.path("a").exists()), ("a".into(), false));
    assert!(!place.path("b/more").exists());
    assert_eq!(transfer(&mut client, "MOVE", "/b", "/c/", ""), 201);
    fs::write(place.path("f"), "f").unwrap();
    assert_eq!(transfer(&mut client, "MOVE", "/f", "/c", ""), 204, "a file onto a folder");
    assert_eq!(read(&place, "c"), "f");
    tree(&place, "d");
    assert_eq!(transfer(&mut client, "MOVE", "/d", "/c", ""), 204, "a folder onto a file");
    assert_eq!(read(&place, "c/deep/er/file"), "d below");
    is_clean(&place);
}

#[test]
fn n9_copies_and_moves_that_cannot_be() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    tree(&place, "a");
    for method in ["COPY", "MOVE"] {
        let mut status = |from: &str, to: &str| transfer(&mut client, method, from, to, "");
        assert_eq!(status("/a", "/a"), 403, "{method}");
        assert_eq!(status("/a", "/a/deep/a"), 403, "{method}");
        assert_eq!(status("/a/deep", "/a"), 403, "{method}");
        assert_eq!(status("/none", "/b"), 404, "{method}");
        assert_eq!(status("/a", "/none/b"), 409, "{method}");
        assert_eq!(status("/a", "/.dapple/x"), 403, "{method}");
        assert_eq!(status("/a", "/"), 403, "{method}");
        let mut with = |fields: &str| client.request(method, "/a", fields, b"").status;
        assert_eq!(with("Destination: https://example.org/b\r\n"), 502, "{method}");
        assert_eq!(with(""), 400, "{method}");
        assert_eq!(with("Destination: /b\r\nOverwrite: X\r\n"), 400, "{method}");
        assert_eq!(with("Destination: /b\r\nDepth: 1\r\n"), 400, "{method}");
    }
    assert!(place.path("a/deep/er/file").exists() && !place.path("b").exists());
    is_clean(&place);
}

#[test]
fn n9_links_are_neither_followed_nor_shown() {
    use std::os::unix::fs::symlink;
    let place = Place::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let to_outside = |name: &str, target: &Path| symlink(target, place.path(name)).unwrap();
    fs::create_dir(place.path("a")).unwrap();
    to_outside("a/file", &outside.path().join("secret"));
    to_outside("a/folder", outside.path());
    to_outside("a/up", Path::new("../.."));
    to_outside("a/inside", Path::new("../b"));
    fs::write(place.path("b"), "b").unwrap();
    fs::write(place.path("a/real"), "r").unwrap();
    let server = place.serve();
    let mut client = server.client();
    for target in ["/a/file", "/a/folder/secret", "/a/folder/", "/a/up/state/key.pem", "/a/inside"]
    {
        assert_eq!(client.get(target).status, 404, "{target}");
        assert_eq!(client.propfind(target, "0", "").status, 404, "{target}");
        assert!(client.put(target, b"overwritten") >= 400, "{target}");
        assert!(client.request("MKCOL", target, "", b"").status >= 400, "{target}");
        assert!(client.request("DELETE", target, "", b"").status >= 400, "{target}");
        assert!(transfer(&mut client, "MOVE", target, "/stolen", "") >= 400, "{target}");
        assert!(transfer(&mut client, "COPY", "/b", target, "") >= 400, "{target}");
    }
    let listed = client.propfind("/a/", "infinity", "");
    assert_eq!(listed.all("href"), ["/a/", "/a/real"]);
    assert_eq!(transfer(&mut client, "COPY", "/a", "/copy", ""), 201);
    assert_eq!(fs::read_dir(place.path("copy")).unwrap().count(), 1);
    // The targets of the links stay when the folder that contains the links is deleted.
    assert_eq!(client.request("DELETE", "/a", "", b"").status, 204);
    is_clean(&place);
    assert_eq!(fs::read_to_string(outside.path().join("secret")).unwrap(), "secret");
    assert_eq!(read(&place, "b"), "b");
}

#[test]
fn n9_the_servers_own_corner_is_nobodys() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    fs::write(place.path("f"), "x").unwrap();
    for target in ["/.dapple", "/.dapple/properties.redb", "/.dapple/x", "/.dapple-x"] {
        assert_eq!(client.get(target).status, 404, "{target}");
        assert_eq!(client.put(target, b"x"), 403, "{target}");
        assert_eq!(client.request("DELETE", target, "", b"").status, 403, "{target}");
        assert_eq!(transfer(&mut client, "MOVE", "/f", target, ""), 403, "{target}");
    }
    assert_eq!(client.propfind("/", "infinity", "").all("href"), ["/", "/f"]);
}

#[test]
fn n9_a_folder_has_one_server() {
    let place = Place::new();
    let _server = place.serve();
    let other = crate::server::dapple(&["--listen", "127.0.0.1:0", "--state"])
        .arg(&place.state)
        .arg(&place.folder)
        .output()
        .unwrap();
    let said = String::from_utf8(other.stderr).unwrap();
    assert_eq!(other.status.code(), Some(2));
    assert!(said.contains("another server already serves this folder"), "{said}");
}

#[test]
fn n9_a_file_is_moved_onto_its_other_name() {
    let place = Place::new();
    let server = place.serve();
    fs::write(place.path("a"), "one file").unwrap();
    fs::hard_link(place.path("a"), place.path("b")).unwrap();
    assert_eq!(transfer(&mut server.client(), "MOVE", "/a", "/b", ""), 204);
    assert_eq!((place.path("a").exists(), read(&place, "b")), (false, "one file".into()));
}

#[test]
fn n9_trees_of_any_depth_are_deleted() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    // Nests the tree by moves, because its full path is longer than a path may be.
    let part = format!("/{}", ["d"; 800].join("/"));
    for n in 0..4 {
        fs::create_dir_all(place.folder.join(&part[1..])).unwrap();
        fs::write(place.folder.join(&part[1..]).join("file"), "x").unwrap();
        let to = format!("/p{n}");
        assert_eq!(transfer(&mut client, "MOVE", "/d", &to, ""), 201);
        if n > 0 {
            let below = format!("{to}{}/below", &part[2..]);
            assert_eq!(transfer(&mut client, "MOVE", &format!("/p{}", n - 1), &below, ""), 201);
        }
    }
    assert_eq!(client.request("DELETE", "/p3", "", b"").status, 204);
    is_clean(&place);
    assert_eq!(client.get("/").status, 200);
}
