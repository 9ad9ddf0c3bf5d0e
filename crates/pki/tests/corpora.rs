//! The corpora of the fuzz targets, replayed.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;

use pki::fuzzing;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let inputs: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!inputs.is_empty());
    for input in inputs {
        let octets = fs::read(input).unwrap();
        run(&octets);
        // Every octet is changed, and everything is cut short, once.
        for at in 0..octets.len() {
            let mut changed = octets.clone();
            if let Some(octet) = changed.get_mut(at) {
                *octet ^= 0x41;
            }
            run(&changed);
            run(octets.get(..at).unwrap_or_default());
        }
    }
}

#[test]
fn certificates_hold_no_surprise() {
    replay("certificate", fuzzing::certificate);
}

#[test]
fn chains_hold_no_surprise() {
    replay("certificate_chain", fuzzing::chain);
}

#[test]
fn revocation_lists_hold_no_surprise() {
    replay("crl", fuzzing::crl);
}

#[test]
fn names_hold_no_surprise() {
    replay("distinguished_name", fuzzing::name);
}

#[test]
fn pkcs12_files_hold_no_surprise() {
    replay("pkcs12", fuzzing::pkcs12);
}
