//! `dapple web` compared with nginx, Apache and h11: each server gets the same odd requests, and
//! docs/HTTP.md explains each difference.
mod common;
#[path = "../../io/tests/common/tool.rs"]
mod tool;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use common::Web;
use tool::tool;

/// A server that ends with the test, and its address.
struct Peer(Child, SocketAddr);

impl Drop for Peer {
    fn drop(&mut self) {
        // SIGTERM, so that the server also ends its worker processes.
        // SAFETY: `kill` takes no pointers. The process id is that of our child, which has not been
        // waited for, so the kernel cannot have reused it.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGTERM) };
        let _ = self.0.wait();
    }
}

impl Peer {
    fn start(command: &mut Command, port: u16) -> Peer {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(20), "the server does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        Peer(child, address)
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn nginx(mut command: Command, folder: &Path, here: &Path) -> Peer {
    let (port, root) = (free_port(), folder.display());
    let at = here.display();
    let config = format!(
        "daemon off;\npid {at}/nginx.pid;\nerror_log {at}/error.log;\nevents {{}}\nhttp {{\n\
         types {{ text/plain txt; text/html html; }}\ndefault_type application/octet-stream;\naccess_log off;\n\
         client_body_temp_path {at}/b;\nproxy_temp_path {at}/p;\nfastcgi_temp_path {at}/f;\nuwsgi_temp_path {at}/u;\n\
         scgi_temp_path {at}/s;\nserver {{ listen 127.0.0.1:{port}; root {root}; }}\n}}\n"
    );
    let file = here.join("nginx.conf");
    fs::write(&file, config).unwrap();
    Peer::start(command.arg("-c").arg(file).arg("-p").arg(here), port)
}

fn apache(mut command: Command, folder: &Path, here: &Path) -> Peer {
    let (port, root) = (free_port(), folder.display());
    let at = here.display();
    let modules = "/usr/lib/apache2/modules";
    let config = format!(
        "ServerRoot {at}\nServerName localhost\nPidFile {at}/apache.pid\nListen 127.0.0.1:{port}\nErrorLog {at}/errors\n\
         LoadModule mpm_event_module {modules}/mod_mpm_event.so\nLoadModule authz_core_module {modules}/mod_authz_core.so\n\
         LoadModule dir_module {modules}/mod_dir.so\nLoadModule mime_module {modules}/mod_mime.so\n\
         TypesConfig /dev/null\nAddType text/plain .txt\nAddType text/html .html\nDocumentRoot {root}\nStartServers 1\n\
         <Directory {root}>\nRequire all granted\nOptions FollowSymLinks\n</Directory>\n"
    );
    let file = here.join("apache.conf");
    fs::write(&file, config).unwrap();
    Peer::start(command.arg("-f").arg(file).args(["-D", "FOREGROUND"]), port)
}

/// Summarizes all responses to `request` in a line, joined by spaces.
///
/// Each response is its status. A served file adds the number of bytes, or the number of parts,
/// because the boundary of Apache's parts varies in length. A trailing `+` stands for bytes that do
/// not belong to any response, `text` for an answer that is not HTTP, and `closed` for no answer.
fn outcome(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    let (mut rest, mut said) = (&all[..], Vec::new());
    let is_head = request.trim_ascii_start().starts_with(b"HEAD ");
    while rest.starts_with(b"HTTP/1.") {
        let Some(end) = rest.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { break };
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[end + 4..];
        let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let field = |name: &str| {
            head.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let length = field("content-length").and_then(|l| l.parse::<usize>().ok());
        let has_body = !is_head && !matches!(&*status, "304" | "204" | "100");
        let length = if has_body { length.unwrap_or(rest.len()) } else { 0 };
        let body = &rest[..length.min(rest.len())];
        rest = &rest[body.len()..];
        let is_of_parts = field("content-type").is_some_and(|t| t.starts_with("multipart/"));
        said.push(match &*status {
            "206" if is_of_parts => {
                let body = String::from_utf8_lossy(body).to_ascii_lowercase();
                let parts = body.matches("content-range:").count();
                format!("{status}:{parts}-parts")
            }
            "200" | "206" => format!("{status}:{length}"),
            _ => status,
        });
    }
    if !rest.is_empty() {
        said.push(if said.is_empty() { "text".to_owned() } else { "+".to_owned() });
    }
    if said.is_empty() { "closed".to_owned() } else { said.join(" ") }
}

/// Returns the requests, each with a name.
fn requests() -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |name: &str, text: String| all.push((name.to_owned(), text.into_bytes()));
    for line in [
        "GET /a.txt HTTP/1.1",
        "GET /a.txt HTTP/1.0",
        "GET /a.txt HTTP/1.2",
        "GET /a.txt HTTP/1.10",
        "GET /a.txt HTTP/2.0",
        "GET /a.txt HTTP/0.9",
        "GET /a.txt http/1.1",
        "GET /a.txt FOO",
        "GET /a.txt",
        "GET  /a.txt HTTP/1.1",
        "GET /a.txt  HTTP/1.1",
        "GET\t/a.txt HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET a.txt HTTP/1.1",
        "GET http://x/a.txt HTTP/1.1",
        "GET HTTP://x/a.txt HTTP/1.1",
        "GET ftp://x/a.txt HTTP/1.1",
        "GET http://a,b/a.txt HTTP/1.1",
        "GET * HTTP/1.1",
        "GET //a.txt HTTP/1.1",
        "GET /./a.txt HTTP/1.1",
        "GET /folder/../a.txt HTTP/1.1",
        "GET /../a.txt HTTP/1.1",
        "GET /%2e%2e/a.txt HTTP/1.1",
        "GET /folder%2fin.txt HTTP/1.1",
        "GET /%61.txt HTTP/1.1",
        "GET /a.txt%00 HTTP/1.1",
        "GET /a.txt%zz HTTP/1.1",
        "GET /a.txt? HTTP/1.1",
        "GET /a.txt?x=y HTTP/1.1",
        "GET /a.txt#part HTTP/1.1",
        "GET /a.txt/ HTTP/1.1",
        "GET /a.txt/b HTTP/1.1",
        "GET /folder HTTP/1.1",
        "GET /folder/ HTTP/1.1",
        "GET /bare/ HTTP/1.1",
        "GET /nothing HTTP/1.1",
        "GET / HTTP/1.1",
        "HEAD /a.txt HTTP/1.1",
        "HEAD /nothing HTTP/1.1",
        "HEAD /folder HTTP/1.1",
        "POST /a.txt HTTP/1.1",
        "PUT /a.txt HTTP/1.1",
        "DELETE /a.txt HTTP/1.1",
        "OPTIONS /a.txt HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "TRACE /a.txt HTTP/1.1",
        "CONNECT x:80 HTTP/1.1",
        "PATCH /a.txt HTTP/1.1",
        "FOO /a.txt HTTP/1.1",
        "get /a.txt HTTP/1.1",
        "G(T /a.txt HTTP/1.1",
    ] {
        add(line, format!("{line}\r\nHost: x\r\nConnection: close\r\n\r\n"));
    }
    for host in
        ["", "a b", "a/b", "u@a", "a,b", "a:b", "a:80", "a:99999", "[::1]", "[::1", "a_b", "a%41"]
    {
        add(
            &format!("Host: {host}"),
            format!("GET /a.txt HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
        );
    }
    for (name, fields) in [
        ("no Host", ""),
        ("two Hosts", "Host: x\r\nHost: x\r\n"),
        ("Host : x", "Host : x\r\n"),
        ("a field without a colon", "Host: x\r\nnothing\r\n"),
        ("a field without a name", "Host: x\r\n: y\r\n"),
        ("a field on two lines", "Host: x\r\nA: b\r\n c\r\n"),
        ("a field with a NUL", "Host: x\r\nA: b\0c\r\n"),
        ("a field with a bare CR", "Host: x\r\nA: b\rc\r\n"),
        ("Content-Length: 3, and three bytes", "Host: x\r\nContent-Length: 3\r\n"),
        ("Content-Length: +3", "Host: x\r\nContent-Length: +3\r\n"),
        ("Content-Length: 3, 3", "Host: x\r\nContent-Length: 3, 3\r\n"),
        ("Content-Length: 3 and 4", "Host: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n"),
        ("Content-Length: 3 twice", "Host: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n"),
        ("Content-Length: 0x3", "Host: x\r\nContent-Length: 0x3\r\n"),
        ("Content-Length: empty", "Host: x\r\nContent-Length:\r\n"),
        ("Transfer-Encoding: xchunked", "Host: x\r\nTransfer-Encoding: xchunked\r\n"),
        ("Transfer-Encoding: identity", "Host: x\r\nTransfer-Encoding: identity\r\n"),
        ("Transfer-Encoding: gzip, chunked", "Host: x\r\nTransfer-Encoding: gzip, chunked\r\n"),
        ("Transfer-Encoding: chunked, gzip", "Host: x\r\nTransfer-Encoding: chunked, gzip\r\n"),
        (
            "Transfer-Encoding and Content-Length",
            "Host: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        ),
        ("Expect: a miracle", "Host: x\r\nExpect: a miracle\r\n"),
    ] {
        let body = if fields.contains("Content-Length") { "abc" } else { "" };
        let chunks = if fields.contains("chunked") { "0\r\n\r\n" } else { body };
        add(name, format!("GET /a.txt HTTP/1.1\r\n{fields}Connection: close\r\n\r\n{chunks}"));
    }
    for range in [
        "bytes=0-0",
        "bytes=2-5",
        "bytes=5-",
        "bytes=-3",
        "bytes=-30",
        "bytes=-0",
        "bytes=10-",
        "bytes=10-20",
        "bytes=5-2",
        "bytes=0-1,3-4",
        "bytes=a-b",
        "bytes=",
        "bytes=-",
        "bytes 0-1",
        "Bytes=0-1",
        "lines=0-1",
        "bytes=0-99999999999999999999",
        "bytes=99999999999999999999-",
    ] {
        let request = format!(
            "GET /a.txt HTTP/1.1\r\nHost: x\r\nRange: {range}\r\nConnection: close\r\n\r\n"
        );
        add(&format!("Range: {range}"), request);
    }
    for range in ["bytes=0-", "bytes=-5", "bytes=1-"] {
        let request = format!(
            "GET /empty.txt HTTP/1.1\r\nHost: x\r\nRange: {range}\r\nConnection: close\r\n\r\n"
        );
        add(&format!("Range: {range} of an empty file"), request);
    }
    for (name, field) in [
        ("If-None-Match: *", "If-None-Match: *"),
        ("If-Match: *", "If-Match: *"),
        ("If-Match: \"x\"", "If-Match: \"x\""),
        ("If-Modified-Since: later", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT"),
        ("If-Modified-Since: earlier", "If-Modified-Since: Fri, 01 Jan 1999 00:00:00 GMT"),
        ("If-Modified-Since: nonsense", "If-Modified-Since: yesterday"),
        ("If-Unmodified-Since: earlier", "If-Unmodified-Since: Fri, 01 Jan 1999 00:00:00 GMT"),
        ("If-Unmodified-Since: later", "If-Unmodified-Since: Fri, 01 Jan 2100 00:00:00 GMT"),
    ] {
        let request =
            format!("GET /a.txt HTTP/1.1\r\nHost: x\r\n{field}\r\nConnection: close\r\n\r\n");
        add(name, request);
    }
    let long = "x".repeat(9_000);
    add(
        "a target of 9,000 bytes",
        format!("GET /{long} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    );
    add(
        "a field of 9,000 bytes",
        format!("GET /a.txt HTTP/1.1\r\nHost: x\r\nA: {long}\r\nConnection: close\r\n\r\n"),
    );
    let many = "A: b\r\n".repeat(150);
    add("150 fields", format!("GET /a.txt HTTP/1.1\r\nHost: x\r\n{many}Connection: close\r\n\r\n"));
    add(
        "lines that end with LF only",
        "GET /a.txt HTTP/1.1\nHost: x\nConnection: close\n\n".to_owned(),
    );
    add(
        "an empty line first",
        "\r\nGET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
    );
    let one = "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /empty.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    add("two in one piece", format!("{one}{last}"));
    add("HEAD without Host", "HEAD /a.txt HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned());
    add("HEAD of a later major version", "HEAD /a.txt HTTP/3.0\r\nHost: x\r\n\r\n".to_owned());
    add("TLS", "\x16\x03\x01\0\x05hello".to_owned());
    add("nothing", String::new());
    all
}

/// Reads the table of docs/HTTP.md that has `OTHERS + 1` columns. The key is the request's name,
/// and the value is the row's other cells.
fn explained<const OTHERS: usize>() -> BTreeMap<String, [String; OTHERS]> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/HTTP.md");
    let text = fs::read_to_string(file).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect());
    let of_this_table = cells.filter(|cells: &Vec<&str>| cells.len() == OTHERS + 1);
    of_this_table
        .map(|cells| {
            let cell = |at: usize| cells[at].trim_matches('`').to_owned();
            (cell(0), std::array::from_fn(|at| cell(at + 1)))
        })
        .collect()
}

/// Creates the folder that all servers serve.
fn site() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir_all(root.join("folder")).unwrap();
    fs::create_dir_all(root.join("bare")).unwrap();
    for (name, text) in [
        ("a.txt", "0123456789"),
        ("empty.txt", ""),
        ("index.html", "<h1>index</h1>"),
        ("folder/index.html", "<h1>folder</h1>"),
        ("folder/in.txt", "in"),
    ] {
        fs::write(root.join(name), text).unwrap();
        let file = fs::File::options().write(true).open(root.join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(100_000)).unwrap();
    }
    // Servers that are started as root drop its rights, so everybody must be able to read the
    // files.
    Command::new("chmod").args(["-R", "a+rX"]).arg(root).status().unwrap();
    folder
}

#[test]
fn each_difference_to_nginx_and_apache_is_explained() {
    let (Some(nginx_command), Some(apache_command)) = (tool("nginx"), tool("apache2")) else {
        return;
    };
    let (folder, here) = (site(), tempfile::tempdir().unwrap());
    let root = folder.path();
    let web = Web::start(Some(root), &[]);
    let nginx = nginx(nginx_command, root, here.path());
    let apache = apache(apache_command, root, here.path());
    let explained = explained::<4>();
    let (mut found, mut problems) = (0, Vec::new());
    for (name, request) in requests() {
        let all = [web.address, nginx.1, apache.1].map(|address| outcome(address, &request));
        let [dapple, of_nginx, of_apache] = &all;
        if dapple == of_nginx && dapple == of_apache {
            if explained.contains_key(&name) {
                problems.push(format!("no longer a difference: {name}"));
            }
            continue;
        }
        found += 1;
        match explained.get(&name) {
            Some(row) if row[..3] == all && !row[3].is_empty() => {}
            _ => problems.push(format!("| `{name}` | {dapple} | {of_nginx} | {of_apache} | |")),
        }
    }
    assert!(problems.is_empty(), "docs/HTTP.md does not match:\n{}", problems.join("\n"));
    assert_eq!(found, explained.len(), "each row of the table is a request of this test");
}

/// Says for each response of an outcome whether the request was understood: `taken`, or the status
/// of the refusal.
fn verdict(outcome: &str) -> String {
    let statuses = outcome.split(' ').map(|one| match one {
        "400" | "414" | "431" | "501" | "505" => one,
        "closed" | "+" => one,
        _ => "taken",
    });
    statuses.collect::<Vec<_>>().join(" ")
}

/// h11 is only a parser and serves nothing, so the test compares which requests are understood.
#[test]
fn each_difference_to_h11_is_explained() {
    let Some(mut python) = tool("/usr/bin/python3") else { return };
    if !Command::new("/usr/bin/python3").args(["-c", "import h11"]).status().unwrap().success() {
        return tool::missing("h11 (python3-h11)");
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/h11_verdicts.py");
    let mut h11 = python.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut into = h11.stdin.take().unwrap();
    for (_, request) in requests() {
        let hex: String = request.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(into, "{hex}").unwrap();
    }
    drop(into);
    let said = String::from_utf8(h11.wait_with_output().unwrap().stdout).unwrap();
    let folder = site();
    let web = Web::start(Some(folder.path()), &[]);
    let explained = explained::<3>();
    let (mut found, mut problems) = (0, Vec::new());
    assert_eq!(said.lines().count(), requests().len(), "an answer to each");
    for ((name, request), of_h11) in requests().into_iter().zip(said.lines()) {
        let dapple = verdict(&outcome(web.address, &request));
        if dapple == of_h11 {
            if explained.contains_key(&name) {
                problems.push(format!("no longer a difference: {name}"));
            }
            continue;
        }
        found += 1;
        match explained.get(&name) {
            Some([one, other, why]) if *one == dapple && other == of_h11 && !why.is_empty() => {}
            _ => problems.push(format!("| `{name}` | {dapple} | {of_h11} | |")),
        }
    }
    assert!(problems.is_empty(), "docs/HTTP.md does not match:\n{}", problems.join("\n"));
    assert_eq!(found, explained.len(), "each row of the table is a request of this test");
}
