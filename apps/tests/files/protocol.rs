//! Requests that deviate from the letter of the protocol, and checks that the HTTP library does not
//! make.
use std::fs;
use std::time::{Duration, SystemTime};

use crate::effects::{ask, patch};
use crate::server::{PASSWORD, Place, READER, Server, USER};
use crate::tool::tool;

/// Sends a request with exactly this line and these fields, as a known user. Returns its status.
fn raw(server: &Server, line: &str, fields: &str) -> u16 {
    let mut client = server.client();
    let authorization = client.authorization.clone();
    client.send(format!("{line}\r\n{authorization}{fields}\r\n").as_bytes()).unwrap();
    client.response(true).unwrap().status
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
    // A request that names two lengths is the last one. The bytes after it are not taken for a
    // request.
    let mut client = server.client();
    let authorization = client.authorization.clone();
    let smuggled = format!(
        "PUT /g HTTP/1.1\r\nHost: a\r\n{authorization}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\nDELETE /f HTTP/1.1\r\nHost: a\r\n{authorization}\r\n"
    );
    client.send(smuggled.as_bytes()).unwrap();
    // The library goes by the chunks, which is allowed if it then closes the connection (RFC 9112,
    // 6.3).
    assert_eq!(client.response(true).unwrap().field("connection"), Some("close"));
    assert!(client.response(true).is_err(), "the connection has ended");
    assert!(place.path("f").exists());
}

/// Refusals follow the same rules as other responses.
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
    // The connection is still in step after a HEAD was refused.
    assert_eq!(client.get("/f").body, b"x");
    let refused = server.client_of("nobody", "x").get("/f");
    assert_eq!(
        (refused.status, refused.field("content-type")),
        (401, Some("text/plain; charset=utf-8"))
    );
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
    assert_eq!(modified, date, "it is not in the future");
}

/// Over HTTP/2, no library removes the body of a response to HEAD.
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
