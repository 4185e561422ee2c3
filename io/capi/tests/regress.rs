//! libevent's own regression tests on this library, to be run by hand.
//!
//! `DAPPLE_LIBEVENT_TREE` names the path of a source tree of libevent 2.1.12 that is unpacked and
//! built (see docs/LIBEVENT.md). Without it the tests are skipped.
mod common;

use std::path::PathBuf;
use std::process::Command;

use common::library;

/// The tests that read the inside of libevent's base, and so fail here.
const INTERNAL: [&str; 1] = ["signal_pipeloss"];

#[test]
fn p1_libevents_regression_tests_pass() {
    let Some(tree) = std::env::var_os("DAPPLE_LIBEVENT_TREE").map(PathBuf::from) else {
        eprintln!("skipped: DAPPLE_LIBEVENT_TREE is not set");
        return;
    };
    let mut table = Vec::new();
    for group in [
        "main",
        "et",
        "evbuffer",
        "signal",
        "util",
        "bufferevent",
        "http",
        "dns",
        "listener",
        "finalize",
        "thread",
    ] {
        let failed = |preload: Option<PathBuf>| -> Vec<String> {
            let mut command = Command::new(tree.join("test/.libs/regress"));
            command.current_dir(tree.join("test")).arg("--quiet").arg(format!("{group}.."));
            command.env("LD_LIBRARY_PATH", tree.join(".libs"));
            preload.into_iter().for_each(|library| _ = command.env("LD_PRELOAD", library));
            let output = command.output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let name = |line: &str| {
                Some(line.trim().strip_prefix('[')?.strip_suffix(" FAILED]")?.to_owned())
            };
            text.lines().filter_map(name).collect()
        };
        let (theirs, ours) = (failed(None), failed(Some(library())));
        println!("{group}: fail on libevent {theirs:?}, here {ours:?}");
        let is_new = |name: &&String| !theirs.contains(name) && !INTERNAL.contains(&name.as_str());
        table.extend(ours.iter().filter(is_new).map(|name| format!("{group}/{name}")));
    }
    assert!(table.is_empty(), "{table:?}");
}
