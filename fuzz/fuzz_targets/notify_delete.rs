#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| ike::wire::fuzzing::notify_delete(octets));
