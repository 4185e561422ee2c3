//! The dashboard of `dapple files`.
use std::fs;
use std::time::{Duration, Instant};

use crate::server::{PASSWORD, Place, READER};

#[test]
fn those_who_have_logged_in_see_the_dashboard() {
    let place = Place::new();
    fs::write(place.path("f"), "x").unwrap();
    assert_eq!(place.serve().client().get("/_dapple/").status, 404, "it is not asked for");
    let server = place.serve_with(&["--dashboard"]);
    let mut nobody = server.client();
    nobody.authorization.clear();
    assert_eq!(nobody.get("/_dapple/").status, 401);
    let mut client = server.client_of(READER, PASSWORD);
    assert_eq!(client.get("/_dapple").field("location"), Some("/_dapple/"));
    let page = client.get("/_dapple/");
    assert!(page.text().starts_with("<!doctype html>"));
    assert!(page.field("content-security-policy").unwrap().starts_with("default-src 'none'"));
    for _ in 0..20 {
        assert_eq!(client.get("/f").status, 200);
    }
    assert_eq!(client.get("/_dapple/nothing").status, 404);
    // The dashboard answers only GET and HEAD. All other requests go to the folder.
    assert_eq!(client.propfind("/_dapple/", "0", "").status, 404);
    let start = Instant::now();
    while !client.get("/_dapple/data.json").text().contains("files_request") {
        assert!(start.elapsed() < Duration::from_secs(20), "its requests are not measured");
        std::thread::sleep(Duration::from_millis(100));
    }
}
