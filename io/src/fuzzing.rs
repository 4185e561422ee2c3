//! Fuzz targets for the parsers of peers' input. See `fuzz/README.md`.

pub use crate::codec::fuzzing::frames;
#[cfg(feature = "tls")]
pub use crate::tls::fuzzing::tls;

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[test]
fn what_was_kept_of_fuzzing_breaks_no_rule() {
    replay::replay("frames", frames);
    #[cfg(feature = "tls")]
    replay::replay("tls", tls);
}
