//! What a client sets in addition to the contents: times, properties with an effect, checksums. The
//! server either does it or refuses it.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::server::Place;

fn seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs() as i64,
        Err(before) => -(before.duration().as_secs() as i64),
    }
}

/// A bad hint about metadata never causes the data to be refused.
#[test]
fn n9_times_that_clients_bring() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    for (field, expected) in [
        ("1000000000", Some(1_000_000_000)),
        ("1000000000.75", Some(1_000_000_000)),
        ("0", Some(0)),
        ("-86400", Some(-86_400)),
        ("4294967296", Some(4_294_967_296)),
        ("soon", None),
        ("", None),
        ("99999999999999999999999", None),
        // A year that HTTP can express, but that no file system here can store.
        ("253402300799", None),
        ("\u{fc}", None),
    ] {
        let field_line = format!("X-OC-Mtime: {field}\r\n");
        let response = client.request("PUT", "/f", &field_line, b"x");
        assert!(matches!(response.status, 201 | 204), "{field}: {}", response.status);
        let modified = seconds(fs::metadata(place.path("f")).unwrap().modified().unwrap());
        assert_eq!(response.field("x-oc-mtime").is_some(), expected.is_some(), "{field}");
        match expected {
            Some(expected) => assert_eq!(modified, expected, "{field}"),
            None => assert!((modified - seconds(SystemTime::now())).abs() < 60, "{field}"),
        }
    }
}

pub fn patch(inner: &str) -> String {
    format!(
        "<D:propertyupdate xmlns:D=\"DAV:\" xmlns:m=\"urn:schemas-microsoft-com:\" \
         xmlns:o=\"http://owncloud.org/ns\" xmlns:a=\"http://apache.org/dav/props/\" \
         xmlns:t=\"test:\"><D:set><D:prop>{inner}</D:prop></D:set></D:propertyupdate>"
    )
}

pub fn ask(names: &str) -> String {
    patch(names)
        .replace("propertyupdate", "propfind")
        .replace("<D:set>", "")
        .replace("</D:set>", "")
}

