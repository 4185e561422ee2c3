//! C programs that are compiled here, and programs of the system, on libevent and on this library.
//!
//! Tests that need Debian packages (gcc, libevent-dev, the programs) are skipped without them, and
//! say so. With `DAPPLE_CLIENTS=require` a missing package is a failure.
#![allow(dead_code, reason = "each test uses a part")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The library on which a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Libevent,
    Dapple,
}

/// Returns the path of the library that `cargo test` has built.
pub fn library() -> PathBuf {
    // The library is in the directory of the test: target/debug/deps/order-...
    let test = std::env::current_exe().unwrap();
    let path = test.with_file_name("libdapple_event.so");
    assert!(path.exists(), "{}: cargo test -p dapple-capi", path.display());
    path
}

/// Returns `true` if the system has a program.
pub fn has(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", "command -v \"$0\" >/dev/null", program]).status();
    let is_there = found.unwrap().success();
    if !is_there {
        assert_ne!(std::env::var("DAPPLE_CLIENTS").as_deref(), Ok("require"), "no {program}");
        eprintln!("skipped: there is no {program}");
    }
    is_there
}

/// The directory of the headers.
pub const INCLUDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/include");

/// Returns `true` if the system has libevent's headers.
fn has_libevent() -> bool {
    let is_there = Path::new("/usr/include/event2/event.h").exists();
    if !is_there {
        assert_ne!(std::env::var("DAPPLE_CLIENTS").as_deref(), Ok("require"), "no libevent-dev");
        eprintln!("skipped: libevent-dev is missing");
    }
    is_there
}

/// Compiles a program, as C or C++ by its file extension. Returns `None` if there is no compiler.
fn compile_file(source: &Path, flags: &[&str]) -> Option<PathBuf> {
    let is_cpp = source.extension() == Some(OsStr::new("cpp"));
    let compiler = if is_cpp { "c++" } else { "cc" };
    if !has(compiler) {
        return None;
    }
    // Tests of one process may compile the same program at the same time.
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

/// Returns the path of a program in `tests/c`.
fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(file)
}

/// Compiles a program in `tests/c` that is linked to libevent. Returns `None` if there is no
/// compiler or no libevent.
pub fn compile(name: &str, flags: &[&str]) -> Option<PathBuf> {
    let flags = [flags, &["-levent", "-levent_pthreads"]].concat();
    if has_libevent() { compile_file(&source(&format!("{name}.c")), &flags) } else { None }
}

/// The way a program is linked to the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    /// To the shared library only.
    Alone,
    /// To the static library only.
    Statically,
    /// To the library, with libevent after it.
    BeforeLibevent,
    /// To libevent, with the library after it, which is the wrong order.
    BehindLibevent,
}

/// Compiles a program in `tests/c` that is linked to the library. Returns `None` if there is no
/// compiler, or no libevent where it is needed.
pub fn compile_linked(file: &str, linked: Linked, flags: &[&str]) -> Option<PathBuf> {
    compile_path(&source(file), linked, flags)
}

/// Compiles a program that is linked to the library. Returns `None` if there is no compiler, or no
/// libevent where it is needed.
pub fn compile_path(source: &Path, linked: Linked, flags: &[&str]) -> Option<PathBuf> {
    let library = library();
    let archive = library.with_extension("a");
    let folder = library.parent().unwrap().to_str().unwrap();
    // An RPATH, because the LD_LIBRARY_PATH of `cargo test` may contain an older library.
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

/// Returns the parts of a program, which prints their names when it is called without arguments.
pub fn parts(program: &Path) -> Vec<String> {
    let parts = String::from_utf8(Command::new(program).output().unwrap().stdout).unwrap();
    parts.lines().map(str::to_owned).collect()
}

/// Runs all parts of a program, of which there are at least `least`. Each part checks itself and
/// prints `ok`.
pub fn run_parts(program: &Path, least: usize) {
    let parts = parts(program);
    assert!(parts.len() >= least, "{parts:?}");
    for part in parts {
        // Freed memory is overwritten, so that a use after free is noticed.
        let mut command = Command::new(program);
        command.arg(&part).env("DAPPLE_WORKERS", "3").env("MALLOC_PERTURB_", "165");
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{part}: {} {errors}", output.status);
        assert_eq!(output.stdout, b"ok\n", "{part}: {errors}");
    }
}

/// Returns the output of a program, which must succeed within 60 s.
pub fn output_of(program: &Path) -> String {
    let output = Command::new("timeout").arg("60").arg(program).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {} {errors}", program.display(), output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Makes a command that runs on one of the two libraries.
pub fn command(program: impl AsRef<OsStr>, on: On) -> Command {
    let mut command = Command::new(program);
    if on == On::Dapple {
        command.env("LD_PRELOAD", library());
    }
    command
}

/// Runs a program on one of the two libraries, for at most 60 s, and returns its output.
pub fn output(program: &Path, arguments: &[&str], on: On) -> Output {
    let mut command = command("timeout", on);
    command.arg("60").arg(program).args(arguments).output().unwrap()
}
