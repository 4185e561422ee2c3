//! PROPFIND and PROPPATCH.
use std::collections::BTreeSet;
use std::fs;

use crate::server::{Place, Response};

fn prop(names: &str) -> String {
    format!("<propfind xmlns=\"DAV:\" xmlns:t=\"test:\"><prop>{names}</prop></propfind>")
}

fn set(name: &str, value: &str) -> String {
    format!(
        "<D:propertyupdate xmlns:D=\"DAV:\" xmlns:t=\"test:\"><D:set><D:prop><{name}>{value}</{name}></D:prop></D:set></D:propertyupdate>"
    )
}

fn has(response: &Response, text: &str) {
    assert!(response.text().contains(text), "no {text} in {}", response.text());
}

#[test]
fn n9_live_properties() {
    let place = Place::new();
    fs::create_dir(place.path("folder")).unwrap();
    fs::write(place.path("folder/a & b.txt"), "12345").unwrap();
    let server = place.serve();
    let mut client = server.client();
    let file = client.propfind("/folder/a%20%26%20b.txt", "0", "");
    assert_eq!(file.status, 207);
    assert_eq!(file.all("getcontentlength"), ["5"]);
    assert_eq!(file.all("displayname"), ["a &amp; b.txt"]);
    assert_eq!(file.all("getcontenttype"), ["text/plain"]);
    assert_eq!(file.all("resourcetype"), [""]);
    assert_eq!(file.all("href"), ["/folder/a%20&amp;%20b.txt"]);
    let etag = client.get("/folder/a%20%26%20b.txt").field("etag").unwrap().to_owned();
    assert_eq!(file.all("getetag"), [etag.replace('"', "&quot;")]);
    let created = file.all("creationdate")[0].to_owned();
    assert!(created.len() == 20 && created.ends_with('Z') && created.contains('T'), "{created}");
    let folder = client.propfind("/folder", "1", "<propfind xmlns=\"DAV:\"><allprop/></propfind>");
    assert_eq!(folder.all("resourcetype"), ["<D:collection/>", ""]);
    let quota =
        client.propfind("/", "0", &prop("<quota-available-bytes/><quota-used-bytes/><t:none/>"));
    assert!(quota.all("quota-available-bytes")[0].parse::<u64>().unwrap() > 0);
    assert!(quota.all("quota-used-bytes")[0].parse::<u64>().unwrap() > 0);
    assert_eq!(quota.all("status"), ["HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found"]);
    let names = client.propfind("/folder", "0", "<propfind xmlns=\"DAV:\"><propname/></propfind>");
    has(&names, "<D:resourcetype/>");
    assert!(!names.text().contains("<D:getcontentlength/>"), "a folder has none");
    assert_eq!(client.propfind("/none", "0", "").status, 404);
}

#[test]
fn n9_bad_documents_are_refused() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    let entity = "<!DOCTYPE p [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><propfind xmlns=\"DAV:\"><prop>&x;</prop></propfind>";
    for (body, status) in [
        ("<propfind xmlns=\"DAV:\"><prop>", 400),
        ("<other xmlns=\"DAV:\"/>", 400),
        ("<propfind xmlns=\"DAV:\"><prop/><allprop/></propfind>", 400),
        (entity, 400),
    ] {
        assert_eq!(client.propfind("/", "0", body).status, status, "{body}");
    }
    let deep = format!("{}{}", "<a>".repeat(5_000), "</a>".repeat(5_000));
    assert_eq!(client.propfind("/", "0", &deep).status, 400);
    let large = format!("<propfind xmlns=\"DAV:\"><prop>{}</prop></propfind>", " ".repeat(600_000));
    assert_eq!(server.client().propfind("/", "0", &large).status, 413);
    assert_eq!(client.propfind("/", "2", "").status, 400);
    // A long namespace that would be repeated for every element.
    let space = "s".repeat(30_000);
    let many = format!(
        "<propfind xmlns=\"DAV:\"><prop xmlns=\"{space}\">{}</prop></propfind>",
        "<a/>".repeat(8_000)
    );
    assert_eq!(client.propfind("/", "0", &many).status, 400);
    assert!(server.memory() < 500_000_000);
}

#[test]
fn n9_dead_properties_survive_and_follow() {
    let place = Place::new();
    fs::create_dir(place.path("d")).unwrap();
    let server = place.serve();
    let mut client = server.client();
    client.put("/d/f", b"x");
    let patched =
        client.request("PROPPATCH", "/d/f", "", set("t:p", "<t:v>&lt;1&gt;</t:v> two").as_bytes());
    assert_eq!((patched.status, patched.all("status")), (207, vec!["HTTP/1.1 200 OK"]));
    client.request("PROPPATCH", "/d/", "", set("t:p", "of the folder").as_bytes());
    drop(client);
    server.kill();
    let server = place.serve();
    let mut client = server.client();
    let read = |client: &mut crate::server::Client, at: &str| {
        let found = client.propfind(at, "0", &prop("<t:p/>"));
        let text = found.text();
        let from = &text[text.find("<x:p")?..];
        from.find("</x:p>").map(|end| from[..end].to_owned())
    };
    let value = read(&mut client, "/d/f").unwrap();
    assert!(value.contains("&lt;1&gt;") && value.ends_with(" two"), "{value}");
    let destination = |to: &str| format!("Destination: {to}\r\n");
    assert_eq!(client.request("COPY", "/d", &destination("/e"), b"").status, 201);
    assert_eq!(read(&mut client, "/e/f"), Some(value.clone()));
    assert!(read(&mut client, "/e").unwrap().contains("of the folder"));
    assert_eq!(client.request("MOVE", "/e/f", &destination("/g"), b"").status, 201);
    assert_eq!((read(&mut client, "/g"), client.get("/e/f").status), (Some(value.clone()), 404));
    client.put("/e/f", b"another one");
    assert_eq!(read(&mut client, "/e/f"), None, "a new file has no properties of an old one");
    client.put("/g", b"new contents");
    assert_eq!(read(&mut client, "/g"), Some(value.clone()), "a changed one keeps them");
    client.request("COPY", "/d", &format!("{}Depth: 0\r\n", destination("/h")), b"");
    client.put("/h/f", b"x");
    assert!(read(&mut client, "/h").is_some() && read(&mut client, "/h/f").is_none());
    client.request("DELETE", "/d", "", b"");
    client.request("MKCOL", "/d", "", b"");
    client.put("/d/f", b"x");
    assert_eq!((read(&mut client, "/d"), read(&mut client, "/d/f")), (None, None));
    // The properties of a file that vanished behind the server's back are dropped when its path is
    // used again.
    fs::remove_file(place.path("g")).unwrap();
    client.put("/g", b"x");
    assert_eq!(read(&mut client, "/g"), None);
}

