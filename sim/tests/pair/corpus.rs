//! The corpus of the fuzz target `endpoint`, replayed.

use std::fs;
use std::path::Path;

#[test]
fn the_corpus_of_the_endpoint_target_holds_no_surprise() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/endpoint");
    let inputs: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!inputs.is_empty());
    for input in inputs {
        sim::fuzzing::endpoint(&fs::read(input).unwrap());
    }
}
