//! `dapple web` over TLS (N7, N8), tested with curl: HTTP/1.1 and HTTP/2, and a new certificate at
//! SIGHUP.
mod common;
#[path = "../../io/tests/common/tool.rs"]
mod tool;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Web, command};
use tool::tool;

/// Creates a folder with one file of each kind that these tests need.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    for (name, contents) in [
        ("a.txt", b"0123456789".to_vec()),
        ("text.js", "let line;\n".repeat(2_000).into_bytes()),
        ("sub/b.txt", b"b".to_vec()),
        ("big.bin", big()),
    ] {
        fs::write(folder.path().join(name), contents).unwrap();
    }
    std::thread::sleep(Duration::from_millis(80));
    folder
}

fn big() -> Vec<u8> {
    (0..3_000_000u32).map(|i| (i / 5) as u8).collect()
}

#[test]
fn n7_tls_is_not_spoken_over_unix_sockets() {
    let folder = folder();
    let socket = format!("unix:{}", folder.path().join("socket").display());
    let output = command(&["--tls", "dev", "--listen", &socket]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("TLS works over TCP only"), "{said}");
}

#[test]
fn two_folders_are_refused() {
    let output = command(&["--tls", "dev", "one", "--list", "two"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("there are two folders, one and two"), "{said}");
}

/// Starts a server over TLS. Returns it and its URL.
fn start(folder: &Path, args: &[&str]) -> (Web, String) {
    let mut command = command(&["--listen", "127.0.0.1:0"]);
    command.arg(folder).args(args);
    let web = Web::spawn_at(command, "https://");
    let url = format!("https://{}", web.address);
    (web, url)
}

/// Runs curl. Returns the response's head in lower case, and its body.
fn curl(curl: Command, args: &[&str]) -> (String, Vec<u8>) {
    let mut curl = curl;
    let output = curl.args(["-s", "-k", "-D", "/dev/stderr"]).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8(output.stderr).unwrap().to_lowercase(), output.stdout)
}

#[test]
fn n7_http_1_and_2_over_tls_have_the_same_answers() {
    let Some(_) = tool("curl") else { return };
    let folder = folder();
    let (_web, url) = start(folder.path(), &["--tls", "dev", "--list"]);
    for version in ["--http1.1", "--http2"] {
        let get = |args: &[&str], target: &str| {
            let url = format!("{url}{target}");
            let all: Vec<&str> = args.iter().copied().chain([version, &url]).collect();
            curl(tool("curl").unwrap(), &all)
        };
        // Two passes: the first one reads from the disk, the second one from the cache.
        for _ in 0..2 {
            let (head, body) = get(&[], "/a.txt");
            let spoken = if version == "--http2" { "http/2 200" } else { "http/1.1 200" };
            assert!(head.starts_with(spoken), "{head}");
            for field in ["content-length: 10", "cache-control: no-cache", "etag: ", "date: "] {
                assert!(head.contains(field), "{field}: {head}");
            }
            assert!(
                !head.contains("strict-transport-security"),
                "not with a temporary certificate"
            );
            assert_eq!(body, b"0123456789");
            assert!(get(&[], "/big.bin").1 == big());
            let (head, body) = get(&["-r", "3-5"], "/a.txt");
            assert!(head.contains(" 206") && head.contains("content-range: bytes 3-5/10"));
            assert_eq!(body, b"345");
            let (head, body) = get(&["-r", "0-1,4-5"], "/big.bin");
            assert!(head.contains("multipart/byteranges") && body.len() > 100);
            assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
            let (head, body) = get(&["--compressed"], "/text.js");
            assert!(head.contains("content-encoding: "), "{head}");
            assert_eq!(body.len(), 20_000);
            let (head, body) = get(&["-I"], "/a.txt");
            assert!(head.contains("content-length: 10") && body.starts_with(b"HTTP/"));
            let (head, _) = get(&["-H", "If-None-Match: *"], "/a.txt");
            assert!(
                head.contains(" 304")
                    && head.contains("etag: ")
                    && !head.contains("\ncontent-type")
            );
            let (head, body) = get(&[], "/nothing");
            assert!(head.contains(" 404") && body == b"404 Not Found\n");
            assert!(head.contains("x-content-type-options: nosniff"));
            assert!(get(&["-d", "x"], "/a.txt").0.contains(" 405"));
            assert!(get(&["-X", "OPTIONS"], "/a.txt").0.contains("allow: get, head, options"));
            assert!(get(&[], "/sub?x").0.contains("location: /sub/?x"));
            let (head, body) = get(&[], "/sub/?json");
            assert!(head.contains("application/json"));
            assert!(String::from_utf8(body).unwrap().contains("\"b.txt\""));
            assert!(get(&[], "/sub/?zip").1.starts_with(b"PK"));
        }
    }
    // TLS 1.2 is spoken. A client that does not speak TLS gets a response that says so.
    let (_, body) = curl(tool("curl").unwrap(), &["--tls-max", "1.2", &format!("{url}/a.txt")]);
    assert_eq!(body, b"0123456789");
    let plain = url.replace("https", "http");
    let (head, body) = curl(tool("curl").unwrap(), &[&plain]);
    assert!(head.contains(" 400") && String::from_utf8(body).unwrap().contains("HTTPS"));
}

