//! What clients say beside the letter of the protocol, and what the server leaves to no library.
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::server::{PASSWORD, Place, READER, Server, USER, dapple};
use crate::tool::tool;

/// The status of a request of which every byte is given; the user is known.
fn raw(server: &Server, line: &str, fields: &str) -> u16 {
    let mut client = server.client();
    let authorization = client.authorization.clone();
    client.send(format!("{line}\r\n{authorization}{fields}\r\n").as_bytes()).unwrap();
    client.response(true).unwrap().status
}

fn seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs() as i64,
        Err(before) => -(before.duration().as_secs() as i64),
    }
}

#[test]
fn n9_what_the_library_leaves_is_checked() {
    let place = Place::new();
    fs::write(place.path("f"), "contents").unwrap();
    let server = place.serve();
    for (line, fields, status) in [
        ("GET /f HTTP/1.1", "Host: localhost\r\n", 200),
        ("GET /f HTTP/1.1", "Host: localhost:8443\r\n", 200),
        ("GET /f HTTP/1.1", "Host: [::1]:8443\r\n", 200),
        ("GET https://other/f HTTP/1.1", "Host: localhost\r\n", 200),
        ("GET /f HTTP/1.0", "", 200),
        ("GET /f HTTP/1.1", "", 400),
        ("GET /f HTTP/1.1", "Host: a\r\nHost: a\r\n", 400),
        ("GET /f HTTP/1.1", "Host: a\r\nHost: b\r\n", 400),
        ("GET /f HTTP/1.1", "Host:\r\n", 400),
        ("GET /f HTTP/1.1", "Host: a b\r\n", 400),
        ("GET /f HTTP/1.1", "Host: a/b\r\n", 400),
        ("GET /f HTTP/1.1", "Host: u@a\r\n", 400),
        ("GET /f HTTP/1.1", "Host: a,b\r\n", 400),
        ("GET /f HTTP/1.1", "Host: a:b\r\n", 400),
        ("GET /f HTTP/1.0", "Host: a b\r\n", 400),
        ("GET http://a,b/f HTTP/1.1", "Host: a\r\n", 400),
        ("GET * HTTP/1.1", "Host: a\r\n", 400),
        ("OPTIONS * HTTP/1.1", "Host: a\r\n", 200),
        ("GET /f HTTP/1.1", "Host: a\r\nExpect: a miracle\r\n", 417),
        ("PUT /g HTTP/1.1", "Host: a\r\nTransfer-Encoding: gzip, chunked\r\n", 501),
        ("PUT /g HTTP/1.1", "Host: a\r\nTransfer-Encoding: xchunked\r\n", 400),
        ("PUT /g HTTP/1.1", "Host: a\r\nTransfer-Encoding: identity\r\n", 400),
        ("PUT /g HTTP/1.1", "Host: a\r\nTransfer-Encoding: chunked, chunked\r\n", 501),
        (
            "PUT /g HTTP/1.1",
            "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            400,
        ),
        ("PUT /g HTTP/1.0", "Host: a\r\nTransfer-Encoding: chunked\r\n", 400),
        ("PUT /g HTTP/1.1", "Host: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n", 400),
        ("PUT /g HTTP/1.1", "Host: a\r\nContent-Length: 1, 1\r\n", 400),
        ("PUT /g HTTP/1.1", "Host: a\r\nContent-Length: +1\r\n", 400),
    ] {
        assert_eq!(raw(&server, line, fields), status, "{line}\n{fields}");
    }
    assert!(!place.path("g").exists());
    // Nothing that follows is taken for a request: neither of both lengths is believed.
    let mut client = server.client();
    let authorization = client.authorization.clone();
    let smuggled = format!(
        "PUT /g HTTP/1.1\r\nHost: a\r\n{authorization}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\nDELETE /f HTTP/1.1\r\nHost: a\r\n{authorization}\r\n"
    );
    client.send(smuggled.as_bytes()).unwrap();
    // The library goes by the chunks, as it may, if it ends the connection then (RFC 9112, 6.3).
    assert_eq!(client.response(true).unwrap().field("connection"), Some("close"));
    assert!(client.response(true).is_err(), "the connection has ended");
    assert!(place.path("f").exists());
}

