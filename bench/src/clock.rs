//! The clocks of the simulated clients, which live in real time.
#![expect(clippy::disallowed_methods, reason = "a measurement looks at the clock")]

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use ike::time::Now;

/// Time since the first call.
#[must_use]
pub(crate) fn elapsed() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// The present moment, as an endpoint wants it.
#[must_use]
pub(crate) fn now() -> Now {
    let nanos = u64::try_from(elapsed().as_nanos()).unwrap_or(u64::MAX);
    Now { instant: ike::time::Instant::from_nanos(nanos), wall: SystemTime::now() }
}
