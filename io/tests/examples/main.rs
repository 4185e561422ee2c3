//! N10: the examples as programs, under common clients: socat, nc, dig, redis-cli, a terminal. If a
//! client is missing, its test is skipped with a message. With `DAPPLE_CLIENTS=require` it fails.

mod chat;
#[path = "../common/mod.rs"]
mod common;
mod dns;
mod processes;
mod servers;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Returns the path of an example. `cargo test` builds it, but `cargo test --test examples` does
/// not.
fn example(name: &str) -> PathBuf {
    // From target/debug/deps/examples-... to target/debug/examples/NAME.
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.exists(), "{}: cargo build -p dapple-io --examples", path.display());
    path
}

/// A running example, which is killed on drop.
struct Program {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Program {
    fn start(name: &str, arguments: &[&str]) -> Program {
        Program::run(Command::new(example(name)).args(arguments))
    }

    fn run(command: &mut Command) -> Program {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Program { process, output }
    }

    /// Returns the next line that the program prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Returns the address at which the program listens, which it prints first.
    fn address(&mut self) -> String {
        let line = self.line();
        line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).to_owned()
    }

    fn port(&mut self) -> String {
        self.address().rsplit(':').next().unwrap().to_owned()
    }

    fn signal(&self, signal: &str) {
        let number = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &number]).status().unwrap().success());
    }

    /// Tells the program to end, waits until it has, and returns the rest of its output.
    fn ends(mut self) -> String {
        self.signal("-TERM");
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        assert!(self.process.wait().unwrap().success());
        rest
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the client's command, if the client is installed.
fn client(name: &str) -> Option<Command> {
    let found = Command::new("sh").args(["-c", "command -v \"$0\" >/dev/null", name]).status();
    if found.unwrap().success() {
        return Some(Command::new(name));
    }
    assert_ne!(std::env::var("DAPPLE_CLIENTS").as_deref(), Ok("require"), "{name} is missing");
    eprintln!("skipped: {name} is missing");
    None
}

/// Returns the output of a client that gets this input.
fn talk(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let input = input.to_vec();
    let writes = std::thread::spawn(move || {
        // The client may end before it has read all.
        let _ = stdin.write_all(&input);
    });
    let output = process.wait_with_output().unwrap();
    writes.join().unwrap();
    output.stdout
}

/// Waits up to 60 s until `is` returns `true`.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