/// Refusals keep the rules that answers keep.
#[test]
fn n9_refusals_say_what_they_have_to() {
    let place = Place::new();
    fs::create_dir(place.path("folder")).unwrap();
    fs::write(place.path("f"), "x").unwrap();
    let server = place.serve();
    let mut client = server.client();
    for (method, target, allowed) in [
        ("PUT", "/folder", "LOCK"),
        ("MKCOL", "/folder", "LOCK"),
        ("MKCOL", "/f", "PUT"),
        ("POST", "/f", "PUT"),
    ] {
        let refused = client.request(method, target, "", b"");
        assert_eq!(refused.status, 405, "{method} {target}");
        let allow = refused.field("allow").unwrap();
        assert!(allow.contains(allowed) && !allow.contains(method), "{method} {target}: {allow}");
        assert!(refused.field("date").is_some());
    }
    for (method, status) in [("GET", 404), ("HEAD", 404), ("PROPFIND", 404), ("DELETE", 404)] {
        assert_eq!(client.request(method, "/none", "", b"").status, status);
    }
    // After a HEAD that was refused the connection is still in step.
    assert_eq!(client.get("/f").body, b"x");
    let refused = server.client_of("nobody", "x").get("/f");
    assert_eq!(
        (refused.status, refused.field("content-type")),
        (401, Some("text/plain; charset=utf-8"))
    );
}

/// A hint about metadata never refuses the data.
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
        // A year that no file system here can keep, and HTTP can tell.
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

fn patch(inner: &str) -> String {
    format!(
        "<D:propertyupdate xmlns:D=\"DAV:\" xmlns:m=\"urn:schemas-microsoft-com:\" xmlns:o=\"http://owncloud.org/ns\" \
         xmlns:a=\"http://apache.org/dav/props/\" xmlns:t=\"test:\"><D:set><D:prop>{inner}</D:prop></D:set></D:propertyupdate>"
    )
}

fn ask(names: &str) -> String {
    patch(names)
        .replace("propertyupdate", "propfind")
        .replace("<D:set>", "")
        .replace("</D:set>", "")
}

/// What is confirmed is done, and what is not done is refused.
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
        // Explorer's four, of which two are kept.
        format!(
            "<m:Win32CreationTime>{date}</m:Win32CreationTime><m:Win32LastAccessTime>{date}</m:Win32LastAccessTime>\
             <m:Win32LastModifiedTime>{date}</m:Win32LastModifiedTime><m:Win32FileAttributes>00000020</m:Win32FileAttributes>"
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
    // All or none.
    let both = "<D:getlastmodified>Mon, 07 Nov 1994 08:49:37 GMT</D:getlastmodified><D:getetag>x</D:getetag><t:p/>";
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
    // Removed, a name for people is that of the file again.
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
    // A large one, in pieces; and one that is not known here.
    assert_eq!(client.request("PUT", "/bad", "OC-Checksum: SHA1:zz\r\n", b"abc").status, 400);
    let large = vec![b'a'; 1_000_000];
    let sum = "34aa973cd4c4daa4f61eeb2bdbad27316534016f";
    let field = format!("OC-Checksum: MD5:x SHA1:{sum}\r\n");
    assert_eq!(client.request("PUT", "/large", &field, &large).status, 201);
    assert_eq!(client.request("PUT", "/large", wrong, &large).status, 400);
    assert_eq!(fs::read(place.path("large")).unwrap(), large);
    assert_eq!(client.request("PUT", "/other", "OC-Checksum: MD5:x\r\n", b"abc").status, 201);
    // Times are none of the contents.
    let date = "<D:getlastmodified>Mon, 07 Nov 1994 08:49:37 GMT</D:getlastmodified>";
    client.request("PROPPATCH", "/f", "", patch(date).as_bytes());
    assert_eq!(told(&mut client), keeps);
    assert_eq!(client.put("/f", b"abd"), 204);
    assert!(!told(&mut client), "other contents");
    // What a client says is not believed.
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

/// Does the file system of the test keep extended attributes?
pub fn keeps_attributes(place: &Place) -> bool {
    let file = place.path("probe");
    fs::write(&file, "").unwrap();
    let name = c"user.dapple.probe";
    let path = std::ffi::CString::new(file.to_str().unwrap()).unwrap();
    // SAFETY: all of it is ours and ends with a zero; one byte of the value is read.
    let set = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), b"x".as_ptr().cast(), 1, 0) };
    fs::remove_file(file).unwrap();
    set == 0
}

