//! `dapple hist`: percentiles of histogram logs that a runtime has written.
use std::fs;
use std::path::Path;
use std::process::Command;

use dapple::Runtime;

/// Writes a log whose values are evenly spread from `micros` microseconds to 100 times as many.
fn write(path: &Path, micros: u64) {
    let rt = Runtime::new().unwrap();
    let requests = rt.handle().histogram("request");
    (1..=10_000).for_each(|n| requests.record_nanos((n % 100 + 1) * micros * 1_000));
    rt.metrics().write_hlog(&mut fs::File::create(path).unwrap()).unwrap();
}

fn hist(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dapple"));
    let output = command.arg("hist").args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn percentiles_and_differences_are_told_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    write(Path::new(&at("a.hlog")), 1);
    write(Path::new(&at("b.hlog")), 2);
    let (status, text, _) = hist(&[&at("a.hlog"), "--tag", "own/", "--percentiles", "50,99"]);
    assert_eq!(status, Some(0));
    let lines: Vec<&str> = text.lines().collect();
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(cells(lines[0]), ["tag", "count", "mean", "p50", "p99", "max"]);
    assert_eq!(cells(lines[1])[..2], ["own/request", "10000"]);
    assert!(lines[1].contains("50.2 us") && lines.len() == 2, "{text}");
    let svg = at("out.svg");
    let (status, text, _) = hist(&[&at("a.hlog"), &at("b.hlog"), "--tag", "own/", "--svg", &svg]);
    assert_eq!(status, Some(0));
    assert_eq!(text.lines().filter(|line| line.ends_with("slower")).count(), 5, "{text}");
    assert!(
        text.contains("2.0") && fs::read_to_string(svg).unwrap().contains("b.hlog, own/request")
    );
}

#[test]
fn mistakes_are_one_line_and_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    write(Path::new(&at("a.hlog")), 1);
    fs::write(at("bad"), "nonsense").unwrap();
    for (args, expected) in [
        (vec![at("nothing")], "cannot read "),
        (vec![at("bad")], "bad: entry 1 is not part of an interval log"),
        (vec![at("a.hlog"), "--tag".into(), "x".into()], "no tag contains \"x\""),
        (vec![at("a.hlog"), "--percentiles".into(), "101".into()], "a number between 0 and 100"),
    ] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (status, out, said) = hist(&args);
        assert_eq!((status, said.lines().count()), (Some(2), 1), "{args:?}: {said}");
        assert!(said.contains(expected) && out.is_empty(), "{args:?}: {said}");
    }
}
