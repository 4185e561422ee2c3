//! `dapple event-run`: the programs that it refuses, and the program that it becomes.
use std::path::PathBuf;
use std::process::{Command, Output};

fn event_run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dapple")).arg("event-run").args(arguments).output().unwrap()
}

/// Returns the path of the library, which cargo builds together with this test.
fn library() -> String {
    let test: PathBuf = std::env::current_exe().unwrap();
    let library = test.with_file_name("libdapple_event.so");
    assert!(library.exists(), "{}", library.display());
    library.to_str().unwrap().to_owned()
}

fn refuses(program: &str, why: &str) {
    let output = event_run(&["--library", &library(), "--check", program]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && errors.contains(why), "{errors}");
}

#[test]
fn p1_event_run_says_what_it_cannot_do() {
    refuses("no-such-program", "no such program");
    refuses("/bin/sh", "not linked to libevent 2.1");
    refuses("/etc/passwd", "not a 64-bit Linux program");
    refuses("/nowhere/at/all", "No such file");
    let output = event_run(&["--library", "/nowhere.so", "/bin/sh"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere.so"));
    assert_eq!(event_run(&[]).status.code(), Some(2));
}

#[test]
fn p1_event_run_becomes_the_program() {
    let tmux = "/usr/bin/tmux";
    if !std::path::Path::new(tmux).exists() {
        assert_ne!(std::env::var("DAPPLE_CLIENTS").as_deref(), Ok("require"), "there is no tmux");
        eprintln!("skipped: there is no tmux");
        return;
    }
    let output = event_run(&["--library", &library(), "--check", "tmux"]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("can be started"), "{told}");
    // A program that runs inside tmux sees `LD_PRELOAD`.
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dapple"));
        command.args(["event-run", "--library", &library(), "tmux", "-f", "/dev/null"]);
        command.args(arguments).env("TMUX_TMPDIR", folder.path()).env("TERM", "screen");
        command.output().unwrap()
    };
    let shows = folder.path().join("shows");
    let script = format!("echo $LD_PRELOAD > {0}.new; mv {0}.new {0}; sleep 60", shows.display());
    assert!(run(&["new-session", "-d", &script]).status.success());
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !shows.exists() && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let preloaded = std::fs::read_to_string(&shows).unwrap();
    assert!(preloaded.contains("libdapple_event.so"), "{preloaded}");
    assert!(run(&["kill-server"]).status.success());
}
