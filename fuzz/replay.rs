//! The replay of the inputs that fuzzing has collected. The tests of each package include this
//! file.

use std::fs;
use std::path::Path;

/// Runs a target on all inputs that were collected for it.
pub(crate) fn replay(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let mut inputs: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(!inputs.is_empty(), "{} is empty", folder.display());
    inputs.sort();
    for input in inputs {
        let bytes = fs::read(&input).unwrap();
        if std::panic::catch_unwind(|| target(&bytes)).is_err() {
            panic!("{} breaks a rule", input.display());
        }
    }
}
