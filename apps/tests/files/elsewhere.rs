//! A folder that spans two file systems, and a folder in which the server lacks some permissions.
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use super::effects::patch;
use super::server::{Place, Server, is_root, pattern};
use super::tool::{missing, tool};

/// The user `nobody`.
const NOBODY: u32 = 65534;

#[test]
fn n9_what_is_moved_to_another_disk_arrives_whole() {
    let place = Place::new();
    fs::create_dir(place.path("disk")).unwrap();
    let Some(server) = place.serve_with_disk("disk") else { return };
    let mut client = server.client();
    let (one, two) = (pattern(300_000, 1), pattern(200_000, 2));
    let to = |target: &str| format!("Destination: {target}\r\n");

    assert_eq!(client.put("/one", &one), 201);
    let patched = client.request("PROPPATCH", "/one", "", patch("<t:p>kept</t:p>").as_bytes());
    assert_eq!(patched.status, 207);
    assert_eq!(client.request("MOVE", "/one", &to("/disk/one"), b"").status, 201);
    assert_eq!(client.get("/one").status, 404);
    assert!(client.get("/disk/one").body == one);
    assert!(client.propfind("/disk/one", "0", "").text().contains("kept"), "with its properties");

    // Moves onto an existing file, which is replaced, and a move of a folder with everything below
    // it.
    assert_eq!(client.put("/disk/two", &two), 201);
    assert_eq!(client.request("MOVE", "/disk/two", &to("/two"), b"").status, 201);
    assert_eq!(client.request("MOVE", "/two", &to("/disk/one"), b"").status, 204);
    assert!(client.get("/disk/one").body == two);
    assert_eq!(client.request("MKCOL", "/folder", "", b"").status, 201);
    assert_eq!(client.put("/folder/deep", &one), 201);
    assert_eq!(client.request("MOVE", "/folder", &to("/disk/folder"), b"").status, 201);
    assert!(client.get("/disk/folder/deep").body == one);
    assert_eq!(client.get("/folder/deep").status, 404);

    // A file that does not fit on the target disk stays where it is.
    let large = pattern(9_000_000, 3);
    assert_eq!(client.put("/large", &large), 201);
    assert_eq!(client.request("MOVE", "/large", &to("/disk/large"), b"").status, 507);
    assert!(client.get("/large").body == large);
    assert_eq!(client.get("/disk/large").status, 404);

    // A tree on the other disk can be deleted. The mount point itself cannot.
    assert_eq!(client.request("DELETE", "/disk/folder", "", b"").status, 204);
    assert_eq!(client.get("/disk/folder/deep").status, 404);
    assert!(client.request("DELETE", "/disk", "", b"").status >= 400);
    assert_eq!(client.propfind("/disk", "1", "").status, 207);
}

/// Starts a server that runs as the user `nobody`.
fn serve_as_nobody(place: &Place) -> Option<Server> {
    let mut command = tool("setpriv")?;
    if !is_root() {
        missing("the right to become somebody else");
        return None;
    }
    let owned =
        ["share", "state", "state/users"].map(|name| place.folder.with_file_name("").join(name));
    for path in owned {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let temporary = place.folder.parent().unwrap();
    fs::set_permissions(temporary, fs::Permissions::from_mode(0o755)).unwrap();
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(env!("CARGO_BIN_EXE_dapple")).args(["files", "--listen", "127.0.0.1:0", "--state"]);
    command.arg(&place.state).arg(&place.folder);
    let mut look = tool("setpriv")?;
    look.args(["--reuid=65534", "test", "-x", env!("CARGO_BIN_EXE_dapple")]);
    if !look.status().is_ok_and(|status| status.success()) {
        missing("a program that everybody may run");
        return None;
    }
    Some(Server::spawn(command, &place.state))
}

#[test]
fn n9_what_may_not_be_read_is_told_apart_and_trees_are_deleted_all_the_same() {
    let place = Place::new();
    let folder = |name: &str, mode: u32| {
        fs::create_dir_all(place.path(name)).unwrap();
        chown(place.path(name), Some(NOBODY), Some(NOBODY)).unwrap();
        fs::set_permissions(place.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    let file = |name: &str, owner: u32, mode: u32| {
        fs::write(place.path(name), name).unwrap();
        chown(place.path(name), Some(owner), Some(owner)).unwrap();
        fs::set_permissions(place.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    folder("tree", 0o755);
    file("tree/open", NOBODY, 0o644);
    file("tree/closed", 0, 0o600);
    folder("tree/locked/inner", 0o755);
    file("tree/locked/inner/file", NOBODY, 0o644);
    folder("tree/locked/inner", 0o555);
    folder("tree/locked", 0o000);
    let Some(server) = serve_as_nobody(&place) else { return };
    let mut client = server.client();

    assert_eq!(client.get("/tree/open").text(), "tree/open");
    assert_eq!(client.get("/tree/closed").status, 403);
    assert!([403, 404].contains(&client.get("/tree/locked/inner/file").status));
    let listed = client.propfind("/tree", "1", "");
    assert_eq!(listed.all("href").len(), 4, "{}", listed.text());
    // A zip contains the files that the server may read.
    let zip = client.get("/tree/?zip");
    assert_eq!(zip.status, 200);
    let has = |name: &str| zip.body.windows(name.len()).any(|part| part == name.as_bytes());
    assert!(has("open") && !has("tree/closed"));
    // A server that may write to a tree's parent may delete the tree, whatever is in it.
    assert_eq!(client.request("DELETE", "/tree", "", b"").status, 204);
    assert_eq!(client.propfind("/tree", "0", "").status, 404);
    let is_gone = || fs::read_dir(place.path(".dapple/trash")).unwrap().next().is_none();
    for _ in 0..200 {
        if is_gone() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("something is left of the tree");
}
