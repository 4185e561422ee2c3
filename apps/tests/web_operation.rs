//! `dapple web` under a service manager: settings in a file, sockets that somebody has opened,
//! Unix sockets, and what it tells.
mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;
use std::time::Duration;

use common::{Web, command};

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("site")).unwrap();
    fs::write(folder.path().join("site/a.txt"), "0123456789").unwrap();
    folder
}

/// What a Unix socket answers to a request for a.txt.
fn ask(path: &std::path::Path) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(b"GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    all
}

#[test]
fn settings_come_from_a_file_and_the_command_line() {
    let folder = folder();
    let file = folder.path().join("web.toml");
    let socket = folder.path().join("socket");
    let text = format!(
        "dir = {:?}\nlist = true\nlisten = [\"127.0.0.1:0\", \"unix:{}\"]\n\
         cache-control = [\"*.txt=max-age=60\"]\n",
        folder.path().join("site").to_str().unwrap(),
        socket.display()
    );
    fs::write(&file, text).unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let checked = command(&config).arg("--check").output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    assert!(String::from_utf8(checked.stdout).unwrap().starts_with("The settings are good: "));
    assert!(!socket.exists(), "nothing is listened on");
    let web = Web::spawn(command(&config));
    assert_eq!(web.get("/a.txt").field("cache-control"), Some("max-age=60"));
    assert!(web.get("/").text().contains("a.txt"));
    assert!(ask(&socket).ends_with("0123456789"));
    web.signal(libc::SIGTERM);
    assert_eq!(web.end().0, Some(0));
    assert!(!socket.exists(), "it is removed");
    fs::write(&file, "list = true\nfrobnicate = 1\n").unwrap();
    let output = command(&config).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("web.toml: there is no setting \"frobnicate\""), "{said}");
    let output = command(&["--check", "--headers", "/nothing"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_service_manager_opens_the_socket_and_is_told() {
    let folder = folder();
    let (socket, told) = (folder.path().join("socket"), folder.path().join("notify"));
    let manager = UnixDatagram::bind(&told).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    // As systemd does it: the socket is descriptor 3, and the process is told by its number.
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" web \"$1\" 3<&0";
    let mut child = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_dapple")])
        .arg(folder.path().join("site"))
        .env("NOTIFY_SOCKET", &told)
        .stdin(std::os::fd::OwnedFd::from(listening))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut state = [0; 64];
    let mut next = || {
        let n = manager.recv(&mut state).unwrap();
        String::from_utf8(state[..n].to_vec()).unwrap()
    };
    assert_eq!(next(), "READY=1");
    assert!(ask(&socket).ends_with("0123456789"));
    // SAFETY: a signal to our child.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    assert_eq!(next(), "STOPPING=1");
    assert!(child.wait().unwrap().success());
}
