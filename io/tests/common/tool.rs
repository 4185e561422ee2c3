//! Programs of the system that a test needs.
use std::process::{Command, Stdio};

/// The program's command, if it is there. If not, the test is skipped, and says so; with
/// `DAPPLE_CLIENTS=require` it fails.
pub fn tool(name: &str) -> Option<Command> {
    let mut look = Command::new("sh");
    look.args(["-c", "command -v \"$0\"", name]).stdout(Stdio::null());
    if look.status().is_ok_and(|status| status.success()) {
        return Some(Command::new(name));
    }
    missing(name);
    None
}

/// Something that the test needs is not there.
pub fn missing(what: &str) {
    assert_ne!(std::env::var("DAPPLE_CLIENTS").as_deref(), Ok("require"), "{what} is missing");
    eprintln!("skipped: {what} is missing");
}
