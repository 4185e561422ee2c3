//! `dapple lab`. The experiments take too long without optimization, so their tests run only if
//! `DAPPLE_LAB` names an optimized program. The tests of the simulation need a program that was
//! built with it: the one that cargo built for this test, or the one that `DAPPLE_LAB` names.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

fn lab(program: impl AsRef<Path>, args: &[&str]) -> Output {
    Command::new(program.as_ref()).arg("lab").args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_program_without_the_simulation_says_how_to_build_it() {
    if cfg!(feature = "sim") {
        return;
    }
    let output = lab(env!("CARGO_BIN_EXE_dapple"), &["storm", "--seconds", "5"]);
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    assert!(told.contains("--features sim -- lab storm"), "{told}");
}

#[test]
fn an_experiment_says_what_is_allowed() {
    for (args, why) in [
        (&["stream", "--nodes", "9"][..], "possible values: 8, 16, 32, 64"),
        (&["stream", "--wait", "0"], "0 is not in 1..=1000"),
        (&["contingency", "--timeout", "3"], "3 is not in 10..=10000"),
        (&["colors", "--rounds", "0"], "0 is not in 1.."),
        (&["all"], "--out <DIR>"),
        (&["all", "--out", "/dev/null/x"], "/dev/null/x: "),
        (&["weather"], "unrecognized subcommand"),
    ] {
        let output = lab(env!("CARGO_BIN_EXE_dapple"), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let told = text(&output.stderr);
        assert!(told.contains(why), "{args:?}: {told}");
    }
}

#[test]
fn quick_runs_take_no_other_option() {
    let program = env!("CARGO_BIN_EXE_dapple");
    let output = lab(program, &["stream", "--quick", "--nodes", "8"]);
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    assert!(told.contains("cannot be used with"), "{told}");
}

#[test]
fn clients_tell_a_wrong_reply_and_a_server_that_goes_away() {
    let answer = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}");
    for (answer, why) in [
        (answer("no"), "1 of 1 replies are wrong"),
        (String::new(), "the server closed a connection"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let args = ["lab", "clients", "--server", "web", "--load", "skewed", "--sessions", "1"];
        let clients = Command::new(env!("CARGO_BIN_EXE_dapple"))
            .args(args)
            .args(["--clients", "1", "--requests", "1", &address])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut stream = (0..6_000)
            .find_map(|_| {
                sleep(Duration::from_millis(10));
                listener.accept().ok()
            })
            .expect("it connects within a minute")
            .0;
        stream.set_nonblocking(false).unwrap();
        let mut head = [0; 1_024];
        let n = stream.read(&mut head).unwrap();
        assert!(head[..n].starts_with(b"GET /file37.html HTTP/1.1\r\n"));
        stream.write_all(answer.as_bytes()).unwrap();
        drop(stream);
        let output = clients.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let told = text(&output.stderr);
        assert!(told.contains(why), "{told}");
    }
}

/// Returns the path of an optimized program, if `DAPPLE_LAB` names one. The experiments take too
/// long without optimization.
fn optimised() -> Option<PathBuf> {
    // Tests run in their package's folder, but `DAPPLE_LAB` is relative to the workspace.
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::env::var_os("DAPPLE_LAB").map(|path| workspace.join(path))
}

#[test]
fn a_page_has_all_experiments() {
    let Some(program) = optimised() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let output = lab(&program, &["all", "--quick", "--out", path]);
    let told = text(&output.stdout);
    assert!(output.status.success(), "{told} {}", text(&output.stderr));
    let page = std::fs::read_to_string(folder.path().join("index.html")).unwrap();
    for name in ["contingency", "stream", "colors"] {
        assert!(told.contains(&format!("{name}: ")), "{told}");
        assert!(page.contains(&format!("<h2 id=\"{name}\">")), "{page}");
    }
    assert!(page.contains("dapple lab all --quick"), "{page}");
    // No rule was broken, whatever the measured figures are.
    let rules = "nothing is lost or doubled<td>true in all";
    assert!(page.contains(rules), "{page}");
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 6, "the page, and five charts");
}

#[test]
fn ctrl_c_keeps_what_is_done() {
    let Some(program) = optimised() else { return };
    let folder = tempfile::tempdir().unwrap();
    let all = Command::new(&program)
        .args(["lab", "all", "--quick", "--out"])
        .arg(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let page = || std::fs::read_to_string(folder.path().join("index.html")).unwrap_or_default();
    let is_there = |_: &u32| {
        sleep(Duration::from_millis(10));
        page().contains("<h2 id=\"contingency\">")
    };
    assert!((0..12_000).any(|n| is_there(&n)), "the first one is over within two minutes");
    // Waits until the next experiment is running.
    sleep(Duration::from_millis(500));
    // SAFETY: `kill` takes no pointers. The process id is that of our child, which has not been
    // waited for, so the kernel cannot have reused it.
    assert_eq!(unsafe { libc::kill(all.id() as i32, libc::SIGINT) }, 0);
    let output = all.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stdout);
    assert!(told.contains("stream: stopped before the end"), "{told}");
    let page = page();
    assert!(page.contains("<h2 id=\"contingency\">") && !page.contains("<h2 id=\"colors\">"));
    assert!(page.contains("class=\"fails\">stopped before the end"), "{page}");
}

/// Runs a storm. Returns `None` if no program has the simulation.
fn storm(args: &[&str]) -> Option<Output> {
    let own = cfg!(feature = "sim").then(|| PathBuf::from(env!("CARGO_BIN_EXE_dapple")));
    let program = optimised().or(own)?;
    Some(lab(&program, &[&["storm"], args].concat()))
}

#[test]
fn e13_a_storm_says_what_it_has_reached() {
    let Some(output) = storm(&["--seeds", "40", "--only", "sets", "--only", "posts"]) else {
        return;
    };
    let told = text(&output.stdout);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("40 seeds in ") && told.contains("set that waits for a set"), "{told}");
    // No task sleeps in these programs, so no timer fires.
    let all = storm(&["--seeds", "20", "--only", "posts", "--reach-all"]).unwrap();
    assert!(!all.status.success());
    let told = text(&all.stderr);
    assert!(told.contains("not reached: ") && told.contains("timer fired"), "{told}");
}

#[test]
fn e13_a_storm_refuses_what_it_cannot_run() {
    for (args, why) in [
        (&["--only", "wind"][..], "possible values: posts, sets"),
        (&["--seeds", "0"], "0 is not in 1.."),
        (&["--from", "18446744073709551615"], "there is no seed after"),
    ] {
        let Some(output) = storm(args) else { return };
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let told = text(&output.stderr);
        assert!(told.contains(why), "{told}");
    }
}
