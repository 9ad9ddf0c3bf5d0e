//! The fuzz corpora, replayed through what the fuzz targets run.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;

use esp::fuzzing;

#[test]
fn the_corpora_of_the_packet_targets_hold_no_surprise() {
    replay("packet", fuzzing::packet);
    replay("esp", fuzzing::esp);
    replay("tunnelled", fuzzing::tunnelled);
    replay("stream", fuzzing::stream);
}

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        run(&fs::read(entry.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0, "{} is empty", folder.display());
}
