//! The fuzz corpus of the configuration, replayed through what the target runs.

use std::fs;
use std::path::Path;

#[test]
fn the_corpus_of_the_configuration_holds_no_surprise() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/daemon_config");
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        cygnetd::config::fuzz(&fs::read(entry.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0, "{} is empty", folder.display());
}
