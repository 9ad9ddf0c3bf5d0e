#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| pki::fuzzing::certificate(octets));
