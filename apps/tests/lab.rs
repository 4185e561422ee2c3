//! `dapple lab`. What needs the simulation is tested if `DAPPLE_LAB` names a program that was built
//! with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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
fn real_clients_get_what_they_ask_for() {
    // The server of the experiment starts this; here it meets one that answers something else.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut head = [0; 1_024];
        let n = std::io::Read::read(&mut stream, &mut head).unwrap();
        assert!(head[..n].starts_with(b"GET /file37.html HTTP/1.1\r\n"));
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno";
        std::io::Write::write_all(&mut stream, answer).unwrap();
        stream
    });
    let args = ["clients", "--server", "web", "--load", "skewed", "--sessions", "1"];
    let args = [&args[..], &["--clients", "1", "--requests", "1", &address]].concat();
    let output = lab(env!("CARGO_BIN_EXE_dapple"), &args);
    drop(server.join().unwrap());
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    assert!(told.contains("1 of 1 replies are wrong"), "{told}");
}

/// Runs a storm, if there is a program that can.
fn storm(args: &[&str]) -> Option<Output> {
    // Tests run in the folder of their package, and the path is that of the workspace.
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let given = std::env::var_os("DAPPLE_LAB").map(|path| workspace.join(path));
    let own = cfg!(feature = "sim").then(|| PathBuf::from(env!("CARGO_BIN_EXE_dapple")));
    let program = given.or(own)?;
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
    // No task sleeps in these programs, so what timers do is not reached.
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
        (&["--from", "18446744073709551615"], "there is no seed behind"),
    ] {
        let Some(output) = storm(args) else { return };
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let told = text(&output.stderr);
        assert!(told.contains(why), "{told}");
    }
}
