//! Programs that a test needs.
use std::process::{Command, Stdio};

/// Returns the program's command, if the program is installed. If not, prints that the test is
/// skipped. With `DAPPLE_CLIENTS=require` it panics instead.
pub fn tool(name: &str) -> Option<Command> {
    let mut look = Command::new("sh");
    look.args(["-c", "command -v \"$0\"", name]).stdout(Stdio::null());
    if look.status().is_ok_and(|status| status.success()) {
        return Some(Command::new(name));
    }
    missing(name);
    None
}

/// Reports that something that the test needs is missing.
pub fn missing(what: &str) {
    assert_ne!(std::env::var("DAPPLE_CLIENTS").as_deref(), Ok("require"), "{what} is missing");
    eprintln!("skipped: {what} is missing");
}
