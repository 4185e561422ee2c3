//! LOCK, UNLOCK and the `If` field.
use std::thread;
use std::time::Duration;

use crate::server::{Client, PASSWORD, Place, Response, add_user};

const INFO: &str = "<D:lockinfo xmlns:D=\"DAV:\"><D:lockscope><D:SCOPE/></D:lockscope><D:locktype><D:write/></D:locktype>\
    <D:owner><D:href>mailto:ann@example.org</D:href></D:owner></D:lockinfo>";

fn lock(client: &mut Client, target: &str, scope: &str, fields: &str) -> Response {
    client.request("LOCK", target, fields, INFO.replace("SCOPE", scope).as_bytes())
}

fn token(response: &Response) -> String {
    response.field("lock-token").unwrap_or_else(|| panic!("{response:?}")).to_owned()
}

#[test]
fn n9_a_lock_keeps_others_out() {
    let place = Place::new();
    add_user(&place.state, "bob", &[]);
    let server = place.serve();
    let (mut ann, mut bob) = (server.client(), server.client_of("bob", PASSWORD));
    ann.put("/f", b"one");
    let locked = lock(&mut ann, "/f", "exclusive", "Timeout: Second-100\r\n");
    assert_eq!(locked.status, 200);
    let held = token(&locked);
    assert!(held.starts_with("<urn:uuid:"), "{held}");
    assert!(locked.text().contains("mailto:ann@example.org"), "{}", locked.text());
    let left: u32 = locked.all("timeout")[0].strip_prefix("Second-").unwrap().parse().unwrap();
    assert!((98..=100).contains(&left), "{left}");
    let refused = bob.request("PUT", "/f", "", b"two");
    assert_eq!(refused.status, 423);
    assert!(
        refused.text().contains("<D:lock-token-submitted><D:href>/f</D:href>"),
        "{}",
        refused.text()
    );
    assert_eq!(ann.put("/f", b"two"), 423, "also its owner, without the token");
    let with = format!("If: ({held})\r\n");
    assert_eq!(bob.request("PUT", "/f", &with, b"two").status, 423, "a token is its owner's");
    assert_eq!(ann.request("PUT", "/f", &with, b"two").status, 204);
    assert_eq!(bob.get("/f").body, b"two", "everybody may read");
    for method in ["DELETE", "PROPPATCH", "MOVE"] {
        let body = b"<D:propertyupdate xmlns:D=\"DAV:\"><D:remove><D:prop><x/></D:prop></D:remove></D:propertyupdate>";
        let body = if method == "PROPPATCH" { &body[..] } else { b"" };
        assert_eq!(bob.request(method, "/f", "Destination: /g\r\n", body).status, 423, "{method}");
    }
    let conflict = lock(&mut bob, "/f", "shared", "");
    assert_eq!(conflict.status, 423);
    assert!(conflict.text().contains("no-conflicting-lock"), "{}", conflict.text());
    let discovered = bob.propfind(
        "/f",
        "0",
        "<propfind xmlns=\"DAV:\"><prop><lockdiscovery/></prop></propfind>",
    );
    assert_eq!(discovered.all("locktoken").len(), 1);
    assert_eq!(bob.request("UNLOCK", "/f", &format!("Lock-Token: {held}\r\n"), b"").status, 403);
    assert_eq!(ann.request("UNLOCK", "/f", "Lock-Token: <urn:x>\r\n", b"").status, 409);
    assert_eq!(ann.request("UNLOCK", "/f", &format!("Lock-Token: {held}\r\n"), b"").status, 204);
    assert_eq!(bob.put("/f", b"three"), 204);
}

#[test]
fn n9_locks_end_and_are_refreshed() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    client.put("/f", b"one");
    let held = token(&lock(&mut client, "/f", "exclusive", "Timeout: Second-1\r\n"));
    let refreshed =
        client.request("LOCK", "/f", &format!("If: ({held})\r\nTimeout: Second-2\r\n"), b"");
    assert_eq!(refreshed.status, 200);
    assert_eq!(client.put("/f", b"two"), 423);
    thread::sleep(Duration::from_millis(2100));
    assert_eq!(client.put("/f", b"two"), 204);
    assert_eq!(client.request("LOCK", "/f", &format!("If: ({held})\r\n"), b"").status, 412);
    let none = client.request("LOCK", "/f", "", b"");
    assert_eq!(none.status, 400, "a refresh names its lock");
    let long = lock(&mut client, "/f", "exclusive", "Timeout: Infinite, Second-4100000000\r\n");
    assert_eq!(long.all("timeout"), ["Second-3600"], "nothing is locked for ever");
}

#[test]
fn n9_a_deep_lock_covers_what_is_below() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    client.request("MKCOL", "/d", "", b"");
    client.put("/d/f", b"x");
    let held = token(&lock(&mut client, "/d", "exclusive", "Depth: infinity\r\n"));
    assert_eq!(client.put("/d/f", b"y"), 423);
    assert_eq!(client.put("/d/new", b"y"), 423);
    assert_eq!(lock(&mut client, "/d/f", "exclusive", "").status, 423);
    let with = format!("If: <https://localhost/d/> ({held})\r\n");
    assert_eq!(client.request("PUT", "/d/new", &with, b"y").status, 201);
    assert_eq!(
        client.request("MOVE", "/d/new", &format!("Destination: /out\r\n{with}"), b"").status,
        201
    );
    // Moving the file back needs the token of the destination as well.
    assert_eq!(client.request("MOVE", "/out", "Destination: /d/new\r\n", b"").status, 423);
    assert_eq!(client.request("DELETE", "/d", &with, b"").status, 204);
    assert_eq!(
        client.request("MKCOL", "/d", "", b"").status,
        201,
        "the lock is gone with its folder"
    );
}

