//! The supervisor, and the server that is started on demand.

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Program, client, common, example, until};

#[test]
fn the_supervisor_tells_what_programs_print_and_starts_them_again() {
    let mut supervise = Program::start("supervise", &["job=echo working; exit 3"]);
    let begin = Instant::now();
    for _ in 0..3 {
        let mut round: Vec<_> = (0..3).map(|_| supervise.line()).collect();
        // The program's last line may be printed after its end is reported.
        round.sort();
        assert_eq!(round, ["job ended: exit status: 3", "job started", "job: working"]);
    }
    // It waits before each restart, twice as long each time: 100 ms and 200 ms.
    assert!(begin.elapsed() >= Duration::from_millis(300));
    let rest = supervise.ends();
    assert!(rest.ends_with("all programs have ended\n"), "{rest}");
}

#[test]
fn the_supervisor_ends_its_programs_with_itself_and_restarts_them_on_request() {
    let mut supervise = Program::start("supervise", &["sleeper=echo $$; exec sleep 60"]);
    let mut number = || {
        // The line "started", and the program's own line.
        let lines = [supervise.line(), supervise.line()];
        let number = lines.iter().find_map(|line| line.strip_prefix("sleeper: "));
        number.unwrap_or_else(|| panic!("{lines:?}")).to_owned()
    };
    let first = number();
    let is_there = |number: &str| std::path::Path::new(&format!("/proc/{number}")).exists();
    assert!(is_there(&first));
    let hang_up = |supervise: &Program| supervise.signal("-HUP");
    hang_up(&supervise);
    assert_eq!(supervise.line(), "sleeper ended: signal: 15 (SIGTERM)");
    let lines = [supervise.line(), supervise.line()];
    let second = lines.iter().find_map(|line| line.strip_prefix("sleeper: ")).unwrap().to_owned();
    assert!(is_there(&second) && !is_there(&first));
    let rest = supervise.ends();
    assert_eq!(rest, "sleeper ended: signal: 15 (SIGTERM)\nall programs have ended\n");
    assert!(!is_there(&second));
}

#[test]
fn the_supervisor_starts_nothing_once_it_ends() {
    let slow = "slow=trap 'echo ending; sleep 2; exit 0' TERM; echo up; \
                while :; do sleep 0.05; done";
    let mut supervise = Program::start("supervise", &[slow, "job=exit 1"]);
    // After its third end, the job would start again in 400 ms, and `slow` takes 2 s to end.
    let mut lines = Vec::new();
    while lines.iter().filter(|line: &&String| line.starts_with("job ended")).count() < 3
        || !lines.contains(&"slow: up".to_owned())
    {
        lines.push(supervise.line());
    }
    let rest = supervise.ends();
    let (_, late) = rest.split_once("slow: ending\n").expect("it got the signal");
    assert!(!late.contains("job started"), "{rest}");
    assert!(rest.ends_with("all programs have ended\n"), "{rest}");
}

/// Asks for the time, and checks that the answer is right within 100 s.
fn asks_for_the_time(port: u16) {
    let mut text = String::new();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.read_to_string(&mut text).unwrap();
    let told: u64 = text.trim().parse().unwrap_or_else(|_| panic!("{text:?}"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(now.as_secs().abs_diff(told) < 100, "{told}");
}

#[test]
fn systemd_starts_the_server_when_somebody_connects() {
    let Some(mut activate) = client("systemd-socket-activate") else { return };
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let listen = format!("127.0.0.1:{port}");
    let mut activator = activate
        .args(["-l", &listen, example("activated").to_str().unwrap(), "60"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(activator.stderr.take().unwrap()).lines();
    // The activator prints a line when it listens.
    let mut listens = told.next().unwrap().unwrap();
    while !listens.contains("Listening on") {
        listens = told.next().unwrap().unwrap();
    }
    asks_for_the_time(port);
    let wanted = format!("activated, listening on {listen}");
    assert!(told.any(|line| line.unwrap() == wanted));
    for _ in 0..10 {
        asks_for_the_time(port);
    }
    // The activator has become the server.
    activator.kill().unwrap();
    activator.wait().unwrap();
}

#[test]
fn an_activated_server_ends_when_nobody_comes_and_leaves_the_socket() {
    use std::os::fd::AsRawFd;
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, fd) = (listening.local_addr().unwrap().port(), listening.as_raw_fd());
    for _ in 0..2 {
        let script = "LISTEN_PID=$$ exec \"$0\" 1";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(example("activated")).env("LISTEN_FDS", "1");
        common::pass_as_3(&mut command, fd);
        let mut server = command.stderr(Stdio::null()).spawn().unwrap();
        asks_for_the_time(port);
        until("the server ends", || server.try_wait().unwrap().is_some());
        assert!(server.wait().unwrap().success());
    }
    // Without an activator, the program says what is missing.
    let alone = Command::new(example("activated")).output().unwrap();
    assert!(!alone.status.success());
    let told = String::from_utf8_lossy(&alone.stderr);
    assert!(told.contains("systemd-socket-activate"), "{told}");
}
