//! C programs that are compiled here, and programs of the system, on libevent and on the library.
//!
//! What needs Debian's packages (gcc, libevent-dev, the programs) is skipped without them, which is
//! said; with `DAPPLE_CLIENTS=require` that is a failure.
#![allow(dead_code, reason = "each test uses a part")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

/// On which library a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Libevent,
    Dapple,
}

/// The library, as `cargo test` has built it.
pub fn library() -> PathBuf {
    // It stands beside the test: target/debug/deps/order-...
    let test = std::env::current_exe().unwrap();
    let path = test.with_file_name("libdapple_event.so");
    assert!(path.exists(), "{}: cargo test -p dapple-capi", path.display());
    path
}

/// Says whether a program of the system is there.
pub fn has(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", "command -v \"$0\" >/dev/null", program]).status();
    let is_there = found.unwrap().success();
    if !is_there {
        assert_ne!(std::env::var("DAPPLE_CLIENTS").as_deref(), Ok("require"), "no {program}");
        eprintln!("skipped: there is no {program}");
    }
    is_there
}

/// Compiles a program of `tests/c`; `None`: there is no compiler, or no libevent.
pub fn compile(name: &str, flags: &[&str]) -> Option<PathBuf> {
    if !has("cc") || !Path::new("/usr/include/event2/event.h").exists() {
        assert_ne!(std::env::var("DAPPLE_CLIENTS").as_deref(), Ok("require"), "no libevent-dev");
        eprintln!("skipped: libevent-dev is missing");
        return None;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(format!("{name}.c"));
    // Tests of one process compile the same program beside each other.
    static COMPILED: AtomicUsize = AtomicUsize::new(0);
    let number = COMPILED.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let folder = std::env::temp_dir().join(format!("dapple-capi-{process}-{number}"));
    std::fs::create_dir_all(&folder).unwrap();
    let program = folder.join(name);
    let mut cc = Command::new("cc");
    cc.args(["-Wall", "-Wextra", "-Werror", "-O1", "-o"]).arg(&program).arg(source);
    // Ours first, if it is linked to.
    let output = cc.args(flags).args(["-levent", "-levent_pthreads"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(program)
}

/// A command that runs on one of the two.
pub fn command(program: impl AsRef<OsStr>, on: On) -> Command {
    let mut command = Command::new(program);
    if on == On::Dapple {
        command.env("LD_PRELOAD", library());
    }
    command
}

/// What a program prints, which ends within a minute.
pub fn output(program: &Path, arguments: &[&str], on: On) -> Output {
    let mut command = command("timeout", on);
    command.arg("60").arg(program).args(arguments).output().unwrap()
}