#[test]
fn n9_the_depth_of_a_file_is_all_the_same() {
    let place = Place::new();
    fs::create_dir(place.path("folder")).unwrap();
    fs::write(place.path("folder/in"), "x").unwrap();
    for name in ["a", "b", "c"] {
        fs::write(place.path(name), name).unwrap();
    }
    let server = place.serve();
    let mut client = server.client();
    let mut status = |method: &str, target: &str, fields: &str| {
        client.request(method, target, fields, b"").status
    };
    assert_eq!(status("DELETE", "/a", "Depth: 0\r\n"), 204);
    assert_eq!(status("MOVE", "/b", "Depth: 0\r\nDestination: /b2\r\n"), 201);
    assert_eq!(status("COPY", "/c", "Depth: 1\r\nDestination: /c2\r\n"), 201);
    assert_eq!(status("DELETE", "/folder/", "Depth: 0\r\n"), 400);
    assert_eq!(status("MOVE", "/folder/", "Depth: 0\r\nDestination: /other/\r\n"), 400);
    assert_eq!(status("COPY", "/folder/", "Depth: 1\r\nDestination: /other/\r\n"), 400);
    assert_eq!(status("COPY", "/folder/", "Depth: 0\r\nDestination: /other/\r\n"), 201);
    assert!(place.path("other").is_dir() && !place.path("other/in").exists());
}

const LOCKINFO: &str = "<lockinfo xmlns=\"DAV:\"><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>";

#[test]
fn n9_tokens_without_brackets() {
    let place = Place::new();
    fs::write(place.path("f"), "x").unwrap();
    let server = place.serve();
    let mut client = server.client();
    let lock = |client: &mut crate::server::Client| {
        let response = client.request("LOCK", "/f", "", LOCKINFO.as_bytes());
        assert_eq!(response.status, 200, "{}", response.text());
        response.field("lock-token").unwrap().trim_matches(['<', '>']).to_owned()
    };
    let token = lock(&mut client);
    assert_eq!(client.put("/f", b"y"), 423);
    for field in
        [format!("If: {token}\r\n"), format!("If: ({token})\r\n"), format!("If: (<{token}>)\r\n")]
    {
        assert_eq!(client.request("PUT", "/f", &field, b"y").status, 204, "{field}");
        assert_eq!(client.request("LOCK", "/f", &field, b"").status, 200, "refreshed by {field}");
    }
    let field = format!("Lock-Token: {token}\r\n");
    assert_eq!(client.request("UNLOCK", "/f", &field, b"").status, 204);
    let token = lock(&mut client);
    let field = format!("Lock-Token: <{token}>\r\n");
    assert_eq!(client.request("UNLOCK", "/f/", &field, b"").status, 409, "it is no folder");
    assert_eq!(client.request("UNLOCK", "/f", &field, b"").status, 204);
    assert_eq!(client.request("UNLOCK", "/f", "", b"").status, 400);
}