fn certificate(folder: &Path, name: &str) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    fs::write(folder.join("cert.pem"), &certificate).unwrap();
    let copy = folder.join(name);
    fs::write(&copy, certificate).unwrap();
    copy.to_str().unwrap().to_owned()
}

#[test]
fn n7_another_certificate_is_read_at_hangup_and_a_bad_one_is_told() {
    let Some(_) = tool("curl") else { return };
    let (folder, pem) = (folder(), tempfile::tempdir().unwrap());
    let at = |name: &str| pem.path().join(name).to_str().unwrap().to_owned();
    let first = certificate(pem.path(), "first.pem");
    let (web, _) = start(folder.path(), &["--tls", &at("cert.pem"), &at("key.pem")]);
    let port = web.address.port();
    let trusts = |certificate: &str| {
        let resolve = format!("localhost:{port}:127.0.0.1");
        let url = format!("https://localhost:{port}/a.txt");
        let mut curl = tool("curl").unwrap();
        curl.args(["-s", "-D", "-", "--resolve", &resolve, "--cacert", certificate, &url]);
        let output = curl.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap().to_lowercase();
        output.status.success() && text.contains("strict-transport-security: max-age=31536000")
    };
    assert!(trusts(&first));
    fs::write(at("cert.pem"), "nonsense").unwrap();
    web.signal(libc::SIGHUP);
    std::thread::sleep(Duration::from_millis(100));
    assert!(trusts(&first), "the old one stays");
    let second = certificate(pem.path(), "second.pem");
    web.signal(libc::SIGHUP);
    let begin = Instant::now();
    while !trusts(&second) {
        assert!(begin.elapsed() < Duration::from_secs(20), "it is not read again");
    }
    assert!(!trusts(&first));
    web.signal(libc::SIGTERM);
    let (status, rest) = web.end();
    assert_eq!(status, Some(0));
    assert!(rest.contains("all connections were closed in order"), "{rest}");
}

#[test]
fn n7_bad_certificates_are_told_at_the_start() {
    let folder = folder();
    let bad = folder.path().join("a.txt");
    let bad = bad.to_str().unwrap();
    for (args, expected) in [
        (&["--tls", "x"][..], "--tls takes a certificate and a key, or `dev`"),
        (&["--tls", "/nothing", "/nothing"], "/nothing: "),
        (&["--redirect-from", "127.0.0.1:0"], "--redirect-from needs --tls"),
        (&["--tls", bad, bad], "a.txt: "),
    ] {
        let output = command(args).args(["--listen", "127.0.0.1:0"]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(expected), "{args:?}: {said}");
    }
}

#[test]
fn n7_who_comes_without_tls_is_sent_to_it() {
    let folder = folder();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let from = free.to_string();
    let (web, _) = start(folder.path(), &["--tls", "dev", "--redirect-from", &from]);
    let ask = |request: &str| {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(free).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        all
    };
    let port = web.address.port();
    for (host, target, location) in [
        ("example.org", "/a%20b?c", format!("https://example.org:{port}/a%20b?c")),
        ("example.org:80", "/", format!("https://example.org:{port}/")),
        ("[::1]:80", "/", format!("https://[::1]:{port}/")),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let response = ask(&request);
        assert!(response.starts_with("HTTP/1.1 301 "), "{response}");
        assert!(response.contains(&format!("Location: {location}\r\n")), "{response}");
    }
    assert!(ask("GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 400 "));
}
