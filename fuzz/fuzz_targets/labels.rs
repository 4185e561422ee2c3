#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dapple::fuzzing::labels(input));
