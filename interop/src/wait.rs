//! Waiting for the event itself, with a deadline.

#![allow(clippy::disallowed_methods, reason = "real peers live in real time")]

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long anything that should happen at once may take on a loaded machine. Reaching it is a
/// failure, so it costs a passing run nothing.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(10);

/// Looks until `look` finds something, and returns that.
///
/// # Errors
/// When `limit` has passed, naming `what` did not happen; and at once when `look` itself fails.
pub fn until<T>(
    limit: Duration,
    what: impl Display,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("not within {limit:?}: {what}");
        }
        thread::sleep(INTERVAL);
    }
}
