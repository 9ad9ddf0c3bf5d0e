//! The corpus of the fuzz target `dns`, replayed.
#![allow(clippy::unwrap_used, reason = "a failed test ends with a panic")]

use std::fs;
use std::path::Path;

#[test]
fn the_corpus_of_answers_of_name_servers_holds_no_surprise() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/dns");
    let inputs: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!inputs.is_empty());
    for input in inputs {
        cygnetd::lookups::fuzz(&fs::read(input).unwrap());
    }
}
