//! Logins of `dapple web`, over plain connections and over TLS.
mod common;
#[path = "../../io/tests/common/tool.rs"]
mod tool;

use std::fs;
use std::io::{BufRead, Write};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{Web, command};
use tool::tool;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("site")).unwrap();
    fs::write(folder.path().join("site/a.txt"), "0123456789").unwrap();
    folder
}

/// Runs `dapple files user ..`, and gives it a password on its standard input.
fn users(folder: &tempfile::TempDir, args: &[&str], password: &str) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dapple"))
        .args(["files", "user"])
        .args(args)
        .arg("--state")
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn basic(name: &str, password: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{name}:{password}")))
}

#[test]
fn only_users_are_answered_and_each_change_counts() {
    let folder = folder();
    users(&folder, &["add", "ann", "--password-stdin"], "secret");
    let file = folder.path().join("users");
    let args = ["--users", file.to_str().unwrap(), "--list"];
    let web = Web::start(Some(&folder.path().join("site")), &args);
    let mut client = web.connect();
    for target in ["/a.txt", "/nothing", "/", "/_dapple/metrics"] {
        let refused = client.get(target, "");
        assert_eq!(refused.status, 401, "{target}");
        assert!(refused.field("www-authenticate").unwrap().starts_with("Basic realm="));
    }
    let ann = basic("ann", "secret");
    // The first login has to be checked, the later one is known. The responses still come in order.
    let one = format!("GET /a.txt HTTP/1.1\r\nHost: x\r\n{ann}\r\n");
    let other = "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n";
    client.send([&one, other, &one].concat().as_bytes());
    let statuses = [(); 3].map(|()| client.response(true).status);
    assert_eq!(statuses, [200, 401, 200]);
    assert_eq!(client.get("/a.txt", &ann).text(), "0123456789");
    assert!(client.get("/", &ann).text().contains("a.txt"));
    for wrong in [basic("ann", "other"), basic("bob", "secret"), "Authorization: x\r\n".into()] {
        let status = client.get("/a.txt", &wrong).status;
        assert!(matches!(status, 401 | 429), "{status}");
    }
    client.send(b"OPTIONS /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.response(true).status, 204, "preflight requests need no login");
    assert_eq!(web.connect().get("/_dapple/metrics", &ann).status, 404, "not asked for");
    let args = ["--users", file.to_str().unwrap(), "--metrics"];
    let figures = Web::start(Some(&folder.path().join("site")), &args);
    assert_eq!(figures.get("/_dapple/metrics").status, 401);
    assert!(figures.connect().get("/_dapple/metrics", &ann).text().contains("web_responses"));
    let args = ["--users", file.to_str().unwrap(), "--dashboard"];
    let dashboard = Web::start(Some(&folder.path().join("site")), &args);
    assert_eq!(dashboard.get("/_dapple/").status, 401);
    let page = dashboard.connect().get("/_dapple/", &ann);
    assert!(
        page.text().starts_with("<!doctype html>"),
        "any host name is accepted, because the user is known"
    );
    users(&folder, &["remove", "ann"], "");
    users(&folder, &["add", "cem", "--password-stdin"], "secret");
    let begin = std::time::Instant::now();
    while client.get("/a.txt", &ann).status == 200 {
        assert!(begin.elapsed().as_secs() < 20, "a user who was removed is let in");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn without_a_user_there_is_a_password_for_this_time() {
    let Some(mut curl) = tool("curl") else { return };
    let folder = folder();
    let mut command = command(&["--listen", "127.0.0.1:0", "--tls", "dev", "--users"]);
    command.arg(folder.path().join("users")).arg(folder.path().join("site"));
    let mut web = Web::spawn_at(command, "https://");
    let password = loop {
        let mut line = String::new();
        assert!(web.out.read_line(&mut line).unwrap() > 0, "no password");
        if let Some((_, password)) = line.split_once("one-time password ") {
            break password.trim().to_owned();
        }
    };
    let url = format!("https://{}/a.txt", web.address);
    let user = format!("dapple:{password}");
    let output = curl.args(["-sk", "--http2", "-u", &user, &url, &url]).output().unwrap();
    assert_eq!(output.stdout, b"01234567890123456789");
    let mut curl = tool("curl").unwrap();
    let output =
        curl.args(["-sk", "-o", "/dev/null", "-w", "%{http_code}", &url]).output().unwrap();
    assert_eq!(output.stdout, b"401");
}
