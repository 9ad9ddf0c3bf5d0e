//! The fuzz corpora, replayed through what the fuzz targets run.

use std::fs;
use std::path::Path;

use ike::wire::fuzzing;

#[test]
fn the_corpora_of_the_wire_targets_hold_no_surprise() {
    replay("message", fuzzing::message);
    replay("sa", fuzzing::sa);
    replay("ts", fuzzing::ts);
    replay("notify_delete", fuzzing::notify_delete);
    replay("identity_auth", fuzzing::identity_auth);
    replay("config", fuzzing::config);
    replay("encrypted", fuzzing::encrypted);
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