/// Whatever is confirmed is done, and whatever is not done is refused.
#[test]
fn n9_properties_with_an_effect_have_it() {
    let place = Place::new();
    fs::write(place.path("f"), "contents").unwrap();
    fs::create_dir(place.path("folder")).unwrap();
    let server = place.serve();
    let mut client = server.client();
    let modified = || seconds(fs::metadata(place.path("f")).unwrap().modified().unwrap());
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    for inner in [
        "<D:lastmodified>784111777</D:lastmodified>".to_owned(),
        format!("<D:getlastmodified>{date}</D:getlastmodified>"),
        format!("<m:Win32LastModifiedTime>{date}</m:Win32LastModifiedTime>"),
        // The four properties that Explorer sets. The server stores two of them.
        format!(
            "<m:Win32CreationTime>{date}</m:Win32CreationTime>\
             <m:Win32LastAccessTime>{date}</m:Win32LastAccessTime>\
             <m:Win32LastModifiedTime>{date}</m:Win32LastModifiedTime>\
             <m:Win32FileAttributes>00000020</m:Win32FileAttributes>"
        ),
    ] {
        fs::File::open(place.path("f")).unwrap().set_modified(SystemTime::now()).unwrap();
        let response = client.request("PROPPATCH", "/f", "", patch(&inner).as_bytes());
        assert_eq!(response.all("status"), ["HTTP/1.1 200 OK"], "{inner}");
        assert_eq!(modified(), 784_111_777, "{inner}");
        let told =
            client.propfind("/f", "0", &ask("<D:getlastmodified/><m:Win32LastModifiedTime/>"));
        assert_eq!(told.text().matches(date).count(), 2, "{}", told.text());
        assert_eq!(client.get("/f").field("last-modified"), Some(date));
    }
    // A PROPPATCH sets all of its properties or none.
    let both = "<D:getlastmodified>Mon, 07 Nov 1994 08:49:37 GMT</D:getlastmodified>\
                <D:getetag>x</D:getetag><t:p/>";
    let response = client.request("PROPPATCH", "/f", "", patch(both).as_bytes());
    assert_eq!(
        response.all("status"),
        ["HTTP/1.1 403 Forbidden", "HTTP/1.1 424 Failed Dependency"]
    );
    assert_eq!(modified(), 784_111_777);
    for (inner, status) in [
        ("<D:getlastmodified>tomorrow</D:getlastmodified>", "HTTP/1.1 409 Conflict"),
        ("<D:getcontentlanguage>de</D:getcontentlanguage>", "HTTP/1.1 403 Forbidden"),
        ("<o:checksums><o:checksum>SHA1:00</o:checksum></o:checksums>", "HTTP/1.1 409 Conflict"),
        ("<a:executable>T</a:executable>", "HTTP/1.1 200 OK"),
        ("<D:displayname>A name</D:displayname>", "HTTP/1.1 200 OK"),
    ] {
        let response = client.request("PROPPATCH", "/f", "", patch(inner).as_bytes());
        assert_eq!(response.all("status"), [status], "{inner}");
    }
    let mode = || fs::metadata(place.path("f")).unwrap().permissions().mode();
    assert_eq!(mode() & 0o100, 0o100);
    let told = client.propfind("/f", "0", &ask("<D:displayname/><a:executable/>"));
    assert!(told.text().contains("A name</"), "{}", told.text());
    assert!(told.text().contains(">T</"), "{}", told.text());
    assert!(!told.text().contains("404"), "{}", told.text());
    client.request("PROPPATCH", "/f", "", patch("<a:executable>F</a:executable>").as_bytes());
    assert_eq!(mode() & 0o111, 0);
    let on_folder = client.request(
        "PROPPATCH",
        "/folder/",
        "",
        patch("<a:executable>T</a:executable>").as_bytes(),
    );
    assert_eq!(on_folder.all("status"), ["HTTP/1.1 409 Conflict"]);
    // Once the display name is removed, the file's own name is reported again.
    let remove = patch("<D:displayname/>").replace("D:set", "D:remove");
    assert_eq!(client.request("PROPPATCH", "/f", "", remove.as_bytes()).status, 207);
    assert_eq!(client.propfind("/f", "0", &ask("<D:displayname/>")).all("displayname"), ["f"]);
}

#[test]
fn n9_checksums_are_checked_kept_and_forgotten_with_the_contents() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    let right = "a9993e364706816aba3e25717850c26c9cd0d89d";
    let wrong = "OC-Checksum: SHA1:0000000000000000000000000000000000000000\r\n";
    assert_eq!(client.request("PUT", "/f", wrong, b"abc").status, 400);
    assert!(!place.path("f").exists());
    let field = format!("OC-Checksum: SHA1:{right}\r\nX-OC-Mtime: 784111777\r\n");
    assert_eq!(client.request("PUT", "/f", &field, b"abc").status, 201);
    let told = |client: &mut crate::server::Client| {
        let told = client.propfind("/f", "0", &ask("<o:checksums/>"));
        told.text().contains(&format!("SHA1:{right}"))
    };
    let keeps = keeps_attributes(&place);
    assert_eq!(told(&mut client), keeps);
    // A malformed checksum, a large file that is sent in pieces, and a checksum of an unknown kind.
    assert_eq!(client.request("PUT", "/bad", "OC-Checksum: SHA1:zz\r\n", b"abc").status, 400);
    let large = vec![b'a'; 1_000_000];
    let sum = "34aa973cd4c4daa4f61eeb2bdbad27316534016f";
    let field = format!("OC-Checksum: MD5:x SHA1:{sum}\r\n");
    assert_eq!(client.request("PUT", "/large", &field, &large).status, 201);
    assert_eq!(client.request("PUT", "/large", wrong, &large).status, 400);
    assert_eq!(fs::read(place.path("large")).unwrap(), large);
    assert_eq!(client.request("PUT", "/other", "OC-Checksum: MD5:x\r\n", b"abc").status, 201);
    // A change of the times does not change the contents, so the checksum stays.
    let date = "<D:getlastmodified>Mon, 07 Nov 1994 08:49:37 GMT</D:getlastmodified>";
    client.request("PROPPATCH", "/f", "", patch(date).as_bytes());
    assert_eq!(told(&mut client), keeps);
    assert_eq!(client.put("/f", b"abd"), 204);
    assert!(!told(&mut client), "other contents");
    // The server does not believe a client's checksum.
    let says = format!("<o:checksums><o:checksum>SHA1:{right}</o:checksum></o:checksums>");
    let response = client.request("PROPPATCH", "/f", "", patch(&says).as_bytes());
    assert_eq!(response.all("status"), ["HTTP/1.1 409 Conflict"]);
    assert_eq!(client.put("/f", b"abc"), 204);
    let response = client.request("PROPPATCH", "/f", "", patch(&says).as_bytes());
    assert_eq!(response.all("status"), ["HTTP/1.1 200 OK"]);
    assert_eq!(told(&mut client), keeps);
    fs::write(place.path("f"), "abcd").unwrap();
    assert!(!told(&mut client), "changed behind the server's back");
}

