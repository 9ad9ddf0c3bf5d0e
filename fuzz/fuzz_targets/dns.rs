#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| cygnetd::lookups::fuzz(octets));
