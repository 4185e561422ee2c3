//! The chat, with guests over TCP, at a terminal, and with files and pipes.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{ChildStdin, Command, Stdio};

use super::{Program, client, example};

struct Guest {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Guest {
    fn comes(port: &str, name: &str) -> Guest {
        let stream = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
        let mut guest = Guest { lines: BufReader::new(stream.try_clone().unwrap()), stream };
        guest.says(name);
        guest
    }

    fn says(&mut self, line: &str) {
        writeln!(self.stream, "{line}").unwrap();
    }

    fn hears(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

/// Starts the client at a terminal of its own, which `script` makes.
fn at_a_terminal(name: &str, port: &str) -> Option<(Program, ChildStdin)> {
    let mut script = client("script")?;
    let join = format!("{} join {name} 127.0.0.1:{port}", example("chat").display());
    let command = script.args(["-q", "-e", "-E", "never", "-c", &join, "/dev/null"]);
    let mut program = Program::run(command.stdin(Stdio::piped()));
    let keyboard = program.process.stdin.take().unwrap();
    Some((program, keyboard))
}

#[test]
fn all_who_are_in_the_room_hear_what_is_said() {
    let mut room = Program::start("chat", &["room", "127.0.0.1:0"]);
    let port = room.port();
    let mut ada = Guest::comes(&port, "ada");
    assert_eq!(ada.hears(), "* ada has joined");
    let mut bob = Guest::comes(&port, "ada");
    assert_eq!(bob.hears(), "* that name is taken, choose another one");
    bob.says("bob");
    assert_eq!((ada.hears(), bob.hears()), ("* bob has joined".into(), "* bob has joined".into()));
    for n in 0..100 {
        ada.says(&format!("line {n}"));
    }
    for n in 0..100 {
        assert_eq!(bob.hears(), format!("ada: line {n}"));
        assert_eq!(ada.hears(), format!("ada: line {n}"));
    }
    if let Some((mut screen, mut keyboard)) = at_a_terminal("cy", &port) {
        assert_eq!(ada.hears(), "* cy has joined");
        assert_eq!(screen.line(), "* cy has joined");
        ada.says("hello, cy");
        assert_eq!(screen.line(), "ada: hello, cy");
        keyboard.write_all(b"hello, room\n").unwrap();
        assert_eq!((ada.hears(), ada.hears()), ("ada: hello, cy".into(), "cy: hello, room".into()));
        assert_eq!(screen.line(), "cy: hello, room");
        // The end of the input, as a user types it at a terminal.
        keyboard.write_all(&[4]).unwrap();
        assert_eq!(ada.hears(), "* cy has left");
        assert!(screen.process.wait().unwrap().success());
        drop(bob);
    } else {
        drop(bob);
    }
    assert_eq!(ada.hears(), "* bob has left");
    // A guest whose line is too long is disconnected.
    let mut dot = Guest::comes(&port, "dot");
    assert_eq!(ada.hears(), "* dot has joined");
    dot.says(&"x".repeat(2_000));
    assert_eq!(ada.hears(), "* dot has left");
    room.ends();
}

#[test]
fn a_guest_that_is_refused_neither_speaks_nor_leaves_for_the_one_who_has_the_name() {
    let mut room = Program::start("chat", &["room", "127.0.0.1:0"]);
    let port = room.port();
    let mut ada = Guest::comes(&port, "ada");
    assert_eq!(ada.hears(), "* ada has joined");
    for _ in 0..20 {
        drop(Guest::comes(&port, "ada\nI speak for ada"));
    }
    let mut bob = Guest::comes(&port, "ada");
    assert_eq!(bob.hears(), "* that name is taken, choose another one");
    ada.says("alone");
    assert_eq!(ada.hears(), "ada: alone");
    room.ends();
}

#[test]
fn the_client_reads_files_and_pipes_as_well() {
    let mut room = Program::start("chat", &["room", "127.0.0.1:0"]);
    let port = room.port();
    let mut ada = Guest::comes(&port, "ada");
    assert_eq!(ada.hears(), "* ada has joined");
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("input"), folder.path().join("output"));
    std::fs::write(&input, "one\ntwo\n").unwrap();
    let status = Command::new(example("chat"))
        .args(["join", "eve", &format!("127.0.0.1:{port}")])
        .stdin(std::fs::File::open(&input).unwrap())
        .stdout(std::fs::File::create(&output).unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    let heard: Vec<_> = (0..4).map(|_| ada.hears()).collect();
    assert_eq!(heard, ["* eve has joined", "eve: one", "eve: two", "* eve has left"]);
    // The input of a daemon ends at once.
    let status = Command::new(example("chat"))
        .args(["join", "eve", &format!("127.0.0.1:{port}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!((ada.hears(), ada.hears()), ("* eve has joined".into(), "* eve has left".into()));
    let mut piped = Command::new(example("chat"))
        .args(["join", "eve", &format!("127.0.0.1:{port}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(ada.hears(), "* eve has joined");
    ada.says("bye");
    assert_eq!(ada.hears(), "ada: bye");
    let mut lines = BufReader::new(piped.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "* eve has joined");
    assert_eq!(lines.next().unwrap().unwrap(), "ada: bye");
    drop(piped.stdin.take());
    assert!(piped.wait().unwrap().success());
    assert_eq!(ada.hears(), "* eve has left");
    room.ends();
}