/// Returns `true` if the place's file system keeps extended attributes in the `user` namespace.
pub fn keeps_attributes(place: &Place) -> bool {
    let file = place.path("probe");
    fs::write(&file, "").unwrap();
    let name = c"user.dapple.probe";
    let path = std::ffi::CString::new(file.to_str().unwrap()).unwrap();
    // SAFETY: `path` and `name` are C strings that end with a zero and outlive the call. `setxattr`
    // reads the given length of 1 byte from the value, which has 1 byte.
    let set = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), b"x".as_ptr().cast(), 1, 0) };
    fs::remove_file(file).unwrap();
    set == 0
}

/// A refused change leaves everything as it was: times, permissions, and the known checksum.
#[test]
fn n9_a_proppatch_that_fails_changes_nothing() {
    let place = Place::new();
    fs::create_dir(place.path("folder")).unwrap();
    fs::set_permissions(place.path("folder"), fs::Permissions::from_mode(0o2775)).unwrap();
    let server = place.serve();
    let mut client = server.client();
    let sum = "OC-Checksum: SHA1:a9993e364706816aba3e25717850c26c9cd0d89d\r\n";
    assert_eq!(client.request("PUT", "/f", sum, b"abc").status, 201);
    fs::set_permissions(place.path("f"), fs::Permissions::from_mode(0o640)).unwrap();
    let state = |name: &str| {
        let data = fs::metadata(place.path(name)).unwrap();
        (data.modified().unwrap(), data.accessed().unwrap(), data.permissions().mode())
    };
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let times = format!(
        "<D:getlastmodified>{date}</D:getlastmodified>\
         <m:Win32LastAccessTime>{date}</m:Win32LastAccessTime>"
    );
    let large = format!("<t:p>{}</t:p>", "x".repeat(300_000));
    for (target, inner, status) in [
        ("f", format!("{times}<a:executable>T</a:executable>{large}"), "507 Insufficient Storage"),
        ("folder/", format!("{times}{large}"), "507 Insufficient Storage"),
        (
            "folder/",
            "<D:getlastmodified>Fri, 31 Dec 9999 23:59:59 GMT</D:getlastmodified>".to_owned(),
            "409 Conflict",
        ),
    ] {
        let name = target.trim_end_matches('/');
        let before = state(name);
        let response =
            client.request("PROPPATCH", &format!("/{target}"), "", patch(&inner).as_bytes());
        assert_eq!(response.all("status"), [format!("HTTP/1.1 {status}")], "{target}");
        assert_eq!(state(name), before, "{target}");
    }
    let told = client.propfind("/f", "0", &ask("<o:checksums/>"));
    assert_eq!(told.text().contains("SHA1:a9993e36"), keeps_attributes(&place));
    // Two properties that set the same time to different values.
    let both = format!(
        "<D:getlastmodified>{date}</D:getlastmodified>\
         <m:Win32LastModifiedTime>Mon, 07 Nov 1994 08:49:37 GMT</m:Win32LastModifiedTime>"
    );
    let response = client.request("PROPPATCH", "/f", "", patch(&both).as_bytes());
    assert!(!response.text().contains("200 OK"), "{}", response.text());
}
