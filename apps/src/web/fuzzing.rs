//! Checks of the parsers for files that an operator writes.

use super::policy::Policy;
use super::{config, policy};

/// Parses a file in the format of `_headers`, and checks the fields that result.
pub fn headers_file(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut policy = Policy::default();
    match policy.add_text(text) {
        Err((line, why)) => {
            assert!((1..=text.lines().count()).contains(&line), "there is no line {line}");
            assert!(!why.is_empty() && !why.contains(char::is_control), "{why:?}");
        }
        Ok(()) => {
            for path in [&b""[..], b"index.html", b"a/index.html", b"a/b.js", b"\xff"] {
                check_lines(&policy.of_file(path));
            }
        }
    }
}

/// Checks that no value breaks out of its field, and that no field is one of the server's own.
fn check_lines(fields: &policy::FileFields) {
    let lines = &fields.lines;
    assert!(lines.is_empty() || lines.ends_with("\r\n"));
    for line in lines.split_terminator("\r\n") {
        let (name, value) = line.split_once(": ").expect("it is a field");
        assert!(name.bytes().all(|b| b.is_ascii_graphic() && b != b':'), "{name:?}");
        assert!(!value.contains(['\r', '\n', '\0']), "{value:?}");
        for ours in ["content-length", "transfer-encoding", "connection", "content-type"] {
            assert!(!name.eq_ignore_ascii_case(ours), "{name} is ours");
        }
    }
    let kind = fields.kind.as_deref().unwrap_or_default();
    assert!(!kind.contains(['\r', '\n', '\0']), "{kind:?}");
}

/// Parses a settings file, and checks that an error is one line of text.
pub fn settings_file(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Err(why) = config::check(text) {
        let is_line = !why.is_empty() && !why.contains(char::is_control);
        assert!(is_line, "{why:?}");
    }
}
