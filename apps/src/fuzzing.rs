//! The fuzz targets: functions that take any bytes, parse them, and panic if the result breaks a
//! rule.
//!
//! The inputs stand for what strangers send over the network, and for what is read from files and
//! command lines. A fuzzer calls the targets (`fuzz/README.md`), and a test replays the inputs that
//! it kept. The rules for each parser are in the `fuzzing.rs` of the parser's folder.

pub use crate::common::fuzzing::{conditions, date, media_type, path};
pub use crate::files::fuzzing::{authorization, dav_request, if_field, users_file, xml};
pub use crate::web::fuzzing::{headers_file, settings_file};
pub use crate::web::http::fuzzing::request;

/// Returns a parser's verdict on a request (`http`) or a document (`xml`), to be compared with
/// those of other parsers.
///
/// # Panics
///
/// Panics if `kind` is neither `http` nor `xml`.
#[cfg(dapple_fuzzing)]
pub fn verdict(kind: &str, input: &[u8]) -> String {
    match kind {
        "http" => crate::web::http::fuzzing::verdict(input),
        "xml" => crate::files::fuzzing::verdict(input),
        _ => panic!("there is no kind {kind}"),
    }
}

/// A function that checks one parser on one input.
pub type Target = fn(&[u8]);

/// All targets, with the names of the folders that contain their kept inputs.
pub const TARGETS: [(&str, Target); 13] = [
    ("authorization", authorization),
    ("command_line", command_line),
    ("dav_request", dav_request),
    ("dav_xml", xml),
    ("headers_file", headers_file),
    ("http_conditions", conditions),
    ("http_date", date),
    ("http_request", request),
    ("if_header", if_field),
    ("media_type", media_type),
    ("settings_file", settings_file),
    ("users_file", users_file),
    ("web_path", path),
];

/// Checks how the command line is parsed whose arguments are the lines of the input.
///
/// # Panics
///
/// Panics if the parsed arguments or the error message break a rule.
pub fn command_line(input: &[u8]) {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let args = input.split(|b| *b == b'\n').map(OsStr::from_bytes);
    let args = args.filter(|_| !input.is_empty());
    match crate::command().try_get_matches_from(std::iter::once(OsStr::new("dapple")).chain(args)) {
        Ok(matches) => match matches.subcommand() {
            Some(("files", args)) => crate::files::fuzzing::arguments(args),
            Some(_) => {}
            None => panic!("no program was given"),
        },
        Err(error) => {
            use clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand as NothingSaid;
            let told = crate::told(&error);
            if error.use_stderr() && error.kind() != NothingSaid {
                let is_line = told.ends_with('\n') && !told.trim_end().contains(char::is_control);
                assert!(told.starts_with("dapple: ") && is_line, "{told:?}");
            }
        }
    }
}

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[test]
fn what_was_kept_of_fuzzing_breaks_no_rule() {
    for (name, target) in TARGETS {
        replay::replay(name, target);
    }
    // A target that is missing above would not be replayed. Three of the targets belong to the
    // libraries.
    let targets = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/fuzz_targets"));
    assert_eq!(targets.unwrap().count(), TARGETS.len() + 3);
}
