//! `dapple web` under a service manager: a settings file, sockets that the manager opens, Unix
//! sockets, and readiness notifications.
mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use common::{Web, command};

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("site")).unwrap();
    fs::write(folder.path().join("site/a.txt"), "0123456789").unwrap();
    folder
}

/// Requests a.txt over a Unix socket, and returns the whole response.
fn ask(path: &std::path::Path) -> String {
    ask_for(path, "/a.txt")
}

fn ask_for(path: &std::path::Path, target: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
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
        "dir = {:?}\nlist = true\nmetrics = true\nlisten = [\"127.0.0.1:0\", \"unix:{}\"]\n\
         cache-control = [\"*.txt=max-age=60\"]\n",
        folder.path().join("site").to_str().unwrap(),
        socket.display()
    );
    fs::write(&file, text).unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let checked = command(&config).arg("--check").output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    assert!(String::from_utf8(checked.stdout).unwrap().starts_with("The settings are valid: "));
    assert!(!socket.exists(), "nothing is listened on");
    let web = Web::spawn(command(&config));
    assert_eq!(web.get("/a.txt").field("cache-control"), Some("max-age=60"));
    assert!(web.get("/").text().contains("a.txt"));
    assert!(ask(&socket).ends_with("0123456789"));
    assert!(ask_for(&socket, "/_dapple/metrics").contains("web_responses"), "under any name");
    web.signal(libc::SIGTERM);
    assert_eq!(web.end().0, Some(0));
    assert!(!socket.exists(), "it is removed");
    fs::write(&file, "list = true\nfrobnicate = 1\n").unwrap();
    let output = command(&config).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("web.toml: unknown setting \"frobnicate\""), "{said}");
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
    // The socket is passed as systemd does it: it is descriptor 3, and `LISTEN_PID` holds the
    // process id.
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
    // SAFETY: `kill` takes no pointers. The process id is that of our child, which has not been
    // waited for, so the kernel cannot have reused it.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    assert_eq!(next(), "STOPPING=1");
    assert!(child.wait().unwrap().success());
}

/// Repeats the request until `is_over` is set. Returns the number of requests.
fn keep_asking(is_over: &AtomicBool, ask: impl Fn()) -> u64 {
    let mut count = 0;
    while !is_over.load(Ordering::Relaxed) {
        ask();
        count += 1;
    }
    count
}

/// Returns the ids of the processes that have this path on their command line.
fn processes_of(folder: &std::path::Path) -> Vec<i32> {
    let all = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let name = folder.to_str().unwrap().as_bytes();
    let is_it = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.windows(name.len()).any(|part| part == name)
    };
    all.filter(is_it).collect()
}

fn signal(process: i32, signal: i32) {
    // SAFETY: `kill` takes no pointers, and the caller passes the id of a process that this test
    // started.
    assert_eq!(unsafe { libc::kill(process, signal) }, 0);
}

