#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| esp::fuzzing::stream(octets));
