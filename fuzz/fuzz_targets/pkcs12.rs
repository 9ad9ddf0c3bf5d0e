#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| pki::fuzzing::pkcs12(octets));