#[test]
fn n9_a_slash_behind_the_name_of_a_file() {
    let place = Place::new();
    fs::write(place.path("f.txt"), "x").unwrap();
    let server = place.serve();
    let mut client = server.client();
    for (method, fields, body, status) in [
        ("GET", "", "", 404),
        ("HEAD", "", "", 404),
        ("DELETE", "", "", 404),
        ("MOVE", "Destination: /g.txt\r\n", "", 404),
        ("COPY", "Destination: /g.txt\r\n", "", 404),
        ("PROPFIND", "Depth: 0\r\n", "", 404),
        ("PROPPATCH", "", &patch("<t:p>v</t:p>"), 404),
        ("LOCK", "", LOCKINFO, 404),
        ("PUT", "", "", 405),
        ("MKCOL", "", "", 405),
    ] {
        let response = client.request(method, "/f.txt/", fields, body.as_bytes());
        assert_eq!(response.status, status, "{method}");
    }
    assert_eq!(client.request("LOCK", "/new/", "", LOCKINFO.as_bytes()).status, 409);
    for method in ["MOVE", "COPY"] {
        let response = client.request(method, "/f.txt", "Destination: /g.txt/\r\n", b"");
        assert_eq!(response.status, 409, "{method}");
    }
    assert_eq!(fs::read(place.path("f.txt")).unwrap(), b"x");
    assert!(!place.path("g.txt").exists() && !place.path("new").exists());
}

#[test]
fn n9_a_reader_is_not_told_of_what_only_others_can() {
    let place = Place::new();
    fs::write(place.path("f"), "x").unwrap();
    let server = place.serve();
    let mut reader = server.client_of(READER, PASSWORD);
    let options = reader.request("OPTIONS", "/", "", b"");
    assert_eq!(options.field("allow"), Some("OPTIONS, GET, HEAD, PROPFIND"));
    assert_eq!(options.field("dav"), Some("1, 3"));
    assert_eq!(reader.request("POST", "/", "", b"").field("allow"), options.field("allow"));
    assert_eq!(reader.propfind("/f", "0", "").all("supportedlock"), [""]);
    let mut writer = server.client();
    assert!(writer.propfind("/f", "0", "").text().contains("<D:lockentry>"));
    assert_eq!(writer.request("OPTIONS", "/", "", b"").field("dav"), Some("1, 2, 3"));
}

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
        // Behind a proxy that puts its own Host: it says so, or the server knows its name.
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
    // Without its slash what the page names would be beside the prefix.
    let bare = client.get("/my/files");
    assert_eq!((bare.status, bare.field("location")), (301, Some("/my/files/")));
    assert_eq!(client.get("/my/files/folder?zip").field("location"), Some("/my/files/folder/?zip"));
    for bad in ["files", "/a//b", "/a/../b", "/a b"] {
        let output = dapple(&["--prefix", bad]).arg(&place.folder).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{bad}");
    }
}