/// Waits until the folder has a single process, and that process is not `old`. Returns its id.
fn wait_for_another(folder: &std::path::Path, old: i32) -> i32 {
    let start = std::time::Instant::now();
    loop {
        match processes_of(folder)[..] {
            [one] if one != old => return one,
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", processes_of(folder));
    }
}

#[test]
fn a_restart_loses_no_connection() {
    let folder = folder();
    let (site, socket) = (folder.path().join("site"), folder.path().join("socket"));
    let mut command = command(&["--listen", "127.0.0.1:0", "--listen"]);
    command.arg(format!("unix:{}", socket.display())).arg(&site);
    let web = Web::spawn(command);
    let out = std::os::fd::AsFd::as_fd(web.out.get_ref()).try_clone_to_owned().unwrap();
    let out = lines(fs::File::from(out));
    let is_over = AtomicBool::new(false);
    let ask_once = || assert_eq!(web.get("/a.txt").text(), "0123456789");
    let last = std::thread::scope(|scope| {
        // If the closure panics, the clients end too.
        let end = End(&is_over);
        let clients = [
            scope.spawn(|| keep_asking(&is_over, ask_once)),
            scope.spawn(|| keep_asking(&is_over, ask_once)),
            scope.spawn(|| keep_asking(&is_over, || assert!(ask(&socket).ends_with("0123456789")))),
        ];
        // A response that is finished only after the old process has been told to drain.
        let mut slow = web.connect();
        slow.send(b"GET /a.txt HTTP/1.1\r\nHost: x\r\n");
        let mut process = web.child.id() as i32;
        for round in 0..3 {
            std::thread::sleep(Duration::from_millis(200));
            signal(process, libc::SIGUSR2);
            if round == 0 {
                // The new process reports that it serves. Then the old one drains.
                line_with(&out, "Serving ");
                std::thread::sleep(Duration::from_millis(500));
                slow.send(b"\r\n");
                let response = slow.response(true);
                assert_eq!(response.text(), "0123456789");
                assert_eq!(response.field("connection"), Some("close"));
            }
            process = wait_for_another(&site, process);
        }
        drop(end);
        for client in clients {
            assert!(client.join().unwrap() > 10);
        }
        process
    });
    assert!(socket.exists());
    signal(last, libc::SIGTERM);
    let start = std::time::Instant::now();
    while socket.exists() || !processes_of(&site).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", processes_of(&site));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sets a flag when it is dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads the lines of a process's output on a thread.
fn lines(output: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (tx, rx) = mpsc::channel();
    std::thread::spawn(move || {
        let lines = std::io::BufRead::lines(std::io::BufReader::new(output));
        lines.map_while(Result::ok).try_for_each(|line| tx.send(line))
    });
    rx
}

/// Waits up to 30 s for a line that contains `text`.
fn line_with(lines: &mpsc::Receiver<String>, text: &str) -> String {
    let mut seen = Vec::new();
    loop {
        match lines.recv_timeout(Duration::from_secs(30)) {
            Ok(line) if line.contains(text) => return line,
            Ok(line) => seen.push(line),
            Err(error) => panic!("no line with {text:?}: {error}; {seen:?}"),
        }
    }
}

#[test]
fn a_restart_that_fails_leaves_the_old_process_at_work() {
    let folder = folder();
    let file = folder.path().join("web.toml");
    let settings = |more: &str| {
        let dir = folder.path().join("site");
        fs::write(&file, format!("dir = {:?}\n{more}", dir.to_str().unwrap())).unwrap();
    };
    settings("");
    let mut command = command(&["--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()]);
    command.stderr(std::process::Stdio::piped());
    let mut web = Web::spawn(command);
    let said = lines(web.child.stderr.take().unwrap());
    settings("frobnicate = 1\n");
    web.signal(libc::SIGUSR2);
    let line = line_with(&said, "the old process keeps serving");
    assert!(line.contains("exited (exit status: 2) before it served"), "{line}");
    assert_eq!(web.get("/a.txt").text(), "0123456789");
    // With good settings, the next restart works.
    settings("cache-control = [\"*=max-age=7\"]\n");
    web.signal(libc::SIGUSR2);
    let process = wait_for_another(&file, web.child.id() as i32);
    assert_eq!(web.get("/a.txt").field("cache-control"), Some("max-age=7"));
    signal(process, libc::SIGTERM);
}

#[test]
fn a_restart_that_fails_takes_nothing_from_the_old_process() {
    let folder = folder();
    let (file, socket) = (folder.path().join("web.toml"), folder.path().join("socket"));
    let settings = |more: &str| {
        let dir = folder.path().join("site");
        let text = format!(
            "dir = {:?}\nlisten = [\"127.0.0.1:0\", \"unix:{}\"]\n{more}",
            dir.to_str().unwrap(),
            socket.display()
        );
        fs::write(&file, text).unwrap();
    };
    settings("");
    let mut command = command(&["--config", file.to_str().unwrap(), "-v"]);
    command.stderr(std::process::Stdio::piped());
    let mut web = Web::spawn(command);
    let said = lines(web.child.stderr.take().unwrap());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let redirects = format!("tls = [\"dev\"]\nredirect-from = \"127.0.0.1:{port}\"\n");
    // Failures that occur after the sockets were taken over: TLS on a Unix socket.
    for more in ["tls = [\"dev\"]\n", &redirects] {
        settings(more);
        web.signal(libc::SIGUSR2);
        line_with(&said, "the old process keeps serving");
        assert!(socket.exists(), "{more}");
        assert!(ask(&socket).ends_with("0123456789"));
        assert_eq!(web.get("/a.txt").text(), "0123456789");
    }
    // A process that is told to end while its successor starts ends both.
    settings("");
    web.signal(libc::SIGUSR2);
    web.signal(libc::SIGTERM);
    let start = std::time::Instant::now();
    while !processes_of(&file).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", processes_of(&file));
        let _ = web.child.try_wait();
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!socket.exists());
}
