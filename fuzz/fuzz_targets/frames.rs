#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dapple_io::fuzzing::frames(input));