#[test]
fn n9_macos_is_not_told_of_quotas() {
    let place = Place::new();
    let server = place.serve();
    let mut client = server.client();
    let body = ask("<D:quota-available-bytes/>");
    let mut told = |agent: &str| {
        let fields = format!("Depth: 0\r\nUser-Agent: {agent}\r\n");
        let response = client.request("PROPFIND", "/", &fields, body.as_bytes());
        response.all("quota-available-bytes").len()
    };
    assert_eq!(told("WebDAVFS/3.0.0 (03008000) Darwin/24.4.0 (arm64)"), 0);
    assert_eq!(told("gvfs/1.50"), 1);
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
    // The address by which this machine would reach another one; nothing is sent.
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

/// Nothing can be made in it: it is served all the same, and nobody is told that it could be changed.
#[test]
fn n9_a_folder_that_cannot_be_changed() {
    // SAFETY: it only asks.
    if unsafe { libc::geteuid() } == 0 && !can_mount() {
        eprintln!("skipped: whoever is root can change everything, and may not mount here");
        return;
    }
    let place = Place::new();
    fs::write(place.path("f"), "x").unwrap();
    let unmount = make_read_only(&place);
    let server = place.serve();
    let mut client = server.client();
    assert!(server.said.contains("nothing in it can be changed"), "{}", server.said);
    assert_eq!(client.get("/f").body, b"x");
    assert_eq!(client.propfind("/", "1", "").all("href"), ["/", "/f"]);
    assert_eq!(client.request("OPTIONS", "/", "", b"").field("dav"), Some("1, 3"));
    assert_eq!(client.put("/g", b"x"), 403);
    assert_eq!(client.request("DELETE", "/f", "", b"").status, 403);
    drop((client, server));
    unmount();
    // One that was served before has the server's corner in it.
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
    // SAFETY: it only asks.
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

/// Strangers say odd things; a library that complains of each would fill the disk.
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
    // Answers to pings that nobody has sent.
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

#[test]
fn n9_text_is_what_a_browser_takes_it_for() {
    let place = Place::new();
    fs::write(place.path("utf.txt"), "grüße").unwrap();
    fs::write(place.path("latin.txt"), b"gr\xfc\xdfe").unwrap();
    fs::write(place.path("page.html"), "<p>grüße").unwrap();
    fs::write(place.path("notes.md"), "grüße").unwrap();
    fs::write(place.path("a.pdf"), "%PDF-1.4").unwrap();
    let server = place.serve();
    let mut client = server.client();
    for (name, kind) in [
        ("utf.txt", "text/plain; charset=utf-8"),
        ("latin.txt", "text/plain"),
        ("page.html", "text/html; charset=utf-8"),
        ("notes.md", "text/markdown; charset=utf-8"),
        ("a.pdf", "application/pdf"),
    ] {
        let response = client.get(&format!("/{name}"));
        assert_eq!(response.field("content-type"), Some(kind), "{name}");
        assert_eq!(response.field("x-content-type-options"), Some("nosniff"), "{name}");
    }
    let file = fs::File::open(place.path("utf.txt")).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(3_600)).unwrap();
    let response = client.get("/utf.txt");
    let [modified, date] = ["last-modified", "date"].map(|name| response.field(name).unwrap());
    assert_eq!(modified, date, "it lies not in the future");
}

/// Over HTTP/2 no library takes the body off.
#[test]
fn n9_head_over_http_2() {
    let place = Place::new();
    fs::write(place.path("f.txt"), "contents").unwrap();
    let server = place.serve();
    let login = format!("{USER}:{PASSWORD}");
    for (target, login, status) in [
        ("f.txt", &*login, "200"),
        ("", &*login, "200"),
        ("none", &*login, "404"),
        ("f.txt/", &*login, "404"),
        ("%00", &*login, "400"),
        ("f.txt", "nobody:x", "401"),
    ] {
        let Some(mut curl) = tool("curl") else { return };
        let output = curl
            .args(["-sSkI", "--http2", "-u", login, "-o", "/dev/null", "-w", "%{http_code}"])
            .arg(format!("{}{target}", server.url()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{target}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), status, "{target}");
    }
}

/// A change that is refused leaves everything as it was: times, rights, and what is known of the contents.
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
        "<D:getlastmodified>{date}</D:getlastmodified><m:Win32LastAccessTime>{date}</m:Win32LastAccessTime>"
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
    // Two names of one time that do not agree.
    let both = format!(
        "<D:getlastmodified>{date}</D:getlastmodified><m:Win32LastModifiedTime>Mon, 07 Nov 1994 08:49:37 GMT</m:Win32LastModifiedTime>"
    );
    let response = client.request("PROPPATCH", "/f", "", patch(&both).as_bytes());
    assert!(!response.text().contains("200 OK"), "{}", response.text());
}

#[test]
fn n9_a_zip_of_names_that_are_no_text() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    for name in [&b"\xff.txt"[..], b"\xfe.txt", b"..\\..\\evil.txt", "\u{e4}.txt".as_bytes()] {
        fs::write(place.folder.join(std::ffi::OsStr::from_bytes(name)), "x").unwrap();
    }
    let server = place.serve();
    let zip = server.client().get("/?zip");
    assert_eq!((zip.status, zip.field("content-type")), (200, Some("application/zip")));
    assert!(zip.body.ends_with(&[0, 0]) && zip.body.starts_with(b"PK"));
    let has = |name: &str| zip.body.windows(name.len()).any(|bytes| bytes == name.as_bytes());
    assert!(has("%FF.txt") && has("%FE.txt") && has("..%5C..%5Cevil.txt") && has("\u{e4}.txt"));
    assert!(!has("..\\..\\evil.txt"));
}
