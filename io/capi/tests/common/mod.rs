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

/// Where the headers are.
pub const INCLUDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/include");

/// Says whether there are libevent's headers.
fn has_libevent() -> bool {
    let is_there = Path::new("/usr/include/event2/event.h").exists();
    if !is_there {
        assert_ne!(std::env::var("DAPPLE_CLIENTS").as_deref(), Ok("require"), "no libevent-dev");
        eprintln!("skipped: libevent-dev is missing");
    }
    is_there
}

/// Compiles a program, in C or C++ as its ending says; `None`: there is no compiler.
fn compile_file(source: &Path, flags: &[&str]) -> Option<PathBuf> {
    let is_cpp = source.extension() == Some(OsStr::new("cpp"));
    let compiler = if is_cpp { "c++" } else { "cc" };
    if !has(compiler) {
        return None;
    }
    // Tests of one process compile the same program beside each other.
    static COMPILED: AtomicUsize = AtomicUsize::new(0);
    let number = COMPILED.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}-{number}", env!("CARGO_CRATE_NAME"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let program = folder.join(source.file_stem().unwrap());
    let mut command = Command::new(compiler);
    if is_cpp {
        command.arg("-std=c++17");
    }
    command.args(["-Wall", "-Wextra", "-Werror", "-O1", "-I", INCLUDE, "-o"]).arg(&program);
    let output = command.arg(source).args(flags).arg("-pthread").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(program)
}

/// A program of `tests/c`.
fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(file)
}

/// Compiles a program of `tests/c` that is linked to libevent; `None`: there is no compiler, or no
/// libevent.
pub fn compile(name: &str, flags: &[&str]) -> Option<PathBuf> {
    let flags = [flags, &["-levent", "-levent_pthreads"]].concat();
    if has_libevent() { compile_file(&source(&format!("{name}.c")), &flags) } else { None }
}

/// How a program is linked that is linked to the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    /// To the library only.
    Alone,
    /// To the library only, whose code becomes the program's.
    Statically,
    /// To the library, and to libevent behind it.
    BeforeLibevent,
    /// The wrong way round.
    BehindLibevent,
}

/// Compiles a program of `tests/c` that is linked to the library; `None`: there is no compiler, or
/// no libevent.
pub fn compile_linked(file: &str, linked: Linked, flags: &[&str]) -> Option<PathBuf> {
    compile_path(&source(file), linked, flags)
}

/// Compiles a program that is linked to the library; `None`: there is no compiler, or no libevent.
pub fn compile_path(source: &Path, linked: Linked, flags: &[&str]) -> Option<PathBuf> {
    let library = library();
    let archive = library.with_extension("a");
    let folder = library.parent().unwrap().to_str().unwrap();
    // Before the paths of the environment: in those of `cargo test` an older library may stand.
    let path = format!("-Wl,--disable-new-dtags,-rpath,{folder}");
    let find = format!("-L{folder}");
    let libraries: &[&str] = match linked {
        Linked::Alone => &["-ldapple_event"],
        Linked::Statically => &[archive.to_str().unwrap(), "-ldl", "-lm"],
        Linked::BeforeLibevent => &["-ldapple_event", "-levent", "-levent_pthreads"],
        Linked::BehindLibevent => &["-levent", "-ldapple_event"],
    };
    if matches!(linked, Linked::BeforeLibevent | Linked::BehindLibevent) && !has_libevent() {
        return None;
    }
    let flags = [flags, &[&find, &path, "-Wl,--no-as-needed"], libraries].concat();
    compile_file(source, &flags)
}

/// The parts of a program that says them when it is called without arguments.
pub fn parts(program: &Path) -> Vec<String> {
    let parts = String::from_utf8(Command::new(program).output().unwrap().stdout).unwrap();
    parts.lines().map(str::to_owned).collect()
}

/// Runs all parts of a program, each of which checks itself, and says `ok`.
pub fn run_parts(program: &Path, least: usize) {
    let parts = parts(program);
    assert!(parts.len() >= least, "{parts:?}");
    for part in parts {
        // What is freed is overwritten, so that who uses it after that is noticed.
        let mut command = Command::new(program);
        command.arg(&part).env("DAPPLE_WORKERS", "3").env("MALLOC_PERTURB_", "165");
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{part}: {} {errors}", output.status);
        assert_eq!(output.stdout, b"ok\n", "{part}: {errors}");
    }
}

/// What a program prints that ends well.
pub fn output_of(program: &Path) -> String {
    let output = Command::new("timeout").arg("60").arg(program).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {} {errors}", program.display(), output.status);
    String::from_utf8(output.stdout).unwrap()
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
