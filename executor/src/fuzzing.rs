//! Fuzz targets for what users write about their colors, as functions of any bytes: see
//! `fuzz/README.md`.

pub use crate::metrics::fuzzing::labels;

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[test]
fn what_was_kept_of_fuzzing_breaks_no_rule() {
    replay::replay("labels", labels);
}
