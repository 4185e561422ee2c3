#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dapple_apps::fuzzing::headers_file(input));