#[test]
fn n9_all_properties_are_patched_or_none() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    client.put("/f", b"x");
    let both = "<D:propertyupdate xmlns:D=\"DAV:\" xmlns:t=\"test:\"><D:set><D:prop><t:p>1</t:p><D:getetag>x</D:getetag></D:prop></D:set></D:propertyupdate>";
    let refused = client.request("PROPPATCH", "/f", "", both.as_bytes());
    assert_eq!(refused.all("status"), ["HTTP/1.1 403 Forbidden", "HTTP/1.1 424 Failed Dependency"]);
    has(&refused, "<D:cannot-modify-protected-property/>");
    assert_eq!(
        client.propfind("/f", "0", &prop("<t:p/>")).all("status").last(),
        Some(&"HTTP/1.1 404 Not Found")
    );
    let large = client.request("PROPPATCH", "/f", "", set("t:p", &"x".repeat(300_000)).as_bytes());
    assert_eq!(large.all("status"), ["HTTP/1.1 507 Insufficient Storage"]);
    let removed = "<D:propertyupdate xmlns:D=\"DAV:\"><D:remove><D:prop><p xmlns=\"none:\"/></D:prop></D:remove></D:propertyupdate>";
    let removed = client.request("PROPPATCH", "/f", "", removed.as_bytes());
    assert_eq!(removed.all("status"), ["HTTP/1.1 200 OK"], "what is not there can be removed");
    assert_eq!(client.request("PROPPATCH", "/none", "", set("t:p", "1").as_bytes()).status, 404);
    assert_eq!(client.request("PROPPATCH", "/f", "", b"<x/>").status, 400);
}

#[test]
fn n9_ten_thousand_files_in_a_folder() {
    let place = Place::new();
    fs::create_dir(place.path("many")).unwrap();
    let expected: BTreeSet<String> = (0..10_000).map(|n| format!("/many/f{n}")).collect();
    for name in &expected {
        fs::write(place.path(&name[1..]), "x").unwrap();
    }
    let server = place.serve();
    let mut client = server.client();
    client.request("PROPPATCH", "/many/f7777", "", set("t:p", "found").as_bytes());
    for depth in ["1", "infinity"] {
        let listed = client.propfind("/many", depth, "");
        let got: BTreeSet<String> = listed.all("href").into_iter().map(str::to_owned).collect();
        assert_eq!(got.len(), 10_001, "{depth}");
        assert!(expected.is_subset(&got), "{depth}");
        assert_eq!(listed.text().matches(">found<").count(), 1, "{depth}");
        assert!(listed.text().ends_with("</D:multistatus>\n"), "{depth}");
    }
    let page = client.get("/many/");
    assert_eq!(page.text().matches("data-name=").count(), 10_000);
    assert_eq!(client.request("DELETE", "/many", "", b"").status, 204);
    assert_eq!(client.propfind("/many", "1", "").status, 404);
}

#[test]
fn n9_what_is_asked_for_has_limits() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    let ask =
        |names: &str| format!("<D:propfind xmlns:D=\"DAV:\"><D:prop>{names}</D:prop></D:propfind>");
    let many = |n: usize| (0..n).map(|n| format!("<x{n} xmlns=\"u:\"/>")).collect::<String>();
    assert_eq!(client.propfind("/", "0", &ask(&many(500))).status, 207);
    let refused = client.propfind("/", "0", &ask(&many(501)));
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("too many properties"), "{}", refused.text());
    let long = format!("<{} xmlns=\"u:\"/>", "x".repeat(1000));
    let long: String = (0..40).map(|n| long.replacen('x', &format!("x{n}"), 1)).collect();
    assert_eq!(client.propfind("/", "0", &ask(&long)).status, 400);
    // `allprop` with `include`: a live property, a dead one, and one that does not exist.
    client.put("/f", b"one");
    let set = client.request("PROPPATCH", "/f", "", set("t:dead", "kept").as_bytes());
    assert_eq!(set.status, 207);
    let include = "<D:propfind xmlns:D=\"DAV:\" xmlns:t=\"test:\"><D:allprop/><D:include>\
                   <D:supported-live-property-set/><D:getetag/><t:dead/><t:none/>\
                   </D:include></D:propfind>";
    let all = client.propfind("/f", "0", include);
    assert_eq!(all.all("getetag").len(), 1, "once: {}", all.text());
    assert_eq!(all.text().matches("kept").count(), 1, "once: {}", all.text());
    assert!(all.text().contains("none"), "{}", all.text());
}
