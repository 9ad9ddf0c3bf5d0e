//! How many public-key operations were done: what a resumption saves.

use std::sync::atomic::{AtomicU64, Ordering};

static OPERATIONS: AtomicU64 = AtomicU64::new(0);

/// Public-key operations of this process since it started: key generations,
/// agreements and signatures. A resumption adds none (RFC 5723 section 1).
#[must_use]
pub fn public_key_operations() -> u64 {
    OPERATIONS.load(Ordering::Relaxed)
}

pub(crate) fn count_public_key_operation() {
    OPERATIONS.fetch_add(1, Ordering::Relaxed);
}
