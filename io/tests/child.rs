//! N10: child processes: pipes as streams, exits that are reported, no zombies, all cores, no
//! inherited descriptors.
mod common;

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::start;
use dapple::Cx;
use dapple_io::stream::{CloseReason, Conn, ConnOptions, Protocol, Stream};

/// A protocol that sends its input, closes its side, and reports what the child has printed.
struct Feeds {
    input: Vec<u8>,
    output: Vec<u8>,
    tell: mpsc::Sender<(Vec<u8>, String)>,
}

impl Protocol for Feeds {
    fn on_open(&mut self, conn: &mut Conn, _: &mut Cx) {
        conn.send(&std::mem::take(&mut self.input));
        conn.shutdown_write();
    }

    fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
        self.output.extend(conn.input());
        conn.consume(conn.input().len());
    }

    fn on_close(&mut self, reason: &CloseReason, _: &mut Cx) {
        let output = std::mem::take(&mut self.output);
        self.tell.send((output, format!("{reason:?}"))).unwrap();
    }
}

fn piped(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn feed(rt: &dapple::Runtime, stream: Stream, input: Vec<u8>) -> (Vec<u8>, String) {
    let (tell, told) = mpsc::channel();
    let feeds = Feeds { input, output: Vec::new(), tell };
    stream.serve(&rt.handle().new_color(), ConnOptions::default(), feeds);
    told.recv().unwrap()
}

/// Returns `true` if the system knows the process, even as a zombie.
fn is_known(process: u32) -> bool {
    std::path::Path::new(&format!("/proc/{process}")).exists()
}

fn is_gone(process: u32) {
    let start = Instant::now();
    while is_known(process) {
        assert!(start.elapsed() < Duration::from_secs(60), "process {process} is still there");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn n10_pipes_are_a_stream_with_two_ends() {
    let (rt, io) = start(2);
    let input: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
    let mut child = io.spawn_child(&mut piped("cat", &[])).unwrap();
    let stream = child.take_stdio().unwrap().unwrap();
    assert!(child.take_stdio().unwrap().is_none() && child.take_stderr().unwrap().is_none());
    let (output, reason) = feed(&rt, stream, input.clone());
    assert_eq!(output.len(), input.len(), "{reason}");
    assert!(output == input);
    assert!(rt.block_on(child.wait()).unwrap().success());
    is_gone(child.id());
}

#[test]
fn n10_a_child_that_reads_no_more_is_still_heard() {
    let (rt, io) = start(1);
    let script = "exec 0</dev/null; sleep 0.1; echo heard";
    let mut child = io.spawn_child(&mut piped("sh", &["-c", script])).unwrap();
    let stream = child.take_stdio().unwrap().unwrap();
    let (output, reason) = feed(&rt, stream, vec![7; 4_000_000]);
    assert_eq!(output, b"heard\n", "{reason}");
}

#[test]
fn n10_an_input_alone_is_a_stream_that_ends_with_its_reader() {
    let (rt, io) = start(2);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy");
    let mut command = Command::new("sh");
    command.args(["-c", "exec cat > \"$0\""]).arg(&path).stdin(Stdio::piped());
    let mut child = io.spawn_child(&mut command).unwrap();
    struct Idle(mpsc::Sender<String>);
    impl Protocol for Idle {
        fn on_data(&mut self, _: &mut Conn, _: &mut Cx) {}
        fn on_close(&mut self, reason: &CloseReason, _: &mut Cx) {
            self.0.send(format!("{reason:?}")).unwrap();
        }
    }
    let (tell, told) = mpsc::channel();
    let stream = child.take_stdin().unwrap().unwrap();
    let input = stream.serve(&rt.handle().new_color(), ConnOptions::default(), Idle(tell));
    // The parts are sent over 30 ms.
    for part in ["one ", "two ", "three"] {
        input.with(move |_, conn, _| conn.send(part.as_bytes()));
        std::thread::sleep(Duration::from_millis(10));
    }
    input.with(|_, conn, _| conn.close());
    assert!(rt.block_on(child.wait()).unwrap().success());
    assert_eq!(std::fs::read(&path).unwrap(), b"one two three");
    assert_eq!(told.recv().unwrap(), "Closed");
    // A stream without input also ends when its output has been closed.
    let (tell, told) = mpsc::channel();
    let mut child = io.spawn_child(piped("cat", &[]).stdout(Stdio::null())).unwrap();
    let stream = child.take_stdin().unwrap().unwrap();
    let input = stream.serve(&rt.handle().new_color(), ConnOptions::default(), Idle(tell));
    input.with(|_, conn, _| {
        conn.send(b"last");
        conn.shutdown_write();
    });
    assert_eq!(told.recv().unwrap(), "Peer");
    // A stream ends when its reader ends first.
    let (tell, told) = mpsc::channel();
    let mut child = io.spawn_child(Command::new("true").stdin(Stdio::piped())).unwrap();
    let stream = child.take_stdin().unwrap().unwrap();
    stream.serve(&rt.handle().new_color(), ConnOptions::default(), Idle(tell));
    assert_eq!(told.recv().unwrap(), "Peer");
}

#[test]
fn n10_a_closed_pair_of_pipes_does_not_linger() {
    let (rt, io) = start(1);
    let mut child = io.spawn_child(&mut piped("yes", &[])).unwrap();
    struct Closes(mpsc::Sender<()>);
    impl Protocol for Closes {
        fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
            conn.close();
        }
        fn on_close(&mut self, _: &CloseReason, _: &mut Cx) {
            self.0.send(()).unwrap();
        }
    }
    let (tell, told) = mpsc::channel();
    let stream = child.take_stdio().unwrap().unwrap();
    stream.serve(&rt.handle().new_color(), ConnOptions::default(), Closes(tell));
    told.recv().unwrap();
    // Nothing reads the child's output.
    assert_eq!(rt.block_on(child.wait()).unwrap().signal(), Some(libc::SIGPIPE));
}

#[test]
fn n10_standard_error_is_a_stream_of_its_own() {
    let (rt, io) = start(1);
    let mut command = Command::new("sh");
    command.args(["-c", "echo oops >&2"]).stderr(Stdio::piped());
    let mut child = io.spawn_child(&mut command).unwrap();
    assert!(child.take_stdio().unwrap().is_none());
    let stream = child.take_stderr().unwrap().unwrap();
    let (output, reason) = feed(&rt, stream, Vec::new());
    assert_eq!(output, b"oops\n", "{reason}");
}

#[test]
fn n10_an_end_is_told_to_everybody_who_asks_early_or_late() {
    let (rt, io) = start(2);
    let child = io.spawn_child(Command::new("sh").args(["-c", "exit 7"])).unwrap();
    let (tx, rx) = mpsc::channel();
    let color = rt.handle().new_color();
    for _ in 0..3 {
        let (tx, on) = (tx.clone(), color.clone());
        child.on_exit(&color, move |status, cx| {
            tx.send((status.unwrap().code(), cx.is_on(&on))).unwrap();
        });
    }
    for _ in 0..3 {
        assert_eq!(rx.recv().unwrap(), (Some(7), true));
    }
    assert_eq!(rt.block_on(child.wait()).unwrap().code(), Some(7));
    child.on_exit(&color, move |status, _| tx.send((status.unwrap().code(), true)).unwrap());
    assert_eq!(rx.recv().unwrap(), (Some(7), true));
    let gone = child.kill().unwrap_err();
    assert_eq!(gone.raw_os_error(), Some(libc::ESRCH));
}

#[test]
fn n10_no_zombie_is_left_though_nobody_asks() {
    let (_rt, io) = start(2);
    let numbers: Vec<u32> =
        (0..30).map(|_| io.spawn_child(&mut Command::new("true")).unwrap().id()).collect();
    numbers.into_iter().for_each(is_gone);
}

#[test]
fn n10_a_child_is_killed_on_drop_by_choice_only() {
    let (rt, io) = start(1);
    let sleep = || io.spawn_child(Command::new("sleep").arg("60")).unwrap();
    let (mut killed, left) = (sleep(), sleep());
    let numbers = (killed.id(), left.id());
    killed.kill_on_drop();
    let ended = killed.wait();
    drop(killed);
    assert_eq!(rt.block_on(ended).unwrap().signal(), Some(libc::SIGKILL));
    is_gone(numbers.0);
    let ended = left.wait();
    assert!(is_known(numbers.1));
    left.signal(libc::SIGTERM).unwrap();
    drop(left);
    assert_eq!(rt.block_on(ended).unwrap().signal(), Some(libc::SIGTERM));
    is_gone(numbers.1);
}

#[test]
fn n10_what_cannot_be_started_is_an_error() {
    let (_rt, io) = start(1);
    let error = io.spawn_child(&mut Command::new("/no/such/program")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
#[cfg(target_os = "linux")]
fn e1_a_child_that_a_callback_starts_may_use_all_cores() {
    let (rt, io) = start(1);
    let mine = std::fs::read_to_string("/proc/self/status").unwrap();
    let cores = |status: &str| {
        let line = status.lines().find(|line| line.starts_with("Cpus_allowed:"));
        line.unwrap().to_owned()
    };
    let spawned = rt.handle().new_color().call(move |_| {
        let mut command = piped("cat", &["/proc/self/status"]);
        let mut child = io.spawn_child(&mut command).unwrap();
        child.take_stdio().unwrap().unwrap()
    });
    let (output, reason) = feed(&rt, spawned.join().unwrap(), Vec::new());
    let status = String::from_utf8(output).unwrap();
    assert_eq!(cores(&status), cores(&mine), "{reason}");
}

#[test]
#[cfg(target_os = "linux")]
fn n10_no_descriptor_of_ours_is_there_in_a_child() {
    // The descriptors that this process was started with, and the three standard ones.
    let before = Command::new("ls").arg("/proc/self/fd").output().unwrap().stdout;
    let (rt, io) = start(2);
    let folder = tempfile::tempdir().unwrap();
    // One descriptor of each kind that this crate opens.
    let listener = io
        .listener()
        .bind("127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap())
        .bind(dapple_io::Addr::unix(folder.path().join("socket")))
        .start(|stream, cx| {
            struct Keeps;
            impl Protocol for Keeps {
                fn on_data(&mut self, _: &mut Conn, _: &mut Cx) {}
            }
            stream.serve(&cx.new_color(), ConnOptions::default(), Keeps);
        })
        .unwrap();
    let client = rt.block_on(io.connect(listener.local_addr())).unwrap();
    let signal = io.on_signal(libc::SIGWINCH, &rt.handle().default_color(), |_| ()).unwrap();
    let mut other = io.spawn_child(&mut piped("cat", &[])).unwrap();
    let mut child = io.spawn_child(&mut piped("ls", &["/proc/self/fd"])).unwrap();
    let (output, _) = feed(&rt, child.take_stdio().unwrap().unwrap(), Vec::new());
    assert_eq!(String::from_utf8(output), String::from_utf8(before));
    other.kill_on_drop();
    drop((client, signal, listener));
}

#[test]
fn a_child_outlives_the_runtime_and_who_waits_is_told() {
    let (rt, io) = start(1);
    let child = io.spawn_child(Command::new("sleep").arg("60")).unwrap();
    let waits = child.wait();
    drop(rt);
    let error = futures_lite::future::block_on(waits).unwrap_err();
    assert_eq!(error.to_string(), "the runtime has ended");
    child.kill().unwrap();
    let late = io.spawn_child(&mut Command::new("true"));
    assert!(late.is_err(), "nobody would wait for it");
}