#[test]
fn n9_a_lock_that_is_not_deep_protects_the_list_of_members() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    client.request("MKCOL", "/d", "", b"");
    client.put("/d/f", b"x");
    lock(&mut client, "/d", "exclusive", "Depth: 0\r\n");
    assert_eq!(client.put("/d/f", b"y"), 204);
    assert_eq!(client.put("/d/new", b"y"), 423);
    assert_eq!(client.request("DELETE", "/d/f", "", b"").status, 423);
}

#[test]
fn n9_locking_nothing_makes_an_empty_file() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    let locked = lock(&mut client, "/new", "exclusive", "");
    assert_eq!((locked.status, client.get("/new").status), (201, 200));
    assert_eq!(client.get("/new").body, b"");
    assert_eq!(lock(&mut client, "/none/new", "exclusive", "").status, 409);
    // The new file inherits nothing from a file that was removed behind the server's back.
    let patch = "<D:propertyupdate xmlns:D=\"DAV:\"><D:set><D:prop><p xmlns=\"t:\">old</p></D:prop></D:set></D:propertyupdate>";
    client.put("/gone", b"x");
    client.request("PROPPATCH", "/gone", "", patch.as_bytes());
    std::fs::remove_file(place.path("gone")).unwrap();
    lock(&mut client, "/gone", "exclusive", "");
    assert!(!client.propfind("/gone", "0", "").text().contains("old"));
    let bad = client.request("LOCK", "/new", "", b"<D:lockinfo xmlns:D=\"DAV:\"/>");
    assert_eq!(bad.status, 400);
    assert_eq!(lock(&mut client, "/x", "exclusive", "Depth: 1\r\n").status, 400);
}

#[test]
fn n9_shared_locks() {
    let place = Place::new();
    add_user(&place.state, "bob", &[]);
    let server = place.serve();
    let (mut ann, mut bob) = (server.client(), server.client_of("bob", PASSWORD));
    ann.put("/f", b"one");
    let anns = token(&lock(&mut ann, "/f", "shared", ""));
    let bobs = token(&lock(&mut bob, "/f", "shared", ""));
    assert_ne!(anns, bobs);
    assert_eq!(lock(&mut bob, "/f", "exclusive", "").status, 423);
    assert_eq!(ann.request("PUT", "/f", &format!("If: ({anns})\r\n"), b"two").status, 204);
    assert_eq!(bob.request("PUT", "/f", &format!("If: ({bobs})\r\n"), b"three").status, 204);
    assert_eq!(bob.put("/f", b"four"), 423);
}

#[test]
fn n9_the_if_field() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    let etag = client.request("PUT", "/f", "", b"one").field("etag").unwrap().to_owned();
    let mut put =
        |field: String| client.request("PUT", "/f", &format!("If: {field}\r\n"), b"x").status;
    assert_eq!(put("(<DAV:no-lock>)".into()), 412);
    assert_eq!(put("([\"other\"])".into()), 412);
    assert_eq!(put("(Not [\"other\"] Not <DAV:no-lock>)".into()), 204);
    assert_eq!(put(format!("([{etag}])")), 412, "it has another version now");
    assert_eq!(put("<https://localhost/none> (Not [\"x\"])".into()), 204);
    assert_eq!(put("<https://example.org/f> (Not <urn:x>)".into()), 204);
    assert_eq!(put("(".into()), 400);
    let get = client.request("GET", "/f", "If: ([\"other\"])\r\n", b"");
    assert_eq!(get.status, 412, "for reading, too");
}

#[test]
fn n9_documents_that_ask_for_no_lock_are_refused() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    client.put("/f", b"one");
    let both = INFO.replace("<D:SCOPE/>", "<D:exclusive/><D:shared/>");
    let none = INFO.replace("<D:SCOPE/>", "");
    let read = INFO.replace("SCOPE", "shared").replace("D:write", "D:read");
    let other = INFO.replace("SCOPE", "shared").replace("lockinfo", "propfind");
    for (document, why) in [
        (&both, "exclusive or shared"),
        (&none, "exclusive or shared"),
        (&read, "only write locks"),
        (&other, "not a lockinfo document"),
    ] {
        let refused = client.request("LOCK", "/f", "", document.as_bytes());
        assert_eq!(refused.status, 400, "{document}");
        assert!(refused.text().contains(why), "{}", refused.text());
    }
    let long = INFO.replace("SCOPE", "shared").replace("ann@", &"x".repeat(20_000));
    assert_eq!(client.request("LOCK", "/f", "", long.as_bytes()).status, 413);
    assert_eq!(client.put("/f", b"two"), 204, "no lock was taken");
}
