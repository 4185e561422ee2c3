//! `dapple web` with clients that are slow on purpose: they are closed in time, and other clients
//! do not notice them.
mod common;
#[path = "../../io/tests/common/tool.rs"]
mod tool;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Web, command};
use tool::tool;

/// Returns the value of the metric `name`.
fn figure(figures: &str, name: &str) -> u64 {
    let line = figures.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name}")).trim().parse().unwrap()
}

/// Returns the body that curl gets, also over TLS.
fn curl(url: &str) -> String {
    let curl = tool("curl").unwrap().args(["-s", "-k", "--max-time", "20", url]).output().unwrap();
    assert!(curl.status.success(), "{url}: {curl:?}");
    String::from_utf8(curl.stdout).unwrap()
}

#[test]
fn n5_slow_clients_are_closed_and_others_do_not_notice_them() {
    let (Some(_), Some(_)) = (tool("slowhttptest"), tool("curl")) else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small.txt"), "0123456789").unwrap();
    fs::write(folder.path().join("big.bin"), vec![7; 20_000_000]).unwrap();
    let limits =
        ["--header-timeout", "2", "--write-timeout", "2", "--idle-timeout", "3", "--metrics"];
    for (scheme, more) in [("http", &[][..]), ("https", &["--tls", "dev"])] {
        let mut command = command(&["--listen", "127.0.0.1:0"]);
        command.args(limits).args(more).arg(folder.path()).stderr(Stdio::null());
        let web = Web::spawn_at(command, &format!("{scheme}://"));
        let url = |name: &str| format!("{scheme}://{}/{name}", web.address);
        // Heads that never end, bodies that never end (the server does not wait for them), and
        // responses that the client does not read.
        for (mode, target, at_once) in [
            (&["-H", "-i", "1"][..], "small.txt", Some(50)),
            (&["-B", "-i", "1", "-s", "8192"], "small.txt", None),
            (&["-X", "-w", "1", "-y", "2", "-n", "1", "-z", "16"], "big.bin", Some(50)),
        ] {
            let mut slow = Command::new("slowhttptest");
            slow.args(mode).args(["-c", "150", "-r", "150", "-l", "7", "-p", "3", "-u"]);
            slow.arg(url(target)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut slow = slow.spawn().unwrap();
            let start = Instant::now();
            let mut longest = Duration::ZERO;
            let mut most = 0;
            while slow.try_wait().unwrap().is_none() {
                let asked = Instant::now();
                assert_eq!(curl(&url("small.txt")), "0123456789");
                longest = longest.max(asked.elapsed());
                most = most.max(figure(&curl(&url("_dapple/metrics")), "web_connections_open"));
                assert!(start.elapsed() < Duration::from_secs(60), "{mode:?} does not end");
            }
            assert!(longest < Duration::from_secs(3), "{mode:?}: {longest:?} for a small file");
            if let Some(at_once) = at_once {
                assert!(most >= at_once, "{mode:?}: only {most} connections at once");
            }
            // No connection lasts longer than the limits allow.
            let end = Instant::now();
            while figure(&curl(&url("_dapple/metrics")), "web_connections_open") > 1 {
                assert!(end.elapsed() < Duration::from_secs(8), "{scheme} {mode:?}: some stay");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}
