//! Programs that were ported, in `benches/ports`: they are built, and their own tests pass.
//!
//! For each program an environment variable names the directory of its unpacked source. Without the
//! variable the test is skipped, and says so.
mod common;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{has, library};

/// Returns the directory with the files of a port.
fn port(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/ports").join(name)
}

/// Returns the number of lines that a port changes: the lines of its sed scripts without the
/// commands.
fn lines_changed(name: &str) -> usize {
    let scripts = fs::read_dir(port(name)).unwrap().map(|entry| entry.unwrap().path());
    let scripts = scripts.filter(|path| path.extension() == Some(OsStr::new("sed")));
    let is_command = |line: &&str| {
        let end = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ',');
        end.len() < line.len() && matches!(end, "a\\" | "c\\" | "d")
    };
    let lines = |path| {
        let text = fs::read_to_string(path).unwrap();
        text.lines().filter(|line| !is_command(line)).count()
    };
    scripts.map(lines).sum()
}

/// Builds a program from its source, unchanged or with the changes of the port, and returns its
/// directory. Returns `None` if there is no source.
fn built(name: &str, variable: &str, what: &str) -> Option<PathBuf> {
    let Some(source) = std::env::var_os(variable) else {
        assert_ne!(std::env::var("DAPPLE_PORTS").as_deref(), Ok("require"), "no {variable}");
        eprintln!("skipped: {variable} is not set, so there is no source of {name}");
        return None;
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{what}"));
    drop(fs::remove_dir_all(&folder));
    let mut build = Command::new(port(name).join("build.sh"));
    build.arg(source).arg(&folder).arg(what).env("LIBRARY", library().parent().unwrap());
    let output = build.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    Some(folder)
}

#[test]
fn spiped_is_changed_in_one_line_of_a_hundred() {
    // spiped has 3,711 lines, without the library that it includes.
    let changed = lines_changed("spiped");
    assert!((1..=37).contains(&changed), "{changed}");
}

#[test]
fn spipeds_own_tests_pass_with_a_color_per_connection() {
    let Some(folder) = built("spiped", "DAPPLE_SPIPED_SOURCE", "colored") else { return };
    // Debian's spiped is the peer in one of the tests.
    assert!(has("spiped"), "Debian's spiped");
    for workers in ["1", "2"] {
        let mut tests = Command::new("sh");
        tests.arg("tests/test_spiped.sh").current_dir(&folder).env("DAPPLE_WORKERS", workers);
        let output = tests.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        println!("{workers} workers: {said}");
        assert!(output.status.success(), "{said}");
        assert_eq!(said.matches("SUCCESS!").count(), 10, "{said}");
    }
    passes(&port("spiped").join("faults.py"), &folder);
}

/// Runs a script that checks a port and prints nothing on standard error if the port is right.
fn passes(script: &Path, folder: &Path) {
    let output = Command::new(script).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn pgbouncer_is_changed_in_seven_lines_of_a_thousand() {
    // PgBouncer has 16,382 lines in src.
    let changed = lines_changed("pgbouncer");
    assert!((1..=123).contains(&changed), "{changed}");
}

/// Runs a script of PgBouncer's tests, with PostgreSQL's programs in the PATH, and returns the
/// names of the tests that pass. As root it runs the script as the user postgres, because the tests
/// refuse to run as root.
fn passed(folder: &Path, script: &str) -> Vec<String> {
    let as_user = "runuser -u postgres --";
    let whole = format!(
        "PATH=$(pg_config --bindir):$PATH; cd test; script={script}
         [ $(id -u) = 0 ] && chown -R postgres .. && exec {as_user} env PATH=$PATH ./$script
         exec ./$script"
    );
    let output = Command::new("sh").args(["-c", &whole]).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    let passed = said.lines().filter_map(|line| line.strip_suffix(" ... ok"));
    passed.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn pgbouncers_own_tests_pass_with_handshakes_on_colors() {
    let Some(folder) = built("pgbouncer", "DAPPLE_PGBOUNCER_SOURCE", "colored") else { return };
    let plain = built("pgbouncer", "DAPPLE_PGBOUNCER_SOURCE", "plain").unwrap();
    for (script, most) in [("ssl/test.sh", 18), ("test.sh", 40)] {
        // Some tests need a firewall, or another version of PostgreSQL.
        let theirs = passed(&plain, script);
        let ours = passed(&folder, script);
        let missing: Vec<_> = theirs.iter().filter(|name| !ours.contains(name)).collect();
        assert!(missing.is_empty(), "{script}: {missing:?}");
        assert!(ours.len() >= most, "{script}: {} passed", ours.len());
    }
    passes(&port("pgbouncer").join("leavers.py"), &folder);
}
